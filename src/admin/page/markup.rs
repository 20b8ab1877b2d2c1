//! HTML that is being written.

use std::fmt;
use std::fmt::{Display, Write};

/// HTML so far. Markup gets in as text of the program alone, and everything that is not known when the program is built
/// by way of [`Markup::text`], which escapes it: whatever a certificate says, it is text.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Adds markup of our own.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, for an element or between the double quotes of an attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // A string takes whatever is written.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// Adds something for each of `all`, and `nothing` if there is none.
    pub(super) fn each<T>(
        &mut self,
        all: &[T],
        nothing: &'static str,
        mut add: impl FnMut(&mut Self, &T),
    ) -> &mut Self {
        if all.is_empty() {
            self.raw(nothing);
        }
        all.iter().for_each(|one| add(self, one));
        self
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Everything that goes through it comes out as text of HTML.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&#34;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let mut page = Markup::default();
        page.raw("<p title=\"").text("\"><script>'&").raw("\">").text(format_args!("{}{}", "<", 1)).raw("</p>");
        assert_eq!(page.into_string(), "<p title=\"&#34;&gt;&lt;script&gt;&#39;&amp;\">&lt;1</p>");
    }
}
