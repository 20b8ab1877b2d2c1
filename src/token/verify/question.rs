//! What is asked about a token, and under which conditions it is believed.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use crate::token::replay::ReplayCache;
use crate::token::roles::Roles;
use crate::trust::TrustAnchors;

/// Who is believed, and under which conditions.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// Who vouches for those who sign tokens.
    pub anchors: TrustAnchors,
    /// Which identity they have to have.
    pub identity: RequiredIdentity,
    /// By how much clocks may differ. The dates of certificates are taken as they are.
    pub skew: Duration,
    /// How long a token may live from its issue to its end.
    pub max_ttl: Duration,
    /// An `iss` that is accepted beside the subject.
    pub issuer: Option<String>,
    /// Whether only tokens that are bound to a certificate are believed.
    pub require_bound: bool,
    /// What identities may do; `None`: nothing is granted to anybody.
    pub roles: Option<Arc<Roles>>,
}

/// What is asked about one token.
#[derive(Debug, Clone, Copy)]
pub struct TokenQuestion<'a> {
    /// The token.
    pub token: &'a str,
    /// For whom it may be: one of these.
    pub audiences: &'a [String],
    /// How it is written.
    pub form: VerifiedForm,
    /// Who has sent it, where that is known from a TLS handshake.
    pub caller: CallerCertificate,
    /// The role that is asked for.
    pub role: Option<&'a str>,
    /// It counts once, and is remembered here.
    pub once: Option<&'a ReplayCache>,
}

/// How a token is written that is to be verified. (What UAA takes has no certificates.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum VerifiedForm {
    /// Its certificates are in `x5c`.
    #[default]
    Standard,
    /// Its certificates are in `JWK.x5c`, and it asks for `Policies`.
    Comcast,
}

/// Which identity a certificate has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, strum::EnumString)]
pub enum RequiredIdentity {
    /// Cloud Foundry's: organization, space, app and instance.
    #[default]
    #[strum(serialize = "cf")]
    CloudFoundry,
    /// Any; half of Cloud Foundry's is none.
    #[strum(serialize = "any")]
    Any,
}

/// The certificate that the caller has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerCertificate {
    /// Nobody knows.
    Unknown,
    /// SHA-256 of its DER.
    Known([u8; 32]),
}

impl CallerCertificate {
    /// The certificate that is `der`.
    pub fn of(der: &CertificateDer<'_>) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, der).as_ref());
        Self::Known(fingerprint)
    }
}
