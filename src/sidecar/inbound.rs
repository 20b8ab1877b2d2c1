//! The inbound direction: clients to the app.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::shared::Shared;
use crate::admin::ListenerInfo;
use crate::config::{ClientAuthConfig, ClientAuthFiles, Config, Listener};
use crate::credentials::Rotator;
use crate::exit::Fault;
use crate::inbound::InboundService;
use crate::lifecycle::Tasks;
use crate::listener::Acceptor;
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
#[derive(Debug)]
pub(super) struct Inbound {
    /// The ways to the app, each once.
    pub(super) upstreams: Vec<Arc<Upstream>>,
    /// One for each listener, for the status page.
    pub(super) listeners: Vec<ListenerInfo>,
    /// The accept loops, which end when the drain begins.
    pub(super) accepting: JoinSet<()>,
}

/// Has every one of `listeners` accept, with what `rotator` serves, and watches the apps behind them. Must be called within a
/// runtime.
///
/// # Errors
/// The runtime cannot take a socket: its descriptor limit is reached.
pub(super) fn start(
    listeners: Vec<BoundListener>,
    config: &Config,
    shared: &Shared,
    rotator: &mut Rotator,
    tasks: &mut Tasks,
) -> Result<Inbound, Fault> {
    let ours: Arc<[SocketAddr]> = listeners.iter().map(|listener| listener.addr).collect();
    let mut inbound = Inbound { upstreams: Vec::new(), listeners: Vec::new(), accepting: JoinSet::new() };
    for BoundListener { config: listener, socket, addr } in listeners {
        tracing::info!(listener = %addr, app = %listener.app, "listening");
        if let ClientAuthConfig::Files(ClientAuthFiles { any_implied: true, .. }) = &listener.clients {
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
        let snapshots = rotator.add_listener(&listener.pair, &listener.tls, &listener.clients);
        inbound.listeners.push(ListenerInfo {
            listener: addr,
            app: Arc::clone(upstream.health()),
            pair: listener.pair,
            clients: listener.clients,
            snapshots: snapshots.clone(),
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
            drain_http: config.drain.http,
            phase: shared.phase.subscribe(),
            counters: Arc::clone(&shared.counters),
            access: config.log.access,
        });
        let socket = super::into_tokio(socket, addr)?;
        let (slots, guard) = (shared.capacity.slots.clone(), shared.guards.guard());
        inbound.accepting.spawn(
            Acceptor { socket, addr: addr.to_string().into(), service, slots, guard }.run(shared.phase.subscribe()),
        );
    }
    Ok(inbound)
}

/// The way to the app behind `listener`.
fn upstream(config: &Config, listener: &Listener) -> Upstream {
    let (ready, hold) = (config.app.ready.clone(), config.app.hold_until_ready);
    Upstream::new(listener.app.clone(), listener.connect_timeout, ready, hold)
        .with_probe_prefix(listener.proxy_protocol)
}
