//! `policy test`: who is judged, and what is asked for.

use std::ffi::OsString;

use clap::ArgMatches;

use super::{Command, ParseExit, serving};
use crate::config::sources::Environment;
use crate::config::{options, values};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostic, Diagnostics, Problem, Source};
use crate::exit::{Exit, Fault};
use crate::policy::parse_method;

/// A request that is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestedRequest {
    /// `GET`
    pub method: String,
    /// The path as requests have it, with a query or without.
    pub path: String,
    /// What it says in X-Forwarded-Client-Cert.
    pub xfcc: Option<String>,
}

/// Whatever is wrong is a usage fault here: the statuses 0 and 1 are verdicts, and scripts know no others but 2.
pub(super) fn command(matches: &ArgMatches, environment: &Environment) -> Result<Command, ParseExit> {
    let config = serving(options::POLICY_TEST, matches, environment);
    let given = |name: &str| matches.get_one::<OsString>(name);
    let mut diagnostics = Vec::new();
    let mut file = |name: &str| given(name).and_then(|path| noted(name, values::path(path), &mut diagnostics));
    let (peer, client) = (file("peer"), file("client"));
    let xfcc = given("client-xfcc").map(|value| values::text(value).map(str::to_owned));
    let xfcc = xfcc.and_then(|value| noted("client-xfcc", value, &mut diagnostics));
    let method = given("method").map(|method| values::text(method).and_then(parse_method));
    let method = method.and_then(|method| noted("method", method, &mut diagnostics));
    let path = given("path").map(|path| values::text(path).and_then(tested_path));
    let path = path.and_then(|path| noted("path", path, &mut diagnostics));
    if given("peer").is_some() && given("client").is_some() {
        let twice = Problem::new("says who connects, as --peer does", "take one of them out");
        noted::<()>("client", Err(twice), &mut diagnostics);
    }
    for name in ["client", "client-xfcc"] {
        if given(name).is_some() && given("path").is_none() {
            let pathless = Problem::new("says nothing without a path", "add --path /PATH");
            noted::<()>(name, Err(pathless), &mut diagnostics);
        }
    }
    let missing = match (given("peer").or(given("client")), given("method"), given("path")) {
        (None, _, None) => {
            let help = "name a file with the client's certificate chain, or give --path for a client without one";
            Some(("peer", Problem::new("is not given", help)))
        }
        (_, Some(_), None) => Some(("method", Problem::new("says nothing without a path", "add --path /PATH"))),
        _ => None,
    };
    if let Some((name, problem)) = missing {
        noted::<()>(name, Err(problem), &mut diagnostics);
    }
    let diagnostics = match (config, Diagnostics::of(diagnostics)) {
        (Ok(config), None) => {
            let method = method.unwrap_or_else(|| "GET".to_owned());
            let request = path.map(|path| TestedRequest { method, path, xfcc });
            let peer = peer.or(client);
            return Ok(Command::PolicyTest { config, peer, request, json: matches.get_flag("json") });
        }
        (Ok(_), Some(diagnostics)) => diagnostics,
        (Err(wrong), diagnostics) => {
            diagnostics.iter().flat_map(Diagnostics::iter).fold(wrong, |all, one| all.and(one.clone()))
        }
    };
    let mut fault = Fault::from(diagnostics);
    fault.exit = Exit::Usage;
    Err(ParseExit::from(fault))
}

/// What was `read` of a flag; what is wrong with it is noted.
fn noted<T>(name: &str, read: Result<T, Problem>, diagnostics: &mut Vec<Diagnostic>) -> Option<T> {
    read.map_err(|wrong| diagnostics.push(wrong.at(Source::Flag(format!("--{name}"))))).ok()
}

/// A path as requests have it.
fn tested_path(text: &str) -> Result<String, Problem> {
    match text.starts_with('/') || text == "*" {
        true => Ok(text.to_owned()),
        false => Err(Problem::new(
            format!("{} does not begin with /", quote(text)),
            "write a path such as /metrics, or * for OPTIONS *",
        )),
    }
}
