//! The identity endpoint: what was asked for, and what came of it.

use serde::Serialize;
use strum::VariantArray;

use crate::diagnostics::date;
use crate::telemetry::{TokenCounters, TokenRequestResult};

#[derive(Debug, Serialize)]
pub(in crate::admin) struct TokenStatus {
    /// Tokens that were given away, those that were there among them.
    pub(in crate::admin) issued: u64,
    /// Requests that were refused.
    pub(in crate::admin) refused: u64,
    /// Tokens that wait to be asked for again.
    pub(in crate::admin) cached: u64,
    /// Why a request was refused last.
    pub(in crate::admin) last_error: Option<LastRejection>,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct LastRejection {
    pub(in crate::admin) error: &'static str,
    pub(in crate::admin) at: String,
}

impl TokenStatus {
    pub(super) fn of(counters: &TokenCounters) -> Self {
        let refusals = TokenRequestResult::VARIANTS.iter().filter(|result| !result.is_success());
        Self {
            issued: counters.issued(),
            refused: refusals.map(|result| counters.requests(*result)).sum(),
            cached: counters.cached(),
            last_error: counters
                .last_refusal()
                .map(|(at, error)| LastRejection { error: error.as_str(), at: date(at) }),
        }
    }
}
