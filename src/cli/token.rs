//! The commands below `token`. Their options are flags and nothing else, but for where the pair is found.

mod vault;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;

pub use self::vault::VaultArgs;
use super::tools::ToolArgs;
use super::{Command, ParseExit, VerifyArgs, grammar, read, token_verify};
use crate::config::options::{TOKEN_JWT, TOKEN_VAULT_CF};
use crate::config::sources::Environment;
use crate::config::values::{FileMode, Range};
use crate::config::{PairSource, resolve, values};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source};
use crate::token::{ChainPart, Claim, TokenForm, TokenRequest};

/// What is to be done with tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenCommand {
    /// Make a JWT.
    Jwt(JwtArgs),
    /// Make the login of Vault's CF method.
    VaultCf(VaultCfArgs),
    /// Judge a JWT.
    Verify(VerifyArgs),
    /// Log in to Vault.
    Vault(VaultArgs),
}

/// What `token jwt` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtArgs {
    /// Whose key signs.
    pub pair: PairSource,
    /// What it is to say.
    pub request: TokenRequest,
    /// Where it is written.
    pub output: TokenOutput,
}

/// Where a token is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOutput {
    /// To stdout, one line.
    Stdout,
    /// To a file, whole or not at all.
    File {
        /// Where.
        path: PathBuf,
        /// Its permissions.
        mode: FileMode,
    },
}

/// What `token vault-cf` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultCfArgs {
    /// Whose key signs.
    pub pair: PairSource,
    /// What is asked for.
    pub role: String,
}

pub(super) fn command(matches: &ArgMatches, environment: &Environment) -> Result<Command, ParseExit> {
    match matches.subcommand() {
        Some(("jwt", matches)) => Ok(Command::Token(TokenCommand::Jwt(jwt(matches, environment)?))),
        Some(("vault-cf", matches)) => Ok(Command::Token(TokenCommand::VaultCf(vault_cf(matches, environment)?))),
        Some(("verify", matches)) => Ok(Command::Token(TokenCommand::Verify(token_verify::verify(matches)?))),
        Some(("vault", matches)) => Ok(Command::Token(TokenCommand::Vault(vault::read_args(matches, environment)?))),
        _ => Err(ParseExit::from(grammar::no_command())),
    }
}

fn vault_cf(matches: &ArgMatches, environment: &Environment) -> Result<VaultCfArgs, Diagnostics> {
    let pair = read(TOKEN_VAULT_CF, matches, environment, resolve::pair);
    let mut args = ToolArgs { command: TOKEN_VAULT_CF, matches, diagnostics: Vec::new() };
    let role = args.needed("role", "name the role of Vault that is asked for", values::name);
    with_pair(pair, args.diagnostics, role).map(|(pair, role)| VaultCfArgs { pair, role })
}

fn jwt(matches: &ArgMatches, environment: &Environment) -> Result<JwtArgs, Diagnostics> {
    let pair = read(TOKEN_JWT, matches, environment, resolve::pair);
    let mut args = ToolArgs { command: TOKEN_JWT, matches, diagnostics: Vec::new() };
    let request = request(&mut args);
    let output = output(&mut args);
    let both = request.zip(output);
    with_pair(pair, args.diagnostics, both).map(|(pair, (request, output))| JwtArgs { pair, request, output })
}

/// `value` with its pair, if nothing is wrong with either.
fn with_pair<T>(
    pair: Result<PairSource, Diagnostics>,
    diagnostics: Vec<Diagnostic>,
    value: Option<T>,
) -> Result<(PairSource, T), Diagnostics> {
    match (pair, value) {
        (Ok(pair), Some(value)) if diagnostics.is_empty() => Ok((pair, value)),
        (Err(wrong), _) => Err(diagnostics.into_iter().fold(wrong, Diagnostics::and)),
        // Not empty: a value that is missing was noted.
        (Ok(_), _) => Err(Diagnostics::new(diagnostics)),
    }
}

/// `None`: something is wrong, and noted.
fn request(args: &mut ToolArgs<'_>) -> Option<TokenRequest> {
    let wrong = |flag: &str, what: &str, help: &str, args: &mut ToolArgs<'_>| {
        args.diagnostics.push(Problem::new(what, help).at(Source::Flag(flag.to_owned())));
    };
    let audience = args.all("audience", values::name);
    if args.matches.get_many::<OsString>("audience").is_none() {
        wrong(
            "--audience",
            "is not given",
            "name the receiver; a token for everybody could be used by everybody",
            args,
        );
    }
    let ttl: Option<Duration> = args.read("ttl", |text| values::duration(text, &Range::TEN_SECONDS_TO_AN_HOUR));
    let policies = args.all("policy", values::name);
    let client_id = args.read("client-id", values::name);
    let form: Option<FormArg> = args.parsed("form");
    let form = match (form?, client_id) {
        (FormArg::Uaa, None) => {
            wrong("--form", "uaa needs a client", "add --client-id ID", args);
            None
        }
        (FormArg::Uaa, Some(client_id)) => Some(TokenForm::Uaa { client_id }),
        (FormArg::Standard | FormArg::Comcast, Some(_)) => {
            wrong("--client-id", "says nothing in this form", "leave it out, or add --form uaa", args);
            None
        }
        (FormArg::Comcast, None) if policies.is_empty() => {
            wrong("--form", "comcast needs a policy", "add --policy POLICY", args);
            None
        }
        (FormArg::Comcast, None) => Some(TokenForm::Comcast { policies: policies.clone() }),
        (FormArg::Standard, None) => Some(TokenForm::Standard),
    };
    if !policies.is_empty() && !matches!(form, None | Some(TokenForm::Comcast { .. })) {
        wrong("--policy", "says nothing in this form", "leave it out, or add --form comcast", args);
    }
    let chain: Option<ChainPart> = args.parsed("chain");
    if matches!((&form, chain), (Some(TokenForm::Comcast { .. }), Some(ChainPart::None))) {
        wrong("--chain", "none leaves nothing to verify by in the form comcast", "write full or leaf", args);
    }
    let algorithm = args.matches.get_one::<OsString>("alg").map(|_| args.parsed("alg"));
    let subject = args.read("subject", values::name);
    let issuer = args.read("issuer", values::name);
    let bind = args.matches.get_flag("bind");
    if matches!(form, Some(TokenForm::Uaa { .. })) {
        for (flag, is_given) in [("--subject", subject.is_some()), ("--issuer", issuer.is_some())] {
            if is_given {
                wrong(flag, "is the client's in the form uaa", "leave it out", args);
            }
        }
        let chain_is_given = args.matches.value_source("chain") == Some(ValueSource::CommandLine);
        for (flag, is_given) in [("--bind", bind), ("--chain", chain_is_given)] {
            if is_given {
                wrong(flag, "says nothing in the form uaa, which has no certificate", "leave it out", args);
            }
        }
    }
    let claims: Vec<Claim> = args.all("claim", str::parse);
    let twice =
        claims.iter().enumerate().find(|(at, claim)| claims[..*at].iter().any(|one| one.name() == claim.name()));
    if let Some((_, claim)) = twice {
        let what = format!("{} is given twice", quote(claim.name()));
        wrong("--claim", &what, "write each claim once: a token has one value for it", args);
    }
    if !args.diagnostics.is_empty() {
        return None;
    }
    let algorithm = algorithm.flatten();
    Some(TokenRequest { audience, ttl: ttl?, form: form?, algorithm, chain: chain?, subject, issuer, claims, bind })
}

/// The words for [`TokenForm`].
#[derive(Debug, Clone, Copy, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
enum FormArg {
    Standard,
    Comcast,
    Uaa,
}

fn output(args: &mut ToolArgs<'_>) -> Option<TokenOutput> {
    let mode = args.read("mode", values::file_mode);
    let Some(file) = args.matches.get_one::<OsString>("write") else {
        if args.matches.get_one::<OsString>("mode").is_some() {
            let lonely = Problem::new("is the mode of no file", "add --write FILE");
            return args.note(lonely.at(Source::Flag("--mode".to_owned())));
        }
        return Some(TokenOutput::Stdout);
    };
    match values::path(file) {
        Ok(path) => Some(TokenOutput::File { path, mode: mode? }),
        Err(wrong) => args.note(wrong.at(Source::Flag("--write".to_owned()))),
    }
}
