//! The app's secrets, as far as anybody may know of them: who was asked, and until when they are good.

use serde::Serialize;
use strum::VariantArray;

use super::date;
use crate::config::SecretSource;
use crate::telemetry::{SecretCounters, SecretResult, VaultTokenTimes};

/// The app's secrets.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct SecretsStatus {
    /// Who was asked.
    pub(in crate::admin) sources: Vec<SecretSourceStatus>,
    /// When the first comes to its end; none: none does.
    pub(in crate::admin) expiry: Option<String>,
    /// When the next is renewed or replaced before its end; none: none is.
    pub(in crate::admin) next_renewal: Option<String>,
    /// The Vault token, as long as one is held.
    pub(in crate::admin) vault_token: Option<VaultTokenStatus>,
}

/// A Vault token; nothing of what it is, or is called.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct VaultTokenStatus {
    /// When it ends; none: never.
    pub(in crate::admin) expiry: Option<String>,
    /// When it is renewed, or another one asked for; none: it is kept as it is.
    pub(in crate::admin) next_renewal: Option<String>,
}

/// One who was asked.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct SecretSourceStatus {
    pub(in crate::admin) source: &'static str,
    pub(in crate::admin) resolved: u64,
    pub(in crate::admin) missing: u64,
    pub(in crate::admin) failed: u64,
}

impl SecretsStatus {
    /// `None`: nobody was asked.
    pub(super) fn of(counters: &SecretCounters) -> Option<Self> {
        let row = |source: &SecretSource| SecretSourceStatus {
            source: source.as_str(),
            resolved: counters.resolved(*source, SecretResult::Success),
            missing: counters.resolved(*source, SecretResult::Missing),
            failed: counters.resolved(*source, SecretResult::Failed),
        };
        let asked = |row: &SecretSourceStatus| row.resolved + row.missing + row.failed > 0;
        let sources: Vec<_> = SecretSource::VARIANTS.iter().map(row).filter(asked).collect();
        let vault_token = counters.vault.token().map(|VaultTokenTimes { expiry, next_renewal }| VaultTokenStatus {
            expiry: expiry.map(date),
            next_renewal: next_renewal.map(date),
        });
        (!sources.is_empty()).then(|| Self {
            sources,
            expiry: counters.expiry().map(date),
            next_renewal: counters.next_renewal().map(date),
            vault_token,
        })
    }
}
