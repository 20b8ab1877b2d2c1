//! The one line that each connection leaves behind.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::config::AccessLog;
use crate::connection::Reason;
use crate::relay::Carried;
use crate::telemetry::Counters;
use crate::tls::Negotiated;

/// The target of the events that are records; it sets them apart from the rest of the log.
pub const RECORD_TARGET: &str = "vestibule::record";

/// One connection's entry in the log and the counters.
///
/// Written exactly once: by [`Record::close`], or on drop when the task was cancelled or panicked under us.
#[derive(Debug)]
pub struct Record {
    counters: Arc<Counters>,
    access: AccessLog,
    opened: Instant,
    peer: SocketAddr,
    listener: SocketAddr,
    /// What the connection has got to so far.
    pub facts: Box<Facts>,
    reason: Option<Reason>,
}

/// What is learned of a connection on its way.
#[derive(Debug, Default)]
pub struct Facts {
    /// The name the client asked for.
    pub server_name: Option<String>,
    /// The rotation whose pair was shown.
    pub generation: Option<u64>,
    /// What the handshake agreed on.
    pub negotiated: Option<Negotiated>,
    /// How long the app took to accept.
    pub dial: Option<Duration>,
    /// From accept to the end of the handshake.
    pub handshake: Option<Duration>,
    /// Bytes carried.
    pub carried: Carried,
    /// More about the end.
    pub detail: Option<String>,
}

impl Record {
    /// Opens the record of a connection from `peer` to `listener`.
    pub fn open(counters: Arc<Counters>, access: AccessLog, peer: SocketAddr, listener: SocketAddr) -> Self {
        counters.opened();
        Self { counters, access, opened: Instant::now(), peer, listener, facts: Box::default(), reason: None }
    }

    /// How long the connection has been open.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Keeps the text of an error and of its causes.
    pub fn explain(&mut self, error: &dyn Error) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.facts.detail = Some(text);
    }

    /// Writes the record.
    pub fn close(mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    fn write(&self, reason: Reason) {
        let Facts { server_name, generation, negotiated, dial, handshake, carried, detail } = &*self.facts;
        self.counters.ended(reason, carried.up, carried.down);
        let logged = match self.access {
            AccessLog::Off => false,
            AccessLog::Denied => reason.is_refusal(),
            AccessLog::All => !reason.is_noise(),
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: RECORD_TARGET,
                    peer = %self.peer,
                    reason = reason.as_str(),
                    listener = %self.listener,
                    server_name = server_name.as_deref(),
                    tls_version = negotiated.as_ref().and_then(Negotiated::version_name),
                    suite = negotiated.as_ref().and_then(Negotiated::suite_name),
                    group = negotiated.as_ref().and_then(Negotiated::group_name),
                    alpn = negotiated.as_ref().and_then(Negotiated::alpn_name),
                    resumed = negotiated.as_ref().map(|negotiated| negotiated.resumed),
                    bytes_up = carried.up,
                    bytes_down = carried.down,
                    dial_ms = dial.map(milliseconds),
                    handshake_ms = handshake.map(milliseconds),
                    duration_ms = milliseconds(self.opened.elapsed()),
                    generation,
                    detail,
                    "connection ended"
                )
            };
        }
        if logged {
            line!(info);
        } else {
            line!(debug);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let reason = match self.reason {
            Some(reason) => reason,
            None if std::thread::panicking() => Reason::Internal,
            // The runtime has dropped the task: the process ends.
            None => Reason::DrainTimeout,
        };
        self.write(reason);
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
