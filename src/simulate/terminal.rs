//! What a terminal may get of texts from a log, which anybody can write into.

/// Characters that a sentence quotes.
const QUOTED_CHARS: usize = 60;

/// A text of at most so many characters: what is not printed is written as its number, and what is longer is cut.
pub(super) fn show(text: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == chars_max {
            shown.push('…');
            break;
        }
        if is_printed(c) { shown.push(c) } else { shown.extend(c.escape_unicode()) }
    }
    shown
}

/// Whether a character is only what it looks like: no control character of a terminal, none that turns the writing around.
pub(super) fn is_printed(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

/// A text in quotes, for a sentence about it.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", show(text, QUOTED_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_by_its_number() {
        assert_eq!(show("a\u{1b}[31m\u{9b}\u{7f}\u{202e}\n\u{0}", 20), r"a\u{1b}[31m\u{9b}\u{7f}\u{202e}\u{a}\u{0}");
        assert_eq!(show("caf\u{e9} \"\\x1b\" 'a'", 20), "caf\u{e9} \"\\x1b\" 'a'");
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(show("abcd", 4), "abcd");
        assert_eq!(show("abcde", 4), "abcd…");
        assert!(quote(&"x".repeat(100_000)).chars().count() < 100);
    }
}
