//! Headers that concern one connection only (RFC 9110 §7.6.1).

/// What the `Connection` lines of a message name, in lower case.
pub(crate) struct Hops(Vec<String>);

impl Hops {
    pub(crate) fn named_by<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let names = lines.flat_map(|line| line.split(|c| *c == b',')).map(<[u8]>::trim_ascii);
        let names =
            names.filter(|name| !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close"));
        Self(names.map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect())
    }

    /// Whether a header stays on this side: by its name in lower case, and by the one that others may take it for.
    pub(crate) fn has(&self, name: &str, taken_for: &str) -> bool {
        matches!(
            taken_for,
            "connection"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "http2-settings"
        ) || self.0.iter().any(|named| named == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_stays_whatever_its_case() {
        let hops = Hops::named_by([&b"close, X-Hop"[..], b" x-other ,,keep-alive"].into_iter());

        for name in ["connection", "te", "x-hop", "x-other", "keep-alive"] {
            assert!(hops.has(name, name), "{name}");
        }
        assert!(!hops.has("x-end", "x-end"));
        assert!(!hops.has("close", "close"));
        assert!(hops.has("keep_alive", "keep-alive"));
        assert!(!hops.has("x_hop", "x-hop"), "another header than the one that is named");
    }
}
