//! `token vault`: flags, and the variables that Vault's own tools read.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::ArgMatches;

use super::{TokenOutput, output, with_pair};
use crate::cli::read;
use crate::cli::tools::Flags;
use crate::config::options::TOKEN_VAULT;
use crate::config::sources::Environment;
use crate::config::values::{Range, name as word};
use crate::config::vault::vault_path;
use crate::config::{PairSource, Vault, VaultMethod, VaultParts, resolve, values};
use crate::diagnostics::{Diagnostics, Problem, Source};

/// What `token vault` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultArgs {
    /// Who logs in.
    pub pair: PairSource,
    /// Where.
    pub vault: Vault,
    /// Where the token is written.
    pub output: TokenOutput,
    /// Once and no more; a token that is printed always is.
    pub once: bool,
}

pub(super) fn read_args(matches: &ArgMatches, environment: &Environment) -> Result<VaultArgs, Diagnostics> {
    let pair = read(TOKEN_VAULT, matches, environment, resolve::pair);
    let mut flags = Flags { command: TOKEN_VAULT, matches, mistakes: Vec::new() };
    let vault = vault(&mut flags, environment);
    let output = output(&mut flags);
    let once = matches.get_flag("once");
    match &output {
        Some(TokenOutput::Stdout) if once => {
            let lonely = Problem::new("says nothing of a token that is printed", "leave it out, or add --write FILE");
            flags.mistakes.push(lonely.at(Source::Flag("--once".to_owned())));
        }
        Some(TokenOutput::File { .. }) if !once && vault.as_ref().is_some_and(|vault| vault.wrap_ttl.is_some()) => {
            let help = "add --once, or leave --wrap-ttl out";
            let problem = Problem::new("gives what is good once, and cannot be kept fresh", help);
            flags.mistakes.push(problem.at(Source::Flag("--wrap-ttl".to_owned())));
        }
        _ => {}
    }
    let all = vault.zip(output);
    with_pair(pair, flags.mistakes, all).map(|(pair, (vault, output))| VaultArgs { pair, vault, output, once })
}

/// `None`: something is wrong, and noted.
fn vault(flags: &mut Flags<'_>, environment: &Environment) -> Option<Vault> {
    let before = flags.mistakes.len();
    let parts = VaultParts {
        addr: given(flags, environment, ("addr", "VAULT_ADDR"), |value| values::api_url(values::text(value)?)),
        namespace: given(flags, environment, ("namespace", "VAULT_NAMESPACE"), |value| {
            vault_path(values::text(value)?)
        }),
        ca: given(flags, environment, ("ca", "VAULT_CACERT"), values::path),
        platform_cas: environment.get("CF_SYSTEM_CERT_PATH").filter(|path| !path.is_empty()).map(PathBuf::from),
        method: flags.read("method", values::one_of::<VaultMethod>)?,
        mount: flags.read("mount", vault_path),
        role: flags.read("role", word),
        audience: flags.read("audience", word),
        policies: flags.all("policy", word),
        wrap_ttl: flags.read("wrap-ttl", |text| values::duration(text, &Range::A_SECOND_TO_AN_HOUR)),
    };
    if flags.mistakes.len() > before {
        return None;
    }
    match parts.complete("--") {
        Ok(vault) => Some(vault),
        Err(wrong) => {
            let at = |(option, problem): (&str, Problem)| problem.at(Source::Flag(format!("--{option}")));
            flags.mistakes.extend(wrong.into_iter().map(at));
            None
        }
    }
}

/// What a flag says, or else a variable of Vault's own tools.
fn given<T>(
    flags: &mut Flags<'_>,
    environment: &Environment,
    (name, variable): (&'static str, &str),
    parse: impl Fn(&OsStr) -> Result<T, Problem>,
) -> Option<T> {
    let flag = flags.matches.get_one::<OsString>(name).map(|value| (value, Source::Flag(format!("--{name}"))));
    let platform = environment.get(variable).filter(|value| !value.is_empty());
    let platform = platform.map(|value| (value, Source::Platform(variable.to_owned())));
    let (value, place) = flag.or(platform)?;
    parse(value).map_err(|wrong| flags.mistakes.push(wrong.at(place))).ok()
}
