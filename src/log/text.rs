//! The text form of a line: `2026-11-29T10:00:00.123456Z  INFO request{request.id="…"}: answered status=200`.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::line::{Fields, Form, add_escaped, add_time, at_once, is_visible_ascii, level, write_pieces};

/// Writes events and the fields of spans as text.
pub(super) struct Text;

impl Form for Text {
    fn begin(line: &mut String, name: &str, is_first: bool) {
        if !is_first {
            line.push(' ');
        }
        if name != "message" {
            line.push_str(name);
            line.push('=');
        }
    }

    fn add_text(line: &mut String, text: &str) {
        line.push('"');
        add_escaped(line, text, |c| is_visible_ascii(c) && !matches!(c, '"' | '\\'), escape);
        line.push('"');
    }

    fn add_words(line: &mut String, words: fmt::Arguments<'_>) {
        write_pieces(line, words, |line, piece| add_escaped(line, piece, is_visible_ascii, escape));
    }
}

/// As Rust's literals do, what can be seen excepted.
fn escape(line: &mut String, c: char) {
    if c.is_ascii() {
        line.extend(c.escape_default());
    } else {
        line.extend(c.escape_debug());
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        at_once(out, |line| {
            add_time(line);
            line.push_str(match level(event) {
                Level::TRACE => " TRACE ",
                Level::DEBUG => " DEBUG ",
                Level::INFO => "  INFO ",
                Level::WARN => "  WARN ",
                Level::ERROR => " ERROR ",
            });
            for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
                line.push_str(span.name());
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|fields| !fields.is_empty())
                {
                    line.push('{');
                    line.push_str(fields);
                    line.push('}');
                }
                line.push_str(": ");
            }
            event.record(&mut Fields::<Self>::new(line, true));
            line.push('\n');
        })
    }
}

impl<'w> FormatFields<'w> for Text {
    fn format_fields<R: RecordFields>(&self, out: Writer<'w>, fields: R) -> fmt::Result {
        at_once(out, |line| fields.record(&mut Fields::<Self>::new(line, true)))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::log::tests::{logged, without_time};

    #[test]
    fn a_line_has_its_level_the_spans_from_the_outermost_in_the_message_and_the_fields() {
        let text = logged(Text, Text, || {
            let _outer = tracing::info_span!("request", request.id = "r-1").entered();
            let _inner = tracing::warn_span!("store").entered();
            tracing::info!(status = 200, remaining = -1, route = "/check", absent = None::<u64>, client = %"::1", "answered");
        });

        assert_eq!(
            without_time(&text),
            " INFO request{request.id=\"r-1\"}: store: answered status=200 remaining=-1 route=\"/check\" client=::1\n"
        );
    }

    #[test]
    fn what_a_client_sent_begins_no_line_and_colours_nothing() {
        let sent = "a\r\n2026-11-30T00:00:00Z  INFO \u{1b}[31m\"b\\\u{202e}é";

        let text = logged(Text, Text, || tracing::error!(quoted = sent, bare = %sent, "{sent}"));

        let bare = r#"a\r\n2026-11-30T00:00:00Z  INFO \u{1b}[31m"b\\u{202e}é"#;
        let quoted = r#"a\r\n2026-11-30T00:00:00Z  INFO \u{1b}[31m\"b\\\u{202e}é"#;
        assert_eq!(without_time(&text), format!("ERROR {bare} quoted=\"{quoted}\" bare={bare}\n"));
    }

    #[test]
    fn an_error_is_followed_by_its_causes() {
        let cause = std::io::Error::other("no\nroom");
        let error = std::io::Error::other(Wrapped(cause));

        let text = logged(Text, Text, || tracing::warn!(error = &error as &dyn Error, "could not write"));

        assert_eq!(without_time(&text), " WARN could not write error=wrapped: no\\nroom\n");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] std::io::Error);
}
