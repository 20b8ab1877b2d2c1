//! Asking who answers, without a connection to carry: what `check --connect` does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::attempts::{dial_one, server_name, shake_hands};
use super::endpoints::{Endpoint, Endpoints};
use super::error::{AttemptError, OutboundError, rejection};
use crate::config::{Outbound, OutboundSettings};
use crate::credentials::OutboundSnapshot;
use crate::telemetry::OutboundCounters;
use crate::trust::AuthenticatedServer;

/// What has come of shaking hands with one endpoint.
#[derive(Debug)]
pub struct EndpointProbe {
    /// Its address.
    pub addr: SocketAddr,
    /// Who has answered, and may.
    pub result: Result<AuthenticatedServer, AttemptError>,
}

/// How long a server has to refuse our certificate after the handshake: in TLS 1.3 it comes no sooner.
const REFUSAL: Duration = Duration::from_millis(300);

/// Endpoints that are probed.
const MAX_PROBES: usize = 32;

/// Shakes hands with each endpoint of `outbound`, and sends nothing.
///
/// # Errors
/// [`OutboundError`]: there is no endpoint.
pub async fn probe(outbound: &Outbound, snapshot: OutboundSnapshot) -> Result<Vec<EndpointProbe>, OutboundError> {
    let counters = Arc::new(OutboundCounters::new(&outbound.name()));
    let endpoints = Arc::new(Endpoints::new(outbound, Arc::default(), Arc::clone(&counters)));
    let looking = Arc::clone(&endpoints);
    let lookups = tokio::spawn(async move { looking.run().await });
    let known = endpoints.wait(outbound.settings.timeouts.total).await.map_err(OutboundError::ResolveFailed);
    lookups.abort();
    known?;
    let all = endpoints.current();
    if all.is_empty() {
        return Err(endpoints.nobody());
    }
    let mut probes = Vec::new();
    for endpoint in all.iter().take(MAX_PROBES) {
        let name = server_name(&outbound.settings, &endpoint.target.host);
        probes.push(EndpointProbe {
            addr: endpoint.addr,
            result: probe_one(&outbound.settings, &snapshot, endpoint, &name).await,
        });
    }
    Ok(probes)
}

async fn probe_one(
    settings: &OutboundSettings,
    snapshot: &OutboundSnapshot,
    endpoint: &Arc<Endpoint>,
    name: &ServerName<'static>,
) -> Result<AuthenticatedServer, AttemptError> {
    let tcp = dial_one(Arc::clone(endpoint), settings.timeouts.clone()).await?;
    let (mut stream, server) = shake_hands(settings.timeouts.handshake, snapshot, name, tcp).await?;
    match timeout(REFUSAL, stream.read(&mut [0])).await {
        Ok(Err(error)) => match rejection(&error) {
            Some(alert) => Err(AttemptError::Rejected(alert)),
            None => Ok(server),
        },
        // It speaks first, has closed, or waits for us to speak.
        Ok(Ok(_)) | Err(_) => Ok(server),
    }
}
