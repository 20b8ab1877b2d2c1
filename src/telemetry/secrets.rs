//! What is counted of secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::VaultCounters;
use crate::config::SecretSource;

/// What became of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SecretResult {
    /// It was resolved.
    Success,
    /// There is no such secret.
    Missing,
    /// It could not be had.
    Failed,
}

/// What is counted of secrets.
#[derive(Debug, Default)]
pub struct SecretCounters {
    resolved: [[AtomicU64; SecretResult::COUNT]; SecretSource::COUNT],
    /// Seconds since 1970; 0: nothing that was resolved has an end.
    expiry: AtomicU64,
    /// The same; 0: nothing is renewed.
    renewal: AtomicU64,
    /// What is counted of sessions with Vault.
    pub vault: Arc<VaultCounters>,
}

impl SecretResult {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl SecretCounters {
    /// One more of `source` has come to `result`.
    pub fn count(&self, source: SecretSource, result: SecretResult) {
        self.resolved[source as usize][result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many of `source` have come to `result`.
    pub fn resolved(&self, source: SecretSource, result: SecretResult) -> u64 {
        self.resolved[source as usize][result as usize].load(Ordering::Relaxed)
    }

    /// The first of what was resolved that comes to its end does so at `expiry`; `None`: nothing does.
    pub fn set_expiry(&self, expiry: Option<SystemTime>) {
        store(&self.expiry, expiry);
    }

    /// When the first of what was resolved comes to its end.
    pub fn expiry(&self) -> Option<SystemTime> {
        load(&self.expiry)
    }

    /// The next of what was resolved that is renewed, or replaced, is so at `renewal`; `None`: nothing is.
    pub fn set_next_renewal(&self, renewal: Option<SystemTime>) {
        store(&self.renewal, renewal);
    }

    /// When the next of what was resolved is renewed or replaced.
    pub fn next_renewal(&self) -> Option<SystemTime> {
        load(&self.renewal)
    }
}

fn store(seconds_cell: &AtomicU64, time: Option<SystemTime>) {
    let seconds = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    seconds_cell.store(seconds.map_or(0, |seconds| seconds.as_secs()), Ordering::Relaxed);
}

fn load(seconds_cell: &AtomicU64) -> Option<SystemTime> {
    let seconds = seconds_cell.load(Ordering::Relaxed);
    (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}
