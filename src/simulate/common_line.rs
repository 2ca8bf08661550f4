//! The common log format and whatever begins like it, as the combined one does:
//! `192.0.2.7 - acme [29/Nov/2026:10:00:00 +0000] "GET /v1/things HTTP/1.1" 200 512 "-" "curl/8"`.

use std::borrow::Cow;
use std::net::IpAddr;

use super::line::{Call, LogLine, LoggedRequest, Why, passed_over, quoted};
use super::{shown, time};

/// Reads a line.
///
/// # Errors
/// When it is none, with what is wrong.
pub(super) fn read(line: &str) -> Result<LogLine<'_>, String> {
    let parts = line.split_once(" [").and_then(|(who, rest)| {
        let (time, rest) = rest.split_once("] \"")?;
        let (request, rest) = quoted(rest)?;
        Some((who, time, request, rest))
    });
    let (who, time, request, rest) = parts.ok_or("it is of no format that is understood")?;
    let at = time::read_common(time)?;
    let call = read_request(request)
        .ok_or_else(|| format!("its request {} is no method and target", shown::quoted(request)))?;
    let status = rest.trim_start().split(' ').next().unwrap_or_default();
    let status: u16 = status.parse().map_err(|_digits| format!("its status {} is no number", shown::quoted(status)))?;
    if let Some(why) = passed_over(&call.method, Some(status)) {
        return Ok(LogLine::PassedOver(why));
    }
    Ok(match account(who) {
        None => LogLine::PassedOver(Why::NoAccount),
        Some(account) => LogLine::Request(LoggedRequest { account: account.into(), at, call, cost: None }),
    })
}

/// Reads `GET /v1/things HTTP/1.1`.
pub(super) fn read_request(text: &str) -> Option<Call<'_>> {
    let (method, rest) = text.split_once(' ')?;
    let target = rest.rsplit_once(" HTTP/").map_or(rest, |(target, _version)| target);
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    (is_method && !target.is_empty()).then_some(Call { method: Cow::Borrowed(method), target: Cow::Borrowed(target) })
}

/// The user, who may have spaces in the name, or else the address.
fn account(who: &str) -> Option<&str> {
    let (mut address, mut rest) = who.split_once(' ')?;
    // A virtual host stands before the address in Apache's vhost_combined.
    let second = rest.split(' ').next().unwrap_or_default();
    if second.parse::<IpAddr>().is_ok() {
        (address, rest) = rest.split_once(' ')?;
    }
    let (_ident, user) = rest.split_once(' ')?;
    let is_named = |name: &&str| !matches!(*name, "" | "-" | "\"\"");
    Some(user).filter(is_named).or(Some(address)).filter(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(who: &str, rest: &str) -> String {
        format!("{who} [29/Nov/2026:10:00:00 +0000] {rest}")
    }

    fn account_of(text: &str) -> String {
        match read(text).unwrap() {
            LogLine::Request(request) => request.account.into_owned(),
            LogLine::PassedOver(why) => panic!("{why:?}: {text}"),
        }
    }

    #[test]
    fn the_account_is_the_user_or_else_the_address() {
        for (who, account) in [
            ("192.0.2.7 - -", "192.0.2.7"),
            ("2001:db8::7 - -", "2001:db8::7"),
            ("192.0.2.7 - acme", "acme"),
            ("192.0.2.7 - Acme and Sons", "Acme and Sons"),
            ("192.0.2.7 - \"\"", "192.0.2.7"),
            ("api.example:443 192.0.2.7 - -", "192.0.2.7"),
            ("api.example:443 2001:db8::7 - acme", "acme"),
        ] {
            assert_eq!(account_of(&line(who, r#""GET /v1/a HTTP/1.1" 200 12"#)), account, "{who}");
        }
        let nobody = line("- - -", r#""GET /v1/a HTTP/1.1" 200 12"#);
        assert_eq!(read(&nobody).unwrap(), LogLine::PassedOver(Why::NoAccount));
    }

    #[test]
    fn a_call_is_a_method_and_a_target_whatever_quotes_it_has() {
        for (request, method, target) in [
            ("GET /v1/a?b=c HTTP/1.1", "GET", "/v1/a?b=c"),
            ("POST /v1/a b HTTP/2.0", "POST", "/v1/a b"),
            (r#"GET /v1/\"a\" HTTP/1.1"#, "GET", r#"/v1/\"a\""#),
            ("GET /", "GET", "/"),
        ] {
            let text = line("192.0.2.7 - -", &format!(r#""{request}" 200 12 "-" "x \" [y] \"GET""#));
            let LogLine::Request(found) = read(&text).unwrap() else { panic!("{request}") };
            assert_eq!((found.call.method.as_ref(), found.call.target.as_ref()), (method, target));
        }
    }

    #[test]
    fn what_is_no_request_of_an_account_is_passed_over() {
        for (rest, why) in [
            (r#""GET /v1/a HTTP/1.1" 401 12"#, Why::Refused),
            (r#""GET /v1/a HTTP/1.1" 403 12"#, Why::Refused),
            (r#""OPTIONS /v1/a HTTP/1.1" 204 0"#, Why::Preflight),
        ] {
            assert_eq!(read(&line("192.0.2.7 - -", rest)).unwrap(), LogLine::PassedOver(why), "{rest}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (rest, told) in [
            (r#""-" 408 0"#, "its request \"-\""),
            (r#""\x16\x03\x01" 400 0"#, "its request"),
            (r#""GET /v1/a HTTP/1.1" - 0"#, "its status \"-\""),
            (r#""GET /v1/a HTTP/1.1"#, "no format"),
            ("", "no format"),
        ] {
            assert!(read(&line("192.0.2.7 - -", rest)).unwrap_err().contains(told), "{rest}");
        }
        assert!(read(r#"192.0.2.7 - - [today] "GET / HTTP/1.1" 200 0"#).unwrap_err().contains("its time"));
        assert!(read("hello").unwrap_err().contains("no format"));
    }
}
