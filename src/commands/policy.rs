//! `vestibule policy test --peer CERT`: the verdict on a certificate, and the rule that decided.
//!
//! It asks what the handshake asks, of the same files and by the same code; only that the client has the key is not
//! checked.

mod servers;

use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

use crate::pem::Pem;
use rustls::pki_types::CertificateDer;
use serde::Serialize;

use crate::config::{ClientAuthConfig, ClientAuthFiles, Config, PairSource};
use crate::credentials::ClientPolicyFiles;
use crate::diagnostics::{LONGEST_FIELD, SafeText};
use crate::exit::{Exit, Fault};
use crate::identity::{Client, Identity};
use crate::policy::{Denial, Permit};
use crate::sys;
use crate::trust::{AuthenticatedServer, ServerDenial};

/// Judges the chain in the file `peer` (PEM, leaf first) at the time `now`: as a client's for each listener that asks for certificates, and
/// as a server's for each whom the app may dial. Gives what is printed, and [`Exit::Success`] for permits alone or [`Exit::Findings`]: those
/// of clients, or of servers where no client is asked.
///
/// # Errors
/// There is nothing to judge, or nothing to judge it by: always [`Exit::Usage`], because the other statuses are verdicts.
#[inline(never)]
pub fn test(config: &Config, peer: &Path, json: bool, now: SystemTime) -> Result<(String, Exit), Fault> {
    let chain = peer_chain(peer, Exit::Usage)?;
    let mut verdicts = Vec::new();
    for listener in &config.listeners {
        if let (ClientAuthConfig::Files(certified), PairSource::Files(own)) = (&listener.clients, &listener.pair) {
            verdicts.push(verdict(listener.listen.to_string(), certified, &own.cert, &chain, now)?);
        }
    }
    let clients = verdicts.len();
    if let Some(listener) = config.listeners.first() {
        verdicts.extend(servers::verdicts(config, &listener.pair, &chain, now)?);
    }
    let deciding = &verdicts[..if clients > 0 { clients } else { verdicts.len() }];
    let exit = match deciding.iter().all(|verdict| verdict.verdict == TestVerdict::Permit) {
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
    listener: String,
    certified: &ClientAuthFiles,
    own_certificate: &Path,
    chain: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<PolicyTestResult, Fault> {
    let client_policy = ClientPolicyFiles::read(certified, None).and_then(|texts| texts.client_policy(certified));
    let client_policy = client_policy.map_err(|error| usage(error.with_help()))?;
    let own = if client_policy.policy.needs_own_identity() { own_identity(own_certificate)? } else { None };
    let judged = client_policy.authorize(chain, own.as_ref(), now).map(|(_, permit)| permit);
    let client = chain.first().and_then(|leaf| Client::from_leaf(leaf).ok());
    Ok(PolicyTestResult::of(listener, client_policy.policy.mode.as_str(), &judged, client.as_ref()))
}

/// What is printed, under the names that `--json` gives.
#[derive(Serialize)]
struct PolicyTestResult {
    listener: String,
    /// Whom the app dials there; `None`: clients are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    mode: &'static str,
    verdict: TestVerdict,
    /// The rule that decided, if one did.
    rule: Option<String>,
    /// Why not; with a permit, why not if audit mode had not let the client in.
    denial_reason: Option<&'static str>,
    /// The reason as a sentence.
    detail: Option<SafeText>,
    /// What the certificate says, believed or not.
    identity: Option<CertificateParts>,
    subject: Option<SafeText>,
    serial: Option<SafeText>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum TestVerdict {
    Permit,
    Denial,
}

/// A Cloud Foundry identity.
#[derive(Serialize)]
struct CertificateParts {
    organization: Option<String>,
    space: Option<String>,
    app: Option<String>,
    instance: Option<String>,
}

impl PolicyTestResult {
    fn of(listener: String, mode: &'static str, judged: &Result<Permit, Denial>, client: Option<&Client>) -> Self {
        let (verdict, rule, denial) = match judged {
            Ok(permit) => (TestVerdict::Permit, permit.rule(), permit.audited_denial()),
            Err(denial) => (TestVerdict::Denial, denial.rule(), Some(denial)),
        };
        let holder = client.and_then(Client::certificate);
        Self {
            listener,
            to: None,
            mode,
            verdict,
            rule: rule.map(ToString::to_string),
            denial_reason: denial.map(|denial| denial.reason().as_str()),
            detail: denial.map(|denial| SafeText::up_to(LONGEST_FIELD, denial)),
            identity: client.and_then(Client::identity).map(CertificateParts::of),
            subject: holder.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.subject)),
            serial: holder.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.serial)),
        }
    }

    /// Of a server that is dialled as `to` for whoever connects to `listener`.
    fn of_server(
        (listener, to): (String, String),
        mode: &'static str,
        judged: &Result<AuthenticatedServer, ServerDenial>,
    ) -> Self {
        let certificate = match judged {
            Ok(server) => Some(&server.certificate),
            Err(denial) => denial.certificate.as_ref(),
        };
        let rule = judged.as_ref().ok().and_then(|server| server.permit.as_ref()?.rule());
        let denial = judged.as_ref().err();
        Self {
            listener,
            to: Some(to),
            mode,
            verdict: if denial.is_none() { TestVerdict::Permit } else { TestVerdict::Denial },
            rule: rule.map(ToString::to_string),
            denial_reason: denial.map(|denial| denial.reason.as_str()),
            detail: denial.map(|denial| SafeText::up_to(LONGEST_FIELD, denial)),
            identity: certificate
                .and_then(|holder| Some(CertificateParts::of(holder.identity.as_ref().ok()?.as_ref()?))),
            subject: certificate.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.subject)),
            serial: certificate.map(|holder| SafeText::up_to(LONGEST_FIELD, &holder.serial)),
        }
    }

    fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            // A String takes everything; only the trait's signature knows of errors.
            let _ = writeln!(out, "{name:<14}{value}");
        };
        line("listener", &self.listener);
        if let Some(to) = &self.to {
            line("to", to);
        }
        line("verdict", if self.verdict == TestVerdict::Permit { "permit" } else { "denial" });
        line("rule", self.rule.as_deref().unwrap_or("none"));
        if let (Some(reason), Some(detail)) = (self.denial_reason, &self.detail) {
            line("reason", &format!("{reason}: {detail}"));
        }
        if self.verdict == TestVerdict::Permit && self.denial_reason.is_some() {
            line("audit", "let in all the same; mode enforce would refuse");
        }
        if let Some(parts) = &self.identity {
            let named = [
                ("organization", &parts.organization),
                ("space", &parts.space),
                ("app", &parts.app),
                ("instance", &parts.instance),
            ];
            for (name, value) in named {
                line(name, value.as_deref().unwrap_or("none"));
            }
        }
        for (name, value) in [("subject", &self.subject), ("serial", &self.serial)] {
            if let Some(value) = value {
                line(name, value.as_str());
            }
        }
        match (self.denial_reason, &self.to) {
            (Some(reason), None) => line("see", &format!("docs/troubleshooting.md#denied-{reason}")),
            (Some(_), Some(_)) => line("see", "docs/reference/access-log.md#outbound-reasons"),
            (None, _) => {}
        }
        out
    }
}

impl CertificateParts {
    fn of(identity: &Identity) -> Self {
        Self {
            organization: identity.organization.map(|guid| guid.to_string()),
            space: identity.space.map(|guid| guid.to_string()),
            app: identity.app.map(|guid| guid.to_string()),
            instance: identity.instance.as_ref().map(ToString::to_string),
        }
    }
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    let failed = |error: serde_json::Error| Fault::new(Exit::Internal, error.to_string());
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(failed)
}
