//! The common log format and whatever begins like it, as the combined one does:
//! `192.0.2.7 - acme [29/Nov/2026:10:00:00 +0000] "GET /v1/things HTTP/1.1" 200 512 "-" "curl/8"`.

use std::borrow::Cow;
use std::net::IpAddr;

use super::line::{LogLine, LoggedRequest, Why, passed_over, quoted};
use super::{terminal, time};
use crate::config::Call;

/// What is wrong with most lines that are none.
const NO_FORMAT: &str = "it is of no format that is understood";

/// Reads a line.
///
/// # Errors
/// When it is none, with what is wrong.
pub(super) fn read(line: &str) -> Result<LogLine<'_>, String> {
    let parts = line.split_once("] \"").and_then(|(begin, rest)| {
        // A user may be called `Acme [EU]`.
        let (who, time) = begin.rsplit_once(" [")?;
        let (request, rest) = quoted(rest)?;
        Some((find_account(who)?, time, request, rest))
    });
    let (account, time, request, rest) = parts.ok_or(NO_FORMAT)?;
    let at = time::read_common(time)?;
    let status = rest.trim_start().split(' ').next().unwrap_or_default();
    let status: u16 =
        status.parse().map_err(|_digits| format!("its status {} is no number", terminal::quote(status)))?;
    Ok(match (read_request(request), status) {
        (None, 400 | 408) => LogLine::PassedOver(Why::NoRequest),
        (None, _) => return Err(format!("its request {} is no method and target", terminal::quote(request))),
        (Some(call), status) => match passed_over(&call.method, status) {
            Some(why) => LogLine::PassedOver(why),
            None if !is_named(account) => LogLine::PassedOver(Why::NoAccount),
            None => LogLine::Request(LoggedRequest { account: account.into(), at, call, cost: None }),
        },
    })
}

/// Reads `GET /v1/things HTTP/1.1`.
pub(super) fn read_request(text: &str) -> Option<Call<'_>> {
    let (method, rest) = text.split_once(' ')?;
    let target = rest.rsplit_once(" HTTP/").map_or(rest, |(target, _version)| target);
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    (is_method && !target.is_empty()).then_some(Call { method: Cow::Borrowed(method), target: Cow::Borrowed(target) })
}

/// The user or else the address, which may be no name; `None` if what stands before the time is not of this format. A
/// user's name has spaces only if an address tells where it begins: anything else may be what another program wrote
/// before the line.
fn find_account(who: &str) -> Option<&str> {
    let (mut address, mut rest) = who.split_once(' ')?;
    // A virtual host stands before the address in Apache's vhost_combined.
    if !address.ends_with(',') && rest.split(' ').next().is_some_and(is_address) {
        (address, rest) = rest.split_once(' ')?;
    }
    // Where the address comes from X-Forwarded-For, the client's is followed by those of proxies.
    let mut last = address;
    while last.ends_with(',') {
        (last, rest) = rest.split_once(' ')?;
    }
    let client = address.split(',').next()?;
    let (_ident, user) = rest.split_once(' ')?;
    (!user.contains(' ') || is_address(address)).then_some(if is_named(user) { user } else { client })
}

/// Whether it is an address or a list that begins with one; nginx calls the other end of a Unix socket `unix:`.
fn is_address(word: &str) -> bool {
    word.split(',').next().is_some_and(|word| word.parse::<IpAddr>().is_ok()) || word.starts_with("unix:")
}

fn is_named(name: &str) -> bool {
    !matches!(name, "" | "-" | "\"\"")
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
            ("api.example:443 2001:db8::7 - Acme [EU]", "Acme [EU]"),
            ("192.0.2.7 - Acme Corp [EU]", "Acme Corp [EU]"),
            ("client.example - acme", "acme"),
            ("unix: - Acme Corp", "Acme Corp"),
            ("- - acme", "acme"),
            ("203.0.113.9, 10.0.0.1 - -", "203.0.113.9"),
            ("203.0.113.9, 10.0.0.1, 10.0.0.2 - Acme Corp", "Acme Corp"),
            ("203.0.113.9,10.0.0.1 - -", "203.0.113.9"),
            ("unknown, 10.0.0.1 - -", "unknown"),
            // As `docker logs --timestamps` has it.
            ("2026-11-29T10:00:00.1Z 192.0.2.7 - -", "192.0.2.7"),
        ] {
            assert_eq!(account_of(&line(who, r#""GET /v1/a HTTP/1.1" 200 12"#)), account, "{who}");
        }
        for nobody in ["- - -", "- - "] {
            let nobody = line(nobody, r#""GET /v1/a HTTP/1.1" 200 12"#);
            assert_eq!(read(&nobody).unwrap(), LogLine::PassedOver(Why::NoAccount), "{nobody}");
        }
    }

    #[test]
    fn what_another_program_wrote_before_a_line_is_no_account() {
        for who in ["Nov 29 10:00:01 web1 nginx: 192.0.2.7 - -", "nginx-1  | 192.0.2.7 - -", "- - Acme Corp", "a b"] {
            let told = read(&line(who, r#""GET /v1/a HTTP/1.1" 200 12"#)).unwrap_err();
            assert_eq!(told, "it is of no format that is understood", "{who}");
        }
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
            (r#""-" 408 0"#, Why::NoRequest),
            (r#""" 400 0"#, Why::NoRequest),
            (r#""\x16\x03\x01" 400 0"#, Why::NoRequest),
        ] {
            assert_eq!(read(&line("192.0.2.7 - -", rest)).unwrap(), LogLine::PassedOver(why), "{rest}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (rest, told) in [
            (r#""-" 200 0"#, "its request \"-\""),
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
