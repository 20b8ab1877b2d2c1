//! The outbound listeners: whom each dials, and how its endpoints are.

use serde::Serialize;

use super::PATH;
use super::listeners::Rules;
use crate::diagnostics::SafeText;
use crate::outbound::{Endpoint, Known, OutboundInfo};
use crate::telemetry::OutboundCloseReason;
use strum::VariantArray;

/// Endpoints of one outbound that are shown.
const MAX_ENDPOINTS: usize = 64;

#[derive(Debug, Serialize)]
pub(in crate::admin) struct OutboundStatus {
    pub(in crate::admin) listener: SafeText,
    pub(in crate::admin) to: SafeText,
    /// `tcp` or `http1`.
    pub(in crate::admin) protocol: &'static str,
    /// Who may answer; empty: whoever has the name.
    pub(in crate::admin) expect: Rules,
    /// The instance is not ready without an endpoint.
    pub(in crate::admin) required: bool,
    /// Why the name could never be looked up.
    pub(in crate::admin) lookup_error: Option<SafeText>,
    pub(in crate::admin) endpoints: Vec<EndpointStatus>,
    /// How many endpoints are left out.
    pub(in crate::admin) more_endpoints: usize,
    pub(in crate::admin) active: usize,
    pub(in crate::admin) opened: u64,
    /// Requests so far, whatever came of them; 0 with `tcp`.
    pub(in crate::admin) requests: u64,
    /// Connections or requests that failed, by the `close_reason` of their access log entries; those that occurred.
    pub(in crate::admin) failures: Vec<OutboundFailures>,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct EndpointStatus {
    pub(in crate::admin) addr: String,
    /// `ready`, `ejected` or `retiring`.
    pub(in crate::admin) state: &'static str,
    pub(in crate::admin) connections: usize,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct OutboundFailures {
    pub(in crate::admin) close_reason: &'static str,
    pub(in crate::admin) count: u64,
}

impl OutboundStatus {
    pub(super) fn of(outbound: &OutboundInfo) -> Self {
        let OutboundInfo { config, listener, endpoints, counters } = outbound;
        let current = endpoints.current();
        let failures = OutboundCloseReason::VARIANTS.iter().filter(|reason| reason.is_failure());
        let failures = failures.map(|reason| OutboundFailures {
            close_reason: reason.as_str(),
            count: counters.closed(*reason) + counters.requests(*reason),
        });
        Self {
            listener: SafeText::up_to(PATH, listener),
            to: SafeText::up_to(PATH, counters.name()),
            protocol: config.settings.protocol.into(),
            expect: Rules::of(&config.settings.expect),
            required: config.settings.required,
            lookup_error: match endpoints.known() {
                Known::Failed(why) => Some(SafeText::up_to(PATH, why)),
                Known::Nothing | Known::Endpoints => None,
            },
            endpoints: current.iter().take(MAX_ENDPOINTS).map(|endpoint| EndpointStatus::of(endpoint)).collect(),
            more_endpoints: current.len().saturating_sub(MAX_ENDPOINTS),
            active: counters.active(),
            opened: counters.opened(),
            requests: OutboundCloseReason::VARIANTS.iter().map(|reason| counters.requests(*reason)).sum(),
            failures: failures.filter(|failed| failed.count > 0).collect(),
        }
    }
}

impl EndpointStatus {
    fn of(endpoint: &Endpoint) -> Self {
        let state = match () {
            () if endpoint.is_retiring() => "retiring",
            () if endpoint.is_ejected() => "ejected",
            () => "ready",
        };
        Self { addr: endpoint.addr.to_string(), state, connections: endpoint.in_flight() }
    }
}
