//! How the process ends: a number others rely on, and a line for people.

use std::fmt;
use std::process::ExitCode;

use crate::diagnostics::{Diagnostic, Diagnostics, LONGEST_LINE, SafeText, Source};

/// The status the process ends with (`sysexits.h` where there is a name for it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: asked to stop, and drained.
    Success,
    /// 1: `check`, `policy test` and the like found something.
    Findings,
    /// 2: the command line was wrong.
    Usage,
    /// 66 (`EX_NOINPUT`): no usable certificate and key.
    NoCredential,
    /// 69 (`EX_UNAVAILABLE`): an address could not be opened, or a secret could not be resolved.
    Unavailable,
    /// 70 (`EX_SOFTWARE`): a fault of ours.
    Internal,
    /// 78 (`EX_CONFIG`): a variable or the file was wrong.
    Config,
    /// The app's own status as a shell reports it: its code, 128+n for signal n, 126 not executable, 127 not found.
    App(u8),
}

impl Exit {
    /// The number itself.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Findings => 1,
            Self::Usage => 2,
            Self::NoCredential => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Config => 78,
            Self::App(status) => status,
        }
    }

    /// One of each, in the order of the numbers; the app's own comes last.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::Findings,
        Self::Usage,
        Self::NoCredential,
        Self::Unavailable,
        Self::Internal,
        Self::Config,
        Self::App(126),
        Self::App(0),
    ];

    /// What the manual says of it: the number or numbers, and when.
    pub fn explained(self) -> (&'static str, &'static str) {
        match self {
            Self::Success => ("0", "asked to stop, and drained (`proxy`); help; a tool that found nothing wrong"),
            Self::Findings => (
                "1",
                "`check` found a problem; `policy test` came to a denial; `token` found that the pair vouches for nobody now; `token verify` came to a denial; `health` and `wait` found it not ready, or nobody there",
            ),
            Self::Usage => (
                "2",
                "the command line was wrong; `policy test` had nothing to judge; `health` or `wait` with `--admin off`",
            ),
            Self::NoCredential => (
                "66",
                "no usable certificate and key within `--credential-timeout`, or for `token`; a file that `identity` or `token verify` cannot read",
            ),
            Self::Unavailable => (
                "69",
                "an address could not be opened, that of `--admin` too if it was asked for; no port is free to hide the app on; `--sandbox strict` cannot be had; `run --resolve`: a secret is missing or could not be had",
            ),
            Self::Internal => ("70", "a fault of the program or the system"),
            Self::Config => (
                "78",
                "a variable or the file was wrong; no usable client CAs and rules within `--credential-timeout`; roles with errors (`token verify`); `issuer`, `token jwt --write` or `token verify --replay-file` could not write",
            ),
            Self::App(126 | 127) => ("126, 127", "`run`: the app cannot be executed; it was not found"),
            Self::App(_) => ("any other", "`run`: the app's own; 128+n if signal n ended it"),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why the process ends before it was asked to: the status, and what is wrong, where, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The status to end with.
    pub exit: Exit,
    errors: Vec<ErrorLine>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLine {
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it, where there is something.
    pub help: Option<String>,
}

impl Fault {
    /// A fault with the status `exit`; `message` says what is wrong, in one line for each thing.
    pub fn new(exit: Exit, message: impl AsRef<str>) -> Self {
        let error = |line: &str| ErrorLine { message: line.to_owned(), help: None };
        Self { exit, errors: message.as_ref().lines().map(error).collect() }
    }

    /// What was to be printed cannot be, and where it was to go is the remedy.
    pub fn of_stdout(error: &std::io::Error) -> Self {
        Self::new(Exit::Internal, format!("cannot write to stdout: {error}"))
            .with_help("see where stdout leads: a full disk, or a pipe that was closed")
    }

    /// The same, with the remedy for what was said last.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        if let Some(last) = self.errors.last_mut() {
            last.help = Some(help.into());
        }
        self
    }

    /// What is wrong here, and then there; the status is that of the first.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.errors.extend(other.errors);
        self
    }

    /// What is wrong, one by one.
    pub fn errors(&self) -> &[ErrorLine] {
        &self.errors
    }

    /// As [`Display`](fmt::Display) shows it, without the program's name.
    pub fn message(&self) -> String {
        self.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// One error in the log for each thing that is wrong, with the remedy as a field.
    pub fn log(&self) {
        for ErrorLine { message, help } in &self.errors {
            tracing::error!(code = self.exit.code(), help, "{message}");
        }
    }

    /// Writes the message to stderr, one `vestibule: ` line for each of its lines, and gives the status.
    pub fn report(&self) -> ExitCode {
        eprintln!("{self}");
        self.exit.into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "vestibule: {}", SafeText::up_to(LONGEST_LINE, error))?;
        }
        Ok(())
    }
}

/// `what is wrong; the remedy`
impl fmt::Display for ErrorLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{}; {help}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// One line an error. The status is [`Exit::Usage`] as soon as one is on the command line, else [`Exit::Config`].
impl From<Diagnostics> for Fault {
    fn from(diagnostics: Diagnostics) -> Self {
        let typed = diagnostics.iter().any(|diagnostic| matches!(diagnostic.source, Source::Flag(_)));
        let error = |diagnostic: &Diagnostic| {
            let (message, help) = diagnostic.parts();
            ErrorLine { message, help: Some(help) }
        };
        let errors = diagnostics.iter().map(error).collect();
        Self { exit: if typed { Exit::Usage } else { Exit::Config }, errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Problem;

    #[test]
    fn one_diagnostic_on_the_command_line_makes_it_a_usage_fault() {
        let variable = Problem::new("a", "b").at(Source::Variable("VESTIBULE_X".into()));
        let flag = Problem::new("c", "d").at(Source::Flag("--x".into()));
        let fault = Fault::from(Diagnostics::from(variable.clone()));
        assert_eq!((fault.exit, fault.message().as_str()), (Exit::Config, "VESTIBULE_X: a; b"));
        let fault = Fault::from(Diagnostics::from(variable).and(flag));
        assert_eq!((fault.exit, fault.message().as_str()), (Exit::Usage, "VESTIBULE_X: a; b\n--x: c; d"));
    }

    #[test]
    fn the_manual_has_the_number_of_each_status() {
        for exit in Exit::ALL {
            let (number, _) = exit.explained();
            let expected = if exit == Exit::App(0) { "any other".to_owned() } else { exit.code().to_string() };
            assert!(number.starts_with(&expected), "{number}");
        }
    }
}
