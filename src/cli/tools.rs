//! The options of the tools: issuer, demo and wait. They are flags and nothing else.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ArgMatches;
use clap_complete::Shell;

use crate::config::options::Preset;
use crate::config::values::Range;
use crate::config::{ApiUrl, Listen, LogLevel, options, values};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source};
use crate::issuer::{Flaw, KeyKind};

/// The shells that [`completions`](super::completions) are written for.
pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// What else the issuer writes into its folder: the pairs, the CA's file, and the folders.
const ISSUERS_OWN_NAMES: [&str; 5] = ["instance", "client", "ca", "authority", "second"];

/// What `demo` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoArgs {
    /// Where clients dial the demo.
    pub listen: Listen,
    /// It was typed: it must open. The default steps aside.
    pub listen_typed: bool,
    /// Who calls.
    pub calls: DemoCalls,
    /// Tokens are made, verified and refused.
    pub tokens: bool,
    /// How often the pair is replaced.
    pub rotate_every: Duration,
    /// The least severe line of the proxy's own log that is shown.
    pub log_level: LogLevel,
}

/// Who calls in the demo, beside whoever tries its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoCalls {
    /// Nobody.
    Nobody,
    /// Two front-ends, of which one is allowed in.
    GreenBlue,
    /// Two front-ends that may come in, of which one may ask for one path.
    Http,
}

/// What `check` was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Shake hands with those whom the app dials.
    pub connects: bool,
    /// Call the app by way of its router.
    pub route: Option<CheckedRoute>,
    /// Print JSON.
    pub json: bool,
}

/// A route that leads to the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRoute {
    /// Where it begins.
    pub url: ApiUrl,
    /// The CAs that vouch for whoever is there; `None`: those of the platform and of this system.
    pub ca: Option<PathBuf>,
}

/// What `issuer` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerArgs {
    /// Where everything is written; made if it is missing.
    pub dir: PathBuf,
    /// How long each certificate lives; a second at least.
    pub validity: Duration,
    /// The time between rotations; `None` means Diego's schedule.
    pub rotate_every: Option<Duration>,
    /// GUIDs; `None` keeps those of the certificate that is there, else they are random.
    pub org: Option<String>,
    /// See `org`.
    pub space: Option<String>,
    /// See `org`.
    pub app: Option<String>,
    /// The instance id; `None` as for `org`.
    pub instance: Option<String>,
    /// The one IP address in the certificates.
    pub ip: IpAddr,
    /// The kind of the leaves' keys.
    pub key: KeyKind,
    /// Write the pair that announces a retirement, and end.
    pub retire: bool,
    /// Write a faulty pair first.
    pub inject: Option<Flaw>,
    /// Also a pair for another app, `client.crt` and `client.key`.
    pub client: bool,
    /// Also a pair for one more app for each of these file names.
    pub clients_named: Vec<String>,
    /// Also a pair for another instance of the same app, in the folder `second`.
    pub second_instance: bool,
    /// Write once and end, instead of rotating until a signal.
    pub once: bool,
}

pub(super) fn issuer(matches: &ArgMatches) -> Result<IssuerArgs, Diagnostics> {
    let mut args = ToolArgs { command: "issuer", matches, diagnostics: Vec::new() };
    let dir = matches.get_one::<OsString>("DIR").map_or(OsStr::new(""), OsString::as_os_str);
    let dir = match values::path(dir) {
        Ok(dir) => Some(dir),
        Err(wrong) => args.note(wrong.at(Source::Flag("DIR".to_owned()))),
    };
    let validity = args.read("validity", |text| values::duration(text, &Range::A_SECOND_TO_TEN_YEARS));
    let rotate_every = args.read("rotate-every", |text| values::duration(text, &Range::A_MILLISECOND_TO_TEN_YEARS));
    let org = args.read("org", values::word);
    let space = args.read("space", values::word);
    let app = args.read("app", values::word);
    let instance = args.read("instance", values::word);
    let ip = args.read("ip", ip);
    let key = args.parsed("key");
    let inject = args.parsed("inject");
    let (retire, once) = (matches.get_flag("retire"), matches.get_flag("once"));
    let client = matches.get_flag("client");
    let clients_named = args.names("client-named");
    let second_instance = matches.get_flag("second-instance");
    match (dir, validity, ip, key) {
        (Some(dir), Some(validity), Some(ip), Some(key)) if args.diagnostics.is_empty() => Ok(IssuerArgs {
            dir,
            validity,
            rotate_every,
            org,
            space,
            app,
            instance,
            ip,
            key,
            retire,
            inject,
            client,
            clients_named,
            second_instance,
            once,
        }),
        // Not empty: each of the four is given or has a default, so it is missing only if it is wrong.
        _ => Err(Diagnostics::new(args.diagnostics)),
    }
}

pub(super) fn check(matches: &ArgMatches) -> Result<CheckOptions, Diagnostics> {
    let mut args = ToolArgs { command: "check", matches, diagnostics: Vec::new() };
    let url = args.read("route", values::api_url);
    let ca = args.paths("route-ca").pop();
    if url.is_none() && ca.is_some() && args.diagnostics.is_empty() {
        let problem = Problem::new("says who vouches for a route, and none is given", "add --route URL");
        args.diagnostics.push(problem.at(Source::Flag("--route-ca".to_owned())));
    }
    match args.diagnostics.is_empty() {
        true => Ok(CheckOptions {
            connects: matches.get_flag("connect"),
            route: url.map(|url| CheckedRoute { url, ca }),
            json: matches.get_flag("json"),
        }),
        false => Err(Diagnostics::new(args.diagnostics)),
    }
}

pub(super) fn wait(matches: &ArgMatches) -> Result<Duration, Diagnostics> {
    let mut args = ToolArgs { command: "wait", matches, diagnostics: Vec::new() };
    let timeout = args.read("timeout", |text| values::duration(text, &Range::ZERO_TO_AN_HOUR));
    // Not empty: it has a default.
    timeout.ok_or_else(|| Diagnostics::new(args.diagnostics))
}

pub(super) fn demo(matches: &ArgMatches) -> Result<DemoArgs, Diagnostics> {
    let mut args = ToolArgs { command: "demo", matches, diagnostics: Vec::new() };
    let listen = args.read("listen", values::listen);
    let rotate_every = args.read("rotate-every", |text| values::duration(text, &Range::A_MILLISECOND_TO_TEN_YEARS));
    let log_level = args.read("log-level", values::one_of);
    let calls = match (matches.get_flag("green-blue"), matches.get_flag("http")) {
        (false, false) => Some(DemoCalls::Nobody),
        (true, false) => Some(DemoCalls::GreenBlue),
        (false, true) => Some(DemoCalls::Http),
        (true, true) => {
            let problem = Problem::new("is another demo than that of --green-blue", "give one of them");
            args.note(problem.at(Source::Flag("--http".to_owned())))
        }
    };
    match (listen, rotate_every, log_level, calls) {
        (Some(listen), Some(rotate_every), Some(log_level), Some(calls)) => {
            let listen_typed = matches.get_one::<OsString>("listen").is_some();
            let tokens = matches.get_flag("tokens");
            Ok(DemoArgs { listen, listen_typed, calls, tokens, rotate_every, log_level })
        }
        // Not empty: all others have defaults.
        _ => Err(Diagnostics::new(args.diagnostics)),
    }
}

/// The flags of a command that has no other sources, and what is wrong with them.
pub(super) struct ToolArgs<'a> {
    pub(super) command: &'static str,
    pub(super) matches: &'a ArgMatches,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl ToolArgs<'_> {
    pub(super) fn note<T>(&mut self, diagnostic: Diagnostic) -> Option<T> {
        self.diagnostics.push(diagnostic);
        None
    }

    /// The value of a flag or its default. `None` if there is neither, and if it is wrong, which is noted.
    pub(super) fn read<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, Problem>) -> Option<T> {
        let preset = options::of(self.command).find(|option| option.name == name).map(|option| option.default);
        let value = match (self.matches.get_one::<OsString>(name), preset) {
            (Some(value), _) => value.as_os_str(),
            (None, Some(Preset::Value(value))) => OsStr::new(value),
            (None, _) => return None,
        };
        match values::text(value).and_then(parse) {
            Ok(value) => Some(value),
            Err(wrong) => self.note(wrong.at(Source::Flag(format!("--{name}")))),
        }
    }

    /// Every value of a flag that takes several. What is wrong is noted.
    pub(super) fn all<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, Problem>) -> Vec<T> {
        let given = self.matches.get_many::<OsString>(name).into_iter().flatten();
        let read: Vec<_> = given.map(|value| values::text(value).and_then(&parse)).collect();
        let place = || Source::Flag(format!("--{name}"));
        read.into_iter()
            .filter_map(|value| value.map_err(|wrong| self.diagnostics.push(wrong.at(place()))).ok())
            .collect()
    }

    /// Every path of a flag. What is wrong is noted.
    pub(super) fn paths(&mut self, name: &'static str) -> Vec<PathBuf> {
        let given = self.matches.get_many::<OsString>(name).into_iter().flatten();
        let read: Vec<_> = given.map(|value| values::path(value)).collect();
        let place = || Source::Flag(format!("--{name}"));
        read.into_iter()
            .filter_map(|path| path.map_err(|wrong| self.diagnostics.push(wrong.at(place()))).ok())
            .collect()
    }

    /// The value of a flag that is needed; where there is none, `help` is noted.
    pub(super) fn needed<T>(
        &mut self,
        name: &'static str,
        help: &str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        if self.matches.get_one::<OsString>(name).is_none() {
            return self.note(Problem::new("is not given", help).at(Source::Flag(format!("--{name}"))));
        }
        self.read(name, parse)
    }

    /// The names of files, several of them with commas between.
    fn names(&mut self, name: &'static str) -> Vec<String> {
        let given = self.matches.get_many::<OsString>(name).into_iter().flatten();
        let mut names = Vec::new();
        for value in given.filter_map(|value| value.to_str()).flat_map(|value| value.split(',')) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let problem = if value.is_empty() || value.len() > 64 || !value.chars().all(plain) {
                let what = format!("{} is no name for a client's files", quote(value));
                Problem::new(what, "write at most 64 letters, digits, dashes and underscores")
            } else if ISSUERS_OWN_NAMES.contains(&value) {
                Problem::new(format!("{} is a name that the issuer uses itself", quote(value)), "write another")
            } else if names.iter().any(|name| name == value) {
                Problem::new(format!("{} is there twice", quote(value)), "write each name once")
            } else {
                names.push(value.to_owned());
                continue;
            };
            self.diagnostics.push(problem.at(Source::Flag(format!("--{name}"))));
        }
        names
    }

    /// One of the choices in the table, as the type that stands for them.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &'static str) -> Option<T> {
        let help = options::of(self.command)
            .find(|option| option.name == name)
            .map(|option| format!("write one of {}", option.choices.join(", ")))
            .unwrap_or_default();
        self.read(name, |text| text.parse().map_err(|_| Problem::new(format!("{} is not known", quote(text)), help)))
    }
}

fn ip(text: &str) -> Result<IpAddr, Problem> {
    let wrong = |_| Problem::new(format!("{} is not an IP address", quote(text)), "write one such as 127.0.0.1");
    text.parse().map_err(wrong)
}

/// Which shell is to complete.
pub(super) fn shell(matches: &ArgMatches) -> Result<Shell, Diagnostics> {
    let typed = matches.get_one::<OsString>("SHELL").map(|typed| typed.to_string_lossy().into_owned());
    let typed = typed.unwrap_or_default();
    let known = SHELLS.contains(&typed.as_str()).then(|| typed.parse().ok()).flatten();
    known.ok_or_else(|| {
        let what = format!("{} is not a shell that has completions here", quote(&typed));
        Problem::new(what, "write bash, zsh or fish").at(Source::Flag("SHELL".to_owned())).into()
    })
}
