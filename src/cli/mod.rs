//! The command line: the only place that knows about argv and clap.
//!
//! clap is told the rows of [`options::OPTIONS`] and hands back strings; what they mean is decided elsewhere, so that
//! a flag is read exactly like the variable and the key of the same name.

pub mod completions;
pub mod envoy;
mod grammar;
mod parse_exit;
mod policy;
mod token;
mod token_verify;
mod tools;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap_complete::Shell;

use crate::config::options::Arity;
use crate::config::resolve::certificate_path;
use crate::config::sources::{Environment, Sources};
use crate::config::{AdminAddr, Config, options, resolve, values};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source};
use crate::supervisor::{LAUNCH, LaunchJob};
use crate::sys;

pub use envoy::EnvoyCommand;
pub use parse_exit::{Help, ParseExit};
pub use policy::TestedRequest;
pub use token::{JwtArgs, TokenCommand, TokenOutput, VaultArgs, VaultCfArgs};
pub use token_verify::{TokenInput, VerifyArgs};
pub use tools::{CheckOptions, CheckedRoute, DemoArgs, DemoCalls, IssuerArgs};

/// What we were asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start the app behind the proxy.
    Run {
        /// The proxy.
        config: Config,
        /// The app: a program and its arguments. Invariant: never empty.
        command: Vec<OsString>,
    },
    /// The proxy alone.
    Proxy {
        /// The proxy.
        config: Config,
    },
    /// Read everything, open nothing.
    Check {
        /// The proxy, or what is wrong with it: here an error is a finding.
        config: Result<Config, Diagnostics>,
        /// What else is looked at, and how it is told.
        options: CheckOptions,
    },
    /// Print the completions for a shell.
    Completions(Shell),
    /// Ask a running proxy once whether it is ready.
    Health {
        /// Where to ask; `None` if that is off.
        admin: Option<AdminAddr>,
    },
    /// Wait until a running proxy is ready.
    Wait {
        /// Where to ask; `None` if that is off.
        admin: Option<AdminAddr>,
        /// How long.
        timeout: Duration,
    },
    /// What a certificate says.
    Identity {
        /// The file that was named, else the one the proxy would serve.
        file: PathBuf,
        /// Print JSON.
        json: bool,
    },
    /// The verdict on a certificate.
    PolicyTest {
        /// The proxy whose listeners judge it.
        config: Config,
        /// The client's chain; `None`: it shows none.
        peer: Option<PathBuf>,
        /// What it asks for, if that is judged too. Invariant: it is there where there is no chain.
        request: Option<TestedRequest>,
        /// Print JSON.
        json: bool,
    },
    /// Make a token, or judge one.
    Token(TokenCommand),
    /// A development CA.
    Issuer(IssuerArgs),
    /// Issuer, app and proxy on one machine.
    Demo(DemoArgs),
    /// What Diego starts.
    Envoy(EnvoyCommand),
    /// Start programs for another process of ours, which is in a sandbox.
    Launch {
        /// Which kind.
        job: LaunchJob,
        /// The program and its arguments.
        words: Vec<OsString>,
    },
}

/// Reads the command line (its first word is the program) in the light of the environment, and the file that either
/// of them names.
pub fn parse<A, E>(argv: A, environment: E) -> Result<Command, ParseExit>
where
    A: IntoIterator<Item = OsString>,
    E: IntoIterator<Item = (OsString, OsString)>,
{
    // A variable whose name is not even UTF-8 is none of ours.
    let environment: Environment =
        environment.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    let argv: Vec<OsString> = argv.into_iter().collect();
    if let Some(args) = envoys(&argv) {
        let sandbox = environment.get(envoy::SANDBOX_VARIABLE).map(OsString::as_os_str);
        return Ok(Command::Envoy(envoy::parse(args.iter().cloned(), sandbox)?));
    }
    if let Some((job, words)) = launchers(&argv) {
        return Ok(Command::Launch { job, words: words.to_vec() });
    }
    let matches = grammar::of_argv(&argv).try_get_matches_from(argv).map_err(ParseExit::from)?;
    match matches.subcommand() {
        Some(("run", matches)) => run(matches, &environment),
        Some(("proxy", matches)) => Ok(Command::Proxy { config: serving("proxy", matches, &environment)? }),
        Some(("check", matches)) => {
            let config = serving("check", matches, &environment);
            Ok(Command::Check { config, options: tools::check(matches)? })
        }
        Some(("health", matches)) => Ok(Command::Health { admin: admin("health", matches, &environment)? }),
        Some(("wait", matches)) => {
            let admin = admin("wait", matches, &environment)?;
            Ok(Command::Wait { admin, timeout: tools::wait(matches)? })
        }
        Some(("identity", matches)) => {
            let file = match matches.get_one::<OsString>("FILE") {
                Some(named) => {
                    let wrong = |wrong: Problem| Diagnostics::from(wrong.at(Source::Flag("FILE".to_owned())));
                    values::path(named).map_err(wrong)?
                }
                None => certificate_path(&environment)?,
            };
            Ok(Command::Identity { file, json: matches.get_flag("json") })
        }
        Some(("policy", matches)) => match matches.subcommand() {
            Some(("test", matches)) => policy::command(matches, &environment),
            _ => Err(ParseExit::from(grammar::no_command())),
        },
        Some(("token", matches)) => token::command(matches, &environment),
        Some(("completions", matches)) => Ok(Command::Completions(tools::shell(matches)?)),
        Some(("issuer", matches)) => Ok(Command::Issuer(tools::issuer(matches)?)),
        Some(("demo", matches)) => Ok(Command::Demo(tools::demo(matches)?)),
        // clap lets nothing else through; should it ever, the list of commands is the best answer.
        _ => Err(ParseExit::from(grammar::no_command())),
    }
}

/// What was typed for Envoy: all of it when the program is called as `envoy`, else what follows the command of that name.
fn envoys(argv: &[OsString]) -> Option<&[OsString]> {
    let (program, args) = argv.split_first()?;
    match args.split_first() {
        _ if Path::new(program).file_stem() == Some(OsStr::new("envoy")) => Some(args),
        Some((command, args)) if command == "envoy" => Some(args),
        _ => None,
    }
}

/// What a process of ours is to start for another.
fn launchers(argv: &[OsString]) -> Option<(LaunchJob, &[OsString])> {
    match argv {
        [_, command, job, words @ ..] if command == LAUNCH => Some((LaunchJob::from_word(job)?, words)),
        _ => None,
    }
}

/// The grammar of the command line as clap has it, for what is derived from it: the manual and completions. Choices are
/// listed in it; [`parse`] reads values by rules of its own.
pub fn grammar() -> clap::Command {
    grammar::shown()
}

fn run(matches: &ArgMatches, environment: &Environment) -> Result<Command, ParseExit> {
    let config = serving("run", matches, environment);
    match app_command(matches) {
        Ok(command) => Ok(Command::Run { config: config?, command }),
        Err(diagnostic) => Err(ParseExit::from(match config {
            Ok(_) => Diagnostics::from(diagnostic),
            Err(diagnostics) => diagnostics.and(diagnostic),
        })),
    }
}

fn app_command(matches: &ArgMatches) -> Result<Vec<OsString>, Diagnostic> {
    let words = |name| matches.get_many::<OsString>(name).into_iter().flatten();
    let wrong = match (words("STRAY").next(), words("COMMAND").next()) {
        (Some(stray), _) => {
            let stray = stray.to_string_lossy();
            Problem::new(
                format!("{} stands before --", quote(&stray)),
                "write vestibule run [OPTIONS] -- COMMAND [ARG...]",
            )
        }
        (None, Some(program)) if !program.is_empty() => return Ok(words("COMMAND").cloned().collect()),
        (None, _) => Problem::new("there is none", "write vestibule run [OPTIONS] -- COMMAND [ARG...]"),
    };
    Err(wrong.at(Source::Flag("COMMAND".to_owned())))
}

/// Where a command asks that needs nothing else to be known.
fn admin(command: &str, matches: &ArgMatches, environment: &Environment) -> Result<Option<AdminAddr>, Diagnostics> {
    Ok(read(command, matches, environment, resolve::admin)?.map(|admin| admin.addr))
}

/// The configuration of a command that serves.
fn serving(command: &str, matches: &ArgMatches, environment: &Environment) -> Result<Config, Diagnostics> {
    read(command, matches, environment, resolve::resolve)
}

/// What `resolve` makes of everything that was typed.
fn read<T>(
    command: &str,
    matches: &ArgMatches,
    environment: &Environment,
    resolve: impl Fn(&Sources<'_>) -> Result<T, Diagnostics>,
) -> Result<T, Diagnostics> {
    let mut flags = Vec::new();
    for option in options::of(command).filter(|option| option.scope != options::Scope::Flag) {
        match option.arity {
            Arity::Switch if matches.get_flag(option.name) => flags.push((option.name, "true".into())),
            Arity::Switch => {}
            Arity::One | Arity::Many => {
                let values = matches.get_many::<OsString>(option.name).into_iter().flatten();
                flags.extend(values.map(|value| (option.name, value.clone())));
            }
        }
    }
    resolve(&Sources {
        flags: &flags,
        environment,
        read_file: &sys::file::read_text,
        starts_app: command != "proxy",
        cpus: sys::limits::cpus_by_quota(),
    })
}

#[cfg(test)]
mod tests;
