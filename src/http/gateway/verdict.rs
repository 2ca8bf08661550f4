//! What a path leads to. It is judged once, before anything is routed, and goes to the upstream byte for byte as it was
//! judged; a path that two programs could read in two ways is refused.

use percent_encoding::percent_decode_str;

use super::fault::Fault;
use crate::config::GatewaySettings;
use crate::domain::decision::Cost;
use actix_web::http::{Method, Uri};

/// What a request's path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To the upstream, without a key.
    Public,
    /// To the upstream, with a key and for so many units.
    Guarded(Cost),
    /// Nowhere, unless klinky itself has something there.
    Nowhere,
}

/// Judges where a request leads.
///
/// # Errors
/// When its target is not a path, or one that could be read in another way.
pub(crate) fn judge(settings: &GatewaySettings, method: &Method, uri: &Uri) -> Result<Route, Fault> {
    let raw = uri.path_and_query().map_or("", |_target| uri.path());
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(Fault::Unsupported("The methods CONNECT and TRACE are not passed on."));
    }
    // Some servers take `post` for `POST` (RFC 9110 §9.1 says that it is another); rules of costs and replays do not.
    if method.as_str().bytes().any(|c| c.is_ascii_lowercase()) {
        return Err(Fault::Refused("The method must be in capital letters.".to_owned()));
    }
    let path = read(raw)?;
    if settings.is_public(method, &path) {
        Ok(Route::Public)
    } else if settings.is_below_prefix(&path) {
        Ok(Route::Guarded(settings.cost_of(method, &path)))
    } else {
        Ok(Route::Nowhere)
    }
}

/// The path as the upstream reads it.
fn read(raw: &str) -> Result<std::borrow::Cow<'_, str>, Fault> {
    let refused = |what: &str| Fault::Refused(format!("The path is ambiguous: {what}. Send it in its plain form."));
    let Some(below) = raw.strip_prefix('/') else {
        return Err(Fault::Refused("The request's target must be a path.".to_owned()));
    };
    let (segments, end) = below.rsplit_once('/').map_or((None, below), |(segments, end)| (Some(segments), end));
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if segments.is_some_and(|segments| segments.split('/').any(str::is_empty)) {
        return Err(refused("it has an empty segment (//)"));
    }
    if is_dots(end) || segments.is_some_and(|segments| segments.split('/').any(is_dots)) {
        return Err(refused("it has a dot segment (. or ..)"));
    }
    if raw.contains('\\') || raw.contains(';') {
        return Err(refused("it has a backslash or a semicolon"));
    }
    if !raw.contains('%') {
        return Ok(raw.into());
    }
    check_escapes(raw).map_err(refused)?;
    percent_decode_str(raw).decode_utf8().map_err(|_bytes| refused("its escapes are not UTF-8"))
}

/// Refuses escapes that not everybody undoes, or that not everybody undoes once.
fn check_escapes(raw: &str) -> Result<(), &'static str> {
    for escape in raw.split('%').skip(1) {
        let digits = escape.get(..2).ok_or("it has a % that is no escape")?;
        // `from_str_radix` takes a sign as well.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match u8::from_str_radix(digits, 16).ok().filter(|_byte| is_hex) {
            None => return Err("it has a % that is no escape"),
            Some(b'/' | b'\\' | b'.' | b';') => return Err("it escapes a slash, a backslash, a dot or a semicolon"),
            Some(0..=0x1f | 0x7f) => return Err("it has a control character"),
            // The next text begins with what follows the escape; `%25` before two digits is an escape's escape.
            Some(b'%') if escape.len() > 2 => {
                let next = escape.as_bytes().get(2..4);
                if next.is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit)) {
                    return Err("it is escaped twice");
                }
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Cli, Command};

    fn judged(method: &str, path: &str) -> Route {
        let flags = ["--upstream", "http://a", "--upstream-prefix", "/v1", "--cost", "* /v1/x=7"];
        let public = ["--public-path", "OPTIONS /v1/**", "--public-path", "GET /v1/docs/*", "--public-path", "/status"];
        let cli = Cli::try_parse_from(["klinky", "serve"].into_iter().chain(flags).chain(public)).unwrap();
        let Command::Serve(args) = cli.command else { panic!("not serve") };
        let settings = args.check().unwrap().gateway.unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        judge(&settings, &method, &path.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_path_that_is_public_for_a_method_is_guarded_for_the_others() {
        let guarded = |units| Route::Guarded(Cost::new(units).unwrap());

        for (method, path) in [
            ("OPTIONS", "/v1/x"),
            ("OPTIONS", "/v1/docs/a"),
            ("GET", "/v1/docs/a"),
            ("HEAD", "/v1/docs/a"),
            ("POST", "/status"),
        ] {
            assert_eq!(judged(method, path), Route::Public, "{method} {path}");
        }
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTION", "OPTIONS-X"] {
            assert_eq!(judged(method, "/v1/x"), guarded(7), "{method}");
        }
        assert_eq!(judged("POST", "/v1/docs/a"), guarded(1));
        assert_eq!(judged("OPTIONS", "/other"), Route::Nowhere);
    }

    #[test]
    fn plain_paths_are_read_as_they_are() {
        for raw in ["/", "/v1", "/v1/", "/v1/a.b/...", "/v1/~x-y_z", "/v1/a:b@c!$&'()*+,=", "/v1/.well-known"] {
            assert_eq!(read(raw).unwrap(), raw);
        }
        assert_eq!(read("/v1/%72eports/caf%C3%A9%20x").unwrap(), "/v1/reports/café x");
        assert_eq!(read("/v1/100%25").unwrap(), "/v1/100%");
        assert_eq!(read("/v1/100%25x").unwrap(), "/v1/100%x");
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for raw in [
            "",
            "*",
            "v1",
            "//",
            "//v1",
            "/v1//x",
            "/v1/x//",
            "/.",
            "/..",
            "/v1/.",
            "/v1/..",
            "/v1/./x",
            "/v1/../x",
            "/v1/%2e%2e/x",
            "/v1/%2E./x",
            "/v1/a%2fb",
            "/v1/a%2Fb",
            "/v1/a%5cb",
            "/v1/a\\b",
            "/v1/a;x=1",
            "/v1/a%3bx",
            "/v1/%00",
            "/v1/%0d%0a",
            "/v1/%7f",
            "/v1/%",
            "/v1/%4",
            "/v1/%zz",
            "/v1/%+1",
            "/v1/%252e",
            "/v1/%2541",
            "/v1/%c0%af",
            "/v1/%ff",
            "/v1/%é",
        ] {
            assert!(matches!(read(raw), Err(Fault::Refused(_))), "{raw}");
        }
    }
}
