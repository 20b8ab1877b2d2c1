//! The outbound listeners: whom each dials, and how its endpoints are.

use serde::Serialize;

use super::{PATH, Rules};
use crate::diagnostics::{LONGEST_LINE, SafeText, date};
use crate::outbound::{Endpoint, EndpointFailure, ForwardProxyInfo, OutboundInfo};
use crate::telemetry::{EndpointCounts, OutboundCloseReason, OutboundCounters};
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
    /// Why the name cannot be looked up now; the endpoints are those that were known before.
    pub(in crate::admin) lookup_error: Option<SafeText>,
    /// Since when it cannot.
    pub(in crate::admin) lookup_failing_since: Option<String>,
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
    /// How much longer it is left alone; `None`: it is not.
    pub(in crate::admin) ejected_seconds: Option<u64>,
    /// What it has failed with last, though it may have been well since.
    pub(in crate::admin) last_failure: Option<EndpointFailureStatus>,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct EndpointFailureStatus {
    /// As access log entries name it; `None`: it has answered with an error of its own.
    pub(in crate::admin) close_reason: Option<&'static str>,
    pub(in crate::admin) error: SafeText,
    pub(in crate::admin) at: String,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct OutboundFailures {
    pub(in crate::admin) close_reason: &'static str,
    pub(in crate::admin) count: u64,
}

impl OutboundStatus {
    pub(super) fn of(outbound: &OutboundInfo) -> Self {
        let OutboundInfo { config, listener, endpoints, counters } = outbound;
        let (current, failing) = (endpoints.current(), endpoints.lookup_failure());
        Self {
            listener: SafeText::up_to(PATH, listener),
            to: SafeText::up_to(PATH, counters.name()),
            protocol: config.settings.protocol.into(),
            expect: Rules::of(&config.settings.expect),
            required: config.settings.required,
            lookup_error: failing.as_ref().map(|failing| SafeText::up_to(PATH, &failing.error)),
            lookup_failing_since: failing.map(|failing| date(failing.since)),
            endpoints: current.iter().take(MAX_ENDPOINTS).map(|endpoint| EndpointStatus::of(endpoint)).collect(),
            more_endpoints: current.len().saturating_sub(MAX_ENDPOINTS),
            active: counters.active(),
            opened: counters.opened(),
            requests: requests(counters),
            failures: failures(counters),
        }
    }
}

/// The forward proxy, and with whom it has to do now.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct ForwardProxyStatus {
    pub(in crate::admin) listener: SafeText,
    /// The servers that are shown our certificate.
    pub(in crate::admin) to: Vec<ListedHostsStatus>,
    /// `refuse` or `tunnel`.
    pub(in crate::admin) unlisted: &'static str,
    pub(in crate::admin) requests: u64,
    /// Requests that failed, by the `close_reason` of their access log entries; those that occurred.
    pub(in crate::admin) failures: Vec<OutboundFailures>,
    /// Those that were asked for lately.
    pub(in crate::admin) hosts: Vec<ProxiedHostStatus>,
    /// How many of them are left out.
    pub(in crate::admin) more_hosts: usize,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct ListedHostsStatus {
    pub(in crate::admin) hosts: SafeText,
    /// Who may answer; empty: whoever has the name.
    pub(in crate::admin) expect: Rules,
}

#[derive(Debug, Serialize)]
pub(in crate::admin) struct ProxiedHostStatus {
    pub(in crate::admin) name: SafeText,
    pub(in crate::admin) ready: usize,
    pub(in crate::admin) ejected: usize,
    pub(in crate::admin) retiring: usize,
    /// What one of its endpoints has failed with last.
    pub(in crate::admin) last_failure: Option<EndpointFailureStatus>,
}

impl ForwardProxyStatus {
    pub(super) fn of(proxy: &ForwardProxyInfo) -> Self {
        let ForwardProxyInfo { config, listener, hosts, counters } = proxy;
        let hosts = hosts.endpoints();
        let more_hosts = hosts.len().saturating_sub(MAX_ENDPOINTS);
        let hosts = hosts.into_iter().take(MAX_ENDPOINTS).map(|(name, endpoints)| {
            let EndpointCounts { ready, ejected, retiring } = endpoints.counts();
            let current = endpoints.current();
            let last = current.iter().filter_map(|endpoint| endpoint.last_failure()).max_by_key(|failure| failure.at);
            let last_failure = last.map(EndpointFailureStatus::of);
            ProxiedHostStatus { name: SafeText::up_to(PATH, name), ready, ejected, retiring, last_failure }
        });
        let listed = config.listed.iter().map(|hosts| ListedHostsStatus {
            hosts: SafeText::up_to(PATH, hosts),
            expect: Rules::of(&hosts.settings.expect),
        });
        Self {
            listener: SafeText::up_to(PATH, listener),
            to: listed.collect(),
            unlisted: config.unlisted.into(),
            requests: requests(counters),
            failures: failures(counters),
            hosts: hosts.collect(),
            more_hosts,
        }
    }
}

/// Requests so far, whatever came of them.
fn requests(counters: &OutboundCounters) -> u64 {
    OutboundCloseReason::VARIANTS.iter().map(|reason| counters.requests(*reason)).sum()
}

/// Why connections or requests have failed so far.
fn failures(counters: &OutboundCounters) -> Vec<OutboundFailures> {
    let failures = OutboundCloseReason::VARIANTS.iter().filter(|reason| reason.is_failure());
    let counted = failures.map(|reason| OutboundFailures {
        close_reason: reason.as_str(),
        count: counters.closed(*reason) + counters.requests(*reason),
    });
    counted.filter(|failed| failed.count > 0).collect()
}

impl EndpointStatus {
    fn of(endpoint: &Endpoint) -> Self {
        let state = match () {
            () if endpoint.is_retiring() => "retiring",
            () if endpoint.is_ejected() => "ejected",
            () => "ready",
        };
        Self {
            addr: endpoint.addr.to_string(),
            state,
            connections: endpoint.in_flight(),
            ejected_seconds: endpoint.ejected_for().map(|left| left.as_secs()),
            last_failure: endpoint.last_failure().map(EndpointFailureStatus::of),
        }
    }
}

impl EndpointFailureStatus {
    fn of(failure: EndpointFailure) -> Self {
        let EndpointFailure { reason, error, at } = failure;
        Self {
            close_reason: reason.map(OutboundCloseReason::as_str),
            error: SafeText::up_to(LONGEST_LINE, error),
            at: date(at),
        }
    }
}
