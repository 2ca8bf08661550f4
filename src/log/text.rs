//! The text form of a line: `2026-11-29T10:00:00.123456Z  INFO request{request.id="…"}: answered status=200`.
//!
//! The crate's own form looks the same and takes three times the work: it sends every value through `core::fmt`, texts a
//! character at a time. What clients sent can neither begin a line nor colour a terminal: control characters are escaped
//! wherever they come.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;

/// Writes events and the fields of spans as text.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        at_once(out, |line| {
            add_time(line);
            // What sled logs comes through the crate `log`, and has its level in its fields.
            let normal = event.normalized_metadata();
            line.push_str(match *normal.as_ref().unwrap_or_else(|| event.metadata()).level() {
                Level::TRACE => " TRACE ",
                Level::DEBUG => " DEBUG ",
                Level::INFO => "  INFO ",
                Level::WARN => "  WARN ",
                Level::ERROR => " ERROR ",
            });
            for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
                line.push_str(span.name());
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    line.push('{');
                    line.push_str(fields);
                    line.push('}');
                }
                line.push_str(": ");
            }
            event.record(&mut Fields { line, is_first: true });
            line.push('\n');
        })
    }
}

impl<'w> FormatFields<'w> for Text {
    fn format_fields<R: RecordFields>(&self, out: Writer<'w>, fields: R) -> fmt::Result {
        at_once(out, |line| fields.record(&mut Fields { line, is_first: true }))
    }
}

/// Has a text made, and writes it in one piece: each piece that a [`Writer`] is given goes through three of its kind.
fn at_once(mut out: Writer<'_>, make: impl FnOnce(&mut String)) -> fmt::Result {
    thread_local! {
        static TEXT: Cell<String> = const { Cell::new(String::new()) };
    }
    // A value whose text logs something itself finds another one.
    let mut text = TEXT.take();
    text.clear();
    make(&mut text);
    let written = out.write_str(&text);
    TEXT.set(text);
    written
}

/// Adds the time to the microsecond (RFC 3339). The text of a second is made once in a thread.
fn add_time(line: &mut String) {
    thread_local! {
        static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let now = clock::exact();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.timestamp() {
            *second = now.timestamp();
            *text = now.format("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        line.push_str(text);
    });
    // A leap second counts on to two million.
    let micros = now.timestamp_subsec_micros() % 1_000_000;
    line.push_str(itoa::Buffer::new().format(micros + 1_000_000).get(1..).unwrap_or_default());
    line.push('Z');
}

/// Adds `name=value` for each field, and of the message only its text.
struct Fields<'l> {
    line: &'l mut String,
    is_first: bool,
}

impl Fields<'_> {
    fn add(&mut self, field: &Field, add: impl FnOnce(&mut String)) {
        let name = field.name();
        if name.starts_with("log.") {
            return;
        }
        if !std::mem::take(&mut self.is_first) {
            self.line.push(' ');
        }
        if name != "message" {
            self.line.push_str(name);
            self.line.push('=');
        }
        add(self.line);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, |line| {
            line.push('"');
            add_escaped(line, value, |c| matches!(c, '"' | '\\'));
            line.push('"');
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, |line| {
            write_escaped(line, format_args!("{value}"));
            let mut cause = value.source();
            while let Some(error) = cause {
                write_escaped(line, format_args!(": {error}"));
                cause = error.source();
            }
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, |line| write_escaped(line, format_args!("{value:?}")));
    }
}

/// Adds a text; what cannot be seen, and what `also` names, as Rust's literals write it.
fn add_escaped(line: &mut String, text: &str, also: impl Fn(char) -> bool) {
    let is_plain = |c: char| matches!(c, ' '..='~') && !also(c);
    if text.bytes().all(|byte| is_plain(char::from(byte))) {
        return line.push_str(text);
    }
    for c in text.chars() {
        match c {
            c if is_plain(c) => line.push(c),
            c if c.is_ascii() => line.extend(c.escape_default()),
            c => line.extend(c.escape_debug()),
        }
    }
}

fn write_escaped(line: &mut String, value: fmt::Arguments<'_>) {
    struct Escaping<'l>(&'l mut String);
    impl Write for Escaping<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            add_escaped(self.0, text, |_c| false);
            Ok(())
        }
    }
    // A value that fails to write itself is cut short; a `String` never fails.
    let _cut = Escaping(line).write_fmt(value);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::prelude::*;

    use super::*;
    use crate::log::{Lines, Writer};

    fn logged(log: impl FnOnce()) -> String {
        let lines = Arc::<Lines>::default();
        let writer = Arc::clone(&lines);
        let layer = tracing_subscriber::fmt::layer().with_writer(move || Writer(Arc::clone(&writer)));
        let layer = layer.with_target(false).event_format(Text).fmt_fields(Text);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(lines.take()).unwrap()
    }

    fn without_time(line: &str) -> &str {
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), &time[19..20], &time[26..]), (27, ".", "Z"), "{time}");
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
        rest
    }

    #[test]
    fn a_line_has_its_level_the_spans_from_the_outermost_in_the_message_and_the_fields() {
        let text = logged(|| {
            let _outer = tracing::info_span!("request", request.id = "r-1").entered();
            let _inner = tracing::warn_span!("store").entered();
            tracing::info!(status = 200, remaining = -1, route = "/check", absent = None::<u64>, client = %"::1", "answered");
        });

        assert_eq!(
            without_time(&text),
            " INFO request{request.id=\"r-1\"}: store{}: answered status=200 remaining=-1 route=\"/check\" client=::1\n"
        );
    }

    #[test]
    fn what_a_client_sent_begins_no_line_and_colours_nothing() {
        let sent = "a\r\n2026-11-30T00:00:00Z  INFO \u{1b}[31m\"b\\\u{202e}é";

        let text = logged(|| tracing::error!(quoted = sent, bare = %sent, "{sent}"));

        let bare = r#"a\r\n2026-11-30T00:00:00Z  INFO \u{1b}[31m"b\\u{202e}é"#;
        let quoted = r#"a\r\n2026-11-30T00:00:00Z  INFO \u{1b}[31m\"b\\\u{202e}é"#;
        assert_eq!(without_time(&text), format!("ERROR {bare} quoted=\"{quoted}\" bare={bare}\n"));
    }

    #[test]
    fn an_error_is_followed_by_its_causes() {
        let cause = std::io::Error::other("no\nroom");
        let error = std::io::Error::other(Wrapped(cause));

        let text = logged(|| tracing::warn!(error = &error as &dyn Error, "could not write"));

        assert_eq!(without_time(&text), " WARN could not write error=wrapped: no\\nroom\n");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] std::io::Error);
}
