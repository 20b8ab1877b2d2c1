//! The outbound direction: the app to the world.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::forward_proxy::BoundForwardProxy;
use super::identity_endpoint::BoundIdentityEndpoint;
use super::outbound_socket::{OutboundSocket, open_sockets};
use super::shared::Shared;
use super::sockets::{into_tokio, unix_into_tokio};
use crate::config::{Config, Outbound, PairSource, Protocol};
use crate::credentials::Rotator;
use crate::exit::Fault;
use crate::identity_endpoint::{BearerTokenFile, EndpointVerifier, IdentityService, MAX_CONNECTIONS, MAX_REFUSED};
use crate::lifecycle::{DrainGuards, Phase, Tasks};
use crate::listener::{Acceptor, LimitedListener, Service, Slots, SocketFile, SocketFileMode};
use crate::outbound::{
    AddressRules, Dialler, Endpoints, ForwardProxyInfo, Hosts, HttpClient, HttpShared, OutboundInfo, OutboundOverview,
    OutboundRequests, OutboundService, ProxyRequests, RequestService,
};
use crate::telemetry::OutboundCounters;

/// An outbound listener, open.
#[derive(Debug)]
pub(super) struct BoundOutbound {
    /// As it was configured.
    config: Outbound,
    sockets: Vec<OutboundSocket>,
}

/// The part of all connections, one in so many, that is left to clients however many the app makes.
const FOR_CLIENTS: usize = 8;

/// Outbound listeners that accept.
#[derive(Debug)]
pub(super) struct Outbounds {
    /// For metrics, readiness and the status page.
    pub(super) overview: OutboundOverview,
    /// The accept loops, which end when the app is gone.
    pub(super) accepting: JoinSet<()>,
    /// One for each connection.
    pub(super) guards: DrainGuards,
    /// What those share that speak HTTP, if any does.
    pub(super) http: Option<HttpShared>,
    /// Room for connections of the app, once one listens.
    slots: Option<Slots>,
    /// They stay open until the app is gone.
    pub(super) phase: watch::Sender<Phase>,
    /// What begins to accept once the app is there.
    pub(super) pending: PendingOutbounds,
    /// Who is not dialled: whoever listens for the app, and for whoever runs the process.
    rules: Arc<AddressRules>,
    /// Socket files, which go with us.
    pub(super) files: Vec<SocketFile>,
    /// The file of the identity endpoint's bearer token, whose folder goes with us.
    pub(super) bearer_token: Option<BearerTokenFile>,
}

/// Has one socket accept.
type StartAccepting = Box<dyn FnOnce(&mut JoinSet<()>) -> Result<(), Fault> + Send + Sync>;

/// Sockets that nobody accepts on yet.
#[derive(Default)]
pub(super) struct PendingOutbounds(Vec<StartAccepting>);

impl PendingOutbounds {
    /// One more.
    pub(super) fn push(&mut self, begin: impl FnOnce(&mut JoinSet<()>) -> Result<(), Fault> + Send + Sync + 'static) {
        self.0.push(Box::new(begin));
    }
}

impl fmt::Debug for PendingOutbounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingOutbounds").field(&self.0.len()).finish()
    }
}

impl BoundOutbound {
    /// Opens where `outbound` listens.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Unavailable`], with what is wrong.
    pub(super) fn open(outbound: &Outbound) -> Result<Self, Fault> {
        Ok(Self {
            config: outbound.clone(),
            sockets: open_sockets(&outbound.listen, SocketFileMode::Owner, "--outbound")?,
        })
    }
}

impl BoundOutbound {
    /// Where it listens, if that is on TCP.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.addrs().next()
    }

    fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(OutboundSocket::addr)
    }
}

/// All that listens for the app, open.
#[derive(Debug, Default)]
pub(super) struct OutboundSockets {
    /// Those with servers of their own.
    pub(super) listeners: Vec<BoundOutbound>,
    /// The one whose requests name them.
    pub(super) forward_proxy: Option<BoundForwardProxy>,
    /// The one that gives tokens.
    pub(super) identity_endpoint: Option<BoundIdentityEndpoint>,
}

/// Where we listen for others than the app.
#[derive(Debug)]
pub(super) struct OwnAddresses {
    /// For clients.
    pub(super) inbound: Vec<SocketAddr>,
    /// For whoever runs the process.
    pub(super) admin: Vec<SocketAddr>,
}

/// Makes everything in `sockets` ready to accept, with what `rotator` serves, and keeps the endpoints up to date. Must be called within a
/// runtime.
pub(super) fn start(
    sockets: OutboundSockets,
    config: &Config,
    shared: &Shared,
    rotator: &mut Rotator,
    tasks: &mut Tasks,
    own: OwnAddresses,
) -> Outbounds {
    let OutboundSockets { listeners, forward_proxy, identity_endpoint } = sockets;
    let proxy = forward_proxy.iter().flat_map(|proxy| proxy.sockets.iter().filter_map(OutboundSocket::addr));
    let endpoint =
        identity_endpoint.iter().flat_map(|endpoint| endpoint.sockets.iter().filter_map(OutboundSocket::addr));
    let local = proxy.chain(endpoint).chain(own.admin);
    let ours: Vec<_> = listeners.iter().flat_map(BoundOutbound::addrs).chain(local).collect();
    let mut started = Outbounds {
        overview: OutboundOverview::default(),
        accepting: JoinSet::new(),
        pending: PendingOutbounds::default(),
        guards: DrainGuards::default(),
        http: None,
        slots: None,
        phase: watch::Sender::new(Phase::Running),
        rules: Arc::new(AddressRules::open(ours.clone())),
        files: Vec::new(),
        bearer_token: None,
    };
    // Invariant: the configuration has an inbound listener, whose pair speaks for the instance.
    let Some(pair) = config.listeners.first().map(|listener| listener.pair.clone()) else { return started };
    for doubt in config.outbound_doubts() {
        tracing::warn!(option = %doubt.place, detail = %doubt.what, help = %doubt.help, "outbound setting has no effect");
    }
    for BoundOutbound { config: outbound, sockets } in listeners {
        started.start_one(outbound, sockets, (config, &pair), shared, rotator, tasks);
    }
    if let Some(proxy) = forward_proxy {
        let ours = ours.into_iter().chain(own.inbound).collect();
        started.start_forward_proxy(proxy, ours, (config, &pair), shared, rotator, tasks);
    }
    if let Some(endpoint) = identity_endpoint {
        started.start_identity_endpoint(endpoint, pair, shared, rotator, tasks);
    }
    started
}

impl Outbounds {
    fn start_one(
        &mut self,
        outbound: Outbound,
        sockets: Vec<OutboundSocket>,
        (config, pair): (&Config, &PairSource),
        shared: &Shared,
        rotator: &mut Rotator,
        tasks: &mut Tasks,
    ) {
        // Metrics tell them apart by this.
        let taken = self.overview.listeners.iter().any(|known| **known.counters.name() == *outbound.name());
        let name = if taken { format!("{} from {}", outbound.name(), outbound.listen) } else { outbound.name() };
        let counters = Arc::new(OutboundCounters::new(&name));
        let endpoints = Endpoints::new(&outbound, Arc::clone(&self.rules), Arc::clone(&counters));
        let endpoints = Arc::new(endpoints.within(&shared.capacity.budgets));
        tasks.start("name lookup", {
            let endpoints = Arc::clone(&endpoints);
            async move { endpoints.run().await }
        });
        let snapshots = rotator.add_outbound(pair, &outbound.settings);
        let names: Vec<String> = sockets
            .iter()
            .map(|socket| match socket {
                OutboundSocket::Tcp(_, addr) => addr.to_string(),
                OutboundSocket::Unix(..) => outbound.listen.to_string(),
            })
            .collect();
        let listener: Arc<str> = names.first().cloned().unwrap_or_default().into();
        let expect: Vec<_> = outbound.settings.expect.iter().map(ToString::to_string).collect();
        let expect = (!expect.is_empty()).then(|| expect.join(","));
        tracing::info!(outbound = %listener, to = %counters.name(), expect, "outbound listening");
        if outbound.settings.expects_anybody() {
            tracing::warn!(
                outbound = %listener,
                to = %counters.name(),
                "outbound server not authorized by a rule: whoever has a certificate for the name is believed, and a route can be mapped to another app; add --outbound-expect with whom you expect: cf:app:GUID on Cloud Foundry, elsewhere dns:NAME or uri:URI"
            );
        }
        self.overview.listeners.push(OutboundInfo {
            config: outbound.clone(),
            listener: Arc::clone(&listener),
            endpoints: Arc::clone(&endpoints),
            counters: Arc::clone(&counters),
        });
        let protocol = outbound.settings.protocol;
        let budget = Arc::clone(&shared.capacity.budgets.backlogs);
        let dialler = Dialler::new(outbound.settings, Some(snapshots), endpoints, counters, Arc::clone(&budget));
        let (phase, access) = (self.phase.subscribe(), config.log.access);
        let sockets = sockets.into_iter().zip(names);
        match protocol {
            Protocol::Tcp => {
                let service = Arc::new(OutboundService::new(dialler, listener, phase, access));
                self.prepare(sockets, &service, shared);
            }
            Protocol::Http1 => {
                let client = Arc::new(HttpClient::new(Arc::new(dialler), self.http_shared(shared)));
                let service =
                    Arc::new(RequestService::new(OutboundRequests::new(client, listener, access), budget, phase));
                self.prepare(sockets, &service, shared);
            }
        }
    }

    fn start_forward_proxy(
        &mut self,
        proxy: BoundForwardProxy,
        ours: Vec<SocketAddr>,
        (config, pair): (&Config, &PairSource),
        shared: &Shared,
        rotator: &mut Rotator,
        tasks: &mut Tasks,
    ) {
        proxy.log();
        let listener: Arc<str> = proxy.name().into();
        let BoundForwardProxy { config: proxy, sockets, password } = proxy;
        let counters = Arc::new(OutboundCounters::new("forward-proxy"));
        let rules = Arc::new(AddressRules::guarded(ours, proxy.allow_addresses.clone()));
        let snapshots = proxy.listed.iter().map(|hosts| rotator.add_outbound(pair, &hosts.settings)).collect();
        let budgets = &shared.capacity.budgets;
        let http = self.http_shared(shared);
        let hosts = Hosts::new(Arc::clone(&proxy), snapshots, rules, Arc::clone(&counters), http, Arc::clone(budgets));
        let hosts = Arc::new(hosts);
        tasks.start("forward proxy", {
            let hosts = Arc::clone(&hosts);
            async move { hosts.forget().await }
        });
        let (phase, access) = (self.phase.subscribe(), config.log.access);
        let requests = ProxyRequests::new(Arc::clone(&hosts), password, Arc::clone(&listener), access);
        let service = RequestService::new(requests, Arc::clone(&budgets.backlogs), phase);
        let names = sockets.iter().map(|_| listener.to_string()).collect::<Vec<_>>();
        self.overview.forward_proxy = Some(ForwardProxyInfo { config: proxy, listener, hosts, counters });
        self.prepare(sockets.into_iter().zip(names), &Arc::new(service), shared);
    }

    /// Has `bound` answer with the pair of `pair` that `rotator` serves, until the app has ended, from [`Self::accept`] on. Must be called within a runtime.
    fn start_identity_endpoint(
        &mut self,
        bound: BoundIdentityEndpoint,
        pair: PairSource,
        shared: &Shared,
        rotator: &mut Rotator,
        tasks: &mut Tasks,
    ) {
        // Invariant: whoever has an endpoint counts tokens.
        let counters = shared.counters.tokens.clone().unwrap_or_default();
        let at = bound.url();
        let BoundIdentityEndpoint { config, sockets, bearer_token, roles } = bound;
        let audiences = config.audiences.join(",");
        let token_file =
            bearer_token.as_ref().map(|bearer_token| tracing::field::display(bearer_token.path().display()));
        tracing::info!(identity_endpoint = %at, audiences, token_file, "identity endpoint listening");
        let judge = config.verification.clone().map(|verification| {
            let trust = rotator.add_token_trust(verification.trust_files());
            let judge = Arc::new(EndpointVerifier::new(verification, trust, roles));
            tasks.start("token roles", Arc::clone(&judge).watch_roles());
            judge
        });
        let served = rotator.served();
        let service = Arc::new(IdentityService::new(config, bearer_token.as_ref(), judge, pair, served, counters));
        tasks.start("identity endpoint", Arc::clone(&service).forget_rotated());
        if let Some(bearer_token) = &bearer_token {
            tasks.start("bearer token of the identity endpoint", bearer_token.watcher().run());
        }
        let capacity = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for socket in sockets {
            let (slots, guard, phase) =
                (Slots::new(MAX_CONNECTIONS + MAX_REFUSED), self.guards.guard(), self.phase.subscribe());
            let (service, addr, capacity) =
                (Arc::clone(&service), Arc::<str>::from(at.as_str()), Arc::clone(&capacity));
            match socket {
                OutboundSocket::Tcp(socket, at) => {
                    self.pending.push(move |accepting| {
                        let socket = LimitedListener { socket: into_tokio(socket, at)?, capacity };
                        accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase));
                        Ok(())
                    });
                }
                OutboundSocket::Unix(socket, file) => {
                    self.files.push(file);
                    self.pending.push(move |accepting| {
                        let socket = LimitedListener { socket: unix_into_tokio(socket, &addr)?, capacity };
                        accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase));
                        Ok(())
                    });
                }
            }
        }
        self.bearer_token = bearer_token;
    }

    /// Room for connections of the app, which leave some to its clients.
    fn slots(&mut self, shared: &Shared) -> Slots {
        let for_clients = shared.capacity.connections / FOR_CLIENTS;
        let new = || shared.capacity.slots.up_to(shared.capacity.connections - for_clients);
        self.slots.get_or_insert_with(new).clone()
    }

    /// What HTTP clients share: of all connections that fit few wait for a request.
    fn http_shared(&mut self, shared: &Shared) -> HttpShared {
        let new = || {
            let waiting = (shared.capacity.connections / 8).max(4);
            let exchanges = shared.capacity.http_exchanges;
            HttpShared::new(waiting, exchanges, self.phase.subscribe(), self.guards.guard())
        };
        self.http.get_or_insert_with(new).clone()
    }

    /// Has `service` serve whoever connects to `sockets`, each with its name, from [`Self::accept`] on.
    fn prepare<S: Service<tokio::net::TcpListener> + Service<tokio::net::UnixListener>>(
        &mut self,
        sockets: impl Iterator<Item = (OutboundSocket, String)>,
        service: &Arc<S>,
        shared: &Shared,
    ) {
        for (socket, name) in sockets {
            let (slots, guard, phase) = (self.slots(shared), self.guards.guard(), self.phase.subscribe());
            let (service, addr) = (Arc::clone(service), Arc::<str>::from(name));
            match socket {
                OutboundSocket::Tcp(socket, at) => self.pending.push(move |accepting| {
                    let socket = into_tokio(socket, at)?;
                    accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase));
                    Ok(())
                }),
                OutboundSocket::Unix(socket, file) => {
                    self.files.push(file);
                    self.pending.push(move |accepting| {
                        let socket = unix_into_tokio(socket, &addr)?;
                        accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase));
                        Ok(())
                    });
                }
            }
        }
    }

    /// Has every listener accept, in the runtime that is entered. To be called once.
    ///
    /// # Errors
    /// The runtime cannot take a socket: its descriptor limit is reached.
    pub(super) fn accept(&mut self) -> Result<(), Fault> {
        std::mem::take(&mut self.pending.0).into_iter().try_for_each(|begin| begin(&mut self.accepting))
    }
}
