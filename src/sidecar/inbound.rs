//! The inbound direction: clients to the app.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::shared::Shared;
use crate::admin::ListenerInfo;
use crate::config::{AdmittedPeers, ClientAuthConfig, ClientAuthSettings, Config, Listener, PairSource};
use crate::credentials::Rotator;
use crate::exit::{Exit, Fault};
use crate::inbound::{HttpInbound, HttpService, InboundService};
use crate::lifecycle::Tasks;
use crate::listener::Acceptor;
use crate::telemetry::RequestCounters;
use crate::upstream::Upstream;

/// An inbound listener, open.
#[derive(Debug)]
pub(super) struct BoundListener {
    /// As it was configured.
    pub(super) config: Listener,
    pub(super) socket: TcpListener,
    /// Where it listens.
    pub(super) addr: SocketAddr,
}

/// Inbound listeners that accept.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// The ways to the app, each once.
    pub(super) upstreams: Vec<Arc<Upstream>>,
    /// One for each listener, for the status page.
    pub(super) listeners: Vec<ListenerInfo>,
    /// The accept loops, which end when the drain begins.
    pub(super) accepting: JoinSet<()>,
    /// Sockets that nobody accepts on yet, or not for good.
    pending: Vec<PendingListener>,
}

/// A listener that is ready to accept.
#[derive(Debug)]
struct PendingListener {
    socket: TcpListener,
    addr: SocketAddr,
    service: Arc<InboundService>,
}

impl PendingListener {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, addr: self.addr, service: Arc::clone(&self.service) })
    }
}

impl Inbound {
    /// Has every listener accept, in the runtime that is entered, until [`Self::accept`].
    ///
    /// # Errors
    /// The descriptor limit is reached.
    pub(super) fn accept_for_now(&mut self, shared: &Shared) -> Result<(), Fault> {
        let pending = self.pending.iter().map(PendingListener::try_clone).collect::<io::Result<Vec<_>>>();
        let failed = |error: io::Error| Fault::new(Exit::Internal, format!("cannot accept connections: {error}"));
        self.begin(pending.map_err(failed)?, shared)
    }

    /// Has every listener accept, in the runtime that is entered. Whatever has accepted before does so no more; connections go on where
    /// they are. To be called once, and without another await while a runtime is entered.
    ///
    /// # Errors
    /// The runtime cannot take a socket: its descriptor limit is reached.
    pub(super) fn accept(&mut self, shared: &Shared) -> Result<(), Fault> {
        self.accepting.abort_all();
        let pending = std::mem::take(&mut self.pending);
        self.begin(pending, shared)
    }

    /// Nobody will accept any more on what is not accepted on yet.
    pub(super) fn close(&mut self) {
        self.pending.clear();
    }

    fn begin(&mut self, pending: Vec<PendingListener>, shared: &Shared) -> Result<(), Fault> {
        for PendingListener { socket, addr, service } in pending {
            let socket = super::sockets::into_tokio(socket, addr)?;
            let (slots, guard) = (shared.capacity.slots.clone(), shared.guards.guard());
            let (addr, phase) = (addr.to_string().into(), shared.phase.subscribe());
            match service.http {
                None => self.accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase)),
                Some(_) => {
                    let service = Arc::new(HttpInbound(service));
                    self.accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase))
                }
            };
        }
        Ok(())
    }
}

/// Makes every one of `listeners` ready to accept, with what `rotator` serves, and watches the apps behind them. Must be called within a
/// runtime.
pub(super) fn start(
    listeners: Vec<BoundListener>,
    config: &Config,
    shared: &Shared,
    rotator: &mut Rotator,
    tasks: &mut Tasks,
) -> Inbound {
    let ours: Arc<[SocketAddr]> = listeners.iter().map(|listener| listener.addr).collect();
    let mut inbound = Inbound::default();
    for BoundListener { config: listener, socket, addr } in listeners {
        let tls = listener.plaintext.is_some().then_some("off");
        tracing::info!(listener = %addr, app = %listener.app, tls, "listening");
        listener.plaintext.iter().for_each(|peers| warn_of_others(peers, addr));
        warn_of_forwarded(&listener, addr);
        if let ClientAuthConfig::Files(ClientAuthSettings { any_implied: true, .. }) = &listener.clients {
            tracing::info!(listener = %addr, "no rule is given: every client with a certificate under the client CAs may come in");
        }
        let known = inbound.upstreams.iter().find(|upstream| *upstream.addr() == listener.app);
        let upstream = known.cloned().unwrap_or_else(|| {
            let upstream = Arc::new(upstream(config, &listener));
            tasks.start("app watch", {
                let (upstream, ours) = (Arc::clone(&upstream), Arc::clone(&ours));
                async move { upstream.watch(&ours).await }
            });
            inbound.upstreams.push(Arc::clone(&upstream));
            upstream
        });
        let snapshots = match &listener.plaintext {
            None => rotator.add_listener(&listener.pair, &listener.tls, &listener.clients),
            Some(_) => rotator.add_plaintext_listener(&listener.pair, is_there(&listener.pair), &listener.clients),
        };
        let http = listener.http.clone().map(|config| {
            let counters: Arc<RequestCounters> = Arc::default();
            shared.counters.add_requests(addr, Arc::clone(&counters));
            HttpService::new(config, &listener.clients, counters)
        });
        inbound.listeners.push(ListenerInfo {
            listener: addr,
            app: Arc::clone(upstream.health()),
            pair: listener.plaintext.is_none().then_some(listener.pair),
            clients: listener.clients,
            snapshots: snapshots.clone(),
            http: listener.http.clone(),
        });
        let service = Arc::new(InboundService {
            listener: addr,
            snapshots,
            dial_order: listener.dial,
            upstream,
            proxy_protocol: listener.proxy_protocol,
            accept_proxy_protocol: listener.accept_proxy_protocol,
            timeouts: config.timeouts.clone(),
            handshakes: Arc::clone(&shared.capacity.handshakes),
            budgets: Arc::clone(&shared.capacity.budgets),
            signing: Arc::clone(&shared.signing),
            http,
            plaintext: listener.plaintext,
            drain_http: config.drain.http,
            phase: shared.phase.subscribe(),
            counters: Arc::clone(&shared.counters),
            access: config.log.access,
        });
        inbound.pending.push(PendingListener { socket, addr, service });
    }
    inbound
}

/// Whether a pair has been written that nobody needs: at the usual place there may never be one.
fn is_there(pair: &PairSource) -> bool {
    match pair {
        PairSource::Files(files) => files.cert.exists(),
        PairSource::Secret(secret) => secret.path.exists(),
    }
}

/// Says who else may say who calls.
fn warn_of_others(peers: &AdmittedPeers, listener: SocketAddr) {
    let others: Vec<_> = peers.elsewhere().map(ToString::to_string).collect();
    if !others.is_empty() {
        tracing::warn!(
            %listener,
            from = others.join(","),
            "untrusted hosts in --from could forge the caller; list networks of proxies only"
        );
    }
}

/// Says what of whom clients forward nobody can rely on.
fn warn_of_forwarded(listener: &Listener, addr: SocketAddr) {
    let Some(http) = &listener.http else { return };
    if let Some((what, help)) = http.xfcc_doubt() {
        tracing::warn!(listener = %addr, detail = %what, help, "callers that the app is told of can be forged");
    }
    if listener.plaintext.is_none() && http.forward_from.is_empty() {
        return;
    }
    for doubt in http.forwarding_doubts(listener.clients.is_audited()) {
        tracing::warn!(listener = %addr, detail = %doubt, "forwarded callers cannot be relied on");
    }
}

/// The way to the app behind `listener`.
fn upstream(config: &Config, listener: &Listener) -> Upstream {
    let (ready, hold) = (config.app.ready.clone(), config.app.hold_until_ready);
    Upstream::new(listener.app.clone(), listener.connect_timeout, ready, hold)
        .with_probe_prefix(listener.proxy_protocol)
}
