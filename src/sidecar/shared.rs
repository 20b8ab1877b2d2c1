//! What the directions of traffic share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::lifecycle::{DrainGuards, Phase};
use crate::listener;
use crate::listener::{Capacity, ConnectionCost, DescriptorLimit};
use crate::telemetry::Counters;
use crate::tls::SigningLimiter;

/// What every connection needs, whichever way it goes.
#[derive(Debug)]
pub(super) struct Shared {
    /// Where the process stands.
    pub(super) phase: watch::Sender<Phase>,
    /// One for each connection that is to be waited for.
    pub(super) guards: DrainGuards,
    /// What there is room for.
    pub(super) capacity: Capacity,
    /// Whose turn it is to sign.
    pub(super) signing: Arc<SigningLimiter>,
    /// What is counted.
    pub(super) counters: Arc<Counters>,
}

impl Shared {
    /// What `config` leaves room for; nothing has happened yet.
    pub(super) fn new(config: &Config, descriptors: DescriptorLimit) -> Self {
        Self {
            phase: watch::Sender::new(Phase::Running),
            guards: DrainGuards::default(),
            capacity: listener::capacity(&config.limits, descriptors, ConnectionCost::of(config)),
            signing: Arc::new(SigningLimiter::new(config.threads)),
            counters: Arc::new(Counters::new(config.identity_endpoint.is_some())),
        }
    }
}
