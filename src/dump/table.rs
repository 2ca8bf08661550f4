//! A dump as columns for people: takes JSON lines, writes a table for each kind of rows.

use std::io::{self, Write};

use serde_json::Value;

/// Most bytes of a line that is being gathered, as `dump/restore.rs` reads them: a link can have 85 kB.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// A column: its title, the fields that fill it (the first that is there), its width in characters.
struct Column(&'static str, &'static str, usize);

const PLANS: &[Column] = &[
    Column("PLAN", "id", 20),
    Column("NAME", "name", 24),
    Column("ACCESS", "api_access", 6),
    Column("PER HOUR", "requests_per_hour", 10),
    Column("BEST FOR", "best_for", 32),
];
const ACCOUNTS: &[Column] = &[
    Column("ACCOUNT", "id", 36),
    Column("NAME", "name", 24),
    Column("PLAN", "plan", 12),
    Column("CUSTOM", "custom_limit", 10),
    Column("TRIAL UNTIL", "/trial/ends_at", 24),
    Column("SUSPENDED", "suspended", 9),
    Column("CREATED", "created_at", 24),
];
const KEYS: &[Column] = &[
    Column("KEY", "id", 36),
    Column("ACCOUNT", "account_id", 36),
    Column("NAME", "name", 20),
    Column("DISPLAY", "display", 24),
    Column("SCOPE", "scope", 10),
    Column("EXPIRES", "expires_at", 24),
    Column("REVOKED", "revoked_at", 24),
    Column("LAST USED", "last_used_at", 24),
];
const COUNTERS: &[Column] =
    &[Column("HOUR", "hour", 20), Column("ACCOUNT", "account_id", 36), Column("USED", "used", 10)];

const LINKS: &[Column] = &[
    Column("LINK", "id", 36),
    Column("ACCOUNT", "account_id", 36),
    Column("SLUG", "slug", 32),
    Column("NAME", "name", 24),
    Column("ACTIVE", "is_active", 6),
    Column("EXPIRES", "expires_at", 24),
    Column("DELETED", "deleted_at", 24),
];
const USAGE: &[Column] = &[
    Column("HOUR", "hour", 20),
    Column("ACCOUNT", "account_id", 36),
    Column("KEY", "key_id", 36),
    Column("ENDPOINT", "endpoint", 40),
    Column("USED", "used", 10),
    Column("DENIED", "denied", 10),
    Column("ERRORS", "errors", 10),
];

/// Writes tables to `out`.
pub struct Table<W: Write> {
    out: W,
    line: Vec<u8>,
    kind: String,
}

impl<W: Write> Table<W> {
    /// A table that is written to `out`.
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::new(), kind: String::new() }
    }

    fn row(&mut self) -> io::Result<()> {
        let row: Value = serde_json::from_slice(&self.line)?;
        self.line.clear();
        let kind = row.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let columns = match kind.as_str() {
            "plan" => PLANS,
            "account" => ACCOUNTS,
            "key" => KEYS,
            "counter" => COUNTERS,
            "link" => LINKS,
            "usage" => USAGE,
            _ => return Ok(()),
        };
        if kind != self.kind {
            let gap = if self.kind.is_empty() { "" } else { "\n" };
            self.out.write_all(gap.as_bytes())?;
            self.cells(columns, |column| column.0.to_owned())?;
            self.kind = kind;
        }
        self.cells(columns, |column| cell(&row, column.1))
    }

    fn cells(&mut self, columns: &[Column], text: impl Fn(&Column) -> String) -> io::Result<()> {
        let mut line = String::new();
        for column in columns {
            let text = text(column);
            line.push_str(&text);
            let gap = column.2.saturating_sub(text.chars().count()).saturating_add(2);
            line.extend(std::iter::repeat_n(' ', gap));
        }
        writeln!(self.out, "{}", line.trim_end())
    }
}

impl<W: Write> Write for Table<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.row()?;
            } else if self.line.len() > LINE_BYTES_MAX {
                return Err(io::Error::other("a line of the dump is too long"));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What a field says to people. Control characters would reach the terminal: names have none.
fn cell(row: &Value, field: &str) -> String {
    let found = if field.starts_with('/') { row.pointer(field) } else { row.get(field) };
    match found {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_as_long_as_a_link_with_all_its_rules_is_a_row() {
        let mut table = Table::new(Vec::new());

        writeln!(table, r#"{{"kind":"link","id":"a","geo_rules":"{}"}}"#, "x".repeat(100_000)).unwrap();

        assert_eq!(String::from_utf8(table.out).unwrap().lines().count(), 2);
    }
}
