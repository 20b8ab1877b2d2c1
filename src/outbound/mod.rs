//! One outbound connection: accept → endpoint → handshake → authorize the server → relay → access log entry.
//!
//! The app speaks plaintext to loopback, and the instance's certificate speaks for it. Nothing of the app's bytes is sent to anybody
//! who was not verified.

mod address_rules;
mod api;
mod attempts;
mod balance;
mod certificate_rejection;
mod dial;
mod dialler;
mod endpoint;
mod endpoint_failure;
mod endpoints;
mod error;
mod forward_proxy;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handshake;
mod http;
mod http_connect;
mod local_error;
mod outlier;
mod pair_lifetime;
mod probe;
mod relay;
mod resolve;
mod session;
#[cfg(test)]
mod simulation;
mod stream;
mod tcp;

use std::sync::Arc;

pub use address_rules::{AddressRejection, AddressRules, METADATA};
pub use api::{ApiError, ApiLimits, ApiRequest, ApiResponse, ApiServer};
pub use certificate_rejection::CertificateRejection;
pub use dialler::Dialler;
pub use endpoint::{Endpoint, EndpointLease};
pub use endpoint_failure::EndpointFailure;
pub use endpoints::{Endpoints, LookupFailure, ResolveState};
pub use error::{AttemptError, OutboundError};
pub use forward_proxy::{Hosts, ProxyPassword, ProxyRequests};
pub use handshake::server_name;
pub use http::{HttpClient, HttpShared, OutboundRequests, RequestService};
pub use probe::{EndpointProbe, Probes, probe};
pub use tcp::OutboundService;

use crate::config::{ForwardProxy, Outbound};
use crate::telemetry::OutboundCounters;

/// What others may know of an outbound listener.
#[derive(Debug, Clone)]
pub struct OutboundInfo {
    /// As it was configured.
    pub config: Outbound,
    /// Where it listens.
    pub listener: Arc<str>,
    /// Whom it dials now.
    pub endpoints: Arc<Endpoints>,
    /// What is counted.
    pub counters: Arc<OutboundCounters>,
}

/// What others may know of the forward proxy.
#[derive(Debug, Clone)]
pub struct ForwardProxyInfo {
    /// As it was configured.
    pub config: Arc<ForwardProxy>,
    /// Where it listens.
    pub listener: Arc<str>,
    /// With whom it has to do now.
    pub hosts: Arc<Hosts>,
    /// What is counted.
    pub counters: Arc<OutboundCounters>,
}

/// All that listens for the app.
#[derive(Debug, Clone, Default)]
pub struct OutboundOverview {
    /// One for each outbound listener, in the order of the configuration.
    pub listeners: Vec<OutboundInfo>,
    /// The forward proxy; `None`: there is none.
    pub forward_proxy: Option<ForwardProxyInfo>,
}

/// All that was carried for the app, wherever it dials us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboundTotals {
    /// Connections of listeners that carry bytes.
    pub connections: u64,
    /// Requests of those that speak HTTP, and of the forward proxy.
    pub requests: u64,
    /// Plaintext bytes of what has ended: from the app, and to it.
    pub bytes: (u64, u64),
}

impl OutboundOverview {
    /// The totals; `None`: nothing listens for the app.
    pub fn totals(&self) -> Option<OutboundTotals> {
        let listeners = self.listeners.iter().map(|listener| &listener.counters);
        let all: Vec<_> = listeners.chain(self.forward_proxy.iter().map(|proxy| &proxy.counters)).collect();
        if all.is_empty() {
            return None;
        }
        let mut totals = OutboundTotals::default();
        for counters in all {
            let (up, down) = counters.bytes();
            totals.connections += counters.opened();
            totals.requests += counters.all_requests();
            totals.bytes = (totals.bytes.0 + up, totals.bytes.1 + down);
        }
        Some(totals)
    }
}
