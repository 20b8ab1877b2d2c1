//! Tokens of others: whether they are good, and what they grant.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::time::sleep;

use super::body::{BodyMember, MemberKind};
use super::rejection::EndpointRejection;
use crate::config::TokenVerification;
use crate::credentials::{SnapshotReceiver, run_blocking};
use crate::identity::Certificate;
use crate::pem::Pem;
use crate::telemetry::TokenRequestResult;
use crate::token::{
    CallerCertificate, ReplayCache, RequiredIdentity, Roles, RolesFile, RolesUpdate, TokenDenial, TokenQuestion,
    TokenVerdict, VerifiedForm, VerifiedToken, Verifier,
};
use crate::trust::ClientPolicy;

/// Bytes of a body, at most: a token and a certificate.
pub(super) const MAX_BODY: usize = 32 * 1024;

/// What a body may have.
pub(super) const MEMBERS: [BodyMember; 6] = [
    BodyMember::needed("token", MemberKind::Text),
    BodyMember::needed("audience", MemberKind::Text),
    BodyMember::optional("role", MemberKind::Text),
    BodyMember::optional("form", MemberKind::Text),
    BodyMember::optional("once", MemberKind::Flag),
    BodyMember::optional("peer", MemberKind::Text),
];

/// How often the file of roles is looked at.
const ROLES_INTERVAL: Duration = Duration::from_secs(1);

/// What tokens are judged by.
#[derive(Debug)]
pub struct EndpointVerifier {
    config: TokenVerification,
    /// Who vouches for those who sign tokens.
    trust: SnapshotReceiver<Arc<ClientPolicy>>,
    roles: Option<Arc<RolesFile>>,
    /// The tokens that count once, and were used.
    uses: ReplayCache,
}

/// `POST /verify`, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    token: String,
    audience: String,
    role: Option<String>,
    form: Option<String>,
    once: Option<bool>,
    peer: Option<String>,
}

/// What is asked about a token.
pub(super) struct VerifyRequest {
    token: String,
    audience: String,
    role: Option<String>,
    form: VerifiedForm,
    once: bool,
    caller: CallerCertificate,
}

/// Without the token.
impl fmt::Debug for VerifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedVerdict").finish_non_exhaustive()
    }
}

impl VerifyBody {
    /// What is meant.
    ///
    /// # Errors
    /// A member has another text than it may have.
    pub(super) fn meaning(self) -> Result<VerifyRequest, EndpointRejection> {
        let Self { token, audience, role, form, once, peer } = self;
        if audience.is_empty() {
            return Err(EndpointRejection::bad_request("audience is empty; write for whom the token has to be"));
        }
        let form = form.map_or(Ok(VerifiedForm::Standard), |form| form.parse());
        let form = form.map_err(|_| EndpointRejection::bad_request("the form is standard or comcast"))?;
        let caller = peer.map_or(Ok(CallerCertificate::Unknown), |peer| certificate_of(&peer))?;
        Ok(VerifyRequest { token, audience, role, form, once: once.unwrap_or(false), caller })
    }
}

/// `peer`: a certificate in PEM, or the SHA-256 of its DER in hexadecimal.
fn certificate_of(peer: &str) -> Result<CallerCertificate, EndpointRejection> {
    let from_pem = || {
        let chain = Pem::read(peer.as_bytes()).ok()?.chain();
        Certificate::from_der(chain.first()?).ok().map(|certificate| *certificate.fingerprint())
    };
    let from_hex = || {
        let digits = peer.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(peer.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(bytes)
    };
    let found = from_hex().or_else(from_pem).map(CallerCertificate::Known);
    found.ok_or_else(|| {
        EndpointRejection::bad_request("peer is a certificate in PEM, or 64 hexadecimal digits: SHA-256 of its DER")
    })
}

impl EndpointVerifier {
    /// Judges as `config` says, by the CAs in `trust` and by `roles`.
    pub fn new(
        config: TokenVerification,
        trust: SnapshotReceiver<Arc<ClientPolicy>>,
        roles: Option<Arc<RolesFile>>,
    ) -> Self {
        Self { config, trust, roles, uses: ReplayCache::default() }
    }

    /// Reads the file of roles anew when it changes, for ever.
    pub async fn watch_roles(self: Arc<Self>) {
        let Some(roles) = &self.roles else { return std::future::pending().await };
        loop {
            sleep(ROLES_INTERVAL).await;
            let file = Arc::clone(roles);
            match run_blocking(move || file.reload()).await {
                Ok(RolesUpdate::Unchanged) => {}
                Ok(RolesUpdate::Replaced) => tracing::info!("token roles reloaded"),
                Ok(RolesUpdate::Recovered) => tracing::info!("token roles reload recovered"),
                Ok(RolesUpdate::Failed(error)) => {
                    tracing::warn!(error, "token roles reload failed; keeping the last good ones");
                }
                Err(_) => tracing::error!("token roles reload failed (internal error); please report this"),
            }
        }
    }

    /// Judges what was asked, which costs some signatures' verification.
    ///
    /// # Errors
    /// Nothing can be judged now, or not so.
    pub(super) fn verify(&self, asked: &VerifyRequest, now: SystemTime) -> Result<VerifyResult, EndpointRejection> {
        let roles: Option<Arc<Roles>> = self.roles.as_ref().map(|roles| roles.current());
        if roles.is_none() && asked.role.is_some() {
            return Err(EndpointRejection::bad_request(
                "there are no roles; leave role out, or add --token-roles FILE",
            ));
        }
        let trust = self.trust.load().ok_or_else(|| {
            let detail = "the CAs of --token-ca have not been loaded yet; see the log";
            EndpointRejection::new(TokenRequestResult::NoTrustAnchors, detail)
        })?;
        let verifier = Verifier {
            anchors: trust.anchors.clone(),
            identity: RequiredIdentity::CloudFoundry,
            skew: self.config.skew,
            max_ttl: self.config.max_ttl,
            issuer: None,
            require_bound: false,
            roles,
        };
        let question = TokenQuestion {
            token: &asked.token,
            audiences: std::slice::from_ref(&asked.audience),
            form: asked.form,
            caller: asked.caller,
            role: asked.role.as_deref(),
            once: asked.once.then_some(&self.uses),
        };
        Ok(VerifyResult(verifier.verify(&question, now)))
    }
}

/// The verdict on a token.
#[derive(Debug)]
pub(super) struct VerifyResult(Result<VerifiedToken, TokenDenial>);

impl VerifyResult {
    pub(super) fn is_permit(&self) -> bool {
        self.0.is_ok()
    }

    /// `permit`, or the reason of the denial.
    pub(super) fn reason(&self) -> &'static str {
        self.0.as_ref().map_or_else(|denial| denial.reason.as_str(), |_| "permit")
    }

    /// As it is answered.
    pub(super) fn said(&self) -> TokenVerdict {
        self.0.as_ref().map_or_else(TokenVerdict::from, TokenVerdict::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_certificate_or_its_digest() {
        use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind};
        let now = SystemTime::now();
        let spec = InstanceSpec { key: KeyKind::P256, ..InstanceSpec::generate().unwrap() };
        let pem = CertificateAuthority::generate(now).unwrap().issue(&spec, now).unwrap().cert_pem;
        let chain = Pem::read(pem.as_bytes()).unwrap().chain();
        let leaf = Certificate::from_der(&chain[0]).unwrap();
        let known = CallerCertificate::Known(*leaf.fingerprint());
        let hex: String = leaf.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
        for peer in [&pem, &hex, &hex.to_ascii_uppercase()] {
            assert_eq!(certificate_of(peer), Ok(known), "{peer}");
        }
        for peer in ["", "x", &hex[1..], &format!("{hex}0"), &format!("é{}", &hex[2..]), "-----BEGIN CERTIFICATE-----"]
        {
            assert!(certificate_of(peer).is_err(), "{peer}");
        }
    }
}
