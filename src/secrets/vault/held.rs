//! A token that is held, and what is done with it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::client::{VaultClient, VaultRequest};
use super::error::VaultError;
use super::response::{self, Auth, Renewal, VaultToken};

/// A token, and whom it is for.
pub(super) struct HeldToken {
    pub(super) token: VaultToken,
    pub(super) client: VaultClient,
    /// The pair that it was given to, and that the client shows.
    pub(super) generation: u64,
    /// How often it can still be used; `None`: as often as one likes.
    uses: Option<AtomicU64>,
    /// Leases that end with it.
    leases: AtomicUsize,
}

impl HeldToken {
    /// What a login has given, by `client`, with the pair of `generation`.
    pub(super) fn new(auth: Auth, client: VaultClient, generation: u64) -> Self {
        let Auth { token, uses, .. } = auth;
        Self { token, client, generation, uses: uses.map(AtomicU64::new), leases: AtomicUsize::new(0) }
    }

    /// Takes one of its uses; `false`: there is none left.
    pub(super) fn take_use(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        self.uses.as_ref().is_none_or(|uses| uses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok())
    }

    /// One lease more ends with it.
    pub(super) fn add_lease(&self) {
        self.leases.fetch_add(1, Ordering::Relaxed);
    }

    /// One lease less does.
    pub(super) fn remove_lease(&self) {
        self.leases.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn has_leases(&self) -> bool {
        self.leases.load(Ordering::Relaxed) > 0
    }

    /// Has it last longer; `None`: it was answered without a lease.
    pub(super) async fn renew(&self) -> Result<Option<Renewal>, VaultError> {
        let reply = self.client.call(&VaultRequest::post("auth/token/renew-self", Some(&self.token), b"{}")).await?;
        Ok(response::token_renewal(&reply.body))
    }

    /// Ends it, if that can be done: else it ends by itself. `by` shows the newest pair, for the server may refuse the one before.
    pub(super) async fn revoke(&self, by: &VaultClient) {
        if !self.take_use() {
            return;
        }
        match by.revoke(&self.token).await {
            Ok(()) => tracing::info!("Vault token revoked"),
            // It is gone already.
            Err(error) if error.is_forbidden() => {}
            Err(error) => tracing::warn!(%error, "the Vault token could not be revoked; it ends with its lease"),
        }
    }
}
