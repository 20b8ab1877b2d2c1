//! `token verify`: its options are flags and nothing else.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;

use super::tools::ToolArgs;
use crate::config::options::TOKEN_VERIFY;
use crate::config::values;
use crate::config::values::Range;
use crate::diagnostics::{Diagnostics, Problem, Source};
use crate::token::{RequiredIdentity, VerifiedForm};

/// What `token verify` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyArgs {
    /// Where the token is.
    pub token: TokenInput,
    /// Files and folders of CAs. Invariant: never empty.
    pub ca: Vec<PathBuf>,
    /// Files and folders of CRLs.
    pub crl: Vec<PathBuf>,
    /// For whom it may be. Invariant: never empty.
    pub audiences: Vec<String>,
    /// By how much clocks may differ.
    pub skew: Duration,
    /// How long it may live.
    pub max_ttl: Duration,
    /// How it is written.
    pub form: VerifiedForm,
    /// Whose certificates count.
    pub identity: RequiredIdentity,
    /// The certificate of whoever has sent it.
    pub peer: Option<PathBuf>,
    /// Only bound tokens count.
    pub require_bound: bool,
    /// An `iss` that counts beside the subject.
    pub issuer: Option<String>,
    /// The file of roles, and which of them is asked for.
    pub roles: Option<(PathBuf, Option<String>)>,
    /// Where used tokens are remembered.
    pub replay_file: Option<PathBuf>,
    /// Print JSON.
    pub json: bool,
}

/// Where the token is. Whoever has its text can use it, so it is not printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenInput {
    /// On stdin.
    Stdin,
    /// It was typed.
    Argument(String),
}

impl fmt::Debug for TokenInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdin => "Stdin",
            Self::Argument(_) => "Argument",
        })
    }
}

pub(super) fn verify(matches: &ArgMatches) -> Result<VerifyArgs, Diagnostics> {
    let mut args = ToolArgs { command: TOKEN_VERIFY, matches, diagnostics: Vec::new() };
    let is_given = |name: &str| matches.get_one::<OsString>(name).is_some();
    for (name, help) in [
        ("ca", "name a file with the CAs that vouch for instances"),
        ("audience", "name yourself as senders do; a token for others is nothing to you"),
    ] {
        if !is_given(name) {
            args.diagnostics.push(Problem::new("is not given", help).at(Source::Flag(format!("--{name}"))));
        }
    }
    if is_given("role") && !is_given("roles") {
        let lonely = Problem::new("is in no file of roles", "add --roles FILE");
        args.diagnostics.push(lonely.at(Source::Flag("--role".to_owned())));
    }
    let token = match matches.get_one::<OsString>("TOKEN") {
        Some(token) if token != "-" => TokenInput::Argument(token.to_string_lossy().into_owned()),
        _ => TokenInput::Stdin,
    };
    let (ca, crl) = (args.paths("ca"), args.paths("crl"));
    let audiences = args.all("audience", values::name);
    let skew = args.read("skew", |text| values::duration(text, &Range::ZERO_TO_FIVE_MINUTES));
    let max_ttl = args.read("max-ttl", |text| values::duration(text, &Range::A_SECOND_TO_A_DAY));
    let (form, identity) = (args.parsed("form"), args.parsed("identity"));
    let mut one_path = |name| args.paths(name).pop();
    let (peer, roles, replay_file) = (one_path("peer"), one_path("roles"), one_path("replay-file"));
    let (issuer, role) = (args.read("issuer", values::name), args.read("role", values::name));
    match (skew, max_ttl, form, identity) {
        (Some(skew), Some(max_ttl), Some(form), Some(identity)) if args.diagnostics.is_empty() => Ok(VerifyArgs {
            token,
            ca,
            crl,
            audiences,
            skew,
            max_ttl,
            form,
            identity,
            peer,
            require_bound: matches.get_flag("require-bound"),
            issuer,
            roles: roles.map(|roles| (roles, role)),
            replay_file,
            json: matches.get_flag("json"),
        }),
        // Not empty: each of the four has a default, so it is missing only if it is wrong.
        _ => Err(Diagnostics::new(args.diagnostics)),
    }
}
