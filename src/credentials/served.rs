//! What others learn of the rotation: the pairs in service, and why a start has none.

use std::time::SystemTime;

use super::{LoadError, Pair, TrustError};
use crate::config::PairSource;

/// A pair that is shown, and since which rotation.
#[derive(Debug, Clone)]
pub struct ServedCertificate {
    /// Where it was found.
    pub source: PairSource,
    /// The pair.
    pub pair: Pair,
    /// Counts from 1, over all pairs.
    pub generation: u64,
    /// When it was taken into service.
    pub since: SystemTime,
}

/// The error of a start at which no usable pair, client CAs or rules were loaded in time.
#[derive(Debug, thiserror::Error)]
pub enum InitialLoadError {
    /// There is no usable pair.
    #[error(transparent)]
    Pair(#[from] LoadError),
    /// There are no usable CAs or rules.
    #[error(transparent)]
    ClientPolicy(#[from] TrustError),
    /// No configuration of TLS can be made of them.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}
