//! `vestibule policy test --peer CERT`: the verdict on a certificate, and the rule that decided.
//!
//! It asks what the handshake asks, of the same files and by the same code; only that the client has the key is not
//! checked. With `--path` it asks as well what is asked of a request.

mod result;
mod servers;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::cli::TestedRequest;

use crate::pem::Pem;
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use crate::config::{
    ClientAuthConfig, ClientAuthSettings, Config, HttpConfig, Listener, PairSource, XfccAbsent, XfccVerify,
};
use crate::credentials::ClientPolicyFiles;
use crate::exit::{Exit, Fault};
use crate::identity::{Client, Identity};
use crate::policy::{Denial, Permit, Route};
use crate::sys;
use crate::trust::{ClientAuth, ClientAuthenticator};
use result::{ExplainedVerdict, PolicyTestResult, RequestResult, TestVerdict};

/// Judges the chain in the file `peer` (PEM, leaf first; `None`: a client without a certificate) at the time `now`: as a client's for each
/// listener that asks for certificates, with its `request` if one is given, and as a server's for each whom the app may dial. Gives what is
/// printed, and [`Exit::Success`] for permits alone or [`Exit::Findings`]: those of clients, or of servers where no client is asked.
///
/// # Errors
/// There is nothing to judge, or nothing to judge it by: always [`Exit::Usage`], because the other statuses are verdicts.
#[inline(never)]
pub fn test(
    config: &Config,
    peer: Option<&Path>,
    request: Option<&TestedRequest>,
    json: bool,
    now: SystemTime,
) -> Result<(String, Exit), Fault> {
    let chain = peer.map(|peer| peer_chain(peer, Exit::Usage)).transpose()?;
    let mut verdicts = Vec::new();
    for listener in &config.listeners {
        if let (ClientAuthConfig::Files(certified), PairSource::Files(own)) = (&listener.clients, &listener.pair) {
            verdicts.push(verdict(listener, certified, &own.cert, (chain.as_deref(), request), now)?);
        }
    }
    let clients = verdicts.len();
    // Requests are made to us.
    if let (Some(listener), Some(chain), None) = (config.listeners.first(), &chain, request) {
        verdicts.extend(servers::verdicts(config, &listener.pair, chain, now)?);
    }
    let deciding = &verdicts[..if clients > 0 { clients } else { verdicts.len() }];
    let exit = match deciding.iter().all(|verdict| verdict.judgement.verdict == TestVerdict::Permit) {
        true => Exit::Success,
        false => Exit::Findings,
    };
    let text = match (verdicts.as_slice(), json) {
        ([], _) => {
            return Err(usage(
                "no listener asks for client certificates, and nobody is dialled; add --allow RULE, --client-auth require or --outbound",
            ));
        }
        ([verdict], true) => to_json(verdict)?,
        (verdicts, true) => to_json(&verdicts)?,
        (verdicts, false) => verdicts.iter().map(PolicyTestResult::to_text).collect::<Vec<_>>().join("\n"),
    };
    Ok((text, exit))
}

fn usage(message: impl AsRef<str>) -> Fault {
    Fault::new(Exit::Usage, message)
}

/// The certificates in the PEM file that `--peer` names, one at least; where there are none, the status is `exit`.
pub(super) fn peer_chain(path: &Path, exit: Exit) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let wrong = |what: String| Fault::new(exit, format!("--peer: {}: {what}", path.display()));
    let pem = sys::file::read(path).map_err(|error| wrong(format!("cannot be read: {error}; name another file")))?;
    let chain = Pem::read(&pem).map_err(|error| wrong(format!("broken PEM: {error}; write the file anew")))?.chain();
    match chain.is_empty() {
        true => Err(wrong("no certificate in it; give the client's chain in PEM, leaf first".to_owned())),
        false => Ok(chain),
    }
}

/// Our own identity as our own certificate says it.
fn own_identity(path: &Path) -> Result<Option<Identity>, Fault> {
    let wrong = |what: String| {
        let help = "a rule cf:same compares clients with it: give --cert and --key";
        usage(format!("{}: {what}; {help}", path.display()))
    };
    let pem = sys::file::read_regular(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let chain = Pem::read(&pem).map_err(|error| wrong(error.to_string()))?.chain();
    let leaf = chain.first().ok_or_else(|| wrong("no certificate in it".to_owned()))?;
    Identity::from_der(leaf).map_err(|error| wrong(error.to_string()))
}

fn verdict(
    listener: &Listener,
    certified: &ClientAuthSettings,
    own_certificate: &Path,
    (chain, request): (Option<&[CertificateDer<'_>]>, Option<&TestedRequest>),
    now: SystemTime,
) -> Result<PolicyTestResult, Fault> {
    let client_policy = ClientPolicyFiles::read(certified, None).and_then(|texts| texts.client_policy(certified));
    let client_policy = Arc::new(client_policy.map_err(|error| usage(error.with_help()))?);
    let own = if client_policy.policy.needs_own_identity() { own_identity(own_certificate)? } else { None };
    let authenticator = ClientAuthenticator::new(Arc::clone(&client_policy), certified.required, own.map(Arc::new));
    let auth = ClientAuth::Certificate(authenticator);
    let of = |judgement, client: Option<&Client>| {
        PolicyTestResult::of(listener.listen.to_string(), client_policy.policy.mode.as_str(), judgement, client)
    };
    let judged = auth.authorize(chain, now);
    if let (Some(http), Some(request)) = (&listener.http, request)
        && let Some(client) = forwarding_client(listener, http, &judged, request)
    {
        let asked = ForwardedRequest { http, request, client, now };
        let (caller, route, judgement) = asked.judge(&auth);
        return Ok(of(judgement, caller.as_ref()).forwarded_by(client).with(Some(RequestResult::of(request, route))));
    }
    let xfcc_given = request.is_some_and(|request| request.xfcc.is_some());
    let not_judged = xfcc_given.then(|| xfcc_not_judged(listener, judged.is_ok()));
    let verdict = judged.as_ref().ok().zip(request).and_then(|((client, _), request)| {
        auth.evaluate_request(client, &request.method, &request.path, listener.http.as_ref()?.paths)
    });
    let judgement = match &verdict {
        Some(verdict) => ExplainedVerdict::of_request(&verdict.result),
        None => ExplainedVerdict::of_client(&judged.map(|(_, permit)| permit)),
    };
    let route = verdict.as_ref().and_then(|verdict| verdict.route);
    let request = request.map(|request| RequestResult::of(request, route));
    let client = chain.and_then(|chain| Client::from_leaf(chain.first()?).ok());
    let client = client.or(chain.is_none().then_some(Client::Anonymous));
    Ok(of(judgement, client.as_ref()).without_xfcc(not_judged).with(request))
}

/// Why nobody looks at what a client says by `listener` of whoever has called it.
fn xfcc_not_judged(listener: &Listener, is_admitted: bool) -> &'static str {
    match &listener.http {
        None => "no request is read here (mode tcp), so that nobody is forwarded",
        Some(_) if !is_admitted => "the client does not get as far as its request",
        Some(http) if http.forward_from.is_empty() => "nobody may forward who calls: --xfcc-forward-from is not given",
        Some(_) => "the client may not forward who calls: no --xfcc-forward-from names it",
    }
}

/// The client that was `judged`, if it may forward who calls: one that is named for that, or, without TLS, whoever may connect.
fn forwarding_client<'a>(
    listener: &Listener,
    http: &HttpConfig,
    judged: &'a Result<(Client, Permit), Denial>,
    request: &TestedRequest,
) -> Option<&'a Client> {
    match judged {
        _ if listener.plaintext.is_some() => request.xfcc.as_ref().map(|_| &Client::Anonymous),
        Ok((client, _)) => Some(client).filter(|client| http.trusts(client)),
        Err(_) => None,
    }
}

/// A request of a client that may forward who calls.
struct ForwardedRequest<'a> {
    http: &'a HttpConfig,
    request: &'a TestedRequest,
    client: &'a Client,
    now: SystemTime,
}

impl ForwardedRequest<'_> {
    /// Who calls, by which route the request is judged, and how.
    fn judge<'a>(&self, auth: &'a ClientAuth) -> (Option<Client>, Option<&'a Route>, ExplainedVerdict) {
        let values: Vec<_> = self.request.xfcc.iter().map(String::as_bytes).collect();
        let needs_certificate = self.http.xfcc_verify == XfccVerify::Require;
        let caller = match auth.forwarded_caller(&values, needs_certificate, self.now) {
            Ok(Some(forwarded)) => forwarded.caller,
            Ok(None) if self.http.xfcc_absent == XfccAbsent::Client => self.client.clone(),
            Ok(None) => Client::Anonymous,
            Err(error) => return (None, None, ExplainedVerdict::of_forwarded(&error)),
        };
        let (method, path) = (&self.request.method, &self.request.path);
        let (route, judgement) = match (auth.evaluate_request(&caller, method, path, self.http.paths), auth) {
            (Some(verdict), _) => (verdict.route, ExplainedVerdict::of_request(&verdict.result)),
            (None, ClientAuth::Certificate(authenticator)) => {
                (None, ExplainedVerdict::for_forwarded_caller(&caller, &authenticator.authorize_caller(&caller)))
            }
            (None, ClientAuth::None) => (
                None,
                ExplainedVerdict::for_forwarded_caller(
                    &caller,
                    &auth.authorize(None, self.now).map(|(_, permit)| permit),
                ),
            ),
        };
        (Some(caller), route, judgement)
    }
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    let failed = |error: serde_json::Error| Fault::new(Exit::Internal, error.to_string());
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(failed)
}

#[cfg(test)]
mod tests;
