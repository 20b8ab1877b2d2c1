//! Server authentication: who may answer us, by certificate, name and rules.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

use super::TrustAnchors;
use super::server_denial::{ServerDenial, ServerDenialReason, ServerRemedies};
use crate::diagnostics::{SafeText, date};
use crate::identity::{Certificate, Client, Identity, PeerCertificate};
use crate::policy::{Denial, DenialReason, Permit, Policy};

/// Characters of the name of a CA that nobody vouches for.
const LONGEST_NAME: usize = 200;

/// What helps where a certificate is at fault and not who vouches for it.
const ISSUED_ANEW: &str = "have the server's certificate issued anew";

/// Judges whoever answers one outbound listener, as it stands in one generation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerAuthenticator(Arc<ServerRules>);

#[derive(Debug)]
struct ServerRules {
    anchors: TrustAnchors,
    others: Option<OtherAnchors>,
    /// Who may answer; `None`: whoever has the name.
    expected: Option<Policy>,
    /// Our own identity, for the rules that compare with it, and for whoever has to let us in.
    own: Option<Arc<Identity>>,
    name_check: NameCheck,
    asked: String,
    help: Option<String>,
    remedies: ServerRemedies,
}

/// What a [`ServerAuthenticator`] is made of.
#[derive(Debug)]
pub struct ServerPolicy {
    /// Who vouches for servers.
    pub anchors: TrustAnchors,
    /// CAs that do not vouch, and of which it is said that they would.
    pub others: Option<OtherAnchors>,
    /// Who may answer; `None`: whoever has the name.
    pub expected: Option<Policy>,
    /// Our own identity.
    pub own: Option<Arc<Identity>>,
    /// What of what is dialled has to be in the certificate.
    pub name_check: NameCheck,
    /// What the anchors are called: `CAs of --outbound-ca (system)`.
    pub asked: String,
    /// What is said to help where none of them vouches, if nobody says [`ServerRemedies::untrusted`] beside.
    pub help: Option<String>,
    /// What helps.
    pub remedies: ServerRemedies,
}

/// CAs that do not vouch for servers, though somebody may think that they do.
#[derive(Debug)]
pub struct OtherAnchors {
    /// The CAs.
    pub anchors: TrustAnchors,
    /// What is said of a server for which they would vouch.
    pub detail: &'static str,
    /// What helps then.
    pub remedy: String,
}

/// What of what is dialled has to be in the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCheck {
    /// A name, and an address too.
    All,
    /// A name. An address says nothing of who has it now.
    Names,
    /// Nothing: an identity is expected.
    Nothing,
}

/// A server that may be given the app's bytes.
#[derive(Debug, Clone)]
pub struct AuthenticatedServer {
    /// Who it is.
    pub certificate: Arc<PeerCertificate>,
    /// By which rule; `None` where its name was enough.
    pub permit: Option<Permit>,
    /// Its platform has announced that it is about to stop.
    pub is_retiring: bool,
}

impl ServerAuthenticator {
    /// An authenticator that goes by `policy`.
    pub fn new(policy: ServerPolicy) -> Self {
        let ServerPolicy { anchors, others, expected, own, name_check, asked, help, remedies } = policy;
        Self(Arc::new(ServerRules { anchors, others, expected, own, name_check, asked, help, remedies }))
    }

    /// Whether whoever shows `chain` (leaf first) at the time `now`, when `name` was dialled, may be given the app's bytes. It is asked
    /// in the handshake, and again of resumed sessions and of living connections.
    ///
    /// # Errors
    /// [`ServerDenial`]: the trust anchors do not vouch for it, it does not have the name, or no rule expects it.
    pub fn authorize(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: SystemTime,
    ) -> Result<AuthenticatedServer, ServerDenial> {
        let inner = &*self.0;
        let server = inner.anchors.verify(chain, now).map_err(|denial| inner.untrusted(&denial, chain, now))?;
        let Client::Authenticated(certificate) = &server else { return Err(inner.unreadable()) };
        let leaf = chain.first().ok_or_else(|| inner.unreadable())?;
        let is_checked = match inner.name_check {
            NameCheck::All => true,
            NameCheck::Names => matches!(name, ServerName::DnsName(_)),
            NameCheck::Nothing => false,
        };
        if is_checked {
            let has_name =
                EndEntityCert::try_from(leaf).is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(name).is_ok());
            if !has_name {
                let detail = format!("the certificate is not for {}; it {}", shown(name), has(certificate));
                return Err(inner.denied(ServerDenialReason::NameMismatch, detail, certificate));
            }
        }
        let permit = match &inner.expected {
            None => None,
            Some(policy) => Some(policy.authorize(&server, inner.own.as_deref()).map_err(|denial| {
                let detail = inner.unexpected(policy, certificate, &denial);
                inner.denied(ServerDenialReason::UnexpectedIdentity, detail, certificate)
            })?),
        };
        let is_retiring = Certificate::from_der(leaf).is_ok_and(|leaf| leaf.is_retirement());
        Ok(AuthenticatedServer { certificate: Arc::clone(certificate), permit, is_retiring })
    }

    /// The signature algorithms that certificates may be signed with.
    pub fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        self.0.anchors.algorithms()
    }

    /// Who we are, as the pair says that servers are shown.
    pub fn own(&self) -> Option<&Identity> {
        self.0.own.as_deref()
    }

    /// The CAs that vouch.
    pub fn anchors(&self) -> &TrustAnchors {
        &self.0.anchors
    }
}

impl ServerRules {
    fn unreadable(&self) -> ServerDenial {
        let (reason, detail) = (ServerDenialReason::Untrusted, "the certificate cannot be read".to_owned());
        ServerDenial::new(reason, detail, self.remedies.of(reason), None)
    }

    fn denied(&self, reason: ServerDenialReason, detail: String, certificate: &Arc<PeerCertificate>) -> ServerDenial {
        ServerDenial::new(reason, detail, self.remedies.of(reason), Some(Arc::clone(certificate)))
    }

    fn untrusted(&self, denial: &Denial, chain: &[CertificateDer<'_>], now: SystemTime) -> ServerDenial {
        let reason = match denial.reason() {
            DenialReason::Expired | DenialReason::NotYetValid => ServerDenialReason::CertificateExpired,
            _ => ServerDenialReason::Untrusted,
        };
        let for_others = || self.others.as_ref().filter(|others| others.anchors.verify(chain, now).is_ok());
        let (detail, remedy) = match denial.reason() {
            DenialReason::Untrusted if self.anchors.cas().is_empty() => (
                "no CA vouches for servers: the issuer of our own certificate is not known, as no CA that has signed it follows it in its file, and none of that name stands in $CF_SYSTEM_CERT_PATH"
                    .to_owned(),
                Some(self.remedies.no_ca.as_str()),
            ),
            DenialReason::Untrusted => match for_others() {
                Some(others) => (others.detail.to_owned(), Some(others.remedy.as_str())),
                None => (self.nobody_vouches(chain), None),
            },
            DenialReason::Expired | DenialReason::NotYetValid => match out_of_date(chain, now) {
                Some(detail) => (detail, None),
                None => (self.anchor_out_of_date(chain, now), Some(self.remedies.ca_out_of_date.as_str())),
            },
            DenialReason::Revoked => ("its certificate, or a CA's above it, is revoked".to_owned(), Some(ISSUED_ANEW)),
            // A CA of ours may well vouch for it, and no other helps.
            reason => (denial.detail().map_or_else(|| reason.as_str().to_owned(), str::to_owned), Some(ISSUED_ANEW)),
        };
        ServerDenial::new(reason, detail, remedy.unwrap_or_else(|| self.remedies.of(reason)), None)
    }

    /// Which of the CAs that vouch is not valid at the time `now`, although what was shown is.
    fn anchor_out_of_date(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> String {
        let issuers: Vec<_> = chain.iter().filter_map(|der| Some(Certificate::from_der(der).ok()?.issuer())).collect();
        let over = self.anchors.cas().iter().filter(|ca| issuers.contains(&ca.subject));
        let dated = over.filter_map(|ca| Some((ca, when_out_of_date((ca.not_before, ca.not_after), now)?))).next();
        dated.map_or_else(
            || format!("one of the {} is not valid now", self.asked),
            |(ca, when)| {
                format!("the CA {}, one of the {}, {when}", SafeText::up_to(LONGEST_NAME, &ca.subject), self.asked)
            },
        )
    }

    /// Which CAs were asked, and which one would have to be among them.
    fn nobody_vouches(&self, chain: &[CertificateDer<'_>]) -> String {
        let issuer = chain.first().and_then(|leaf| Certificate::from_der(leaf).ok()).map(|leaf| leaf.issuer());
        let issuer = issuer.map_or_else(String::new, |issuer| {
            let has_namesake = self.anchors.cas().iter().any(|ca| ca.subject == issuer);
            let but = if has_namesake { ", which is called like one of them and has another key" } else { "" };
            format!(", issued by {}{but}", SafeText::up_to(LONGEST_NAME, issuer))
        });
        let help = self.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        format!("none of the {} vouches for its certificate{issuer}{help}", self.asked)
    }

    fn unexpected(&self, policy: &Policy, certificate: &PeerCertificate, denial: &Denial) -> String {
        let rules: Vec<_> = policy.allow.iter().map(ToString::to_string).collect();
        let needs_own = policy.needs_own_identity() && self.own.is_none();
        let ours = if needs_own { ", and our own certificate has no identity to compare with" } else { "" };
        let detail = match denial.reason() {
            DenialReason::NotAllowed => String::new(),
            _ => format!(" ({denial})"),
        };
        format!("{} has answered{detail}, and {} is expected{ours}", who(certificate), rules.join(" or "))
    }
}

/// Whether what is valid from the first to the second of `dates` is not at the time `now`, and since when, or until when.
fn when_out_of_date((not_before, not_after): (SystemTime, SystemTime), now: SystemTime) -> Option<String> {
    match () {
        () if not_after < now => Some(format!("has expired on {}", date(not_after))),
        () if not_before > now => Some(format!("is not valid before {}", date(not_before))),
        () => None,
    }
}

/// Which certificate of `chain` is not valid at the time `now`, and since when, or from when on.
fn out_of_date(chain: &[CertificateDer<'_>], now: SystemTime) -> Option<String> {
    for (at, der) in chain.iter().enumerate() {
        let Ok(certificate) = Certificate::from_der(der) else { continue };
        let whose = || match at {
            0 => "its certificate".to_owned(),
            _ => format!("the CA above it, {},", SafeText::up_to(LONGEST_NAME, certificate.subject())),
        };
        if let Some(when) = when_out_of_date((certificate.not_before(), certificate.not_after()), now) {
            return Some(format!("{} {when}", whose()));
        }
    }
    None
}

/// Who a certificate says its holder is.
pub fn who(certificate: &PeerCertificate) -> String {
    match certificate.identity.as_ref().ok().and_then(Option::as_ref).and_then(|identity| identity.app) {
        Some(app) => format!("cf:app:{app}"),
        None => certificate.subject.clone(),
    }
}

/// The names that a certificate has, for the end of a sentence; at most eight of them.
fn has(certificate: &PeerCertificate) -> String {
    const MAX_NAMES: usize = 8;
    let names = &certificate.names;
    let all = names.dns.iter().map(|name| name.escape_default().to_string());
    let all: Vec<_> = all.filter(|name| !name.is_empty()).chain(names.ips.iter().map(ToString::to_string)).collect();
    match all.len() {
        0 => "has no name at all".to_owned(),
        n if n > MAX_NAMES => format!("has {} and {} more", all[..MAX_NAMES].join(", "), n - MAX_NAMES),
        _ => format!("has {}", all.join(", ")),
    }
}

fn shown<'a>(name: &'a ServerName<'_>) -> Cow<'a, str> {
    name.to_str()
}

#[cfg(test)]
mod tests;
