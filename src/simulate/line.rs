//! What one line of a log says: a request of an account, or why it is none. Which format it is in, the line itself tells.

use std::borrow::Cow;

use super::{common_line, json_line, text_line};
use crate::config::{Call, Fields};
use crate::domain::decision::Cost;
use crate::domain::time::Timestamp;

/// Longest account: above any id or name that is given to one. A log names whom it likes, and each name is kept.
const ACCOUNT_BYTES_MAX: usize = 256;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LogLine<'a> {
    Request(LoggedRequest<'a>),
    PassedOver(Why),
}

/// A request that counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoggedRequest<'a> {
    pub(super) account: Cow<'a, str>,
    pub(super) at: Timestamp,
    pub(super) call: Call<'a>,
    /// What it cost, if the log says so.
    pub(super) cost: Option<Cost>,
}

/// Why a line that can be read is no request that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NoAccount,
    /// It was answered 401 or 403.
    Refused,
    Preflight,
    /// klinky does not count it.
    NotCounted,
    /// What came was no request, and the server hung up on it: a scanner's noise, or a connection that was never used.
    NoRequest,
    /// It is about something else.
    OtherEvent,
}

/// Reads a line.
///
/// # Errors
/// With what is wrong, as a phrase, when it is of no format that is understood.
pub(super) fn read<'a>(text: &'a str, fields: &Fields) -> Result<LogLine<'a>, String> {
    let line = if text.trim_start().starts_with('{') {
        json_line::read(text, fields)
    } else if text_line::is_one(text) {
        text_line::read(text)
    } else {
        common_line::read(text)
    }?;
    match &line {
        LogLine::Request(request) if request.account.len() > ACCOUNT_BYTES_MAX => {
            Err(format!("its account is longer than {ACCOUNT_BYTES_MAX} bytes"))
        }
        LogLine::Request(_) | LogLine::PassedOver(_) => Ok(line),
    }
}

/// Why a request does not count that was answered with `status`, if it does not: contract section 3. Which OPTIONS are
/// preflights no access log says, and hardly any other is sent.
pub(super) fn passed_over(method: &str, status: u16) -> Option<Why> {
    match (method, status) {
        (_, 401 | 403) => Some(Why::Refused),
        ("OPTIONS", _) => Some(Why::Preflight),
        (_, _) => None,
    }
}

/// The same of a request that klinky itself decided on, and says so: its 403 may be a denial in the form that nginx
/// understands, and its OPTIONS one that carried a key.
pub(super) fn passed_over_by(decision: Option<&str>) -> Option<Why> {
    match decision {
        Some("allowed" | "limit_reached") => None,
        // A session's, or nobody's; or the store failed.
        None | Some("failed") => Some(Why::NotCounted),
        Some(_) => Some(Why::Refused),
    }
}

/// What stands in quotes, and what follows them; `text` begins behind the first quote. A quote behind a backslash is one
/// of the text.
pub(super) fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some((text.get(..end)?, text.get(end..)?.strip_prefix('"')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_end_at_the_first_that_is_not_escaped() {
        assert_eq!(quoted(r#"GET /a" 200"#), Some(("GET /a", " 200")));
        assert_eq!(quoted(r#"a\"b\\" "c""#), Some((r#"a\"b\\"#, r#" "c""#)));
        assert_eq!(quoted(r#"a\""#), None);
    }
}
