//! The file: TOML, one key an option, and tables for what a listener (`[[listener]]`) or an outbound (`[[outbound]]`) has of its own;
//! and routes.

use std::io;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use strum::VariantArray;

use super::options;
use super::options::{Arity, Opt, Table};
use super::raw_value::{ByName, RawValue, TomlTable, split};
use crate::diagnostics::redact::{key_name, quote};
use crate::diagnostics::{Diagnostic, Problem, Source, is_blank, line_of, nearest};
use crate::policy::route_file::{LocatedRoute, ROUTE};
use crate::policy::rule_file::RuleFileReader;

/// What stands in the file.
#[derive(Default)]
pub(super) struct FileContents {
    /// What it says for all listeners.
    pub(super) given: ByName,
    /// Its tables.
    pub(super) sections: Vec<TomlTable>,
    /// Its routes, for all listeners.
    pub(super) routes: Vec<LocatedRoute>,
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
    // As a writer leaves it behind that was stopped, or whose disk was full. What nothing is meant by has a comment in it at least.
    if is_blank(text.as_bytes()) {
        let problem =
            Problem::new("the file is empty", "have it written anew; a comment will do where all is to be as it is");
        diagnostics.push(problem.at(document.place("", None)));
        return FileContents { is_broken: true, ..FileContents::default() };
    }
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        // Its first line alone: the whole error quotes the text around it, and that may be anything.
        let message = error.message().lines().next().unwrap_or_default();
        let problem = Problem::new(format!("not TOML: {message}"), "write KEY = \"VALUE\"");
        diagnostics.push(problem.at(document.place("", error.span())));
    }
    let broken: Vec<_> = errors.iter().filter_map(|error| Some(line_of(&text, error.span()?.start))).collect();

    let mut reader = TomlReader { document, broken, diagnostics };
    let (given, tables, routes) = reader.table(table.get_ref(), None);
    let sections = tables.into_iter().map(|FoundTable { kind, place, table }| {
        let (given, _, routes) = reader.table(table, Some(kind));
        TomlTable { table: kind, place, given, routes }
    });
    let sections = sections.collect();
    FileContents { given, sections, routes, is_broken: !errors.is_empty() }
}

/// One table as it stands in the file.
struct FoundTable<'t> {
    kind: Table,
    place: Source,
    table: &'t DeTable<'t>,
}

struct TomlReader<'a> {
    document: TomlText<'a>,
    /// Lines that are not TOML.
    broken: Vec<usize>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl TomlReader<'_> {
    /// The options in `table`, which is the file's own or one of this `kind`; and the tables and routes in it.
    fn table<'t>(
        &mut self,
        table: &'t DeTable<'t>,
        kind: Option<Table>,
    ) -> (ByName, Vec<FoundTable<'t>>, Vec<LocatedRoute>) {
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        let (mut given, mut tables, mut routes) = (ByName::new(), Vec::new(), Vec::new());
        for (key, value) in keys {
            // What the parser made of a broken line would only be a second error in it.
            if self.broken.contains(&line_of(self.document.text, key.span().start)) {
                continue;
            }
            // What is no option may be the value of one, in the wrong place.
            let place = self.document.place(&key_name(key.get_ref()), Some(key.span()));
            let named = Table::VARIANTS.iter().find(|table| kind.is_none() && table.name() == key.get_ref());
            if let Some(kind) = named.filter(|_| is_tables(value.get_ref())) {
                tables.extend(self.tables(*kind, value.get_ref()));
                continue;
            }
            if let (Some(kind), DeValue::Table(_)) = (named, value.get_ref()) {
                let help = format!("write each as a table with the header {}", kind.header());
                self.diagnostics.push(Problem::new("is of type table", help).at(place));
                continue;
            }
            if key.get_ref() == ROUTE && kind != Some(Table::Outbound) {
                let header = if kind.is_none() { "[[route]]" } else { "[[listener.route]]" };
                let mut reader = RuleFileReader::new(self.document.path, self.document.text);
                routes.extend(reader.routes(header, value));
                self.diagnostics.extend(reader.into_diagnostics());
                continue;
            }
            let values = match option(key.get_ref(), kind) {
                Ok(option) => self.document.values(option, value).map(|values| (option.name, values)),
                Err(problem) => Err(problem),
            };
            match values {
                Ok((name, values)) => drop(given.insert(name, values)),
                Err(problem) => self.diagnostics.push(problem.at(place)),
            }
        }
        (given, tables, routes)
    }

    /// The tables of one `kind`.
    fn tables<'t>(&mut self, kind: Table, value: &'t DeValue<'t>) -> Vec<FoundTable<'t>> {
        let DeValue::Array(elements) = value else { return Vec::new() };
        let mut tables = Vec::new();
        for element in elements {
            let place = self.document.place(kind.name(), Some(element.span()));
            match element.get_ref() {
                DeValue::Table(table) => tables.push(FoundTable { kind, place, table }),
                other => {
                    let what = format!("holds something of type {} beside tables", other.type_str());
                    self.diagnostics
                        .push(Problem::new(what, format!("write each of them as {}", kind.header())).at(place));
                }
            }
        }
        tables
    }
}

fn is_tables(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Array(elements) if elements.iter().any(|e| matches!(e.get_ref(), DeValue::Table(_))))
}

/// The option that is called `key` where it stands: in the file, or within one of its tables.
fn option(key: &str, table: Option<Table>) -> Result<&'static Opt, Problem> {
    let general = options::serving(key).filter(|option| option.key().is_some());
    let Some(table) = table else { return general.ok_or_else(|| unknown(key, None)) };
    match (table.option(key), general) {
        (Some(option), _) => Ok(option),
        (None, Some(option)) => {
            let help = match option.key_in(table) {
                Some(key) => format!("write {key} here"),
                None => format!("write it above the first {}", table.header()),
            };
            Err(Problem::new(format!("cannot stand under {}", table.header()), help))
        }
        (None, None) if key == ROUTE => {
            let help = "write [[route]], for requests of clients, or leave it out";
            Err(Problem::new(format!("cannot stand under {}", table.header()), help))
        }
        (None, None) => Err(unknown(key, Some(table))),
    }
}

struct TomlText<'a> {
    path: &'a Path,
    text: &'a str,
}

impl TomlText<'_> {
    fn place(&self, key: &str, span: Option<Range<usize>>) -> Source {
        let line = span.map(|span| line_of(self.text, span.start));
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

fn unknown(key: &str, table: Option<Table>) -> Problem {
    if let Some(option) = options::serving(key) {
        return match (option.variable(), option.table.and_then(|table| Some((table, option.key_in(table)?)))) {
            (Some(variable), _) => {
                Problem::new("cannot stand in the file", format!("use {} or {variable}", option.flag()))
            }
            (None, Some((table, key))) => {
                Problem::new(format!("stands under {} alone", table.header()), format!("write {key} there"))
            }
            (None, None) => Problem::new("cannot stand in the file", format!("use {}", option.flag())),
        };
    }
    let keys = options::OPTIONS.iter().filter_map(|option| match table {
        Some(table) => option.key_in(table),
        None => option.key(),
    });
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
