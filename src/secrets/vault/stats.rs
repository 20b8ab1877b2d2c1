//! What is counted of a session with Vault.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::VaultMethod;

/// What is counted of a session with Vault.
#[derive(Debug)]
pub struct VaultStats {
    method: VaultMethod,
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// Seconds since 1970; 0: there is no token, or it has no end.
    expiry: AtomicU64,
}

impl VaultStats {
    /// Nothing yet, of logins by `method`.
    pub fn new(method: VaultMethod) -> Self {
        let [succeeded, failed, expiry] = [0; 3].map(AtomicU64::new);
        Self { method, succeeded, failed, expiry }
    }

    /// What is logged in with.
    pub fn method(&self) -> VaultMethod {
        self.method
    }

    /// Logins that gave a token, and those that did not.
    pub fn logins(&self) -> (u64, u64) {
        (self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// When the token ends, in seconds since 1970; `None`: there is none, or it has no end.
    pub fn expiry(&self) -> Option<u64> {
        Some(self.expiry.load(Ordering::Relaxed)).filter(|expiry| *expiry > 0)
    }

    pub(super) fn count_login(&self, has_token: bool) {
        let counter = if has_token { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_expiry(&self, at: Option<SystemTime>) {
        let seconds = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
        self.expiry.store(seconds, Ordering::Relaxed);
    }
}
