//! What operators ask Envoy by hand, answered in the same shapes. Nothing can be changed here.

mod certs;
mod dump;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use serde_json::{Serializer, Value, json};
use tokio::sync::watch;

use super::response::{AdminResponse, text};
use super::{AdminState, content_negotiation};
use crate::config::envoy::{EnvoyCompat, EnvoyListener};
use crate::config::{Config, LogLevel};
use crate::credentials::{ServedCertificate, SnapshotReceiver};
use crate::lifecycle::{Check, Readiness};
use crate::telemetry;

const HELP: &str = "\
what may be asked as of Envoy:
  /certs: the pairs and the client CAs that are served
  /config_dump: what we were told, and the pairs without their keys
  /help: this
  /listeners: names and addresses; ?format=json
  /ready: LIVE with 200, else PRE_INITIALIZING or DRAINING with 503
  /server_info: version, state, uptime, what we were started with
  /stats: a few values; ?format=prometheus has all metrics
nothing may be changed
";

/// What Envoy does when it is asked to.
const COMMANDS: [&str; 15] = [
    "/allocprofiler",
    "/cpuprofiler",
    "/drain_listeners",
    "/healthcheck/fail",
    "/healthcheck/ok",
    "/heap_dump",
    "/heapprofiler",
    "/logging",
    "/peak_heap_dump",
    "/quitquitquit",
    "/reopen_logs",
    "/reset_counters",
    "/runtime_modify",
    "/stats/recentlookups/clear",
    "/stats/recentlookups/enable",
];

const READ_ONLY_HELP: &str = "this address answers questions and changes nothing: whoever can reach it could otherwise end the app's \
instance, which is the platform's to do\n";

/// Where we stand in Envoy's place, and what is served there.
#[derive(Debug)]
pub struct Envoy {
    compat: Arc<EnvoyCompat>,
    /// In the order of the bootstrap's: the address, and what is served there.
    listeners: Vec<(SocketAddr, SnapshotReceiver)>,
    shown: watch::Receiver<Vec<ServedCertificate>>,
    started: Instant,
    threads: usize,
    drain: Duration,
}

/// Envoy's states, as far as we have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EnvoyState {
    Live = 0,
    Draining = 1,
    PreInitializing = 2,
}

impl EnvoyState {
    /// Live is whoever has something to serve and has not been told that it must stop, by a signal or by the retirement
    /// pair. (Envoy does not know of the latter.)
    fn of(readiness: &Readiness) -> Self {
        let checks = readiness.checks(SystemTime::now());
        let stays = |part| checks.iter().filter(|check| check.check == part).all(|check| check.ready);
        match (stays(Check::Drain) && stays(Check::Retirement), readiness.validity()) {
            (false, _) => Self::Draining,
            (true, None) => Self::PreInitializing,
            (true, Some(_)) => Self::Live,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
        }
    }
}

impl Envoy {
    /// What is answered in this place, where `config` is served since now. `listeners` are its own in their order: where each
    /// is, and what it serves; `shown` tells of its pairs.
    pub fn new(
        compat: &Arc<EnvoyCompat>,
        config: &Config,
        listeners: Vec<(SocketAddr, SnapshotReceiver)>,
        shown: watch::Receiver<Vec<ServedCertificate>>,
    ) -> Self {
        let (threads, drain) = (config.threads, config.drain.timeout);
        Self { compat: Arc::clone(compat), listeners, shown, started: Instant::now(), threads, drain }
    }

    /// The answer to `request`; `None` if it asks for nothing of Envoy's.
    pub(super) fn answer<B>(&self, request: &Request<B>, view: &AdminState) -> Option<AdminResponse> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if COMMANDS.contains(&path) {
            return Some(text(StatusCode::FORBIDDEN, READ_ONLY_HELP));
        }
        let answer: &dyn Fn() -> AdminResponse = match path {
            "/ready" => &|| ready(EnvoyState::of(&view.readiness)),
            "/server_info" => &|| json(&self.server_info(EnvoyState::of(&view.readiness))),
            "/certs" => &|| json(&self.certs()),
            "/listeners" => &|| self.list(query),
            "/stats" => &|| self.stats(query, view),
            "/stats/prometheus" => &|| prometheus(view),
            "/config_dump" => &|| json(&self.config_dump()),
            "/help" => &|| text(StatusCode::OK, HELP),
            _ => return None,
        };
        let asks = request.method() == Method::GET || request.method() == Method::HEAD;
        Some(if asks { answer() } else { text(StatusCode::FORBIDDEN, READ_ONLY_HELP) })
    }

    fn bootstrap_listeners(&self) -> impl Iterator<Item = (&EnvoyListener, &(SocketAddr, SnapshotReceiver))> {
        self.compat.bootstrap.listeners.iter().zip(&self.listeners)
    }

    fn server_info(&self, state: EnvoyState) -> Value {
        let uptime = format!("{}s", self.started.elapsed().as_secs());
        let level = telemetry::log_level();
        let level = if level == LogLevel::Off { "critical" } else { level.as_str() };
        json!({
            "version": format!("vestibule/{}", env!("CARGO_PKG_VERSION")),
            "state": state.as_str(),
            "uptime_current_epoch": uptime,
            "uptime_all_epochs": uptime,
            "hot_restart_version": "disabled",
            "command_line_options": {
                "config_path": self.compat.path.display().to_string(),
                "concurrency": self.threads,
                "drain_time": format!("{}s", self.drain.as_secs()),
                "log_level": level,
                "mode": "Serve",
            },
            "node": self.node(),
        })
    }

    fn node(&self) -> Value {
        json!({ "id": self.compat.bootstrap.node.clone().unwrap_or_default(), "user_agent_name": "vestibule" })
    }

    fn list(&self, query: &str) -> AdminResponse {
        if is_format(query, "json") {
            let statuses = self
                .bootstrap_listeners()
                .map(|(listener, (addr, _))| json!({ "name": listener.name, "local_address": dump::address(*addr) }));
            return json(&json!({ "listener_statuses": statuses.collect::<Vec<_>>() }));
        }
        let mut lines = String::new();
        for (listener, (addr, _)) in self.bootstrap_listeners() {
            // A String takes everything.
            let _ = writeln!(lines, "{}::{addr}", listener.name);
        }
        text(StatusCode::OK, lines)
    }

    /// A few of Envoy's values, and ours in the same form.
    fn stats(&self, query: &str, view: &AdminState) -> AdminResponse {
        if is_format(query, "prometheus") {
            return prometheus(view);
        }
        let state = EnvoyState::of(&view.readiness);
        let mut lines = String::new();
        for (name, value) in [
            ("listener_manager.total_listeners_active", self.listeners.len() as u64),
            ("server.concurrency", self.threads as u64),
            ("server.days_until_first_cert_expiring", view.readiness.validity().map_or(0, certs::days_left)),
            ("server.live", u64::from(state == EnvoyState::Live)),
            ("server.state", state as u64),
            ("server.uptime", self.started.elapsed().as_secs()),
        ] {
            let _ = writeln!(lines, "{name}: {value}");
        }
        let ours = view.metrics.prometheus_text();
        for line in ours.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, value)) = line.rsplit_once(' ') {
                let _ = writeln!(lines, "{name}: {value}");
            }
        }
        text(StatusCode::OK, lines)
    }
}

fn ready(state: EnvoyState) -> AdminResponse {
    let status = if state == EnvoyState::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, format!("{}\n", state.as_str()))
}

fn prometheus(view: &AdminState) -> AdminResponse {
    let mut answer = text(StatusCode::OK, view.metrics.prometheus_text());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_negotiation::CLASSIC));
    answer
}

/// JSON as Envoy prints it, a blank for each level.
fn json(value: &Value) -> AdminResponse {
    let mut body = Vec::new();
    let mut writer = Serializer::with_formatter(&mut body, PrettyFormatter::with_indent(b" "));
    if value.serialize(&mut writer).is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written\n");
    }
    body.push(b'\n');
    let mut answer = text(StatusCode::OK, body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn is_format(query: &str, format: &str) -> bool {
    query.split('&').any(|pair| pair.strip_prefix("format=") == Some(format))
}
