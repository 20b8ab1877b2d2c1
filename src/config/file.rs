//! The file: TOML, one key an option.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::mistake::Mistake;
use super::mistake::Source;
use super::mistake::Wrong;
use super::mistake::quote;
use super::options;
use super::options::Kind;
use super::options::Opt;
use super::sources::Given;
use super::sources::nearest;
use super::sources::split;

/// Reads the options out of `contents`, which is what came of reading the file that `named` names.
pub(super) fn read(
    named: &Given,
    contents: io::Result<String>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<&'static str, Vec<Given>> {
    let path = Path::new(&named.value);
    let text = match contents {
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read {}: {}", quote(&path.to_string_lossy()), cause(&error));
            mistakes.push(Wrong::new(what, "name a TOML file that can be read").at(named.place.clone()));
            return BTreeMap::new();
        }
    };
    let document = Document { path, text: &text };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        // Its first line alone: the whole error quotes the text around it, and that may be anything.
        let message = error.message().lines().next().unwrap_or_default();
        let wrong = Wrong::new(format!("not TOML: {message}"), "write KEY = \"VALUE\"");
        mistakes.push(wrong.at(document.place("", error.span())));
    }
    let broken: Vec<_> = errors.iter().filter_map(|error| document.line(error.span()?)).collect();

    let mut keys: Vec<_> = table.get_ref().iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    let mut given = BTreeMap::new();
    for (key, value) in keys {
        // What the parser made of a broken line would only be a second mistake in it.
        if document.line(key.span()).is_some_and(|line| broken.contains(&line)) {
            continue;
        }
        let place = document.place(key.get_ref(), Some(key.span()));
        let known = options::serving(key.get_ref()).and_then(|option| Some((option, option.key()?)));
        match known {
            Some((option, name)) => match document.values(option, value) {
                Ok(values) => drop(given.insert(name, values)),
                Err(wrong) => mistakes.push(wrong.at(place)),
            },
            None => mistakes.push(unknown(key.get_ref()).at(place)),
        }
    }
    given
}

struct Document<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    /// Counted from 1.
    fn line(&self, span: Range<usize>) -> Option<usize> {
        let before = self.text.as_bytes().get(..span.start)?;
        Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
    }

    fn place(&self, key: &str, span: Option<Range<usize>>) -> Source {
        let line = span.and_then(|span| self.line(span));
        Source::File { path: self.path.to_owned(), line, key: key.to_owned() }
    }

    fn values(&self, option: &Opt, value: &Spanned<DeValue<'_>>) -> Result<Vec<Given>, Wrong> {
        let place = |span| self.place(option.name, Some(span));
        match (value.get_ref(), option.kind) {
            (DeValue::Array(elements), Kind::Many) => {
                let element = |element: &Spanned<DeValue<'_>>| {
                    let text = scalar(element.get_ref(), option)?;
                    Ok(Given { place: place(element.span()), value: text.into() })
                };
                elements.iter().map(element).collect()
            }
            (scalar_value, _) => Ok(split(option, place(value.span()), scalar(scalar_value, option)?.as_ref())),
        }
    }
}

/// The text of a string, a number or a boolean. Numbers keep the digits that were typed, so that `tls-min = 1.2` works.
fn scalar(value: &DeValue<'_>, option: &Opt) -> Result<String, Wrong> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            let mend = match option.kind {
                Kind::One => "write a string",
                Kind::Many => "write an array of strings",
                Kind::Switch => "write true or false",
            };
            Err(Wrong::new(format!("is of type {}", value.type_str()), mend))
        }
    }
}

fn unknown(key: &str) -> Wrong {
    if let Some(option) = options::serving(key) {
        let variable = option.variable().unwrap_or_default();
        return Wrong::new("cannot stand in the file", format!("use {} or {variable}", option.flag()));
    }
    let keys = options::OPTIONS.iter().filter_map(Opt::key);
    let mend = match nearest(key, keys) {
        Some(nearest) => format!("the nearest is {nearest}"),
        None => "vestibule run --help lists the options".to_owned(),
    };
    Wrong::new("no such key", mend)
}

/// An I/O error in words, without the number that the standard library adds.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}
