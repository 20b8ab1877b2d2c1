//! Client authentication: whom a listener lets in, by certificate and by rules.

use std::sync::Arc;
use std::time::SystemTime;

use super::TrustAnchors;
use crate::identity::{Client, Identity, UnverifiedCertificate};
use crate::policy::{Denial, DenialReason, PathHandling, Permit, Policy, RequestVerdict};
use rustls::pki_types::CertificateDer;

/// Whom a listener admits: under which trust anchors, by which rules. They are loaded together and change together.
#[derive(Debug, Clone)]
pub struct ClientPolicy {
    /// Who vouches for clients.
    pub anchors: TrustAnchors,
    /// Who of them may come in.
    pub policy: Policy,
    /// Whom a client may speak for that forwards who has called it; `None`: all those who may come in.
    pub callers: Option<Policy>,
    /// What was left out of the files, for the log.
    pub notes: Vec<String>,
}

impl ClientPolicy {
    /// Whether whoever shows `chain` (leaf first) at the time `now` may come in. It is what the handshake asks, and is
    /// asked again of resumed sessions and of living connections. `own` is our own identity.
    ///
    /// # Errors
    /// [`Denial`]: the trust anchors do not vouch for it, or the policy does not admit it.
    pub fn authorize(
        &self,
        chain: &[CertificateDer<'_>],
        own: Option<&Identity>,
        now: SystemTime,
    ) -> Result<(Client, Permit), Denial> {
        let client = self.anchors.verify(chain, now)?;
        let permit = self.policy.authorize(&client, own)?;
        Ok((client, permit))
    }
}

/// Whom a listener lets in, as it stands in one generation. Cheap to clone.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// Everybody; no certificate is asked for.
    None,
    /// Those whom the authenticator lets in.
    Certificate(ClientAuthenticator),
}

/// The holder of a certificate that was denied, as far as the client CAs vouch for it.
#[derive(Debug, Clone)]
pub enum DeniedPeer {
    /// The holder of a certificate that a client CA has issued.
    Verified(Client),
    /// Somebody with a certificate for which nobody has vouched.
    Unverified(UnverifiedCertificate),
}

/// Asks for a certificate, and judges who shows it.
#[derive(Debug, Clone)]
pub struct ClientAuthenticator {
    client_policy: Arc<ClientPolicy>,
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
            Self::None => Ok((Client::Anonymous, Policy::anonymous().authorize(&Client::Anonymous, None)?)),
            Self::Certificate(authenticator) => authenticator.authorize(chain, now),
        }
    }

    /// Whether requests are judged by their paths, and not by the handshake alone.
    pub fn has_routes(&self) -> bool {
        match self {
            Self::None => false,
            Self::Certificate(authenticator) => authenticator.policy().has_routes(),
        }
    }

    /// The verdict on a request with this method for `target`, which is without scheme and authority, of `client`, who has come in and may stay.
    /// `None`: whoever may come in may ask for it.
    pub fn evaluate_request(
        &self,
        client: &Client,
        method: &str,
        target: &str,
        handling: PathHandling,
    ) -> Option<RequestVerdict<'_>> {
        let Self::Certificate(ClientAuthenticator { client_policy, own, .. }) = self else { return None };
        let (policy, own) = (&client_policy.policy, own.as_deref());
        if policy.has_routes() {
            return Some(policy.evaluate_request(client, own, method, target, handling));
        }
        // Whoever has come in to ask for health may ask for nothing else.
        policy.routes.health().filter(|_| *client == Client::Anonymous)?;
        let callers = client_policy.callers.as_ref().unwrap_or(policy);
        Some(policy.health_for(client, own, method, target).unwrap_or_else(|| callers.evaluate_allowlist(client, own)))
    }

    /// Whether somebody who came in before may stay, now that `self` is in force.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn reauthorize(&self, client: &Client, before: &Self, now: SystemTime) -> Result<Permit, Denial> {
        match (self, before, client.certificate()) {
            // The same trust anchors have vouched for it, and it has not expired: only the rules are to be asked.
            (Self::Certificate(authenticator), Self::Certificate(old), Some(holder))
                if authenticator.anchors().same_as(old.anchors()) && holder.not_after > now =>
            {
                authenticator.client_policy.policy.authorize(client, authenticator.own.as_deref())
            }
            _ => self.authorize(client.chain(), now).map(|(_, permit)| permit),
        }
    }
}

impl ClientAuthenticator {
    /// An authenticator for `client_policy`; `own` is our own identity, for the rules that compare with it. Without the rule `anonymous` a
    /// certificate is `required` whatever was configured: to refuse its absence within the handshake is clearer than to
    /// close after it.
    pub fn new(client_policy: Arc<ClientPolicy>, required: bool, own: Option<Arc<Identity>>) -> Self {
        let nobody_anonymous = client_policy.policy.authorize(&Client::Anonymous, own.as_deref()).is_err();
        Self { client_policy, required: required || nobody_anonymous, own }
    }

    /// The CAs that vouch.
    pub fn anchors(&self) -> &TrustAnchors {
        &self.client_policy.anchors
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.client_policy.policy
    }

    /// Whether a client without a certificate cannot complete the handshake.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Whether whoever showed `chain` (leaf first; `None`: nothing) may come in at the time `now`.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn authorize(&self, chain: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<(Client, Permit), Denial> {
        let own = self.own.as_deref();
        match chain {
            Some(chain) => self.client_policy.authorize(chain, own, now),
            None if self.required => Err(DenialReason::NoCertificate.into()),
            None => Ok((Client::Anonymous, self.client_policy.policy.authorize(&Client::Anonymous, own)?)),
        }
    }

    /// Whether `caller`, for whom somebody speaks whose word counts, may be served.
    ///
    /// # Errors
    /// [`Denial`], with its reason.
    pub fn authorize_caller(&self, caller: &Client) -> Result<Permit, Denial> {
        let ClientPolicy { policy, callers, .. } = &*self.client_policy;
        callers.as_ref().unwrap_or(policy).authorize(caller, self.own.as_deref())
    }

    /// Who it was that showed `chain` and was denied for `reason`; `None` if its certificate cannot be read.
    pub fn identify(&self, chain: &[CertificateDer<'_>], reason: DenialReason) -> Option<DeniedPeer> {
        let leaf = chain.first()?;
        if self.anchors().have_issued(chain, reason) {
            return Client::from_leaf(leaf).ok().map(DeniedPeer::Verified);
        }
        UnverifiedCertificate::from_leaf(leaf).ok().map(DeniedPeer::Unverified)
    }
}
