//! What one handshake is served with: one snapshot of everything that rotates.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;

use super::Admission;
use crate::identity::Client;
use crate::identity::Identity;
use crate::policy::Denial;
use crate::policy::Permit;
use crate::policy::Policy;
use crate::policy::Reason;
use crate::tls::Offer;

/// What one handshake is served with. Replaced whole, never edited.
#[derive(Debug)]
pub struct Serving {
    /// The pair under the listener's TLS settings, with ticket keys of its own.
    pub offer: Offer,
    /// Who may come in. The offer asks the same.
    pub admitting: Admitting,
    /// On every connection's record, so that a bad rotation is visible. Counts from 1.
    pub generation: u64,
}

/// What is served now, and that it changes. Empty until the first pair, roots and rules have been loaded.
pub type Current = watch::Receiver<Option<Arc<Serving>>>;

/// Whom a listener lets in, as it stands in one generation. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Admitting {
    /// Everybody; no certificate is asked for.
    Everybody,
    /// Those whom the roots vouch for and the policy admits.
    Certified {
        /// Roots and policy.
        admission: Arc<Admission>,
        /// A certificate must be shown. Without the rule `anonymous` it must be shown whatever was configured: to refuse
        /// its absence within the handshake is clearer than to close after it.
        required: bool,
        /// Our own identity, for the rules that compare with it.
        own: Option<Arc<Identity>>,
    },
}

impl Admitting {
    /// Whom `admission` lets in. `required` as configured.
    pub fn certified(admission: Arc<Admission>, required: bool, own: Option<Arc<Identity>>) -> Self {
        let nobody_anonymous = admission.policy.judge(&Client::Anonymous, own.as_deref()).is_err();
        Self::Certified { admission, required: required || nobody_anonymous, own }
    }

    /// What asks for a certificate; `None` where none is asked for.
    pub fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        match self {
            Self::Everybody => None,
            Self::Certified { admission, required, .. } => Some(admission.roots.verifier(!required)),
        }
    }

    /// Whether whoever showed `chain` (leaf first; `None`: nothing) may come in at the time `now`.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn judge(&self, chain: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<(Client, Permit), Denial> {
        let (policy, own) = match (self, chain) {
            (Self::Everybody, _) => (&Policy::anonymous(), None),
            (Self::Certified { required: true, .. }, None) => return Err(Reason::NoCertificate.into()),
            (Self::Certified { admission, own, .. }, Some(chain)) => {
                return admission.judge(chain, own.as_deref(), now);
            }
            (Self::Certified { admission, own, .. }, None) => (&admission.policy, own.as_deref()),
        };
        Ok((Client::Anonymous, policy.judge(&Client::Anonymous, own)?))
    }

    /// Whether somebody who came in before may stay, now that `self` is in force.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn judge_again(
        &self,
        client: &Client,
        chain: Option<&[CertificateDer<'_>]>,
        before: &Self,
        now: SystemTime,
    ) -> Result<Permit, Denial> {
        match (self, before, client.holder()) {
            // The same roots have vouched for it, and it has not expired: only the rules are to be asked.
            (Self::Certified { admission, own, .. }, Self::Certified { admission: old, .. }, Some(holder))
                if admission.roots.same_as(&old.roots) && holder.not_after > now =>
            {
                admission.policy.judge(client, own.as_deref())
            }
            _ => self.judge(chain, now).map(|(_, permit)| permit),
        }
    }
}
