//! Reading one option after another, noting what is wrong on the way.

use std::ffi::OsString;
use std::path::PathBuf;

use super::options::Preset;
use super::raw_value::RawValue;
use super::sources::{GatheredValues, Sources};
use super::{options, values};
use crate::diagnostics::{Diagnostic, Problem, Source};

/// Proof that an error in an option has been noted, which is why there is no value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported(());

/// A value, and where it was given.
pub(super) type Located<T> = (Source, T);

/// What was typed, and what has been found wrong with it so far.
pub(super) struct OptionReader {
    pub(super) sources: GatheredValues,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Whether the app is ours to start.
    pub(super) starts_app: bool,
    /// `PORT`: where the platform looks for the app.
    pub(super) port: Option<OsString>,
}

impl OptionReader {
    /// Gathers the sources.
    pub(super) fn new(inputs: &Sources<'_>) -> Self {
        let mut diagnostics = Vec::new();
        let sources = GatheredValues::gather(inputs, &mut diagnostics);
        let port = inputs.environment.get("PORT").cloned();
        Self { sources, diagnostics, starts_app: inputs.starts_app, port }
    }

    /// Notes an error, once: what stands in the file for all listeners is read for each of them.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) -> Reported {
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
        Reported(())
    }

    /// Every value of an option that takes several.
    pub(super) fn all<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Vec<Located<T>>, Reported> {
        let read = |given: &RawValue| match values::text(&given.value).and_then(&parse) {
            Ok(value) => Ok((given.place.clone(), value)),
            Err(problem) => Err(problem.at(given.place.clone())),
        };
        let read: Vec<_> = self.sources.values(name).iter().map(read).collect();
        self.sound(read)
    }

    /// The paths of an option that takes several: unlike all else they may be any bytes.
    pub(super) fn paths(&mut self, name: &'static str) -> Result<Vec<Located<PathBuf>>, Reported> {
        let read = |given: &RawValue| match values::path(&given.value) {
            Ok(path) => Ok((given.place.clone(), path)),
            Err(problem) => Err(problem.at(given.place.clone())),
        };
        let read: Vec<_> = self.sources.values(name).iter().map(read).collect();
        self.sound(read)
    }

    /// All values, if all of them are right; notes the errors.
    fn sound<T>(&mut self, read: Vec<Result<T, Diagnostic>>) -> Result<Vec<T>, Reported> {
        let mut values = Ok(Vec::with_capacity(read.len()));
        for read in read {
            match (read, &mut values) {
                (Ok(value), Ok(values)) => values.push(value),
                (Ok(_), Err(_)) => {}
                (Err(diagnostic), _) => values = Err(self.report(diagnostic)),
            }
        }
        values
    }

    /// The value of an option, if there is one.
    pub(super) fn given<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Reported> {
        Ok(self.all(name, parse)?.pop().map(|(_, value)| value))
    }

    /// The value of an option that has a default, and its place.
    pub(super) fn placed<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Located<T>, Reported> {
        match self.all(name, parse)?.pop() {
            Some(value) => Ok(value),
            None => Err(self.report(Problem::new("there is none", "give a value").at(Source::Default(name)))),
        }
    }

    /// The value of an option that has a default.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<T, Reported> {
        self.placed(name, parse).map(|(_, value)| value)
    }

    /// Where somebody has given the option `name` another value than the one that holds anyway.
    pub(super) fn user_given(&self, name: &str) -> Option<Source> {
        user_given(name, self.sources.values(name))
    }

    /// Where a person gave this option, with a value that says that something is done: on the command line be it the usual one, and in a file
    /// another, for a file may hold all options with what is usual.
    pub(super) fn claimed(&self, name: &str) -> Option<Source> {
        let given = self.sources.values(name).first()?;
        let is_typed = matches!(given.place, Source::Flag(_) | Source::Variable(_));
        let is_claim = is_typed && !matches!(given.value.to_str(), Some("off" | "false"));
        is_claim.then(|| given.place.clone()).or_else(|| self.user_given(name))
    }

    /// The path of an option that has a default.
    pub(super) fn path(&mut self, name: &'static str) -> Result<PathBuf, Reported> {
        match self.paths(name)?.pop() {
            Some((_, path)) => Ok(path),
            None => Err(self.report(Problem::new("there is none", "name a file").at(Source::Default(name)))),
        }
    }
}

/// Where somebody has given the option `name` these values, if they are not the one that holds anyway.
pub(super) fn user_given(name: &str, values: &[RawValue]) -> Option<Source> {
    let given = values.first()?;
    let is_default = match options::serving(name).map(|option| option.default) {
        Some(Preset::Value(text)) => given.value == text,
        _ => given.value == "false",
    };
    (is_user_given(&given.place) && !is_default).then(|| given.place.clone())
}

/// Whether a person gave it, rather than the platform or the table.
pub(super) fn is_user_given(place: &Source) -> bool {
    matches!(place, Source::Flag(_) | Source::Variable(_) | Source::File { .. })
}
