//! What comes from browsers and goes to them: addresses, countries, referrers.

use std::fmt;
use std::net::IpAddr;

use url::Url;

use super::Invalid;

/// Most characters in a URL: what browsers and proxies take.
pub const URL_CHARS_MAX: usize = 2048;

/// An absolute `http` or `https` URL without credentials, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(Box<str>);

impl WebUrl {
    /// Checks a URL.
    ///
    /// # Errors
    /// When it is too long, has control characters, spaces or characters outside of ASCII, another scheme, no host,
    /// or credentials.
    pub fn new(raw: &str) -> Result<Self, Invalid> {
        let chars = raw.chars().count();
        if chars > URL_CHARS_MAX {
            return Err(Invalid::new(format!("must be at most {URL_CHARS_MAX} characters, got {chars}")));
        }
        // The parser drops tabs and line ends silently; in a Location header they would be an attack.
        if !raw.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Invalid::new("must be percent-encoded ASCII without spaces"));
        }
        let url = Url::parse(raw).map_err(|error| Invalid::new(format!("must be a URL: {error}")))?;
        let begins_well = authority(raw).is_some_and(|authority| !authority.is_empty());
        if !matches!(url.scheme(), "http" | "https") || !begins_well {
            return Err(Invalid::new("must begin with http:// or https://"));
        }
        if authority(raw).is_some_and(|authority| authority.contains('@')) {
            return Err(Invalid::new("must not contain a user name or password"));
        }
        Ok(Self(raw.into()))
    }

    /// The URL as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands between `//` and the path, of a URL that has it as browsers write it: the parser takes `https:host`,
/// `https:///host` and `https:\\host` for `https://host`; browsers are not asked to.
fn authority(raw: &str) -> Option<&str> {
    let (_scheme, rest) = raw.split_once("://").filter(|(scheme, _rest)| !scheme.contains([':', '/', '?', '#']))?;
    if raw.contains('\\') { None } else { rest.split(['/', '?', '#']).next() }
}

/// The country codes in force, each with a space after it.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ \
    BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM \
    DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS \
    GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN \
    KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ \
    MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM \
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV \
    SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI \
    VN VU WF WS XK YE YT ZA ZM ZW \
";

/// A country by its two letters, in upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads a country's two letters, in any case: one of the 249 of ISO 3166-1 alpha-2, or `XK`, which proxies and
    /// geo databases say for Kosovo.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let country = Self::from_letters(text)?;
        if COUNTRIES.as_bytes().chunks_exact(3).any(|listed| listed.starts_with(&country.0)) {
            Ok(country)
        } else {
            Err(Invalid::new(format!("{country} is no country code of ISO 3166-1")))
        }
    }

    /// Reads any two ASCII letters, in any case: what was stored is read whatever the list says by now.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_letters(text: &str) -> Result<Self, Invalid> {
        match *text.as_bytes() {
            [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                Ok(Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
            }
            _ => Err(Invalid::new("must be a country code of two letters, or default")),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&letter| write!(f, "{}", char::from(letter)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A client's address with the part that points to one household or person zeroed: the last octet of IPv4, the
/// last 80 bits of IPv6.
#[must_use]
pub fn anonymize(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _last] = v4.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
        }
    }
}

/// Most characters of a host's name (RFC 1035 §2.3.4).
const HOST_CHARS_MAX: usize = 253;

/// The host of a referrer, which is all of it that is kept. A longer one than there can be is none.
#[must_use]
pub fn referrer_host(referrer: &str) -> Option<String> {
    let url = Url::parse(referrer).ok()?;
    url.host_str().filter(|host| !host.is_empty() && host.len() <= HOST_CHARS_MAX).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_no_credentials() {
        for raw in ["http://example.com", "HTTPS://example.com?a@b", "https://example.com/a@b://c", "https://[::1]:8/"]
        {
            assert!(WebUrl::new(raw).is_ok(), "{raw}");
        }
        for raw in ["https:x://example.com/", "https:///example.com", "https://@example.com/", "https://:@example.com/"]
        {
            assert!(WebUrl::new(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn only_web_urls_without_credentials_are_destinations() {
        for raw in ["https://example.com", "http://example.com:8080/a?b=c#d", "https://[::1]/", "HTTPS://EXAMPLE.COM/"]
        {
            assert!(WebUrl::new(raw).is_ok(), "{raw}");
        }
        let bad = [
            "",
            "/path",
            "//host/path",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://example.com",
            "https:example.com",
            "https:\\\\example.com",
            "https://",
            "https://user@example.com",
            "https://user:pw@example.com",
            "https://example.com/a b",
            "https://example.com/\r\nSet-Cookie: a=b",
            "https://exämple.com",
            "https://example.com/\u{7f}",
        ];
        for raw in bad {
            assert!(WebUrl::new(raw).is_err(), "{raw}");
        }
        let long = |chars: usize| format!("https://example.com/{}", "x".repeat(chars - 20));
        assert!(WebUrl::new(&long(2048)).is_ok() && WebUrl::new(&long(2049)).is_err());
    }

    #[test]
    fn a_country_is_one_of_the_list() {
        assert_eq!(COUNTRIES.len(), 3 * 250);
        for text in ["DE", "de", "GB", "AD", "ZW", "XK"] {
            assert_eq!(Country::parse(text).unwrap().to_string(), text.to_ascii_uppercase());
        }
        for text in ["AA", "UK", "XX", "T1", "ZZ", "EU", "E ", " D", "", "D", "DEU", "\u{e9}"] {
            assert!(Country::parse(text).is_err(), "{text}");
        }
        assert_eq!(Country::from_letters("xx").unwrap().to_string(), "XX");
    }

    #[test]
    fn addresses_lose_their_last_part() {
        let anonymous = |text: &str| anonymize(text.parse().unwrap()).to_string();
        assert_eq!(anonymous("203.0.113.77"), "203.0.113.0");
        assert_eq!(anonymous("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(anonymous("::ffff:203.0.113.77"), "203.0.113.0");
    }

    #[test]
    fn of_a_referrer_only_the_host_is_kept() {
        assert_eq!(referrer_host("https://user:pw@news.example/path?q=secret"), Some("news.example".to_owned()));
        assert_eq!(referrer_host("not a url"), None);
        assert_eq!(referrer_host(&format!("https://{}.example/", "x".repeat(250))), None);
    }
}
