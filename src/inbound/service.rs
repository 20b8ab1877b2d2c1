//! What the connections of one listener share.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::http::service::HttpService;
use crate::budget::Budgets;
use crate::config::{AccessLogFilter, AdmittedPeers, Dial, Network, ProxyProtocol, Timeouts};
use crate::credentials::SnapshotReceiver;
use crate::lifecycle::Phase;
use crate::telemetry::Counters;
use crate::tls::SigningLimiter;
use crate::upstream::Upstream;

/// What the connections of one listener share.
#[derive(Debug)]
pub struct InboundService {
    /// Where they came in.
    pub listener: SocketAddr,
    /// What they are served with.
    pub snapshots: SnapshotReceiver,
    /// Where they go.
    pub upstream: Arc<Upstream>,
    /// When the app is dialled.
    pub dial_order: Dial,
    /// What the app is told of each client in front of its bytes.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Who in front of us tells of each client in front of its bytes, and must.
    pub accept_proxy_protocol: Vec<Network>,
    /// How long each stage may take.
    pub timeouts: Timeouts,
    /// One permit for each handshake that may be under way.
    pub handshakes: Arc<Semaphore>,
    /// Bytes that clients may have us hold.
    pub budgets: Arc<Budgets>,
    /// Has handshakes sign one after the other.
    pub signing: Arc<SigningLimiter>,
    /// How requests are served; `None`: bytes are carried.
    pub http: Option<HttpService>,
    /// Who may connect where TLS is off; `None`: TLS is on.
    pub plaintext: Option<AdmittedPeers>,
    /// Whether clients that speak HTTP/1.1 are told to let go of their connections while the instance goes.
    pub drain_http: bool,
    /// Where the process stands.
    pub phase: watch::Receiver<Phase>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Which connections leave a line.
    pub access: AccessLogFilter,
}
