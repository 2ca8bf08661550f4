//! What both forms of lines are made of: the time, and fields with their values.
//!
//! The crate's own forms cost two and four times as much (callgrind): they send every value through `core::fmt`, and texts a
//! character at a time. What clients sent can neither begin a line nor colour a terminal: control characters are escaped
//! wherever they come.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::marker::PhantomData;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_log::NormalizeEvent;
use tracing_subscriber::fmt::format::Writer;

use crate::clock;

/// How values look.
pub(super) trait Form {
    /// Adds what stands before a field's value.
    fn begin(line: &mut String, name: &str, is_first: bool);
    /// Adds a text.
    fn add_text(line: &mut String, text: &str);
    /// Adds what is known by its text alone, such as an id, an error or the message.
    fn add_words(line: &mut String, words: fmt::Arguments<'_>);
}

/// Adds fields to a line.
pub(super) struct Fields<'l, F> {
    line: &'l mut String,
    is_first: bool,
    form: PhantomData<F>,
}

impl<'l, F: Form> Fields<'l, F> {
    /// To a line in which there are no fields yet, or some.
    pub(super) fn new(line: &'l mut String, is_first: bool) -> Self {
        Self { line, is_first, form: PhantomData }
    }

    fn add(&mut self, field: &Field, add: impl FnOnce(&mut String)) {
        // Where in the code an event of the crate `log` comes from.
        if !field.name().starts_with("log.") {
            F::begin(self.line, field.name(), std::mem::take(&mut self.is_first));
            add(self.line);
        }
    }
}

impl<F: Form> Visit for Fields<'_, F> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, |line| F::add_text(line, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |line| line.push_str(if value { "true" } else { "false" }));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, |line| F::add_words(line, format_args!("{}", Causes(value))));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, |line| F::add_words(line, format_args!("{value:?}")));
    }
}

/// An error and what caused it.
struct Causes<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Has a text made, and writes it in one piece: each piece that a [`Writer`] is given goes through three of its kind.
pub(super) fn at_once(mut out: Writer<'_>, make: impl FnOnce(&mut String)) -> fmt::Result {
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
pub(super) fn add_time(line: &mut String) {
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

/// An event's level. What sled logs comes through the crate `log`, and has its own in its fields.
pub(super) fn level(event: &Event<'_>) -> Level {
    *event.normalized_metadata().as_ref().unwrap_or_else(|| event.metadata()).level()
}

/// What stands in any form as it is.
pub(super) const fn is_visible_ascii(c: char) -> bool {
    matches!(c, ' '..='~')
}

/// Adds a text; each character that is not plain is written by `escape`.
pub(super) fn add_escaped(
    line: &mut String,
    text: &str,
    is_plain: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) {
    if text.bytes().all(|byte| is_plain(char::from(byte))) {
        return line.push_str(text);
    }
    for c in text.chars() {
        match is_plain(c) {
            true => line.push(c),
            false => escape(line, c),
        }
    }
}

/// Writes words piece by piece, each by `add`.
pub(super) fn write_pieces(line: &mut String, words: fmt::Arguments<'_>, add: fn(&mut String, &str)) {
    struct Pieces<'l>(&'l mut String, fn(&mut String, &str));
    impl Write for Pieces<'_> {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            (self.1)(self.0, piece);
            Ok(())
        }
    }
    // A value that fails to write itself is cut short; a `String` never fails.
    let _cut = Pieces(line, add).write_fmt(words);
}
