//! What one handshake is served with: one snapshot of everything that rotates.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::ClientPolicy;
use super::TrustAnchors;
use crate::identity::Client;
use crate::identity::Identity;
use crate::policy::Denial;
use crate::policy::DenialReason;
use crate::policy::Permit;
use crate::policy::Policy;
use crate::tls::ServerConfigs;

/// What one handshake is served with. Replaced whole, never edited.
#[derive(Debug)]
pub struct Snapshot {
    /// The pair under the listener's TLS settings, with ticket keys of its own.
    pub offer: ServerConfigs,
    /// Who may come in. The offer asks the same.
    pub admitting: ClientAuth,
    /// On every connection's record, so that a bad rotation is visible. Counts from 1.
    pub generation: u64,
}

/// What is served now, and that it changes. Empty until the first pair, roots and rules have been loaded.
pub type SnapshotReceiver = watch::Receiver<Option<Arc<Snapshot>>>;

/// Whom a listener lets in, as it stands in one generation. Cheap to clone.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// Everybody; no certificate is asked for.
    Everybody,
    /// Those whom the gate lets through.
    Certified(ClientAuthenticator),
}

/// Asks for a certificate, and judges who shows it.
#[derive(Debug, Clone)]
pub struct ClientAuthenticator {
    admission: Arc<ClientPolicy>,
    required: bool,
    own: Option<Arc<Identity>>,
}

impl ClientAuth {
    /// Whether whoever showed `chain` (leaf first; `None`: nothing) may come in at the time `now`.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn authorize(&self, chain: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<(Client, Permit), Denial> {
        match self {
            Self::Everybody => Ok((Client::Anonymous, Policy::anonymous().authorize(&Client::Anonymous, None)?)),
            Self::Certified(gate) => gate.judge(chain, now),
        }
    }

    /// Whether somebody who came in before may stay, now that `self` is in force.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn reauthorize(&self, client: &Client, before: &Self, now: SystemTime) -> Result<Permit, Denial> {
        match (self, before, client.holder()) {
            // The same roots have vouched for it, and it has not expired: only the rules are to be asked.
            (Self::Certified(gate), Self::Certified(old), Some(holder))
                if gate.roots().same_as(old.roots()) && holder.not_after > now =>
            {
                gate.admission.policy.authorize(client, gate.own.as_deref())
            }
            _ => self.authorize(client.chain(), now).map(|(_, permit)| permit),
        }
    }
}

impl ClientAuthenticator {
    /// A gate for `admission`; `own` is our own identity, for the rules that compare with it. Without the rule `anonymous` a
    /// certificate is `required` whatever was configured: to refuse its absence within the handshake is clearer than to
    /// close after it.
    pub fn new(admission: Arc<ClientPolicy>, required: bool, own: Option<Arc<Identity>>) -> Self {
        let nobody_anonymous = admission.policy.authorize(&Client::Anonymous, own.as_deref()).is_err();
        Self { admission, required: required || nobody_anonymous, own }
    }

    /// The CAs that vouch.
    pub fn roots(&self) -> &TrustAnchors {
        &self.admission.roots
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.admission.policy
    }

    /// Whether a client without a certificate cannot complete the handshake.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Whether whoever showed `chain` (leaf first; `None`: nothing) may come in at the time `now`.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn judge(&self, chain: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<(Client, Permit), Denial> {
        let own = self.own.as_deref();
        match chain {
            Some(chain) => self.admission.authorize(chain, own, now),
            None if self.required => Err(DenialReason::NoCertificate.into()),
            None => Ok((Client::Anonymous, self.admission.policy.authorize(&Client::Anonymous, own)?)),
        }
    }
}
