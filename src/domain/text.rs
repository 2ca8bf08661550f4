//! Bounded pieces of text: names, email addresses, notes. Control characters are refused in all.

use std::fmt;

use super::Invalid;

/// Most characters in a name: what fits one line of a table.
pub const NAME_CHARS_MAX: usize = 100;
/// Most characters in an email address (RFC 5321 §4.5.3.1.3: a path of 256 with its brackets).
pub const EMAIL_CHARS_MAX: usize = 254;
/// Most characters in a note: two lines of a table.
pub const NOTE_CHARS_MAX: usize = 200;

/// The name of an account, a key or a plan: 1 to 100 characters, not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Box<str>);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is blank, longer than [`NAME_CHARS_MAX`], or has a control character.
    pub fn new(raw: &str) -> Result<Self, Invalid> {
        bounded(raw, 1, NAME_CHARS_MAX)?;
        if raw.trim().is_empty() {
            return Err(Invalid::new("must not be blank"));
        }
        Ok(Self(raw.into()))
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An email address, checked for its form only: something, `@`, something, no spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(Box<str>);

impl Email {
    /// Checks an email address.
    ///
    /// # Errors
    /// When it is longer than [`EMAIL_CHARS_MAX`] or has not the form `name@host`.
    pub fn new(raw: &str) -> Result<Self, Invalid> {
        bounded(raw, 3, EMAIL_CHARS_MAX)?;
        match raw.rsplit_once('@') {
            Some((name, host)) if !name.is_empty() && !host.is_empty() && !raw.contains(char::is_whitespace) => {
                Ok(Self(raw.into()))
            }
            Some(_) | None => Err(Invalid::new("must be an email address such as ops@example.com")),
        }
    }

    /// The address as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A remark of 0 to 200 characters, such as a plan's `best_for`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note(Box<str>);

impl Note {
    /// Checks a note.
    ///
    /// # Errors
    /// When it is longer than [`NOTE_CHARS_MAX`] or has a control character.
    pub fn new(raw: &str) -> Result<Self, Invalid> {
        bounded(raw, 0, NOTE_CHARS_MAX)?;
        Ok(Self(raw.into()))
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bounded(raw: &str, chars_min: usize, chars_max: usize) -> Result<(), Invalid> {
    let chars = raw.chars().count();
    if chars < chars_min || chars > chars_max {
        return Err(Invalid::new(format!("must be {chars_min} to {chars_max} characters, got {chars}")));
    }
    if raw.contains(char::is_control) {
        return Err(Invalid::new("must not contain control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_100_characters() {
        assert!(Name::new("é".repeat(100).as_str()).is_ok());
        assert_eq!(Name::new("").unwrap_err().to_string(), "must be 1 to 100 characters, got 0");
        assert_eq!(Name::new(&"x".repeat(101)).unwrap_err().to_string(), "must be 1 to 100 characters, got 101");
        assert_eq!(Name::new("a\0b").unwrap_err().to_string(), "must not contain control characters");
        assert_eq!(Name::new(" ").unwrap_err().to_string(), "must not be blank");
    }

    #[test]
    fn an_email_has_a_name_and_a_host() {
        assert!(Email::new("ops@example.com").is_ok());
        for raw in ["@example.com", "ops@", "ops", "o ps@example.com"] {
            assert!(Email::new(raw).is_err(), "{raw}");
        }
    }
}
