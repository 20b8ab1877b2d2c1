//! What is counted of sessions with Vault.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use strum::EnumCount;

use crate::config::VaultMethod;

/// What is counted of sessions with Vault.
#[derive(Debug, Default)]
pub struct VaultCounters {
    /// By method: those that gave a token, and those that did not.
    logins: [[AtomicU64; 2]; VaultMethod::COUNT],
    /// `None`: there is no token.
    token: Mutex<Option<VaultTokenTimes>>,
}

/// What may be known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultTokenTimes {
    /// When it ends; `None`: never.
    pub expiry: Option<SystemTime>,
    /// When it is renewed, or another one asked for; `None`: it is kept as it is.
    pub next_renewal: Option<SystemTime>,
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

    /// What is known of the token; `None`: there is none.
    pub fn set_token(&self, times: Option<VaultTokenTimes>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }

    /// What is known of the token, if there is one.
    pub fn token(&self) -> Option<VaultTokenTimes> {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
