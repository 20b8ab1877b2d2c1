//! What was typed wrong: where, what, and what helps.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

pub(crate) mod redact;
mod sanitize;
mod sent_secrets;

use redact::{may_be_secret_name, quote};
pub use sanitize::SafeText;
pub(crate) use sanitize::{LONGEST_FIELD, LONGEST_LINE, bounded, escape, is_blank, is_obeyed};
pub(crate) use sent_secrets::without_sent_secrets;

/// Where a value was given.
///
/// Ordered by precedence: what comes first beats what comes after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `--listen`, or `COMMAND` for what stands on the command line without a flag.
    Flag(String),
    /// `VESTIBULE_LISTEN`
    Variable(String),
    /// `vestibule.toml:3: listen`
    File {
        /// As it was named.
        path: PathBuf,
        /// From 1; `None` where the whole file is meant.
        line: Option<usize>,
        /// Empty where no key is meant.
        key: String,
    },
    /// A variable that the platform sets: `CF_INSTANCE_CERT`.
    Platform(String),
    /// The default of the option that is called this.
    Default(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) | Self::Platform(name) if may_be_secret_name(name) => {
                f.write_str(&quote(name))
            }
            Self::Flag(name) | Self::Variable(name) | Self::Platform(name) => f.write_str(name),
            Self::File { path, line, key } => {
                write!(f, "{}", path.display())?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                match key.as_str() {
                    "" => Ok(()),
                    key if key.split('.').any(may_be_secret_name) => write!(f, ": {}", quote(key)),
                    key => write!(f, ": {key}"),
                }
            }
            Self::Default(name) => write!(f, "default of --{name}"),
        }
    }
}

/// Something that was typed wrong. Shown as `--handshake-timeout: "10" has no unit; write 10s or 10ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it was given.
    pub source: Source,
    /// What is wrong, and what helps.
    pub problem: Problem,
}

impl Diagnostic {
    /// Where and what, and then what helps; each one line, whatever stands in the names of files and keys.
    pub(crate) fn parts(&self) -> (String, String) {
        let Problem { what, help } = &self.problem;
        (escaped(&format!("{}: {what}", self.source)), escaped(help))
    }
}

/// One line, whatever stands in the names of files and keys.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, help) = self.parts();
        write!(f, "{what}; {help}")
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// What is wrong with a value, wherever it was given, and what helps. It never quotes more than the start of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {help}")]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub help: String,
}

impl Problem {
    /// `what` is wrong, and `help` is what to write instead.
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }

    /// The diagnostic of this problem at its place.
    pub fn at(self, source: Source) -> Diagnostic {
        Diagnostic { source, problem: self }
    }
}

/// All errors of one run. Invariant: never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// One error a line.
    pub fn lines(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// `errors`, of which there must be one.
    pub(crate) fn new(diagnostics: Vec<Diagnostic>) -> Self {
        debug_assert!(!diagnostics.is_empty(), "no error");
        Self(diagnostics)
    }

    /// `errors`, if there is one.
    pub(crate) fn of(diagnostics: Vec<Diagnostic>) -> Option<Self> {
        (!diagnostics.is_empty()).then_some(Self(diagnostics))
    }

    /// In the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// These and one more.
    #[must_use]
    pub fn and(mut self, diagnostic: Diagnostic) -> Self {
        self.0.push(diagnostic);
        self
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// A date for people, as RFC 3339 writes it, in UTC.
pub(crate) fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "a date out of range".to_owned(), |time| format!("{time:.0}"))
}

/// The line, counted from 1, in which the byte `at` of `text` stands; that of its end if `at` is behind it.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Below this a suggestion is a guess: `tls-version` has nothing to do with `tls-min`.
    const ALIKE: f64 = 0.6;
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_file_is_shown_as_editors_read_it() {
        let source = Source::File { path: "vestibule.toml".into(), line: Some(3), key: "listen".into() };
        assert_eq!(source.to_string(), "vestibule.toml:3: listen");
    }
}
