//! What one line of a log says: a request of an account, or why it is none. Which format it is in, the line itself tells.

use std::borrow::Cow;

use super::{common_line, json_line, text_line};
use crate::config::Fields;
use crate::domain::decision::Cost;
use crate::domain::time::Timestamp;

/// Longest account: above any id or name that is given to one. A log names whom it likes, and each name is kept.
const ACCOUNT_BYTES_MAX: usize = 256;
/// How a file begins that gzip made (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

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

/// What was called: both are empty where the log does not say it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub(super) method: Cow<'a, str>,
    /// A path with its query, or what else a client asked for.
    pub(super) target: Cow<'a, str>,
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
    /// It is about something else.
    OtherEvent,
}

/// Reads a line.
///
/// # Errors
/// With what is wrong, as a phrase, when it is of no format that is understood.
pub(super) fn read<'a>(bytes: &'a [u8], fields: &Fields) -> Result<LogLine<'a>, String> {
    let begins_json = bytes.trim_ascii_start().first() == Some(&b'{');
    let line = match std::str::from_utf8(bytes) {
        Ok(text) if begins_json => json_line::read(text, fields),
        Err(_bytes) if begins_json => Err("it is not UTF-8".to_owned()),
        Err(_bytes) if bytes.starts_with(&GZIP) => Err("the file is compressed: pipe it through zcat".to_owned()),
        Ok(text) if text_line::is_one(text) => text_line::read(text),
        Ok(text) => common_line::read(text),
        // What a client sent stands there as it came, unless the server escaped it.
        Err(_bytes) => common_line::read(&escaped(bytes)).map(LogLine::into_owned),
    }?;
    match &line {
        LogLine::Request(request) if request.account.len() > ACCOUNT_BYTES_MAX => {
            Err(format!("its account is longer than {ACCOUNT_BYTES_MAX} bytes"))
        }
        LogLine::Request(_) | LogLine::PassedOver(_) => Ok(line),
    }
}

impl LogLine<'_> {
    fn into_owned(self) -> LogLine<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::PassedOver(why) => LogLine::PassedOver(why),
            Self::Request(LoggedRequest { account, at, call, cost }) => {
                let call = Call { method: own(call.method), target: own(call.target) };
                LogLine::Request(LoggedRequest { account: own(account), at, call, cost })
            }
        }
    }
}

/// Why a request does not count that was answered with `status`, if it does not: contract section 3. Which OPTIONS are
/// preflights no access log says, and hardly any other is sent.
pub(super) fn passed_over(method: &str, status: Option<u16>) -> Option<Why> {
    match (method, status) {
        (_, Some(401 | 403)) => Some(Why::Refused),
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

/// The text with what is not UTF-8 written as nginx would: `\xff`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
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

    #[test]
    fn what_is_not_utf_8_is_escaped() {
        assert_eq!(escaped(b"caf\xe9 \xc3\xa9\xff"), "caf\\xe9 \u{e9}\\xff");
    }
}
