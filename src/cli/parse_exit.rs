//! Why there is nothing to do: help was asked for, or the command line cannot be read.

use std::fmt;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::options;
use crate::diagnostics::redact::{option_name, quote};
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source};
use crate::exit::{Exit, Fault};

/// Why there is no command to follow.
#[derive(Debug)]
pub enum ParseExit {
    /// Help or the version is shown instead.
    Help(Help),
    /// Something was typed wrong.
    Fault(Fault),
}

impl ParseExit {
    /// Writes to stdout what was asked for, and to stderr what is wrong, and gives the status.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Help(help) => match help.0.print() {
                Err(error) if !help.0.use_stderr() => Fault::of_stdout(&error).report(),
                _ => help.exit().into(),
            },
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

impl From<Fault> for ParseExit {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Diagnostics> for ParseExit {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Fault(diagnostics.into())
    }
}

impl From<clap::Error> for ParseExit {
    fn from(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Self::Help(Help(error)),
            _ => Diagnostics::from(diagnostic(&error)).into(),
        }
    }
}

/// What clap found, as one of our own: it names what is wrong by its kind, and the parts by their kinds.
fn diagnostic(error: &clap::Error) -> Diagnostic {
    let part = |kind| error.get(kind).and_then(text_of);
    // `--listen <ADDR>`
    let arg = part(ContextKind::InvalidArg).unwrap_or_default();
    let flag = arg.split(" <").next().unwrap_or_default().trim_matches(['<', '>']).to_owned();
    let value = part(ContextKind::InvalidValue).filter(|value| !value.is_empty());
    let usage = part(ContextKind::Usage).map(|usage| usage.trim_start_matches("Usage:").trim().to_owned());
    let or_usage = |help: Option<String>| {
        help.or(usage.map(|usage| format!("write {usage}"))).unwrap_or_else(|| "see --help".to_owned())
    };
    let meant = |kind| part(kind).map(|name| format!("write {name}"));
    let (place, what, help) = match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            // Of another command it is one: what is like it here would be a wrong guess.
            let elsewhere = options::OPTIONS.iter().find(|option| flag.strip_prefix("--") == Some(option.name));
            let elsewhere = elsewhere.and_then(|option| option.commands.first());
            let help = elsewhere.map(|command| format!("leave it out, or write vestibule {command}"));
            let list = || "leave it out; --help lists the options".to_owned();
            let help = help.or(meant(ContextKind::SuggestedArg)).unwrap_or_else(list);
            (option_name(&flag), "there is no such option here".to_owned(), help)
        }
        ErrorKind::UnknownArgument => {
            ("COMMAND".to_owned(), format!("{} is not expected", quote(&flag)), or_usage(None))
        }
        ErrorKind::InvalidSubcommand => {
            let typed = part(ContextKind::InvalidSubcommand).unwrap_or_default();
            let list = || "see the list of vestibule --help, and begin with vestibule demo".to_owned();
            let help = meant(ContextKind::SuggestedSubcommand).unwrap_or_else(list);
            ("COMMAND".to_owned(), format!("{} is none", quote(&typed)), help)
        }
        ErrorKind::ArgumentConflict => (flag, "is given twice".to_owned(), "keep one of the two".to_owned()),
        ErrorKind::MissingRequiredArgument => (flag, "is not given".to_owned(), or_usage(None)),
        ErrorKind::InvalidValue => {
            let choices = part(ContextKind::ValidValue).filter(|choices| !choices.is_empty());
            let help = meant(ContextKind::SuggestedValue).or(choices.map(|choices| format!("write one of {choices}")));
            match value {
                None => (flag, "has no value".to_owned(), help.unwrap_or_else(|| "write one behind it".to_owned())),
                Some(value) => (flag, format!("{} is not among the choices", quote(&value)), or_usage(help)),
            }
        }
        ErrorKind::TooManyValues => {
            let what = format!("takes no value, and has {}", quote(&value.unwrap_or_default()));
            (flag, what, "write it alone".to_owned())
        }
        kind => ("command line".to_owned(), kind.as_str().unwrap_or("cannot be read").to_owned(), or_usage(None)),
    };
    Problem::new(what, help).at(Source::Flag(place))
}

/// What clap knows of one part; of several the first, but all choices.
fn text_of(value: &ContextValue) -> Option<String> {
    match value {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        ContextValue::StyledStrs(texts) => texts.first().map(ToString::to_string),
        _ => None,
    }
}
