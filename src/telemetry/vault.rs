//! What is counted of sessions with Vault.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strum::EnumCount;

use crate::config::VaultMethod;

/// What is counted of sessions with Vault.
#[derive(Debug, Default)]
pub struct VaultCounters {
    /// By method: those that gave a token, and those that did not.
    logins: [[AtomicU64; 2]; VaultMethod::COUNT],
    /// Seconds since 1970; 0: there is no token, or it has no end.
    expiry: AtomicU64,
}

impl VaultCounters {
    /// One more login by `method` has given a token, or has not.
    pub fn count_login(&self, method: VaultMethod, has_token: bool) {
        self.logins[method as usize][usize::from(!has_token)].fetch_add(1, Ordering::Relaxed);
    }

    /// Logins by `method` that gave a token, and those that did not.
    pub fn logins(&self, method: VaultMethod) -> [u64; 2] {
        [0, 1].map(|result| self.logins[method as usize][result].load(Ordering::Relaxed))
    }

    /// The token ends at `expiry`; `None`: there is none, or it has no end.
    pub fn set_expiry(&self, expiry: Option<SystemTime>) {
        let seconds = expiry.and_then(|expiry| expiry.duration_since(UNIX_EPOCH).ok());
        self.expiry.store(seconds.map_or(0, |seconds| seconds.as_secs()), Ordering::Relaxed);
    }

    /// When the token ends.
    pub fn expiry(&self) -> Option<SystemTime> {
        let seconds = self.expiry.load(Ordering::Relaxed);
        (seconds > 0).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
    }
}
