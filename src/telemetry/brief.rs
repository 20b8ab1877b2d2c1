//! Text that others have chosen, made fit to be looked at.

use std::fmt;
use std::fmt::Display;
use std::fmt::Write;

use serde::Serialize;

use super::lines::escape;

/// Characters that are kept; two GUIDs in a row do not fit, one and what is around it does.
const MOST: usize = 64;

/// What a certificate, a client or a file says: short whatever it says, and nothing in it turns the direction of
/// writing, ends a line or is obeyed by a terminal. For HTML it still has to be escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Brief(Box<str>);

impl Brief {
    /// The beginning of `text`, with an ellipsis if there is more. No more of it is written than is kept.
    pub fn of(text: impl Display) -> Self {
        Self::up_to(MOST, text)
    }

    /// The same with another length, in characters.
    pub fn up_to(most: usize, text: impl Display) -> Self {
        let mut start = Start { text: String::new(), room: most };
        // An error says that there was more.
        if write!(start, "{text}").is_err() {
            start.text.push('…');
        }
        Self(start.text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes characters until there is no room for one.
struct Start {
    text: String,
    room: usize,
}

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let shown = escape(c);
            self.room = self.room.checked_sub(shown.clone().count()).ok_or(fmt::Error)?;
            self.text.extend(shown);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(Brief::of("CN=gorouter").as_str(), "CN=gorouter");
        assert_eq!(Brief::up_to(3, "äöü").as_str(), "äöü");
        assert_eq!(Brief::up_to(3, "äöüß").as_str(), "äöü…");
        assert_eq!(Brief::of("x".repeat(60_000)).as_str(), "x".repeat(MOST) + "…");
        assert_eq!(Brief::up_to(3, format_args!("{}{}", "ab", "cd")).as_str(), "abc…");
    }

    #[test]
    fn what_would_be_obeyed_is_shown_and_never_cut_in_half() {
        assert_eq!(Brief::of("a\u{202e}b\nc").as_str(), "a\\u{202e}b\\nc");
        assert_eq!(Brief::up_to(8, "a\u{202e}b").as_str(), "a…");
    }
}
