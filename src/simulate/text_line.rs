//! klinky's own log as text: `2026-11-29T10:00:00Z  INFO request{request.id="…"}: answered method="GET" … account.id=…`.

use std::borrow::Cow;

use super::line::{LogLine, LoggedRequest, Why, passed_over_by, quoted};
use super::time;
use crate::config::Call;
use crate::domain::decision::Cost;
use crate::domain::time::Timestamp;

/// What stands behind the time. Other logs begin with one as well, when they come from a container or the journal.
const LEVELS: [&str; 5] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];

/// Whether a line begins as those of this log do.
pub(super) fn is_one(line: &str) -> bool {
    line.split_once(' ').is_some_and(|(time, rest)| {
        let level = rest.trim_start().split(' ').next();
        level.is_some_and(|level| LEVELS.contains(&level)) && Timestamp::parse(time).is_ok()
    })
}

/// Reads a line.
///
/// # Errors
/// When its time is none.
pub(super) fn read(line: &str) -> Result<LogLine<'_>, String> {
    let (time, rest) = line.split_once(' ').unwrap_or((line, ""));
    let at = time::read(time)?;
    let (_level, event) = rest.trim_start().split_once(' ').unwrap_or_default();
    let event = match event.strip_prefix("request{") {
        Some(span) => span.split_once("}: ").map_or("", |(_fields, event)| event),
        None => event,
    };
    let Some(fields) = event.strip_prefix("answered ").map(Fields) else {
        return Ok(LogLine::PassedOver(Why::OtherEvent));
    };
    if let Some(why) = passed_over_by(fields.find("decision")) {
        return Ok(LogLine::PassedOver(why));
    }
    let Some(account) = fields.find("account.id") else { return Ok(LogLine::PassedOver(Why::NoAccount)) };
    let cost = fields.find("cost").and_then(|cost| Cost::new(cost.parse().ok()?).ok());
    Ok(LogLine::Request(LoggedRequest { account: account.into(), at, call: fields.call(), cost }))
}

/// Fields of a line: `method="GET" status=200`.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn find(self, name: &str) -> Option<&'a str> {
        let mut fields = self;
        fields.find_map(|(field, value)| (field == name).then_some(value))
    }

    /// The call that was decided on: a proxy asks about another one than its own.
    fn call(self) -> Call<'a> {
        let asked = self.find("endpoint").and_then(|endpoint| endpoint.split_once(' '));
        let (method, target) =
            asked.unwrap_or_else(|| (self.find("method").unwrap_or_default(), self.find("route").unwrap_or_default()));
        Call { method: Cow::Borrowed(method), target: Cow::Borrowed(target) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.trim_start().split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        self.0 = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = r#"2026-11-29T10:00:00.250000Z  INFO request{request.id="a}:b"}: "#;

    fn read_event(event: &str) -> String {
        let line = format!("{BEGIN}{event}");
        assert!(is_one(&line), "{line}");
        match read(&line).unwrap() {
            LogLine::Request(LoggedRequest { account, at, call, cost }) => {
                let cost = cost.map_or(0, Cost::as_units);
                format!("{account} {at} {} {} {cost}", call.method, call.target)
            }
            LogLine::PassedOver(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn an_answer_that_was_decided_on_is_a_request() {
        let read = read_event(
            r#"answered method="GET" route="/v1/\" account.id=x" status=200 decision="allowed" duration_us=5 client=::1 account.id=acme plan.id="growth" remaining=9"#,
        );
        assert_eq!(read, r#"acme 2026-11-29T10:00:00.250Z GET /v1/\" account.id=x 0"#);

        let read = read_event(
            r#"answered method="GET" route="/check" endpoint="POST /v1/a" status=403 decision="limit_reached" cost=5 client=::1 account.id=acme"#,
        );
        assert_eq!(read, "acme 2026-11-29T10:00:00.250Z POST /v1/a 5");
    }

    #[test]
    fn other_lines_are_passed_over() {
        for (event, why) in [
            (r#"answered method="GET" route="/a" status=200 client=::1 account.id=acme"#, "NotCounted"),
            (r#"answered method="GET" route="/a" status=503 decision="failed" client=::1"#, "NotCounted"),
            (r#"answered method="GET" route="/a" status=403 decision="suspended" account.id=acme"#, "Refused"),
            (r#"answered method="GET" route="/a" status=401 decision="missing_key" client=::1"#, "Refused"),
            (r#"answered method="GET" route="/a" status=200 decision="allowed" client=::1"#, "NoAccount"),
            (r#"administrative write audit.number=1"#, "OtherEvent"),
        ] {
            assert_eq!(read_event(event), why, "{event}");
        }
        let stopped = "2026-11-29T10:00:00.250000Z  INFO stopped; everything is on disk";
        assert_eq!(read(stopped).unwrap(), LogLine::PassedOver(Why::OtherEvent));
        assert!(!is_one("2026-11-29T10:00:00.1Z 192.0.2.7 - - [29/Nov/2026:10:00:00 +0000]"));
        assert!(!is_one("2001:db8::7 - - [29/Nov/2026:10:00:00 +0000]"));
    }
}
