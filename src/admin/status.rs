//! What there is to say about this process: gathered once for each answer, and shown as it stands by `/status.json` and, for
//! people, by the page at `/`.

mod listeners;
mod pairs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::watch;

use crate::config::Clients;
use crate::config::LogLevel;
use crate::config::PairSource;
use crate::credentials::Current;
use crate::credentials::Rotations;
use crate::credentials::Shown;
use crate::identity::Identity;
use crate::lifecycle::Phase;
use crate::lifecycle::Readiness;
use crate::telemetry::Brief;
use crate::telemetry::Caller;
use crate::telemetry::Counters;
use crate::telemetry::Denied;
use crate::telemetry::PIECE;
use crate::telemetry::Piece;
use crate::telemetry::log_level;
use crate::tls;
use crate::upstream::Upstream;

pub(super) use listeners::Listener;
pub(super) use listeners::Policy;
pub(super) use listeners::Rules;
pub(super) use pairs::Pair;

/// For paths and details of our own configuration, in characters.
const PATH: usize = 200;

/// Where the answers about the whole process come from, beside its readiness.
#[derive(Debug)]
pub struct Overview {
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What has become of new files.
    pub rotations: Arc<Rotations>,
    /// The pairs that are shown.
    pub shown: watch::Receiver<Vec<Shown>>,
    /// Where the process stands.
    pub phase: watch::Receiver<Phase>,
    /// The listeners, in the order of the configuration.
    pub listeners: Vec<Listening>,
    /// When it began to serve.
    pub started: SystemTime,
}

/// One listener, as it was set up.
#[derive(Debug)]
pub struct Listening {
    /// Its address.
    pub listener: SocketAddr,
    /// The way to the app behind it.
    pub app: Arc<Upstream>,
    /// Where the pair is found that it shows.
    pub pair: PairSource,
    /// Which clients may come in.
    pub clients: Clients,
    /// What its handshakes are served with.
    pub current: Current,
}

/// Everything that is shown. Whatever others have written in it is [`Brief`].
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) tls: &'static str,
    pub(super) crypto: &'static str,
    pub(super) fips: bool,
    pub(super) now: String,
    pub(super) started: String,
    pub(super) uptime_seconds: u64,
    pub(super) phase: &'static str,
    pub(super) log_level: &'static str,
    pub(super) ready: bool,
    pub(super) parts: Vec<Part>,
    pub(super) pairs: Vec<Pair>,
    pub(super) rotations: Rotated,
    pub(super) listeners: Vec<Listener>,
    pub(super) connections: Connections,
    pub(super) callers: Vec<Row>,
    pub(super) denials: Vec<Denial>,
}

/// A part of the readiness.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) part: &'static str,
    pub(super) ready: bool,
    pub(super) detail: Brief,
}

#[derive(Debug, Serialize)]
pub(super) struct Rotated {
    pub(super) generation: u64,
    pub(super) taken: u64,
    pub(super) failed: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub(super) active: u64,
    pub(super) opened: u64,
    pub(super) denied: u64,
    /// Plaintext bytes of connections that have ended.
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// How long each of the pieces is.
    pub(super) piece_seconds: u64,
    /// The oldest first; the last one is not over yet.
    pub(super) pieces: Vec<Piece>,
}

/// Calls of one app.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// A GUID; `none`: certificates without an app; `other`: all apps that have no row of their own.
    pub(super) app: String,
    pub(super) admitted: u64,
    pub(super) denied: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Denial {
    pub(super) at: String,
    pub(super) peer: SocketAddr,
    pub(super) listener: SocketAddr,
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
    pub(super) rule: Option<Brief>,
    #[serde(flatten)]
    pub(super) who: Who,
}

/// An identity, as far as there is one.
#[derive(Debug, Default, Serialize)]
pub(super) struct Who {
    pub(super) org: Option<String>,
    pub(super) space: Option<String>,
    pub(super) app: Option<String>,
    pub(super) instance: Option<Brief>,
    /// Of a certificate that has no such identity.
    pub(super) subject: Option<Brief>,
}

impl Status {
    /// How everything stands now.
    pub(super) fn of(readiness: &Readiness, overview: &Overview) -> Self {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let standings = readiness.standings(now);
        let counters = &overview.counters;
        let (bytes_up, bytes_down) = counters.bytes();
        let level = log_level();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            tls: "rustls",
            crypto: "aws-lc-rs",
            fips: tls::provider().fips(),
            now: date(now),
            started: date(overview.started),
            uptime_seconds: now.duration_since(overview.started).unwrap_or_default().as_secs(),
            phase: overview.phase.borrow().as_str(),
            log_level: LogLevel::WORDS.iter().find(|(_, known)| *known == level).map_or("", |(word, _)| word),
            ready: standings.iter().all(|standing| standing.ready),
            parts: standings
                .iter()
                .map(|standing| Part {
                    part: standing.part.as_str(),
                    ready: standing.ready,
                    detail: Brief::up_to(PATH, &standing.detail),
                })
                .collect(),
            pairs: overview.shown.borrow().iter().map(|shown| Pair::of(shown, now)).collect(),
            rotations: Rotated {
                generation: overview.rotations.generation(),
                taken: overview.rotations.taken(),
                failed: overview.rotations.failures(),
            },
            listeners: overview.listeners.iter().map(Listener::of).collect(),
            connections: Connections {
                active: counters.active(),
                opened: counters.connections(),
                denied: counters.all_denials(),
                bytes_up,
                bytes_down,
                piece_seconds: PIECE.as_secs(),
                pieces: counters.course(instant),
            },
            callers: callers(counters),
            denials: counters.last_denials().iter().map(Denial::of).collect(),
        }
    }
}

/// Those who come most often first, and what the others have in common last.
fn callers(counters: &Counters) -> Vec<Row> {
    let (mut rows, others) = counters.calls();
    rows.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.admitted + calls.denied));
    let known =
        rows.into_iter().map(|(app, calls)| (app.map_or_else(|| "none".to_owned(), |app| app.to_string()), calls));
    let others = (others.admitted + others.denied > 0).then(|| ("other".to_owned(), others));
    let row =
        |(app, calls): (String, crate::telemetry::Calls)| Row { app, admitted: calls.admitted, denied: calls.denied };
    known.chain(others).map(row).collect()
}

impl Denial {
    fn of(denied: &Denied) -> Self {
        let who = match &denied.caller {
            Caller::Unknown => Who::default(),
            Caller::Known(identity) => Who::of(identity),
            Caller::Subject(subject) => Who { subject: Some(subject.clone()), ..Who::default() },
        };
        Self {
            at: date(denied.at),
            peer: denied.peer,
            listener: denied.listener,
            verdict: denied.verdict,
            reason: denied.reason.as_str(),
            rule: denied.rule.clone(),
            who,
        }
    }
}

impl Who {
    fn of(identity: &Identity) -> Self {
        Self {
            org: identity.organization.map(|guid| guid.to_string()),
            space: identity.space.map(|guid| guid.to_string()),
            app: identity.app.map(|guid| guid.to_string()),
            instance: identity.instance.as_ref().map(Brief::of),
            subject: None,
        }
    }

    /// What there is of it, each with its name.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("app", self.app.as_deref()),
            ("space", self.space.as_deref()),
            ("org", self.org.as_deref()),
            ("instance", self.instance.as_ref().map(Brief::as_str)),
            ("subject", self.subject.as_ref().map(Brief::as_str)),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
    }
}

/// RFC 3339, in UTC.
fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "a date out of range".to_owned(), |time| format!("{time:.0}"))
}
