//! Envoy's command line, as far as whoever starts Envoy may know it. Diego writes
//! `envoy -c FILE --drain-time-s 900 --log-level critical`.
//!
//! Its grammar is not clap's: a flag that we have no use for is passed over with its value, and one that nobody knows
//! must not stop an app either.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ValueHint};

use crate::config::{LogLevel, SandboxMode, values};
use crate::diagnostics::redact::{option_name, quote};
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source};
use crate::exit::Fault;

/// What we were asked to do in Envoy's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvoyCommand {
    /// Serve, or see whether we could.
    Serve(EnvoyArgs),
    /// `--version`
    Version,
    /// `--help`: [`USAGE`]
    Help,
}

/// Everything that was typed and has a meaning here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyArgs {
    /// `-c`, `--config-path`: the bootstrap.
    pub config: PathBuf,
    /// `--drain-time-s`
    pub drain: Option<Duration>,
    /// `-l`, `--log-level`: `critical` is [`LogLevel::Off`], as what ends the process is written in any case.
    pub log_level: LogLevel,
    /// `--mode`
    pub mode: EnvoyMode,
    /// `--sandbox`, or `VESTIBULE_SANDBOX`: ours, not Envoy's.
    pub sandbox: SandboxMode,
    /// Where the secrets are, whatever the bootstrap says.
    pub secrets: SecretPaths,
    /// What was passed over and deserves a line in the log, one line each.
    pub warnings: Vec<String>,
}

/// What becomes of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvoyMode {
    /// The bootstrap is read and served.
    Serve,
    /// The bootstrap is read, and nothing else.
    Validate,
}

/// The files of the secrets. Diego names them for Windows, where the paths in the bootstrap are those of Linux.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretPaths {
    /// `--id-creds`
    pub id: Option<PathBuf>,
    /// `--c2c-creds`
    pub c2c: Option<PathBuf>,
    /// `--id-validation`
    pub validation: Option<PathBuf>,
}

impl SecretPaths {
    /// The file that was named for the secret that Diego calls `name`.
    pub fn of(&self, name: &str) -> Option<&Path> {
        match name {
            "id-cert-and-key" => self.id.as_deref(),
            "c2c-cert-and-key" => self.c2c.as_deref(),
            "id-validation-context" => self.validation.as_deref(),
            _ => None,
        }
    }
}

/// What `--help` prints.
pub const USAGE: &str = "\
Usage: envoy -c FILE [OPTIONS]

Serves as Envoy would from the files that Diego writes.

  -c, --config-path FILE     the bootstrap, envoy.yaml
      --drain-time-s N       how long a drain may take, in seconds
  -l, --log-level LEVEL      trace, debug, info, warning, error, critical or off [info]
      --mode MODE            serve, or validate: read the bootstrap and exit [serve]
      --id-creds FILE        the secret id-cert-and-key, wherever the bootstrap says it is
      --c2c-creds FILE       the secret c2c-cert-and-key
      --id-validation FILE   the secret id-validation-context
      --sandbox HOW          fence in the proxy: off, best-effort or strict; not a flag of Envoy's [off]
      --version              print the version and exit

Envoy's other options are passed over.";

/// The variable of the option `--sandbox`, the one that counts here too: whoever starts Envoy may not be able to add a flag.
pub const SANDBOX_VARIABLE: &str = "VESTIBULE_SANDBOX";

/// Envoy 1.40's flags with a value that have no meaning here.
const IGNORED_WITH_VALUE: [&str; 25] = [
    "--admin-address-path",
    "--base-id",
    "--base-id-path",
    "--component-log-level",
    "--concurrency",
    "--config-yaml",
    "--disable-extensions",
    "--drain-strategy",
    "--file-flush-interval-msec",
    "--file-flush-min-size-kb",
    "--local-address-ip-version",
    "--log-format",
    "--log-path",
    "--parent-shutdown-time-s",
    "--restart-epoch",
    "--service-cluster",
    "--service-node",
    "--service-zone",
    "--socket-mode",
    "--socket-path",
    "--stats-tag",
    // Of older Envoys.
    "--bootstrap-version",
    "--max-obj-name-len",
    "--max-stats",
    "--use-fake-symbol-table",
];

/// Envoy 1.40's flags without a value that have no meaning here.
const IGNORED_ALONE: [&str; 16] = [
    "--allow-unknown-fields",
    "--allow-unknown-static-fields",
    "--cpuset-threads",
    "--disable-hot-restart",
    "--enable-core-dump",
    "--enable-fine-grain-logging",
    "--enable-mutex-tracing",
    "--hot-restart-version",
    "--ignore-unknown-dynamic-fields",
    "--log-format-escaped",
    "--log-stacktrace-single-entry",
    "--reject-unknown-dynamic-fields",
    "--skip-deprecated-logs",
    "--skip-hot-restart-on-no-parent",
    "--skip-hot-restart-parent-stats",
    "--use-dynamic-base-id",
];

const LEVELS: [(&str, LogLevel); 8] = [
    ("trace", LogLevel::Trace),
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warning", LogLevel::Warn),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
    ("critical", LogLevel::Off),
    ("off", LogLevel::Off),
];

// `init_only` brings up what is configured without serving, and exits: all of that but the opening is reading.
const MODES: [(&str, EnvoyMode); 3] =
    [("serve", EnvoyMode::Serve), ("validate", EnvoyMode::Validate), ("init_only", EnvoyMode::Validate)];

const SANDBOXES: [(&str, SandboxMode); 3] =
    [("off", SandboxMode::Off), ("best-effort", SandboxMode::BestEffort), ("strict", SandboxMode::Strict)];

/// The flags that count, for completions: what is typed is read by [`parse`].
pub(super) fn flags() -> Vec<Arg> {
    let file = |name: &'static str| Arg::new(name).long(name).value_name("FILE").value_hint(ValueHint::FilePath);
    let words = |name: &'static str, words: Vec<&'static str>| {
        Arg::new(name).long(name).value_parser(PossibleValuesParser::new(words))
    };
    vec![
        file("config-path").short('c'),
        file("id-creds"),
        file("c2c-creds"),
        file("id-validation"),
        Arg::new("drain-time-s").long("drain-time-s").value_name("SECONDS"),
        words("log-level", LEVELS.iter().map(|(word, _)| *word).collect()).short('l'),
        words("mode", MODES.iter().map(|(word, _)| *word).collect()),
        words("sandbox", SANDBOXES.iter().map(|(word, _)| *word).collect()),
        Arg::new("version").long("version").action(ArgAction::SetTrue),
    ]
}

/// Reads what stands behind the program's name. A flag that is there twice counts as it is there last. `sandbox` is what
/// [`SANDBOX_VARIABLE`] says, which the flag beats.
///
/// # Errors
/// Every error: no bootstrap is named, a flag that counts has no value, or one that it cannot have.
pub fn parse(args: impl Iterator<Item = OsString>, sandbox: Option<&OsStr>) -> Result<EnvoyCommand, Fault> {
    let mut reader = ArgReader { args: args.peekable(), diagnostics: Vec::new(), warnings: Vec::new() };
    let (mut config, mut drain, mut log_level, mut mode) = (None, None, LogLevel::Info, EnvoyMode::Serve);
    let mut secrets = SecretPaths::default();
    let mut fence = None;
    while let Some(arg) = reader.args.next() {
        let (flag, attached) = split(arg);
        match &*flag {
            "-c" | "--config-path" => config = reader.path(&flag, attached).or(config),
            "--id-creds" => secrets.id = reader.path(&flag, attached),
            "--c2c-creds" => secrets.c2c = reader.path(&flag, attached),
            "--id-validation" => secrets.validation = reader.path(&flag, attached),
            "--drain-time-s" => drain = reader.seconds(&flag, attached),
            "-l" | "--log-level" => log_level = reader.word(&flag, attached, &LEVELS).unwrap_or(log_level),
            "--sandbox" => fence = reader.word(&flag, attached, &SANDBOXES),
            "--mode" => mode = reader.word(&flag, attached, &MODES).unwrap_or(mode),
            "--version" => return Ok(EnvoyCommand::Version),
            "-h" | "--help" => return Ok(EnvoyCommand::Help),
            "--" | "--ignore_rest" => break,
            "--config-yaml" => {
                reader.pass_over_value(attached);
                reader.warnings.push("--config-yaml: passed over; write it into the file that -c names".to_owned());
            }
            known if IGNORED_WITH_VALUE.contains(&known) => reader.pass_over_value(attached),
            known if IGNORED_ALONE.contains(&known) => {}
            unknown => reader.pass_over_unknown(unknown, attached.is_some()),
        }
    }
    let sandbox = match (fence, sandbox.filter(|value| !value.is_empty())) {
        (None, Some(value)) => {
            reader.meant(Source::Variable(SANDBOX_VARIABLE.to_owned()), value, &SANDBOXES).unwrap_or(SandboxMode::Off)
        }
        (fence, _) => fence.unwrap_or(SandboxMode::Off),
    };
    if config.is_none() && reader.diagnostics.is_empty() {
        reader.wrong("-c", "is not given", "name the bootstrap: -c envoy.yaml");
    }
    match config {
        Some(config) if reader.diagnostics.is_empty() => {
            let warnings = reader.warnings;
            Ok(EnvoyCommand::Serve(EnvoyArgs { config, drain, log_level, mode, sandbox, secrets, warnings }))
        }
        // Not empty: where there is no bootstrap, that is an error or follows from one.
        _ => Err(Diagnostics::new(reader.diagnostics).into()),
    }
}

struct ArgReader<I: Iterator<Item = OsString>> {
    args: std::iter::Peekable<I>,
    diagnostics: Vec<Diagnostic>,
    warnings: Vec<String>,
}

impl<I: Iterator<Item = OsString>> ArgReader<I> {
    fn wrong(&mut self, flag: &str, what: impl Into<String>, help: impl Into<String>) {
        self.diagnostics.push(Problem::new(what, help).at(Source::Flag(flag.to_owned())));
    }

    fn value(&mut self, flag: &str, attached: Option<OsString>) -> Option<OsString> {
        let value = attached.or_else(|| self.args.next()).filter(|value| !value.is_empty());
        if value.is_none() {
            self.wrong(flag, "has no value", "write one behind it");
        }
        value
    }

    fn path(&mut self, flag: &str, attached: Option<OsString>) -> Option<PathBuf> {
        match values::path(&self.value(flag, attached)?) {
            Ok(path) => Some(path),
            Err(wrong) => {
                self.diagnostics.push(wrong.at(Source::Flag(flag.to_owned())));
                None
            }
        }
    }

    fn seconds(&mut self, flag: &str, attached: Option<OsString>) -> Option<Duration> {
        let value = self.value(flag, attached)?;
        let seconds = value.to_str().and_then(|text| text.parse::<u32>().ok());
        if seconds.is_none() {
            let what = format!("{} is no number of seconds", quote(&value.to_string_lossy()));
            self.wrong(flag, what, "write a whole number, as in 900");
        }
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }

    fn word<T: Copy>(&mut self, flag: &str, attached: Option<OsString>, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(flag, attached)?;
        self.meant(Source::Flag(flag.to_owned()), &value, words)
    }

    fn meant<T: Copy>(&mut self, place: Source, value: &OsStr, words: &[(&str, T)]) -> Option<T> {
        let meant = words.iter().find(|(word, _)| value == *word).map(|(_, meant)| *meant);
        if meant.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let what = format!("{} is not known", quote(&value.to_string_lossy()));
            self.diagnostics.push(Problem::new(what, format!("write one of {}", words.join(", "))).at(place));
        }
        meant
    }

    fn pass_over_value(&mut self, attached: Option<OsString>) {
        if attached.is_none() {
            self.args.next();
        }
    }

    /// Whether a flag that nobody knows has a value can only be guessed: what follows and looks like no flag is it.
    fn pass_over_unknown(&mut self, word: &str, has_value: bool) {
        let is_flag = word.starts_with('-');
        if is_flag && !has_value {
            self.args.next_if(|next| !next.as_encoded_bytes().starts_with(b"-"));
        }
        let what = if is_flag { "no such flag; passed over" } else { "not behind a flag; passed over" };
        let word = if is_flag { option_name(word) } else { quote(word) };
        self.warnings.push(format!("{word}: {what}"));
    }
}

/// `--flag=value` in two, where it is that; else the word itself. What is not text is shown as well as it can be, and
/// is no flag that anybody knows.
fn split(arg: OsString) -> (String, Option<OsString>) {
    let bytes = arg.as_encoded_bytes();
    if bytes.starts_with(b"-")
        && let Some(at) = bytes.iter().position(|byte| *byte == b'=')
        && let Some((flag, value)) = parts(&arg, at)
    {
        return (flag, Some(value));
    }
    (arg.to_string_lossy().into_owned(), None)
}

/// What stands before and after the ASCII character at `at`.
#[cfg(unix)]
fn parts(arg: &OsStr, at: usize) -> Option<(String, OsString)> {
    use std::os::unix::ffi::OsStrExt;
    let (flag, value) = arg.as_bytes().split_at_checked(at)?;
    Some((String::from_utf8_lossy(flag).into_owned(), OsStr::from_bytes(value.get(1..)?).to_owned()))
}

#[cfg(not(unix))]
fn parts(arg: &OsStr, at: usize) -> Option<(String, OsString)> {
    let (flag, value) = arg.to_str()?.split_at_checked(at)?;
    Some((flag.to_owned(), value.get(1..)?.into()))
}

#[cfg(test)]
mod tests;
