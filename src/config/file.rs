//! The file: TOML, one key an option, and `[[listener]]` for what a listener has of its own.

use std::io;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options;
use super::options::{Arity, Opt};
use super::sources::{ByName, RawValue, Section, split};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Problem, Source, nearest};

/// What stands in the file.
#[derive(Default)]
pub(super) struct FileContents {
    /// What it says for all listeners.
    pub(super) given: ByName,
    /// Its `[[listener]]`s.
    pub(super) sections: Vec<Section>,
    /// It cannot be read, or is not all TOML.
    pub(super) is_broken: bool,
}

/// Reads the options out of `contents`, which is what came of reading the file that `named` names.
pub(super) fn read(named: &RawValue, contents: io::Result<String>, diagnostics: &mut Vec<Diagnostic>) -> FileContents {
    let path = Path::new(&named.value);
    let text = match contents {
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read {}: {}", quote(&path.to_string_lossy()), cause(&error));
            diagnostics.push(Problem::new(what, "name a TOML file that can be read").at(named.place.clone()));
            return FileContents { is_broken: true, ..FileContents::default() };
        }
    };
    let document = TomlText { path, text: &text };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        // Its first line alone: the whole error quotes the text around it, and that may be anything.
        let message = error.message().lines().next().unwrap_or_default();
        let problem = Problem::new(format!("not TOML: {message}"), "write KEY = \"VALUE\"");
        diagnostics.push(problem.at(document.place("", error.span())));
    }
    let broken: Vec<_> = errors.iter().filter_map(|error| document.line(error.span()?)).collect();

    let mut reader = TomlReader { document, broken, diagnostics };
    let (given, tables) = reader.table(table.get_ref(), None);
    let sections = tables.into_iter().map(|(place, table)| {
        let (given, _) = reader.table(table, Some(&place));
        Section { place, given }
    });
    let sections = sections.collect();
    FileContents { given, sections, is_broken: !errors.is_empty() }
}

/// One `[[listener]]` as it stands in the file.
type Table<'t> = (Source, &'t DeTable<'t>);

struct TomlReader<'a> {
    document: TomlText<'a>,
    /// Lines that are not TOML.
    broken: Vec<usize>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl TomlReader<'_> {
    /// The options in `table`, which is the file's or that of the `[[listener]]` at `section`; and the `[[listener]]`s.
    fn table<'t>(&mut self, table: &'t DeTable<'t>, section: Option<&Source>) -> (ByName, Vec<Table<'t>>) {
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        let (mut given, mut tables) = (ByName::new(), Vec::new());
        for (key, value) in keys {
            // What the parser made of a broken line would only be a second mistake in it.
            if self.document.line(key.span()).is_some_and(|line| self.broken.contains(&line)) {
                continue;
            }
            let place = self.document.place(key.get_ref(), Some(key.span()));
            if section.is_none() && key.get_ref() == SECTIONS && is_tables(value.get_ref()) {
                tables = self.tables(value.get_ref());
                continue;
            }
            let values = match option(key.get_ref(), section.is_some()) {
                Ok(option) => self.document.values(option, value).map(|values| (option.name, values)),
                Err(problem) => Err(problem),
            };
            match values {
                Ok((name, values)) => drop(given.insert(name, values)),
                Err(problem) => self.diagnostics.push(problem.at(place)),
            }
        }
        (given, tables)
    }

    /// `[[listener]]`, once or more.
    fn tables<'t>(&mut self, value: &'t DeValue<'t>) -> Vec<Table<'t>> {
        let DeValue::Array(elements) = value else { return Vec::new() };
        let mut tables = Vec::new();
        for element in elements {
            let place = self.document.place(SECTIONS, Some(element.span()));
            match element.get_ref() {
                DeValue::Table(table) => tables.push((place, table)),
                other => {
                    let what = format!("holds something of type {} beside tables", other.type_str());
                    self.diagnostics.push(Problem::new(what, "write every listener as [[listener]]").at(place));
                }
            }
        }
        tables
    }
}

/// The key of the tables.
const SECTIONS: &str = "listener";

fn is_tables(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Array(elements) if elements.iter().any(|e| matches!(e.get_ref(), DeValue::Table(_))))
}

/// The option that is called `key` where it stands: in the file, or within a `[[listener]]`.
fn option(key: &str, in_section: bool) -> Result<&'static Opt, Problem> {
    let known = options::serving(key).filter(|option| option.key().is_some());
    match known {
        Some(option) if in_section && !option.per_listener => {
            Err(Problem::new("cannot stand under [[listener]]", "write it above the first [[listener]]"))
        }
        Some(option) => Ok(option),
        None => Err(unknown(key, in_section)),
    }
}

struct TomlText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl TomlText<'_> {
    /// Counted from 1.
    fn line(&self, span: Range<usize>) -> Option<usize> {
        let before = self.text.as_bytes().get(..span.start)?;
        Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
    }

    fn place(&self, key: &str, span: Option<Range<usize>>) -> Source {
        let line = span.and_then(|span| self.line(span));
        Source::File { path: self.path.to_owned(), line, key: key.to_owned() }
    }

    fn values(&self, option: &Opt, value: &Spanned<DeValue<'_>>) -> Result<Vec<RawValue>, Problem> {
        let place = |span| self.place(option.name, Some(span));
        match (value.get_ref(), option.arity) {
            (DeValue::Array(elements), Arity::Many) => {
                let element = |element: &Spanned<DeValue<'_>>| {
                    let text = scalar(element.get_ref(), option)?;
                    Ok(RawValue { place: place(element.span()), value: text.into() })
                };
                elements.iter().map(element).collect()
            }
            (scalar_value, _) => Ok(split(option, place(value.span()), scalar(scalar_value, option)?.as_ref())),
        }
    }
}

/// The text of a string, a number or a boolean. Numbers keep the digits that were typed, so that `tls-min = 1.2` works.
fn scalar(value: &DeValue<'_>, option: &Opt) -> Result<String, Problem> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            let help = match option.arity {
                Arity::One => "write a string",
                Arity::Many => "write an array of strings",
                Arity::Switch => "write true or false",
            };
            Err(Problem::new(format!("is of type {}", value.type_str()), help))
        }
    }
}

fn unknown(key: &str, in_section: bool) -> Problem {
    if let Some(option) = options::serving(key) {
        let variable = option.variable().unwrap_or_default();
        return Problem::new("cannot stand in the file", format!("use {} or {variable}", option.flag()));
    }
    let keys = options::OPTIONS.iter().filter(|option| !in_section || option.per_listener).filter_map(Opt::key);
    let help = match nearest(key, keys) {
        Some(nearest) => format!("the nearest is {nearest}"),
        None => "vestibule run --help lists the options".to_owned(),
    };
    Problem::new("no such key", help)
}

/// An I/O error in words, without the number that the standard library adds.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}
