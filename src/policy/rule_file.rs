//! TOML with rules in it, read to its end: every error is noted with its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Rule;
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source, line_of, nearest};

/// A text, and what was found wrong with it so far.
pub(crate) struct RuleFileReader<'a> {
    path: &'a Path,
    text: &'a str,
    diagnostics: Vec<Diagnostic>,
}

/// A key, where it stands, and its value.
pub(crate) type TomlEntry<'a, 'b> = (&'b str, usize, &'b Spanned<DeValue<'a>>);

impl<'a> RuleFileReader<'a> {
    /// A reader of the whole `text` of the file `path`.
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, diagnostics: Vec::new() }
    }

    /// The text as a table; `None` if it is not TOML, which is noted with what to write instead, as in `example`.
    pub(crate) fn table(&mut self, example: &str) -> Option<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            // Its first line alone: the whole error quotes the text around it.
            let message = error.message().lines().next().unwrap_or_default();
            let at = error.span().map_or(self.text.len(), |span| span.start);
            self.note("", at, Problem::new(format!("not TOML: {message}"), format!("write {example}")));
        }
        // What the parser made of broken text is nothing to judge.
        errors.is_empty().then(|| table.into_inner())
    }

    /// Notes that there is no such key as `key`, but `known` ones.
    pub(crate) fn unknown(&mut self, key: &str, at: usize, known: &[&str]) {
        let help = match nearest(key, known.iter().copied()) {
            Some(known) => format!("the nearest is {known}"),
            None => format!("write {}", known.join(", ")),
        };
        self.note(key, at, Problem::new("no such key", help));
    }

    /// Notes that the value of `key` is of a type that it cannot be.
    pub(crate) fn wrong_type(&mut self, key: &str, value: &Spanned<DeValue<'_>>, help: &str) {
        let what = format!("is of type {}", value.get_ref().type_str());
        self.note(key, value.span().start, Problem::new(what, help));
    }

    /// The text that `key` has.
    pub(crate) fn text<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        help: &str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, value, help);
            return None;
        };
        parse(text).map_err(|wrong| self.note(key, value.span().start, wrong)).ok()
    }

    /// The texts in the array that `key` has.
    pub(crate) fn texts<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Vec<T> {
        let DeValue::Array(elements) = value.get_ref() else {
            self.wrong_type(key, value, "write an array of strings");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(elements.len());
        for element in elements {
            let read = match element.get_ref() {
                DeValue::String(text) => parse(text),
                other => {
                    Err(Problem::new(format!("holds something of type {}", other.type_str()), "write strings only"))
                }
            };
            match read {
                Ok(text) => texts.push(text),
                Err(wrong) => self.note(key, element.span().start, wrong),
            }
        }
        texts
    }

    /// The rules in the array that `key` has.
    pub(crate) fn rules(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Vec<Rule> {
        self.texts(key, value, str::parse)
    }

    /// Notes what is wrong with `key`, at the byte `at` of the text.
    pub(crate) fn note(&mut self, key: &str, at: usize, wrong: Problem) {
        self.diagnostics.push(wrong.at(self.place(key, at)));
    }

    /// Where `key` stands, at the byte `at` of the text.
    pub(crate) fn place(&self, key: &str, at: usize) -> Source {
        Source::File { path: self.path.to_owned(), line: Some(line_of(self.text, at)), key: key.to_owned() }
    }

    /// All that was found wrong.
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// `read`, if nothing was found wrong.
    ///
    /// # Errors
    /// All that was.
    pub(crate) fn finish<T>(self, read: T) -> Result<T, Diagnostics> {
        if self.diagnostics.is_empty() { Ok(read) } else { Err(Diagnostics::new(self.diagnostics)) }
    }
}

/// What is in `table`, in the order of the text.
pub(crate) fn entries<'a, 'b>(table: &'b DeTable<'a>) -> Vec<TomlEntry<'a, 'b>> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value)).collect();
    entries.sort_by_key(|(_, at, _)| *at);
    entries
}

/// A problem with a word that is none of those that there are.
pub(crate) fn no_such_word(text: &str, what: &str, help: &str) -> Problem {
    Problem::new(format!("{} is no {what}", quote(text)), help)
}
