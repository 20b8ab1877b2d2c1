//! Whether an app takes connections. Written by whoever dials and probes it, read by readiness and the status page.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::OnceLock;

use tokio::sync::watch;

/// What is known of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// It has not been ready yet.
    Starting,
    /// It never became ready, and clients are no longer held for it.
    NeverReady,
    /// It accepted when it was last probed or dialled.
    Accepting,
    /// It was ready before, and refused when it was last dialled.
    Refusing,
}

/// The health of the app behind one listener.
#[derive(Debug)]
pub struct Health {
    addr: String,
    probed: bool,
    state: watch::Sender<HealthState>,
    exposed: OnceLock<Vec<SocketAddr>>,
}

impl Health {
    /// That of the app at `addr`. One that is not `probed` counts as ready until it has refused.
    pub fn new(addr: impl Display, probed: bool) -> Self {
        let state = watch::Sender::new(HealthState::Starting);
        Self { addr: addr.to_string(), probed, state, exposed: OnceLock::new() }
    }

    /// What is known of the app now.
    pub fn state(&self) -> HealthState {
        *self.state.borrow()
    }

    /// The state, to wait for its changes.
    pub fn watch(&self) -> watch::Receiver<HealthState> {
        self.state.subscribe()
    }

    /// Whether the app takes connections, as far as anybody knows.
    pub fn is_ready(&self) -> bool {
        match self.state() {
            HealthState::Accepting => true,
            HealthState::Starting => !self.probed,
            HealthState::NeverReady | HealthState::Refusing => false,
        }
    }

    /// This was seen.
    pub fn set(&self, now: HealthState) {
        // Read first: on the path of every connection it is the same as before.
        if self.state() != now {
            self.state.send_replace(now);
        }
    }

    /// Clients no longer wait for an app that has not been ready yet.
    pub fn stop_holding(&self) {
        self.state.send_if_modified(|state| {
            let starting = *state == HealthState::Starting;
            if starting {
                *state = HealthState::NeverReady;
            }
            starting
        });
    }

    /// The addresses through which other hosts can reach the app past us; `None` until it has accepted.
    pub fn exposed(&self) -> Option<&[SocketAddr]> {
        self.exposed.get().map(Vec::as_slice)
    }

    /// Other hosts can reach the app at these. The first answer stays.
    pub fn set_exposed(&self, at: Vec<SocketAddr>) -> &[SocketAddr] {
        self.exposed.get_or_init(|| at)
    }

    /// Where the app is.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// A few words that follow the address: `accepts`.
    pub fn describe(&self) -> String {
        let words = match (self.state(), self.is_ready()) {
            (HealthState::Accepting, _) => "accepts",
            (HealthState::Refusing, _) => "no longer accepts",
            (_, true) => "is never asked",
            (_, false) => "does not accept yet",
        };
        let exposed = self.exposed().unwrap_or_default().iter();
        words.to_owned() + &exposed.map(|at| format!(", and other hosts can reach it at {at}")).collect::<String>()
    }
}
