//! One outbound connection: accept → endpoint → handshake → authorize the server → relay → access log entry.
//!
//! The app speaks plaintext to loopback, and the instance's certificate speaks for it. Nothing of the app's bytes is sent to anybody
//! who was not verified.

mod balance;
mod connect;
mod endpoints;
mod error;
mod http_connect;
mod outlier;
mod relay;
mod resolve;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep_until};

pub use connect::{EndpointProbe, probe};
pub use endpoints::{Endpoint, Endpoints, Known, Lease};
pub use error::{AttemptError, OutboundError};

use self::balance::Balancer;
use self::connect::Connected;
use self::relay::{OutboundRelay, OutboundRelayEnd};
use crate::config::{AccessLogFilter, Host, Outbound};
use crate::credentials::{OutboundSnapshot, PairValidity, SnapshotReceiver};
use crate::io::AppStream;
use crate::lifecycle::Phase;
use crate::listener::{Service, Slot};
use crate::policy::Permit;
use crate::telemetry::{OutboundCloseReason, OutboundCounters, OutboundLogEntry};
use crate::trust::ServerDenialReason;

/// A connection that is to be let go is closed once it has been silent for this long: long enough for the pause between two parts of
/// one answer.
const SILENCE: Duration = Duration::from_millis(50);

/// A connection that is too old is closed in its next pause; one that has none for so long is cut.
const PAUSE_WANTED: Duration = Duration::from_secs(30);

/// Before its pair ends a connection is let go at the latest so long: whichever of the two is less.
const LATEST: Duration = Duration::from_secs(5 * 60);
const LATEST_PART: u32 = 10;

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

/// What the connections of one outbound listener share.
#[derive(Debug)]
pub struct OutboundService {
    /// As it was configured.
    outbound: Outbound,
    /// Where the app dials us.
    listener: Arc<str>,
    snapshots: SnapshotReceiver<OutboundSnapshot>,
    endpoints: Arc<Endpoints>,
    balancer: Balancer,
    connections: Semaphore,
    pending: Semaphore,
    phase: watch::Receiver<Phase>,
    counters: Arc<OutboundCounters>,
    access: AccessLogFilter,
}

/// What a connection holds while bytes are carried. All else is in boxes that are gone by then.
struct ActiveOutbound {
    relay: OutboundRelay,
    entry: OutboundLogEntry,
    name: ServerName<'static>,
    snapshot: Arc<OutboundSnapshot>,
    _lease: Lease,
}

impl OutboundService {
    /// What listens at `listener` for `outbound`, and dials `endpoints` with what `snapshots` gives. `phase` ends it.
    pub fn new(
        outbound: Outbound,
        listener: Arc<str>,
        snapshots: SnapshotReceiver<OutboundSnapshot>,
        endpoints: Arc<Endpoints>,
        phase: watch::Receiver<Phase>,
        counters: Arc<OutboundCounters>,
        access: AccessLogFilter,
    ) -> Self {
        Self {
            balancer: Balancer::new(outbound.balance),
            connections: Semaphore::new(outbound.max_connections.min(Semaphore::MAX_PERMITS)),
            pending: Semaphore::new(outbound.max_pending.min(Semaphore::MAX_PERMITS)),
            outbound,
            listener,
            snapshots,
            endpoints,
            phase,
            counters,
            access,
        }
    }

    /// The name that is asked for and verified where `host` is dialled.
    fn server_name(&self, host: &Host) -> ServerName<'static> {
        connect::server_name(&self.outbound, host)
    }

    async fn serve_app(&self, app: AppStream, slot: &Slot) {
        let Ok(_connection) = self.connections.try_acquire() else { return self.reject_app(app, "connections") };
        if slot.capacity_permit.is_none() {
            return self.reject_app(app, "all connections");
        }
        // The beginning has a box of its own: an idle connection has no room for it.
        let Some(mut active) = Box::pin(self.open(app)).await else { return };
        let reason = self.relay_until_closed(&mut active).await;
        let ActiveOutbound { relay, mut entry, .. } = active;
        entry.set_close_reason(reason);
        match reason {
            OutboundCloseReason::Completed
            | OutboundCloseReason::IdleTimeout
            | OutboundCloseReason::MaxAge
            | OutboundCloseReason::CredentialRotated
                if !relay.is_within_an_exchange() =>
            {
                relay.close().await;
            }
            _ => relay.reset(),
        }
        entry.close(reason);
    }

    /// Everything before the relay; `None` if it does not come to that, once the app has been told.
    async fn open(&self, app: AppStream) -> Option<ActiveOutbound> {
        let Ok(pending) = self.pending.try_acquire() else {
            self.reject_app(app, "pending");
            return None;
        };
        let mut entry = OutboundLogEntry::open(Arc::clone(&self.counters), self.access, Arc::clone(&self.listener));
        let connected = connect::connect(self, &mut entry).await;
        drop(pending);
        match connected {
            Ok(Connected { stream, server, name, snapshot, lease }) => {
                entry.fields.rule = server.permit.as_ref().and_then(Permit::rule).cloned();
                entry.fields.server = Some(server.certificate);
                let relay = OutboundRelay::new(app, stream);
                Some(ActiveOutbound { relay, entry, name, snapshot, _lease: lease })
            }
            Err(error) => {
                entry.fields.detail = Some(error.to_string());
                // Never an end of file: the app would take it for an answer.
                app.reset();
                entry.close(error.reason());
                None
            }
        }
    }

    fn reject_app(&self, app: AppStream, what: &'static str) {
        let (what, option) = match what {
            "pending" => ("connections that wait for an endpoint", "--outbound-max-pending"),
            "connections" => ("connections of this outbound listener", "--outbound-max-connections"),
            _ => ("connections", "--max-connections, or the memory or descriptor limit that it follows from"),
        };
        let error = OutboundError::Overloaded { what, option };
        let mut entry = OutboundLogEntry::open(Arc::clone(&self.counters), self.access, Arc::clone(&self.listener));
        entry.fields.detail = Some(error.to_string());
        app.reset();
        entry.close(error.reason());
    }

    /// Carries bytes until a side, a limit, a rotation or the end of the process ends it.
    async fn relay_until_closed(&self, active: &mut ActiveOutbound) -> OutboundCloseReason {
        let ActiveOutbound { relay, entry, name, snapshot, .. } = active;
        if let Some(limit) = self.outbound.timeouts.idle {
            relay.set_idle_timeout(limit);
        }
        let mut retirement = Retirement::new(snapshot.validity);
        let max_age = self.outbound.timeouts.max_age;
        let mut too_old = OptionalTimer(max_age.map(|age| Box::pin(sleep_until(Instant::now() + age))));
        let (mut phase, mut generations) = (self.phase.clone(), self.snapshots.generations());
        let (mut let_go, mut is_old) = (false, false);
        let reason = loop {
            let served = self.snapshots.load().filter(|served| served.generation != snapshot.generation);
            if let Some(served) = served {
                let chain = relay.endpoint().get_ref().1.peer_certificates().unwrap_or_default();
                if let Err(denial) = served.authenticator.authorize(chain, name, SystemTime::now()) {
                    entry.fields.detail = Some(denial.to_string());
                    break match denial.reason {
                        ServerDenialReason::CertificateExpired => OutboundCloseReason::CertificateExpired,
                        _ => OutboundCloseReason::PolicyChanged,
                    };
                }
                // What was agreed on with the old pair stays so: the new one is for new connections.
                if !let_go && snapshot.validity.is_some() && served.pair_generation != snapshot.pair_generation {
                    let_go = true;
                    relay.set_drain_idle_timeout(SILENCE);
                }
            }
            generations.borrow_and_update();
            match *phase.borrow_and_update() {
                Phase::Running | Phase::Retiring => {}
                Phase::Draining | Phase::Delivering => relay.set_drain_idle_timeout(SILENCE),
                Phase::Closing => break OutboundCloseReason::DrainTimeout,
            }
            tokio::select! {
                biased;
                end = &mut *relay => break match end {
                    OutboundRelayEnd::Complete => OutboundCloseReason::Completed,
                    OutboundRelayEnd::AppReset => OutboundCloseReason::AppReset,
                    OutboundRelayEnd::EndpointTruncated => OutboundCloseReason::EndpointTruncated,
                    OutboundRelayEnd::EndpointReset => OutboundCloseReason::EndpointReset,
                    OutboundRelayEnd::EndpointViolation(error) => {
                        entry.fields.detail = Some(error.to_string());
                        OutboundCloseReason::EndpointViolation
                    }
                    OutboundRelayEnd::Rejected(alert) => {
                        entry.fields.detail = Some(AttemptError::Rejected(alert).to_string());
                        OutboundCloseReason::ClientCertificateRejected
                    }
                    OutboundRelayEnd::Idle if *self.phase.borrow() >= Phase::Draining => OutboundCloseReason::Completed,
                    OutboundRelayEnd::Idle if let_go => OutboundCloseReason::CredentialRotated,
                    OutboundRelayEnd::Idle if is_old => OutboundCloseReason::MaxAge,
                    OutboundRelayEnd::Idle => OutboundCloseReason::IdleTimeout,
                },
                Ok(()) = phase.changed() => {}
                Ok(()) = generations.changed() => {}
                step = retirement.next() => match step {
                    // In the next pause behind an answer. An app that waits for one is not cut off before it has to be.
                    RetirementStep::LetGo if !let_go => {
                        let_go = true;
                        relay.set_drain_idle_timeout(SILENCE);
                    }
                    RetirementStep::LetGo => {}
                    RetirementStep::End => break OutboundCloseReason::CredentialExpired,
                },
                () = &mut too_old => {
                    if is_old {
                        break OutboundCloseReason::MaxAge;
                    }
                    is_old = true;
                    relay.set_drain_idle_timeout(SILENCE);
                    too_old = OptionalTimer(Some(Box::pin(sleep_until(Instant::now() + PAUSE_WANTED))));
                }
            }
        };
        entry.fields.transferred = relay.transferred();
        reason
    }
}

/// What the end of the pair demands of a connection that was made with it.
enum RetirementStep {
    /// It is closed at the next pause.
    LetGo,
    /// It is closed now.
    End,
}

/// The end of the pair with which a connection was made.
struct Retirement {
    timer: OptionalTimer,
    /// The last moment of the pair; `None` once it was begun to let go of the connection, or if there is none.
    end: Option<Instant>,
}

impl Retirement {
    fn new(validity: Option<PairValidity>) -> Self {
        let Some(PairValidity { not_before, not_after }) = validity else {
            return Self { timer: OptionalTimer(None), end: None };
        };
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let end = Instant::now() + left;
        let let_go = end.checked_sub((lifetime / LATEST_PART).min(LATEST)).unwrap_or(end);
        Self { timer: OptionalTimer(Some(Box::pin(sleep_until(let_go)))), end: Some(end) }
    }

    /// Cancel safe.
    async fn next(&mut self) -> RetirementStep {
        (&mut self.timer).await;
        match self.end.take() {
            Some(end) => {
                self.timer = OptionalTimer(Some(Box::pin(sleep_until(end))));
                RetirementStep::LetGo
            }
            None => RetirementStep::End,
        }
    }
}

/// A timer that may not be there: then it costs none, and never ends.
struct OptionalTimer(Option<Pin<Box<Sleep>>>);

impl Future for OptionalTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Service<TcpListener> for OutboundService {
    async fn serve(self: Arc<Self>, stream: TcpStream, _: std::net::SocketAddr, slot: Slot) {
        self.serve_app(AppStream::Tcp(stream), &slot).await;
    }

    fn reject(&self, stream: TcpStream, _: std::net::SocketAddr) {
        self.reject_app(AppStream::Tcp(stream), "all connections");
    }
}

impl Service<UnixListener> for OutboundService {
    async fn serve(self: Arc<Self>, stream: UnixStream, (): (), slot: Slot) {
        self.serve_app(AppStream::Unix(stream), &slot).await;
    }

    fn reject(&self, stream: UnixStream, (): ()) {
        self.reject_app(AppStream::Unix(stream), "all connections");
    }
}
