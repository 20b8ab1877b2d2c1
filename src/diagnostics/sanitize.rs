//! Text that others have chosen, made fit to be looked at.

use std::fmt;
use std::fmt::{Display, Write};

use serde::Serialize;

/// Characters that are kept; two GUIDs in a row do not fit, one and what is around it does.
const MAX_CHARACTERS: usize = 64;

/// Characters of one field of a log line, and of its message: a list of errors fits, and no certificate fills the log.
pub(crate) const LONGEST_FIELD: usize = 1024;

/// Characters of one line that a command prints; the longest path fits.
pub(crate) const LONGEST_LINE: usize = 8192;

/// What a certificate, a client or a file says: short whatever it says, and nothing in it turns the direction of
/// writing, ends a line or is obeyed by a terminal. For HTML it still has to be escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SafeText(Box<str>);

impl SafeText {
    /// The beginning of `text`; if there is more, that and how much.
    pub fn of(text: impl Display) -> Self {
        Self::up_to(MAX_CHARACTERS, text)
    }

    /// The same with another length, in characters.
    pub fn up_to(most: usize, text: impl Display) -> Self {
        Self(Bounded::new(most, true).of(format_args!("{text}")).into())
    }

    /// As [`Self::of`], in quotes.
    pub fn quoted(text: impl Display) -> Self {
        Self(format!("\"{}\"", Self::of(text)).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first `most` characters of `text`, as they are; if there are more, that and how many.
pub(crate) fn bounded(most: usize, text: fmt::Arguments<'_>) -> String {
    Bounded::new(most, false).of(text)
}

impl Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes characters until there is no room for one, and counts the others. No more is kept than there is room for.
struct Bounded {
    text: String,
    remaining: usize,
    lost: usize,
    escaped: bool,
}

impl Bounded {
    fn new(most: usize, escaped: bool) -> Self {
        Self { text: String::new(), remaining: most, lost: 0, escaped }
    }

    fn of(mut self, text: fmt::Arguments<'_>) -> String {
        // An error is that of whoever writes itself: what it has written so far is kept.
        let _ = self.write_fmt(text);
        if self.lost > 0 {
            self.text.push_str(&format!("… ({} more)", self.lost));
        }
        self.text
    }

    fn take(&mut self, c: char) {
        let shown = escape(c);
        let length = if self.escaped { shown.clone().count() } else { 1 };
        match self.remaining.checked_sub(length).filter(|_| self.lost == 0) {
            None => self.lost += 1,
            Some(remaining) => {
                self.remaining = remaining;
                if self.escaped { self.text.extend(shown) } else { self.text.push(c) }
            }
        }
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().for_each(|c| self.take(c));
        Ok(())
    }
}

/// `c`, or how it is written where it would be obeyed.
pub(crate) fn escape(c: char) -> impl Iterator<Item = char> + Clone {
    let (obeyed, shown) = if is_obeyed(c) { (Some(c.escape_default()), None) } else { (None, Some(c)) };
    obeyed.into_iter().flatten().chain(shown)
}

/// Whether a terminal or an editor would do something at `c` instead of showing it: control characters, those that end a line,
/// those that turn the direction of writing (Unicode's Bidi_Control), and those that nobody sees, by which two texts that differ look alike
/// (Default_Ignorable_Code_Point).
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'
                ..='\u{180f}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether there is nothing in `text`: no more than blanks, and the mark that some editors write in front of UTF-8.
pub(crate) fn is_blank(text: &[u8]) -> bool {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_blanks_is_none() {
        for blank in ["", " \r\n\t", "\u{feff}", "\u{feff}\n"] {
            assert!(is_blank(blank.as_bytes()), "{blank:?}");
        }
        assert!(!is_blank(b"# a comment"));
    }

    #[test]
    fn long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(SafeText::of("CN=gorouter").as_str(), "CN=gorouter");
        assert_eq!(SafeText::up_to(3, "äöü").as_str(), "äöü");
        assert_eq!(SafeText::up_to(3, "äöüß").as_str(), "äöü… (1 more)");
        assert_eq!(SafeText::of("x".repeat(60_000)).as_str(), "x".repeat(MAX_CHARACTERS) + "… (59936 more)");
        assert_eq!(SafeText::up_to(3, format_args!("{}{}", "ab", "cd")).as_str(), "abc… (1 more)");
        assert_eq!(bounded(1024, format_args!("{}", "\n".repeat(1025))), "\n".repeat(1024) + "… (1 more)");
    }

    #[test]
    fn what_would_be_obeyed_is_shown_and_never_cut_in_half() {
        assert_eq!(SafeText::of("a\u{202e}b\nc").as_str(), "a\\u{202e}b\\nc");
        assert_eq!(SafeText::of("/pa\u{200b}th\u{e0041}").as_str(), "/pa\\u{200b}th\\u{e0041}");
        assert_eq!(SafeText::of("/größe/路径/🦀").as_str(), "/größe/路径/🦀");
        assert_eq!(SafeText::up_to(8, "a\u{202e}b").as_str(), "a… (2 more)");
    }
}
