//! Why there is nothing to do: help was asked for, or the command line cannot be read.

use std::fmt;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::diagnostics::Diagnostics;
use crate::diagnostics::redact::without_secrets;
use crate::exit::{Exit, Fault};

/// Why there is no command to follow.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version is shown instead.
    Help(Help),
    /// Something was typed wrong.
    Fault(Fault),
}

impl Stop {
    /// Writes to stdout what was asked for, and to stderr what is wrong, and gives the status.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Help(help) => {
                // Nobody is left to be told that stdout is closed.
                let _ = help.0.print();
                help.exit().into()
            }
            Self::Fault(fault) => fault.report(),
        }
    }
}

/// Help or the version, to be shown.
#[derive(Debug)]
pub struct Help(clap::Error);

impl Help {
    /// Success where it was asked for, [`Exit::Usage`] where there was no command.
    pub fn exit(&self) -> Exit {
        if self.0.use_stderr() { Exit::Usage } else { Exit::Success }
    }
}

/// The text without colours.
impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.render())
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Diagnostics> for Stop {
    fn from(mistakes: Diagnostics) -> Self {
        Self::Fault(mistakes.into())
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Self::Help(Help(error)),
            _ => Self::Fault(Fault::new(Exit::Usage, one_line(&without_secrets(&error.render().to_string())))),
        }
    }
}

/// What clap says in paragraphs, on one line: what is wrong, and its first tip, or else the usage.
fn one_line(paragraphs: &str) -> String {
    let said: Vec<&str> = paragraphs.lines().map(str::trim).filter(|said| !said.is_empty()).collect();
    let is_wrong = |said: &&&str| !["tip: ", "Usage: ", "For more "].iter().any(|other| said.starts_with(other));
    let wrong: Vec<&str> = said.iter().take_while(is_wrong).copied().collect();
    let wrong = wrong.join(" ");
    let wrong = wrong.trim_start_matches("error: ");
    let tip = said.iter().find_map(|said| said.strip_prefix("tip: ")).map(str::to_owned);
    let usage = || said.iter().find_map(|said| said.strip_prefix("Usage: ")).map(|usage| format!("usage: {usage}"));
    match tip.or_else(usage) {
        Some(help) => format!("{wrong}; {help}"),
        None => wrong.to_owned(),
    }
}
