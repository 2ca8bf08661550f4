//! The JSON form of a line: `{"timestamp":"…","level":"INFO","message":"answered","status":200,"span":{"request.id":"…","name":"request"}}`.

use std::fmt::{self, Write};

use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::line::{Fields, Form, add_escaped, add_time, at_once, is_visible_ascii, level, write_pieces};

/// Writes events and the fields of spans as JSON.
pub(super) struct Json;

impl Form for Json {
    fn begin(line: &mut String, name: &str, is_first: bool) {
        if !is_first {
            line.push(',');
        }
        line.push('"');
        line.push_str(name);
        line.push_str("\":");
    }

    fn add_text(line: &mut String, text: &str) {
        line.push('"');
        add_piece(line, text);
        line.push('"');
    }

    fn add_words(line: &mut String, words: fmt::Arguments<'_>) {
        line.push('"');
        write_pieces(line, words, add_piece);
        line.push('"');
    }
}

fn add_piece(line: &mut String, piece: &str) {
    let is_plain = |c| is_visible_ascii(c) && !matches!(c, '"' | '\\');
    add_escaped(line, piece, is_plain, |line, c| match c {
        '"' | '\\' => line.extend(['\\', c]),
        c if c.is_control() => {
            // Writing to a String cannot fail.
            let _infallible = write!(line, "\\u{:04x}", u32::from(c));
        }
        c => line.push(c),
    });
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        at_once(out, |line| {
            line.push_str("{\"timestamp\":\"");
            add_time(line);
            line.push_str("\",\"level\":\"");
            line.push_str(level(event).as_str());
            line.push('"');
            event.record(&mut Fields::<Self>::new(line, false));
            if let Some(span) = context.lookup_current() {
                line.push_str(",\"span\":{");
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty())
                {
                    line.push_str(fields);
                    line.push(',');
                }
                line.push_str("\"name\":\"");
                line.push_str(span.name());
                line.push_str("\"}");
            }
            line.push_str("}\n");
        })
    }
}

impl<'w> FormatFields<'w> for Json {
    fn format_fields<R: RecordFields>(&self, out: Writer<'w>, fields: R) -> fmt::Result {
        at_once(out, |line| fields.record(&mut Fields::<Self>::new(line, true)))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use serde_json::{Value, json};

    use super::*;
    use crate::log::tests::logged;

    fn parsed(log: impl FnOnce()) -> Value {
        let line = logged(Json, Json, log);
        assert!(line.ends_with("}\n") && !line.contains(|c: char| c.is_control() && c != '\n'), "{line:?}");
        let mut parsed: Value = serde_json::from_str(&line).unwrap();
        let time = parsed.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap()).is_ok(), "{time}");
        parsed
    }

    #[test]
    fn a_line_has_its_level_its_message_its_fields_by_their_types_and_the_span_that_it_is_in() {
        let line = parsed(|| {
            let _outer = tracing::info_span!("outer").entered();
            let _inner = tracing::info_span!("request", request.id = "r-1").entered();
            tracing::info!(status = 200, least = -1, most = u128::from(u64::MAX), yes = true, half = 0.5, ip = %"::1", "answered");
        });

        let fields = json!({"level": "INFO", "message": "answered", "status": 200, "least": -1, "most": u64::MAX, "yes": true,
            "half": "0.5", "ip": "::1", "span": {"request.id": "r-1", "name": "request"}});
        assert_eq!(line, fields);
        assert_eq!(parsed(|| tracing::warn!("alone")), json!({"level": "WARN", "message": "alone"}));
        assert_eq!(parsed(|| tracing::info!(absent = None::<u64>)), json!({"level": "INFO"}));
        let bare = parsed(|| tracing::info_span!("bare").in_scope(|| tracing::info!("within")));
        assert_eq!(bare["span"], json!({"name": "bare"}));
    }

    #[test]
    fn texts_come_back_as_they_were() {
        let sent = "\"\\ \u{1b}[31m\r\n\0 \u{7f}\u{85} é 😀 \u{2028}";

        let line = parsed(|| tracing::error!(quoted = sent, bare = %sent, "{sent}"));

        assert_eq!(line, json!({"level": "ERROR", "message": sent, "quoted": sent, "bare": sent}));
    }

    #[test]
    fn an_error_is_followed_by_its_causes() {
        let error = std::io::Error::other(Wrapped(std::io::Error::other("no room")));

        let line = parsed(|| tracing::warn!(error = &error as &dyn Error, "could not write"));

        assert_eq!(line["error"], "wrapped: no room");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] std::io::Error);
}
