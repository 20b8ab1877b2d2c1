//! `token vault`: flags, and the variables that Vault's own tools read.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::ArgMatches;

use super::{TokenOutput, output, with_pair};
use crate::cli::read;
use crate::cli::tools::ToolArgs;
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
    let mut args = ToolArgs { command: TOKEN_VAULT, matches, diagnostics: Vec::new() };
    let vault = vault(&mut args, environment);
    let output = output(&mut args);
    let once = matches.get_flag("once");
    match &output {
        Some(TokenOutput::Stdout) if once => {
            let lonely = Problem::new("says nothing of a token that is printed", "leave it out, or add --write FILE");
            args.diagnostics.push(lonely.at(Source::Flag("--once".to_owned())));
        }
        Some(TokenOutput::File { .. }) if !once && vault.as_ref().is_some_and(|vault| vault.wrap_ttl.is_some()) => {
            let help = "add --once, or leave --wrap-ttl out";
            let problem = Problem::new("gives what is good once, and cannot be kept fresh", help);
            args.diagnostics.push(problem.at(Source::Flag("--wrap-ttl".to_owned())));
        }
        _ => {}
    }
    let all = vault.zip(output);
    with_pair(pair, args.diagnostics, all).map(|(pair, (vault, output))| VaultArgs { pair, vault, output, once })
}

/// `None`: something is wrong, and noted.
fn vault(args: &mut ToolArgs<'_>, environment: &Environment) -> Option<Vault> {
    let before = args.diagnostics.len();
    let parts = VaultParts {
        addr: given(args, environment, ("addr", "VAULT_ADDR"), |value| values::api_url(values::text(value)?)),
        namespace: given(args, environment, ("namespace", "VAULT_NAMESPACE"), |value| vault_path(values::text(value)?)),
        ca: given(args, environment, ("ca", "VAULT_CACERT"), values::path),
        platform_cas: environment.get("CF_SYSTEM_CERT_PATH").filter(|path| !path.is_empty()).map(PathBuf::from),
        method: args.read("method", values::one_of::<VaultMethod>)?,
        mount: args.read("mount", vault_path),
        role: args.read("role", word),
        audience: args.read("audience", word),
        policies: args.all("policy", word),
        wrap_ttl: args.read("wrap-ttl", |text| values::duration(text, &Range::A_SECOND_TO_AN_HOUR)),
    };
    if args.diagnostics.len() > before {
        return None;
    }
    match parts.complete("--") {
        Ok(vault) => Some(vault),
        Err(wrong) => {
            let at = |(option, problem): (&str, Problem)| problem.at(Source::Flag(format!("--{option}")));
            args.diagnostics.extend(wrong.into_iter().map(at));
            None
        }
    }
}

/// What a flag says, or else a variable of Vault's own tools.
fn given<T>(
    args: &mut ToolArgs<'_>,
    environment: &Environment,
    (name, variable): (&'static str, &str),
    parse: impl Fn(&OsStr) -> Result<T, Problem>,
) -> Option<T> {
    let flag = args.matches.get_one::<OsString>(name).map(|value| (value, Source::Flag(format!("--{name}"))));
    let platform = environment.get(variable).filter(|value| !value.is_empty());
    let platform = platform.map(|value| (value, Source::Platform(variable.to_owned())));
    let (value, place) = flag.or(platform)?;
    parse(value).map_err(|wrong| args.diagnostics.push(wrong.at(place))).ok()
}
