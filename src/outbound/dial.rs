//! The dialling of one endpoint, or of the proxy by which it is reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::endpoint::{Endpoint, EndpointLease};
use super::error::AttemptError;
use super::http_connect;
use crate::config::OutboundTimeouts;
use crate::io::connect_tcp;

/// After so long without an answer the next endpoint is dialled beside the first (RFC 8305, 5).
pub(super) const STAGGER: Duration = Duration::from_millis(250);

/// What came of dialling one endpoint.
pub(super) struct EndpointDialResult {
    pub(super) lease: EndpointLease,
    pub(super) result: Result<TcpStream, AttemptError>,
    pub(super) took: Duration,
}

impl EndpointDialResult {
    pub(super) async fn dial(lease: EndpointLease, timeouts: OutboundTimeouts) -> Self {
        let began = Instant::now();
        let result = dial_one(Arc::clone(lease.endpoint()), timeouts).await;
        Self { lease, result, took: began.elapsed() }
    }
}

/// A connection to `endpoint`, or by way of it where it is a proxy: that has as long as a handshake to reach the server.
pub(super) async fn dial_one(endpoint: Arc<Endpoint>, timeouts: OutboundTimeouts) -> Result<TcpStream, AttemptError> {
    let OutboundTimeouts { connect: limit, handshake, .. } = timeouts;
    let dialled = dial_addr(endpoint.addr, limit).await;
    let mut tcp = dialled.map_err(|error| match &endpoint.proxy {
        Some(_) => AttemptError::ProxyUnreachable(Box::new(error)),
        None => error,
    })?;
    if let Some(proxy) = &endpoint.proxy {
        let asked = timeout(handshake, http_connect::ask(&mut tcp, proxy, &endpoint.target)).await;
        asked.map_err(|_| AttemptError::ProxySilent(handshake))??;
    }
    Ok(tcp)
}

/// A connection to `addr`, which has to accept within `limit`.
pub(super) async fn dial_addr(addr: SocketAddr, limit: Duration) -> Result<TcpStream, AttemptError> {
    let dialled = timeout(limit, connect_tcp(addr)).await.map_err(|_| AttemptError::ConnectTimeout(limit))?;
    dialled.map_err(|error| AttemptError::of_connect(error, addr, limit))
}
