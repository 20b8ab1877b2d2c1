//! What the demo tells on stdout: what is running, and a line for each rotation and each connection.

use std::io::Write;
use std::{fmt, io};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::{Layer, Registry};

use crate::commands::text;
use crate::credentials::ServedCertificate;
use crate::exit::Fault;
use crate::identity::Certificate;
use crate::telemetry;
use crate::telemetry::CloseReason;

/// Digits of a serial number that tell two of them apart.
const SERIAL_DIGITS: usize = 12;

/// Tells what is running once it does, and then of each rotation.
pub(super) struct DemoReporter {
    /// What is running.
    pub(super) intro: Vec<String>,
    /// What to try.
    pub(super) commands: Vec<String>,
    /// The pairs as they are taken into service.
    pub(super) shown: watch::Receiver<Vec<ServedCertificate>>,
    /// Becomes true once it was told what is running; whoever else has something to tell waits for it.
    pub(super) introduced: watch::Sender<bool>,
}

impl DemoReporter {
    /// Goes on for ever; ends only when nobody can read it any more.
    pub(super) async fn run(mut self) -> Fault {
        while let Ok(()) = self.shown.changed().await {
            // The demo has one pair.
            let Some(shown) = self.shown.borrow_and_update().first().cloned() else { continue };
            let mut lines = if *self.introduced.borrow() { String::new() } else { self.introduction() };
            lines += &format!("{} {}\n", clock(), rotation(&shown));
            if let Err(error) = write(&lines) {
                return Fault::of_stdout(&error);
            }
            self.introduced.send_replace(true);
        }
        // The sidecar, which holds the other end, ends the demo itself.
        std::future::pending().await
    }

    fn introduction(&self) -> String {
        let mut text = String::new();
        let mut paragraph = |heading: &str, lines: &[String]| {
            text += &format!("{heading}\n\n");
            for line in lines {
                text += &format!("  {line}\n");
            }
            text.push('\n');
        };
        paragraph("Running:", &self.intro);
        paragraph("Try, in another shell:", &self.commands);
        text + "What happens, until Ctrl-C ends it and removes the folder:\n\n"
    }
}

/// Tells of each rotation of those `pairs`, which have names, once it was told what is running. Ends only by a fault; never, if there are none.
pub(super) async fn tell_rotations(
    pairs: Vec<(&'static str, watch::Receiver<Vec<ServedCertificate>>)>,
    mut introduced: watch::Receiver<bool>,
) -> Fault {
    if introduced.wait_for(|introduced| *introduced).await.is_err() {
        // The sidecar is gone, and ends the demo itself.
        return std::future::pending().await;
    }
    let mut telling = JoinSet::new();
    for (name, mut shown) in pairs {
        telling.spawn(async move {
            loop {
                // The first one is no rotation.
                let served = shown.borrow_and_update().first().cloned();
                if let Some(served) = served.filter(|served| served.generation > 1) {
                    print(name, &rotation(&served))?;
                }
                if shown.changed().await.is_err() {
                    return Ok(());
                }
            }
        });
    }
    while let Some(ended) = telling.join_next().await {
        if let Ok(Err(fault)) = ended {
            return fault;
        }
    }
    std::future::pending().await
}

fn rotation(shown: &ServedCertificate) -> String {
    let said = match Certificate::from_der(shown.pair.leaf()) {
        Ok(leaf) => {
            let serial: String = leaf.serial().chars().take(SERIAL_DIGITS).collect();
            format!("serial {serial}..., valid until {}", text::timestamp(leaf.not_after()))
        }
        Err(error) => error.to_string(),
    };
    format!("rotation    generation {}, {said}", shown.generation)
}

/// Tells one thing on a line of its own, at the time of day.
///
/// # Errors
/// Nobody can read it any more.
pub(super) fn print(what: &str, said: &str) -> Result<(), Fault> {
    write(&format!("{} {what:<11} {}\n", clock(), text::one_line(said))).map_err(|error| Fault::of_stdout(&error))
}

/// Sees the proxy's access log entries, whatever the log's level, and tells of each connection. `callers` are apps by their GUIDs,
/// with the names under which they are told of.
pub(super) fn connection_layer(callers: Vec<(String, &'static str)>) -> impl Layer<Registry> + Send + Sync {
    ConnectionPrinter { callers }
        .with_filter(filter_fn(|metadata: &Metadata<'_>| metadata.target() == telemetry::ACCESS_LOG_TARGET))
}

struct ConnectionPrinter {
    callers: Vec<(String, &'static str)>,
}

impl<S: Subscriber> Layer<S> for ConnectionPrinter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = ObservedFields::default();
        event.record(&mut entry);
        let named = self.callers.iter().find(|(app, _)| entry.caller.as_ref() == Some(app));
        if let Some((_, name)) = named {
            entry.caller = Some((*name).to_owned());
        }
        if entry.reason != CloseReason::Probe.as_str() {
            // When stdout is closed the next rotation ends the demo; a connection must not.
            let _ = write(&format!("{} {entry}\n", clock()));
        }
    }
}

/// What of an access log entry is told.
#[derive(Default)]
struct ObservedFields {
    is_outbound: bool,
    /// The request that it is of; none: a connection.
    request: Option<ObservedRequest>,
    /// Where an outbound connection came in, and whom it dials.
    listener: String,
    to: String,
    peer: String,
    reason: String,
    detail: Option<String>,
    version: Option<String>,
    group: Option<String>,
    generation: Option<u64>,
    /// The app that called, or its name here.
    caller: Option<String>,
    denial: Option<String>,
    rule: Option<String>,
    up: u64,
    down: u64,
}

/// What of a request's entry is told beside who called.
#[derive(Default)]
struct ObservedRequest {
    method: String,
    path: String,
    status: Option<u64>,
    reason: Option<String>,
}

impl ObservedFields {
    fn request(&mut self) -> &mut ObservedRequest {
        self.request.get_or_insert_default()
    }
}

impl Visit for ObservedFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = value.to_owned();
        match field.name() {
            "direction" => self.is_outbound = value == "outbound",
            "to" => self.to = value,
            "listener" => self.listener = value,
            "client_addr" => self.peer = value,
            "close_reason" => self.reason = value,
            "detail" => self.detail = Some(value),
            "tls_version" => self.version = Some(value.replace("TLSv", "TLS ").replace('_', ".")),
            "group" => self.group = Some(value),
            "client_app" => self.caller = Some(value),
            "denial_reason" => self.denial = Some(value),
            "rule" => self.rule = Some(value),
            "method" if !self.is_outbound => self.request().method = value,
            "path" => self.request().path = value,
            "reason" => self.request().reason = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "generation" => self.generation = Some(value),
            "bytes_up" => self.up = value,
            "bytes_down" => self.down = value,
            "status" if !self.is_outbound => self.request().status = Some(value),
            _ => {}
        }
    }
}

impl fmt::Display for ObservedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, reason, up, down, .. } = self;
        match &self.request {
            Some(ObservedRequest { method, path, status, reason }) => {
                let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
                write!(f, "request     {method} {}: {status}", text::one_line(path))?;
                if let Some(reason) = reason {
                    write!(f, ", {reason}")?;
                }
            }
            None if self.is_outbound => write!(f, "outbound    {} to {}: {reason}", self.listener, self.to)?,
            None => write!(f, "connection  {peer}: {reason}")?,
        }
        if let Some(caller) = &self.caller {
            write!(f, ", {caller}")?;
        }
        if let Some(denial) = &self.denial {
            write!(f, ", {denial}")?;
        }
        match (&self.rule, &self.caller) {
            (Some(rule), _) => write!(f, ", rule {rule}")?,
            (None, Some(_)) => f.write_str(", no rule")?,
            (None, None) => {}
        }
        for agreed in [&self.version, &self.group].into_iter().flatten() {
            write!(f, ", {agreed}")?;
        }
        if let Some(generation) = self.generation {
            write!(f, ", generation {generation}")?;
        }
        match &self.detail {
            None if self.request.is_some() => Ok(()),
            // It may quote what a client sent.
            Some(detail) => write!(f, "; {}", text::one_line(detail)),
            None => write!(f, ", {up} bytes in, {down} bytes out"),
        }
    }
}

/// The time of day, UTC.
fn clock() -> impl fmt::Display {
    Timestamp::now().strftime("%H:%M:%SZ")
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_told_of_with_the_verdict_and_its_rule() {
        let denied = ObservedFields {
            peer: "127.0.0.1:5000".to_owned(),
            reason: "denied".to_owned(),
            caller: Some("blue".to_owned()),
            denial: Some("not_allowed".to_owned()),
            detail: Some("the client may not come in: no rule admits it".to_owned()),
            ..ObservedFields::default()
        };
        assert_eq!(
            denied.to_string(),
            "connection  127.0.0.1:5000: denied, blue, not_allowed, no rule; the client may not come in: no rule admits it"
        );
        let rule = Some("cf:app:x".to_owned());
        let (reason, caller) = ("completed".to_owned(), Some("green".to_owned()));
        let served = ObservedFields { reason, caller, rule, denial: None, detail: None, ..denied };
        assert_eq!(
            served.to_string(),
            "connection  127.0.0.1:5000: completed, green, rule cf:app:x, 0 bytes in, 0 bytes out"
        );
    }

    #[test]
    fn a_request_is_told_with_its_answer_and_its_rule() {
        let (method, path) = ("GET".to_owned(), "/secret".to_owned());
        let refused = ObservedRequest { method, path, status: Some(403), reason: Some("path_not_allowed".to_owned()) };
        let request =
            ObservedFields { request: Some(refused), caller: Some("green".to_owned()), ..ObservedFields::default() };
        assert_eq!(request.to_string(), "request     GET /secret: 403, path_not_allowed, green, no rule");
    }

    #[test]
    fn a_connection_is_told_in_one_line() {
        let served = ObservedFields {
            peer: "127.0.0.1:5000".to_owned(),
            reason: "completed".to_owned(),
            version: Some("TLS 1.3".to_owned()),
            group: Some("X25519MLKEM768".to_owned()),
            generation: Some(2),
            up: 78,
            down: 214,
            ..ObservedFields::default()
        };
        assert_eq!(
            served.to_string(),
            "connection  127.0.0.1:5000: completed, TLS 1.3, X25519MLKEM768, generation 2, 78 bytes in, 214 bytes out"
        );
        let failed = ObservedFields {
            reason: "handshake_failed".to_owned(),
            detail: Some("the client's alert\n".to_owned()),
            version: None,
            group: None,
            ..served
        };
        assert_eq!(
            failed.to_string(),
            "connection  127.0.0.1:5000: handshake_failed, generation 2; the client's alert\\n"
        );
    }
}
