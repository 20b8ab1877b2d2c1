//! What the answers are made of.

use std::sync::Arc;

use super::envoy::Envoy;
use super::status::StatusSources;
use crate::lifecycle::Readiness;
use crate::metrics::Metrics;

/// What the answers are made of.
#[derive(Debug)]
pub struct AdminState {
    /// Whether this instance should be given work.
    pub readiness: Arc<Readiness>,
    /// What is measured.
    pub metrics: Metrics,
    /// What the status page shows beside.
    pub status_sources: StatusSources,
    /// What is answered in Envoy's place; `None`: we stand in nobody's.
    pub envoy: Option<Envoy>,
}
