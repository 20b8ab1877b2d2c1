//! Asking who answers, without a connection to carry: what `check --connect` does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address_rules::AddressRules;
use super::certificate_rejection::{CertificateRejection, rejection};
use super::dial::dial_one;
use super::endpoint::Endpoint;
use super::endpoints::Endpoints;
use super::error::{AttemptError, OutboundError};
use super::handshake::{VerifiedSession, handshake, server_name};
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
    /// Whether it has asked who we are.
    pub has_asked: bool,
}

/// Our certificate, and whether a server has asked for it.
#[derive(Debug)]
struct WatchedResolver {
    inner: Arc<dyn ResolvesClientCert>,
    has_asked: AtomicBool,
}

impl ResolvesClientCert for WatchedResolver {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.has_asked.store(true, Ordering::Relaxed);
        self.inner.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.inner.has_certs()
    }
}

/// How long a server has to refuse our certificate after the handshake: in TLS 1.3 it comes no sooner.
const REFUSAL: Duration = Duration::from_millis(300);

/// Endpoints that are probed.
const MAX_PROBES: usize = 32;

/// What has come of shaking hands with all endpoints.
#[derive(Debug)]
pub struct Probes {
    /// One for each that was asked.
    pub probes: Vec<EndpointProbe>,
    /// How many were not, as there are too many.
    pub left_out: usize,
}

/// Shakes hands with each endpoint of `outbound` that `rules` let be dialled, and sends nothing.
///
/// # Errors
/// [`OutboundError`]: there is no endpoint.
pub async fn probe(
    outbound: &Outbound,
    rules: AddressRules,
    snapshot: OutboundSnapshot,
) -> Result<Probes, OutboundError> {
    let counters = Arc::new(OutboundCounters::new(&outbound.name()));
    let endpoints = Arc::new(Endpoints::new(outbound, Arc::new(rules), Arc::clone(&counters)));
    let looking = Arc::clone(&endpoints);
    let lookups = tokio::spawn(async move { looking.run().await });
    let known = endpoints.wait(outbound.settings.timeouts.total).await.map_err(OutboundError::ResolveFailed);
    lookups.abort();
    known?;
    let all = endpoints.current();
    if all.is_empty() {
        return Err(endpoints.nobody());
    }
    // All at once: those that hang keep nobody waiting.
    let mut asked = JoinSet::new();
    for (at, endpoint) in all.iter().take(MAX_PROBES).enumerate() {
        let name = server_name(&outbound.settings, &endpoint.target.host);
        let (watched, resolver) = watch(&snapshot);
        let (settings, endpoint) = (outbound.settings.clone(), Arc::clone(endpoint));
        asked.spawn(async move {
            let result = probe_one(&settings, &watched, &endpoint, &name).await;
            (at, EndpointProbe { addr: endpoint.addr, result, has_asked: resolver.has_asked.load(Ordering::Relaxed) })
        });
    }
    let mut probes = asked.join_all().await;
    probes.sort_by_key(|(at, _)| *at);
    let left_out = all.len().saturating_sub(probes.len());
    Ok(Probes { probes: probes.into_iter().map(|(_, probe)| probe).collect(), left_out })
}

/// The same as `snapshot`, of which one server sees nothing that others have seen.
fn watch(snapshot: &OutboundSnapshot) -> (OutboundSnapshot, Arc<WatchedResolver>) {
    let mut config = (*snapshot.client_config).clone();
    let inner = Arc::clone(&config.client_auth_cert_resolver);
    let resolver = Arc::new(WatchedResolver { inner, has_asked: AtomicBool::new(false) });
    config.client_auth_cert_resolver = Arc::<WatchedResolver>::clone(&resolver);
    config.resumption = Resumption::disabled();
    let watched = OutboundSnapshot {
        client_config: Arc::new(config),
        authenticator: snapshot.authenticator.clone(),
        ..*snapshot
    };
    (watched, resolver)
}

async fn probe_one(
    settings: &OutboundSettings,
    snapshot: &OutboundSnapshot,
    endpoint: &Arc<Endpoint>,
    name: &ServerName<'static>,
) -> Result<AuthenticatedServer, AttemptError> {
    let tcp = dial_one(Arc::clone(endpoint), settings.timeouts.clone()).await?;
    let VerifiedSession { mut stream, server, .. } =
        handshake(settings.timeouts.handshake, snapshot, name, tcp, None).await?;
    let heard = timeout(REFUSAL, stream.read(&mut [0])).await;
    if let Ok(Err(error)) = &heard
        && let Some(alert) = rejection(error)
    {
        let own = snapshot.authenticator.own();
        return Err(AttemptError::Rejected(CertificateRejection::new(alert, own)));
    }
    // It speaks first, has closed, or waits for us to speak. One that is still there is told that we are done.
    let _ = timeout(REFUSAL, stream.shutdown()).await;
    Ok(server)
}
