//! Judges who may come in: the CAs of clients, their CRLs, the rules.
//!
//! They are read by the code that serves, so what is refused here is refused there.

mod routes;

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::pem::Pem;

use super::finding::{Findings, Subject};
use crate::commands::text;
use crate::config::{ClientAuthConfig, ClientAuthSettings, Config};
use crate::credentials::{ClientPolicyFiles, FileKind, TrustError, read_half};
use crate::identity::Identity;
use crate::policy::{Policy, PolicyMode, Rule};
use crate::trust::{Ca, ClientPolicy, CrlIssuer, TrustAnchors};

/// A CA that expires within this time is to be replaced now: its successor has to reach every client first.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Judges each listener that asks for certificates; those that ask for the same are judged once.
pub(super) fn check(config: &Config, now: SystemTime, found: &mut Findings) {
    let mut judged: Vec<&ClientAuthSettings> = Vec::new();
    let own = config.pair_files().and_then(|files| own_identity(&files.cert));
    for listener in &config.listeners {
        let ClientAuthConfig::Files(certified) = &listener.clients else { continue };
        if judged.contains(&certified) {
            continue;
        }
        judged.push(certified);
        let place = if config.listeners.len() > 1 { format!("{}: ", listener.listen) } else { String::new() };
        let client_policy = ClientPolicyFiles::read(certified, None).and_then(|texts| texts.client_policy(certified));
        let is_plaintext = listener.plaintext.is_some();
        let mut check = ClientChecks { place, certified, is_plaintext, now, own: own.as_ref(), found: &mut *found };
        match client_policy {
            Ok(client_policy) => check.client_policy(&client_policy),
            Err(error) => error.each().iter().for_each(|error| check.unread(error)),
        }
    }
}

/// Our own identity, if our own certificate says one; what is wrong with the certificate is said elsewhere.
pub(super) fn own_identity(cert: &Path) -> Option<Identity> {
    let chain = Pem::read(&read_half(cert).ok()?).ok()?.chain();
    Identity::from_der(chain.first()?).ok().flatten()
}

/// What is to be said of the dates of a CA at the time `now`, and what helps; `None`: nothing.
pub(super) fn ending(ca: &Ca, now: SystemTime) -> Option<(String, &'static str)> {
    let Ca { subject, not_before, not_after, .. } = ca;
    let until = text::timestamp(*not_after);
    let left = not_after.duration_since(now);
    match left {
        Err(_) => Some((format!("the CA {subject} expired on {until}"), "take it out, or put its successor there")),
        Ok(_) if now < *not_before => {
            let what = format!("the CA {subject} is not valid before {}", text::timestamp(*not_before));
            Some((what, "wait, or compare `date -u` with another machine's"))
        }
        Ok(left) if left < SOON => {
            let what = format!("the CA {subject} expires on {until}, in {}", text::duration(left));
            Some((what, "put its successor beside it now"))
        }
        Ok(_) => None,
    }
}

/// What is judged by, for one listener.
struct ClientChecks<'a> {
    /// Which listener, where there are several.
    place: String,
    certified: &'a ClientAuthSettings,
    /// There is no handshake: who calls is forwarded.
    is_plaintext: bool,
    now: SystemTime,
    own: Option<&'a Identity>,
    found: &'a mut Findings,
}

impl ClientChecks<'_> {
    fn ok(&mut self, subject: Subject, message: &str) {
        self.found.ok(subject, format!("{}{message}", self.place));
    }

    fn warning(&mut self, subject: Subject, message: &str, help: &str) {
        self.found.warning(subject, format!("{}{message}", self.place), help);
    }

    fn problem(&mut self, subject: Subject, message: &str, help: &str) {
        self.found.problem(subject, format!("{}{message}", self.place), help);
    }

    fn unread(&mut self, error: &TrustError) {
        let help = "correct it: until it can be read, nobody comes in";
        match error {
            TrustError::Policy(diagnostics) => {
                for diagnostic in diagnostics.iter() {
                    let what = format!("{}: {}", diagnostic.source, diagnostic.problem.what);
                    self.problem(Subject::Rules, &what, &diagnostic.problem.help);
                }
            }
            other => {
                let subject = match other.kind() {
                    FileKind::ClientCrl => Subject::Crl,
                    FileKind::Policy => Subject::Rules,
                    FileKind::ClientCa | FileKind::Certificate => Subject::ClientCa,
                    FileKind::TokenCa | FileKind::TokenCrl => Subject::Tokens,
                    FileKind::ServerCa => Subject::Outbound,
                };
                self.problem(subject, &error.to_string(), help);
            }
        }
    }

    fn client_policy(&mut self, ClientPolicy { anchors, policy, notes, .. }: &ClientPolicy) {
        for note in notes {
            self.warning(Subject::ClientCa, note, "take it out, or put there what is meant");
        }
        self.cas(anchors.cas());
        self.crls(anchors);
        self.policy(policy);
        if self.is_plaintext && !policy.admitting_rules().any(|rule| *rule == Rule::Anonymous) {
            let what = "an HTTP health check of the platform forwards nobody, and no rule, no route and no --health-path admits anonymous: it would be answered with 401";
            self.ok(Subject::Rules, what);
        }
    }

    fn cas(&mut self, cas: &[Ca]) {
        if self.certified.ca.is_empty() && cas.is_empty() {
            return self.ok(Subject::ClientCa, "no CA is known, so certificates that are forwarded are refused");
        }
        let now = self.now;
        let valid = cas.iter().filter(|ca| ca.not_before <= now && now <= ca.not_after).count();
        let places: Vec<_> =
            self.certified.ca.iter().chain(&self.certified.issuer_of).map(|path| path.display().to_string()).collect();
        let counted = format!("{} in {}", count(cas.len(), "CA"), places.join(", "));
        match valid {
            0 => self.problem(
                Subject::ClientCa,
                &format!("{counted}, and none is valid now: nobody comes in"),
                "give --client-ca the CAs that issue now",
            ),
            _ => self.ok(Subject::ClientCa, &format!("{counted} may vouch for clients")),
        }
        for (what, help) in cas.iter().filter_map(|ca| ending(ca, now)) {
            self.warning(Subject::ClientCa, &what, help);
        }
    }

    fn crls(&mut self, anchors: &TrustAnchors) {
        let now = self.now;
        for note in anchors.crl_notes() {
            let help = "compare the CRL with the CAs: put its issuer beside them, or take out what is not meant";
            self.warning(Subject::Crl, note, help);
        }
        let issuers = anchors.crl_issuers();
        let help = "see whether what writes it still runs";
        let mut current = true;
        for crl in anchors.crls() {
            if now < crl.this_update {
                current = false;
                let what = format!("{}: it is dated {}, which is to come", crl.place, text::timestamp(crl.this_update));
                self.warning(Subject::Crl, &what, "compare `date -u` with another machine's");
            }
            let Some(next) = crl.next_update.filter(|next| *next < now) else { continue };
            current = false;
            let what = format!(
                "{}: the CRL of {} was to be replaced by {}, {} ago: what was revoked since is not in it",
                crl.place,
                crl.issuer,
                text::timestamp(next),
                text::duration(now.duration_since(next).unwrap_or_default())
            );
            let has_other =
                |other: &CrlIssuer<'_>| other.issuer == crl.issuer && other.next_update.is_none_or(|next| next >= now);
            if issuers.iter().any(has_other) {
                self.warning(Subject::Crl, &what, "take it out, since a later one of this issuer is there");
            } else {
                self.problem(Subject::Crl, &what, help);
            }
        }
        if !anchors.crls().is_empty() && current {
            self.ok(Subject::Crl, &format!("{}, each of them current", count(anchors.crls().len(), "CRL")));
        }
    }

    fn policy(&mut self, policy: &Policy) {
        let Policy { mode, allow, deny, routes } = policy;
        if self.certified.any_implied {
            let what = "no rule is given: every client with a certificate under these CAs comes in";
            self.warning(Subject::Rules, what, "add --allow RULE, or --allow any to say so");
        } else if allow.is_empty() && routes.is_empty() {
            self.problem(Subject::Rules, "no rule admits anybody", "add --allow RULE, or allow = [...] to the file");
        } else {
            let counted = format!("{} to allow, {} to deny", count(allow.len(), "rule"), deny.len());
            let counted = match routes.iter().len() {
                0 => counted,
                number => format!("{counted}, {}", count(number, "route")),
            };
            self.ok(Subject::Rules, &counted);
        }
        if *mode == PolicyMode::Audit {
            let what = "mode audit: whoever has a certificate under these CAs comes in, and denials are only logged";
            self.warning(Subject::Rules, what, "choose enforce when the access log entries are as they should be");
        }
        for rule in allow {
            if let Some(deny) = deny.iter().find(|deny| deny.covers(rule)) {
                let what = format!("allow {rule} admits nobody: deny {deny} beats it");
                self.warning(Subject::Rules, &what, "take one of them out");
            }
        }
        for (list, rule) in allow.iter().map(|rule| ("allow", rule)).chain(deny.iter().map(|rule| ("deny", rule))) {
            self.rule(list, rule);
        }
        self.routes(policy);
    }

    /// Judges a rule by itself.
    fn rule(&mut self, list: &str, rule: &Rule) {
        let never = format!("{list} {rule} means nobody");
        match rule {
            Rule::Anonymous if self.certified.required => {
                let what = format!("{never}: every client must show a certificate");
                self.warning(Subject::Rules, &what, "add --client-auth request, or take the rule out");
            }
            Rule::Same(kin) if self.own.and_then(|own| kin.of(own)).is_none() => {
                let what = format!("{never}: our own certificate does not say it");
                self.warning(Subject::Rules, &what, "name the GUID instead, or give --cert an instance's certificate");
            }
            rule => {
                if let Some(guid) = rule.guid_for_a_name() {
                    let what = format!(
                        "{list} {rule} looks like Cloud Foundry's {guid}, and a rule on a name admits none of its certificates"
                    );
                    let help = format!("write cf:app:{guid} or cf:instance:{guid}");
                    self.warning(Subject::Rules, &what, &help);
                }
            }
        }
    }
}

/// `1 CA`, `2 CAs`
fn count(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

#[cfg(test)]
mod tests;
