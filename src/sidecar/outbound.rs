//! The outbound direction: the app to the world.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::shared::Shared;
use super::{bind_help, into_tokio};
use crate::config::{Config, Listen, Outbound, OutboundListen, PairSource, Protocol};
use crate::credentials::Rotator;
use crate::exit::{Exit, Fault};
use crate::lifecycle::{DrainGuards, Phase, Tasks};
use crate::listener;
use crate::listener::{Acceptor, Service, SocketAccess, SocketFile, open_unix};
use crate::outbound::{Dialler, Endpoints, HttpClient, HttpOutboundService, OutboundInfo, OutboundService};
use crate::telemetry::OutboundCounters;

/// An outbound listener, open.
#[derive(Debug)]
pub(super) struct BoundOutbound {
    /// As it was configured.
    config: Outbound,
    sockets: Vec<OutboundSocket>,
}

#[derive(Debug)]
enum OutboundSocket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// Outbound listeners that accept.
#[derive(Debug)]
pub(super) struct Outbounds {
    /// One for each listener, for metrics, readiness and the status page.
    pub(super) listeners: Vec<OutboundInfo>,
    /// The accept loops, which end when the app is gone.
    pub(super) accepting: JoinSet<()>,
    /// One for each connection.
    pub(super) guards: DrainGuards,
    /// They stay open until the app is gone.
    pub(super) phase: watch::Sender<Phase>,
    /// Where we listen for the app, and for whoever runs the process.
    ours: Arc<[SocketAddr]>,
    /// Socket files, which go with us.
    _files: Vec<SocketFile>,
}

impl BoundOutbound {
    /// Opens where `outbound` listens.
    ///
    /// # Errors
    /// A sentence for people.
    pub(super) fn open(outbound: &Outbound) -> Result<Self, String> {
        let failed =
            |error: io::Error| format!("cannot listen on {} for --outbound: {}", outbound.listen, bind_help(&error));
        let sockets = match &outbound.listen {
            OutboundListen::Unix(path) => {
                let (socket, file) = open_unix(path, SocketAccess::Owner).map_err(failed)?;
                vec![OutboundSocket::Unix(socket, file)]
            }
            OutboundListen::At(addr) => vec![open_tcp(*addr).map_err(failed)?],
            OutboundListen::Loopback(port) => open_loopback(*port).map_err(failed)?,
        };
        Ok(Self { config: outbound.clone(), sockets })
    }
}

impl BoundOutbound {
    /// Where it listens, if that is on TCP.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        self.addrs().next()
    }

    fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|socket| match socket {
            OutboundSocket::Tcp(_, addr) => Some(*addr),
            OutboundSocket::Unix(..) => None,
        })
    }
}

fn open_tcp(addr: SocketAddr) -> io::Result<OutboundSocket> {
    let socket = listener::open(Listen::At(addr))?;
    let addr = socket.local_addr()?;
    Ok(OutboundSocket::Tcp(socket, addr))
}

/// 127.0.0.1 and, where there is IPv6, ::1. A port that the kernel has chosen is the same for both, if it is free there.
fn open_loopback(port: u16) -> io::Result<Vec<OutboundSocket>> {
    let four = listener::open(Listen::At((std::net::Ipv4Addr::LOCALHOST, port).into()))?;
    let addr = four.local_addr()?;
    let mut sockets = vec![OutboundSocket::Tcp(four, addr)];
    match open_tcp((std::net::Ipv6Addr::LOCALHOST, addr.port()).into()) {
        Ok(six) => sockets.push(six),
        Err(error) if port == 0 || is_without_ipv6(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(sockets)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Has every one of `outbounds` accept, with what `rotator` serves, and keeps their endpoints up to date. Must be called within a
/// runtime.
///
/// # Errors
/// The runtime cannot take a socket: its descriptor limit is reached.
pub(super) fn start(
    outbounds: Vec<BoundOutbound>,
    config: &Config,
    shared: &Shared,
    rotator: &mut Rotator,
    tasks: &mut Tasks,
    admin: Option<SocketAddr>,
) -> Result<Outbounds, Fault> {
    let mut started = Outbounds {
        listeners: Vec::new(),
        accepting: JoinSet::new(),
        guards: DrainGuards::default(),
        phase: watch::Sender::new(Phase::Running),
        ours: outbounds.iter().flat_map(BoundOutbound::addrs).chain(admin).collect(),
        _files: Vec::new(),
    };
    // Invariant: the configuration has an inbound listener, whose pair speaks for the instance.
    let Some(pair) = config.listeners.first().map(|listener| listener.pair.clone()) else { return Ok(started) };
    for BoundOutbound { config: outbound, sockets } in outbounds {
        started.start_one(outbound, sockets, (config, &pair), shared, rotator, tasks)?;
    }
    Ok(started)
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
    ) -> Result<(), Fault> {
        // Metrics tell them apart by this.
        let taken = self.listeners.iter().any(|known| **known.counters.name() == *outbound.name());
        let name = if taken { format!("{} from {}", outbound.name(), outbound.listen) } else { outbound.name() };
        let counters = Arc::new(OutboundCounters::new(&name));
        let endpoints = Arc::new(Endpoints::new(&outbound, Arc::clone(&self.ours), Arc::clone(&counters)));
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
                "no rule says who may answer: whoever has a certificate for the name is believed, and a route can be mapped to another app; add --outbound-expect cf:app:GUID"
            );
        }
        self.listeners.push(OutboundInfo {
            config: outbound.clone(),
            listener: Arc::clone(&listener),
            endpoints: Arc::clone(&endpoints),
            counters: Arc::clone(&counters),
        });
        let protocol = outbound.settings.protocol;
        let dialler = Dialler::new(outbound.settings, Some(snapshots), endpoints, counters);
        let (phase, access) = (self.phase.subscribe(), config.log.access);
        let sockets = sockets.into_iter().zip(names);
        match protocol {
            Protocol::Tcp => {
                let service = Arc::new(OutboundService::new(dialler, listener, phase, access));
                self.accept(sockets, &service, shared)
            }
            Protocol::Http1 => {
                let client = Arc::new(HttpClient::new(Arc::new(dialler)));
                let service = Arc::new(HttpOutboundService::new(client, listener, phase, access));
                self.accept(sockets, &service, shared)
            }
        }
    }

    /// Has `service` serve whoever connects to `sockets`, each with its name.
    fn accept<S: Service<tokio::net::TcpListener> + Service<tokio::net::UnixListener>>(
        &mut self,
        sockets: impl Iterator<Item = (OutboundSocket, String)>,
        service: &Arc<S>,
        shared: &Shared,
    ) -> Result<(), Fault> {
        for (socket, name) in sockets {
            let (slots, guard, phase) = (shared.capacity.slots.clone(), self.guards.guard(), self.phase.subscribe());
            let (service, addr) = (Arc::clone(service), name.into());
            match socket {
                OutboundSocket::Tcp(socket, at) => {
                    let socket = into_tokio(socket, at)?;
                    self.accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase));
                }
                OutboundSocket::Unix(socket, file) => {
                    let socket = tokio::net::UnixListener::from_std(socket).map_err(|error| {
                        Fault::new(Exit::Internal, format!("cannot accept connections on {addr}: {error}"))
                    })?;
                    self._files.push(file);
                    self.accepting.spawn(Acceptor { socket, addr, service, slots, guard }.run(phase));
                }
            }
        }
        Ok(())
    }
}
