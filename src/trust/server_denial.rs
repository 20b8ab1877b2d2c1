//! Why a server may not answer us, and what helps.

use std::fmt;
use std::sync::Arc;

use strum::IntoStaticStr;

use crate::identity::PeerCertificate;

/// Why a server may not be given the app's bytes. A closed set: the access log and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ServerDenialReason {
    /// None of the trust anchors vouches for its certificate.
    Untrusted,
    /// Its certificate, or a CA's above it, is not valid now.
    CertificateExpired,
    /// Its certificate does not have the name.
    NameMismatch,
    /// No rule expects it.
    UnexpectedIdentity,
}

/// What helps against each denial that a setting of ours may be the reason of. Each names the setting where it stands: another that says
/// the same would change nothing.
#[derive(Debug, Clone)]
pub struct ServerRemedies {
    /// None of the trust anchors vouches.
    pub untrusted: String,
    /// There is no trust anchor.
    pub no_ca: String,
    /// The trust anchor that would vouch is not valid now.
    pub ca_out_of_date: String,
    /// The certificate does not have the name.
    pub name_mismatch: String,
    /// No rule expects whoever has answered.
    pub unexpected_identity: String,
}

/// A server that was denied, and who it says it is.
#[derive(Debug, Clone)]
pub struct ServerDenial {
    /// Why.
    pub reason: ServerDenialReason,
    detail: String,
    remedy: String,
    /// Who it is, where one of the trust anchors has vouched for that.
    pub certificate: Option<Arc<PeerCertificate>>,
}

impl ServerRemedies {
    /// That against `reason`.
    pub(super) fn of(&self, reason: ServerDenialReason) -> &str {
        match reason {
            ServerDenialReason::Untrusted => &self.untrusted,
            ServerDenialReason::CertificateExpired => "have the server's certificate renewed, and compare the clocks",
            ServerDenialReason::NameMismatch => &self.name_mismatch,
            ServerDenialReason::UnexpectedIdentity => &self.unexpected_identity,
        }
    }
}

impl ServerDenial {
    /// One for `reason`, of which `detail` says more; `remedy` helps.
    pub(super) fn new(
        reason: ServerDenialReason,
        detail: String,
        remedy: &str,
        certificate: Option<Arc<PeerCertificate>>,
    ) -> Self {
        Self { reason, detail, remedy: remedy.to_owned(), certificate }
    }

    /// What is wrong, without what helps.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What helps.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// What is wrong, and what helps.
impl fmt::Display for ServerDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.detail, self.remedy)
    }
}

impl std::error::Error for ServerDenial {}

impl ServerDenialReason {
    /// The name in the access log and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
