//! Envoy's command line, as far as whoever starts Envoy may know it. Diego writes
//! `envoy -c FILE --drain-time-s 900 --log-level critical`.
//!
//! Its grammar is not clap's: a flag that we have no use for is passed over with its value, and one that nobody knows
//! must not stop an app either.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::LogLevel;
use crate::config::mistake::Mistake;
use crate::config::mistake::Mistakes;
use crate::config::mistake::Source;
use crate::config::mistake::Wrong;
use crate::config::mistake::quote;
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
    pub mode: Mode,
    /// Where the secrets are, whatever the bootstrap says.
    pub secrets: SecretPaths,
    /// What was passed over and deserves a line in the log, one line each.
    pub warnings: Vec<String>,
}

/// What becomes of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is read and served.
    Serve,
    /// It is read.
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
      --version              print the version and exit

Envoy's other options are passed over.";

/// Envoy 1.40's flags with a value that have no meaning here.
const IGNORED_WITH_VALUE: [&str; 24] = [
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
];

/// Envoy 1.40's flags without a value that have no meaning here.
const IGNORED_ALONE: [&str; 17] = [
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
    "--use-fake-symbol-table",
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
const MODES: [(&str, Mode); 3] = [("serve", Mode::Serve), ("validate", Mode::Validate), ("init_only", Mode::Validate)];

/// Reads what stands behind the program's name. A flag that is there twice counts as it is there last.
///
/// # Errors
/// Every mistake: no bootstrap is named, a flag that counts has no value, or one that it cannot have.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<EnvoyCommand, Fault> {
    let mut reader = Reader { args: args.peekable(), mistakes: Vec::new(), warnings: Vec::new() };
    let (mut config, mut drain, mut log_level, mut mode) = (None, None, LogLevel::Info, Mode::Serve);
    let mut secrets = SecretPaths::default();
    while let Some(arg) = reader.args.next() {
        let (flag, attached) = split(arg);
        match &*flag {
            "-c" | "--config-path" => config = reader.path(&flag, attached).or(config),
            "--id-creds" => secrets.id = reader.path(&flag, attached),
            "--c2c-creds" => secrets.c2c = reader.path(&flag, attached),
            "--id-validation" => secrets.validation = reader.path(&flag, attached),
            "--drain-time-s" => drain = reader.seconds(&flag, attached),
            "-l" | "--log-level" => log_level = reader.word(&flag, attached, &LEVELS).unwrap_or(log_level),
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
    if config.is_none() && reader.mistakes.is_empty() {
        reader.wrong("-c", "is not given", "name the bootstrap: -c envoy.yaml");
    }
    match config {
        Some(config) if reader.mistakes.is_empty() => {
            Ok(EnvoyCommand::Serve(EnvoyArgs { config, drain, log_level, mode, secrets, warnings: reader.warnings }))
        }
        // Not empty: where there is no bootstrap, that is a mistake or follows from one.
        _ => Err(Mistakes::new(reader.mistakes).into()),
    }
}

struct Reader<I: Iterator<Item = OsString>> {
    args: std::iter::Peekable<I>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl<I: Iterator<Item = OsString>> Reader<I> {
    fn wrong(&mut self, flag: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.mistakes.push(Wrong::new(what, mend).at(Source::Flag(flag.to_owned())));
    }

    fn value(&mut self, flag: &str, attached: Option<OsString>) -> Option<OsString> {
        let value = attached.or_else(|| self.args.next()).filter(|value| !value.is_empty());
        if value.is_none() {
            self.wrong(flag, "has no value", "write one behind it");
        }
        value
    }

    fn path(&mut self, flag: &str, attached: Option<OsString>) -> Option<PathBuf> {
        self.value(flag, attached).map(PathBuf::from)
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
        let meant = words.iter().find(|(word, _)| value == *word).map(|(_, meant)| *meant);
        if meant.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let what = format!("{} is not known", quote(&value.to_string_lossy()));
            self.wrong(flag, what, format!("write one of {}", words.join(", ")));
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
        self.warnings.push(format!("{}: {what}", quote(word)));
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<EnvoyCommand, Fault> {
        parse(line.split(' ').map(OsString::from))
    }

    #[track_caller]
    fn serve(line: &str) -> EnvoyArgs {
        match read(line) {
            Ok(EnvoyCommand::Serve(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn plain() -> EnvoyArgs {
        EnvoyArgs {
            config: "e.yaml".into(),
            drain: None,
            log_level: LogLevel::Info,
            mode: Mode::Serve,
            secrets: SecretPaths::default(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn diegos_line_on_linux_is_understood() {
        let line = "-c /etc/cf-assets/envoy_config/envoy.yaml --drain-time-s 900 --log-level critical";
        let expected = EnvoyArgs {
            config: "/etc/cf-assets/envoy_config/envoy.yaml".into(),
            drain: Some(Duration::from_secs(900)),
            log_level: LogLevel::Off,
            ..plain()
        };
        assert_eq!(serve(line), expected);
    }

    #[test]
    fn diegos_line_on_windows_names_the_secrets() {
        let line = "-c e.yaml --drain-time-s 900 --log-level critical --id-creds C:\\etc\\sds-id-cert-and-key.yaml \
                    --c2c-creds C:\\etc\\c2c.yaml --id-validation C:\\etc\\v.yaml";
        let secrets = serve(line).secrets;
        assert_eq!(secrets.of("id-cert-and-key"), Some(Path::new("C:\\etc\\sds-id-cert-and-key.yaml")));
        assert_eq!(secrets.of("c2c-cert-and-key"), Some(Path::new("C:\\etc\\c2c.yaml")));
        assert_eq!(secrets.of("id-validation-context"), Some(Path::new("C:\\etc\\v.yaml")));
        assert_eq!((secrets.of("other"), SecretPaths::default().of("id-cert-and-key")), (None, None));
    }

    #[test]
    fn a_value_stands_behind_a_blank_or_an_equals_sign() {
        for line in ["-c e.yaml", "--config-path e.yaml", "--config-path=e.yaml", "-c=e.yaml", "-c f.yaml -c e.yaml"] {
            assert_eq!(serve(line), plain(), "{line}");
        }
        assert_eq!(serve("-c e.yaml --drain-time-s=5 -l error --mode=validate").mode, Mode::Validate);
        assert_eq!(serve("-c=a=b").config, Path::new("a=b"));
    }

    #[test]
    fn every_other_flag_of_envoys_is_passed_over_with_its_value() {
        for flag in IGNORED_WITH_VALUE.iter().filter(|flag| **flag != "--config-yaml") {
            assert_eq!(serve(&format!("{flag} -x -c e.yaml")), plain(), "{flag}");
            assert_eq!(serve(&format!("{flag}=-x -c e.yaml")), plain(), "{flag}");
            assert_eq!(serve(&format!("-c e.yaml {flag}")), plain(), "{flag}");
        }
        for flag in IGNORED_ALONE {
            assert_eq!(serve(&format!("{flag} -c e.yaml")), plain(), "{flag}");
        }
        assert_eq!(serve("-c e.yaml -- --mode nonsense"), plain());
        let warned = serve("--config-yaml admin: -c e.yaml");
        assert_eq!(warned.warnings, ["--config-yaml: passed over; write it into the file that -c names"]);
    }

    #[test]
    fn a_flag_that_nobody_knows_is_passed_over_with_one_warning() {
        for line in ["--novel 7 -c e.yaml", "--novel -c e.yaml", "-c e.yaml --novel"] {
            let args = serve(line);
            assert_eq!(args.warnings, ["\"--novel\": no such flag; passed over"], "{line}");
            assert_eq!(args.config, Path::new("e.yaml"), "{line}");
        }
        assert_eq!(serve("--novel=7 x -c e.yaml").warnings.len(), 2);
    }

    #[test]
    fn levels_and_modes_are_envoys() {
        let level = |word| serve(&format!("-c e.yaml -l {word}")).log_level;
        assert_eq!(["warn", "warning"].map(level), [LogLevel::Warn; 2]);
        assert_eq!(["critical", "off"].map(level), [LogLevel::Off; 2]);
        assert_eq!(level("trace"), LogLevel::Trace);
        assert_eq!(serve("-c e.yaml --mode init_only").mode, Mode::Validate);
        assert_eq!(read("--version -c"), Ok(EnvoyCommand::Version));
        assert_eq!(read("-c e.yaml -h"), Ok(EnvoyCommand::Help));
    }

    #[test]
    fn what_counts_and_is_wrong_is_a_usage_fault_all_at_once() {
        let message = |line| read(line).unwrap_err().message;
        assert_eq!(message("--drain-time-s 5"), "-c: is not given; name the bootstrap: -c envoy.yaml");
        assert_eq!(message("-c"), "-c: has no value; write one behind it");
        assert_eq!(
            message("--drain-time-s 15m -l loud --mode x -c e.yaml"),
            "--drain-time-s: \"15m\" is no number of seconds; write a whole number, as in 900\n\
             -l: \"loud\" is not known; write one of trace, debug, info, warning, warn, error, critical, off\n\
             --mode: \"x\" is not known; write one of serve, validate, init_only"
        );
        assert_eq!(read("").unwrap_err().exit, crate::exit::Exit::Usage);
    }

    #[cfg(unix)]
    #[test]
    fn words_that_are_no_text_do_no_harm() {
        use std::os::unix::ffi::OsStringExt;
        let odd = |prefix: &[u8]| OsString::from_vec([prefix, b"\xff\xfe"].concat());
        let args = [odd(b"--x"), "-c".into(), odd(b"e")];
        let Ok(EnvoyCommand::Serve(args)) = parse(args.into_iter()) else { panic!("a path may be any bytes") };
        assert_eq!((args.config, args.warnings.len()), (odd(b"e").into(), 1));
        assert!(parse([odd(b"--mode="), odd(b"--x=")].into_iter()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_typed_nothing_panics(line in proptest::collection::vec("(-c|-l|--mode|--drain-time-s|--|-|=|.){0,4}", 0..6)) {
            let _ = parse(line.into_iter().map(OsString::from));
        }
    }
}
