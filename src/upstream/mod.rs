//! The way to the app: dialling it, and noting whether it answered.

mod connector;
mod probe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::config::{AppAddr, AppReady, ProxyProtocol};
use crate::io::AppStream;
use crate::lifecycle::{Health, HealthState};
use crate::proxy_protocol;
use crate::sys::socket_tables;

use self::connector::Connector;
pub use self::connector::DialError;

/// How often an app that starts is asked.
const FAST_PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// For how long it is asked that often.
const FAST_PROBE_PERIOD: Duration = Duration::from_secs(60);

/// An app that takes longer to start is told of, as it may listen elsewhere.
const LONG_START: Duration = Duration::from_secs(30);

/// How often an app is asked that has refused, or takes very long to start.
const SLOW_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The way to the app behind one listener.
#[derive(Debug)]
pub struct Upstream {
    connector: Connector,
    ready: AppReady,
    health: Arc<Health>,
    /// What the app has to read first when we ask it ourselves.
    probe_prefix: &'static [u8],
    hold: Option<Duration>,
    /// A client was refused since the kernel's table was last looked at.
    refused: AtomicBool,
}

/// What the kernel's table has said of an app that refuses.
#[derive(Debug, Default)]
struct ListenScan {
    scanned_at: Option<Instant>,
    named: Option<SocketAddr>,
}

impl Upstream {
    /// The way to `addr`, with `limit` for each dial. `ready` says what "ready" means, and `hold` how long clients wait for
    /// an app that has not been ready yet.
    pub fn new(addr: AppAddr, limit: Duration, ready: AppReady, hold: Option<Duration>) -> Self {
        let health = Arc::new(Health::new(&addr, ready != AppReady::Off));
        let app = Connector::new(addr, limit);
        Self { connector: app, ready, health, probe_prefix: b"", hold, refused: AtomicBool::new(false) }
    }

    /// The same to an app that is told of each client, and so reads a PROXY header first in whatever it is asked.
    pub fn with_probe_prefix(self, version: Option<ProxyProtocol>) -> Self {
        let probe_prefix = match version {
            None => b"",
            Some(ProxyProtocol::V1) => proxy_protocol::LOCAL_V1,
            Some(ProxyProtocol::V2) => proxy_protocol::LOCAL_V2,
        };
        Self { probe_prefix, ..self }
    }

    /// Where the app is.
    pub fn addr(&self) -> &AppAddr {
        self.connector.addr()
    }

    /// Whether it answers.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Connects to the app, and before its first readiness waits for that as long as was asked for.
    ///
    /// # Errors
    /// [`DialError`], when the app has not accepted.
    pub async fn dial(&self) -> Result<AppStream, DialError> {
        if let Some(hold) = self.hold
            && self.health.state() == HealthState::Starting
        {
            // When the time is over, the dial below tells the client.
            let _ = timeout(hold, self.health.watch().wait_for(|state| *state != HealthState::Starting)).await;
        }
        let dialled = self.connector.connect().await;
        match dialled {
            // That it accepts does not tell that it answers.
            Ok(_) if matches!(self.ready, AppReady::Http(_)) => {}
            Ok(_) => self.health.set(HealthState::Accepting),
            Err(_) if self.health.is_ready() => self.health.set(HealthState::Refusing),
            Err(_) => {}
        }
        if matches!(dialled, Err(DialError::Refused)) {
            self.refused.store(true, Ordering::Relaxed);
        }
        dialled
    }

    /// How long clients wait for an app that has not been ready yet.
    pub fn hold(&self) -> Option<Duration> {
        self.hold
    }

    /// Asks the app until it is ready, and again whenever a client was refused, for ever; while all is well it only waits.
    /// `ours`: the addresses that we listen on ourselves.
    pub async fn watch(&self, ours: &[SocketAddr]) {
        let began = Instant::now();
        let mut changes = self.health.watch();
        let mut scan = ListenScan::default();
        let mut is_missed = false;
        loop {
            let state = *changes.borrow_and_update();
            if state != HealthState::Accepting {
                self.scan_listening(&mut scan, ours);
            }
            let pause = match state {
                HealthState::Accepting => {
                    self.log_accepting(began, ours);
                    // Cannot fail: we hold the sender.
                    let _ = changes.changed().await;
                    if self.health.state() == HealthState::Refusing {
                        tracing::warn!(app = %self.addr(), "the app no longer accepts connections");
                    }
                    continue;
                }
                _ if self.ready == AppReady::Off => {
                    let _ = changes.changed().await;
                    continue;
                }
                HealthState::Starting if began.elapsed() < FAST_PROBE_PERIOD => FAST_PROBE_INTERVAL,
                _ => SLOW_PROBE_INTERVAL,
            };
            if state == HealthState::Starting && !is_missed && began.elapsed() >= LONG_START {
                is_missed = true;
                tracing::warn!(app = %self.addr(), "the app does not accept connections yet; if it listens elsewhere, give that address by --app");
            }
            if state == HealthState::Refusing {
                sleep(pause).await;
            }
            if probe::ask(&self.connector, &self.ready, self.probe_prefix).await {
                self.health.set(HealthState::Accepting);
            } else if state != HealthState::Refusing {
                sleep(pause).await;
            }
        }
    }

    /// Names the address on which something listens with the app's port, if a client was refused and there is one: an app
    /// that listens on `[::1]` alone looks like one that is not there. Each address is named once in a row, and the table is
    /// read once a second at most.
    fn scan_listening(&self, scan: &mut ListenScan, ours: &[SocketAddr]) {
        let has_rested = scan.scanned_at.is_none_or(|scanned_at| scanned_at.elapsed() >= SLOW_PROBE_INTERVAL);
        if !has_rested || !self.refused.swap(false, Ordering::Relaxed) {
            return;
        }
        scan.scanned_at = Some(Instant::now());
        let dialled = self.addr().tcp();
        let others = socket_tables::now_listening().into_iter().filter(|at| !ours.contains(at));
        let found = if dialled.is_empty() { None } else { socket_tables::elsewhere(&dialled, others) };
        if let Some(at) = found
            && scan.named != found
        {
            tracing::warn!(app = %self.addr(), listening = %at,
                "the app is not where it is dialled, but something listens on its port; give that address by --app if it is the app");
        }
        scan.named = found;
    }

    /// Once at the start with what is to be known of the app, and briefly after each trouble.
    fn log_accepting(&self, began: Instant, ours: &[SocketAddr]) {
        if self.health.exposed().is_some() {
            tracing::info!(app = %self.addr(), "the app accepts connections again");
            return;
        }
        if self.ready != AppReady::Off {
            let after_ms = began.elapsed().as_millis();
            tracing::info!(app = %self.addr(), after_ms = u64::try_from(after_ms).ok(), "the app accepts connections");
        }
        let exposed = match self.addr().tcp().first() {
            Some(addr) => socket_tables::exposed(*addr, &socket_tables::now_listening()),
            None => Vec::new(),
        };
        let exposed = exposed.into_iter().filter(|at| !ours.contains(at)).collect();
        for at in self.health.set_exposed(exposed) {
            tracing::warn!(app = %self.addr(), exposed = %at,
                "other hosts can reach the app past this proxy; let it listen on 127.0.0.1, or give --hide-app-port");
        }
    }
}

#[cfg(test)]
mod tests;
