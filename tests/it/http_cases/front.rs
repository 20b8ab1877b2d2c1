//! What stands between client and app: the program in HTTP mode, or nothing at all.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use super::recorder::Recorder;
use super::requests::LIMIT;
use super::wire::Wire;
use super::within;
use crate::relay::anonymous_kib;
use crate::support::TEST_TIMEOUT;
use crate::support::client::{Connector, connector};
use crate::support::credentials::{Credentials, roots_pem};
use crate::support::sidecar::{Setup, Sidecar};

/// A front with its app.
pub(super) struct Front {
    pub(super) app: Recorder,
    kind: FrontKind,
}

enum FrontKind {
    Vestibule { sidecar: Box<Sidecar>, connector: Box<Connector>, _files: Box<(Credentials, TempDir)> },
    Plain(SocketAddr),
}

impl Front {
    /// The program in HTTP mode with what a case's `settings` say; or why it does not start.
    pub(super) fn vestibule(settings: &Value) -> Result<Self, String> {
        let (app, credentials, dir) = (Recorder::start(), Credentials::new(), TempDir::new().unwrap());
        let mut setup =
            Setup::proxy(&credentials, app.addr()).arg("--mode").arg("http").env("VESTIBULE_LOG_LEVEL", "info");
        for (key, value) in settings.as_object().into_iter().flatten() {
            assert_eq!(key, "route", "no setting is known by this name");
            let (ca, policy) = (dir.path().join("ca.crt"), dir.path().join("policy.toml"));
            std::fs::write(&ca, roots_pem()).unwrap();
            std::fs::write(&policy, routes(value)).unwrap();
            setup = setup.arg("--client-auth").arg("request").arg("--client-ca").arg(ca.to_str().unwrap());
            setup = setup.arg("--policy").arg(policy.to_str().unwrap());
        }
        let (mut sidecar, connector) = (Box::new(setup.start()), Box::new(connector(credentials.instance())));
        let started = within(TEST_TIMEOUT, || {
            let is_ready = !sidecar.lines_of("certificate loaded").is_empty();
            (is_ready || !sidecar.is_running()).then_some(is_ready)
        });
        if started != Some(true) {
            return Err(format!("the program does not start: {:#?}", sidecar.lines()));
        }
        Ok(Self { app, kind: FrontKind::Vestibule { sidecar, connector, _files: Box::new((credentials, dir)) } })
    }

    /// Nothing: the client's bytes reach the app as they are.
    pub(super) fn nothing() -> Self {
        let app = Recorder::start();
        let kind = FrontKind::Plain(app.addr());
        Self { app, kind }
    }

    /// A connection on which this protocol is spoken.
    pub(super) fn connect(&self, alpn: &str) -> io::Result<Wire> {
        match &self.kind {
            FrontKind::Plain(addr) => Wire::plain(*addr),
            FrontKind::Vestibule { sidecar, connector, .. } => {
                let client = connector.as_ref().clone().alpn(&[alpn]).connect(sidecar.addr())?;
                let chosen = client.tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                if chosen.as_deref() != Some(alpn) {
                    return Err(io::Error::other(format!("ALPN {alpn} was answered with {chosen:?}")));
                }
                Wire::tls(client)
            }
        }
    }

    /// Whether the access log has an answer's id, with this reason and status. What is wrong is said.
    pub(super) fn logged(&self, status: u16, reason: &str, id: &str) -> Option<String> {
        let FrontKind::Vestibule { sidecar, .. } = &self.kind else { return None };
        let entry = || sidecar.lines().into_iter().find(|line| line["id"] == id);
        let Some(entry) = within(LIMIT, entry) else {
            return Some(format!("no entry of the access log has the id {id} ({reason})"));
        };
        let agrees = entry["reason"] == reason && entry["status"] == status;
        (!agrees).then(|| format!("the access log does not say {status} {reason}: {entry}"))
    }

    /// The program's anonymous memory in KiB.
    pub(super) fn memory(&self) -> u64 {
        match &self.kind {
            FrontKind::Vestibule { sidecar, .. } => anonymous_kib(sidecar.pid()),
            FrontKind::Plain(_) => 0,
        }
    }

    /// Whether what was refused is answered by the program.
    pub(super) fn is_vestibule(&self) -> bool {
        matches!(self.kind, FrontKind::Vestibule { .. })
    }

    /// Whether the program still runs.
    pub(super) fn runs(&mut self) -> bool {
        match &mut self.kind {
            FrontKind::Vestibule { sidecar, .. } => sidecar.is_running(),
            FrontKind::Plain(_) => true,
        }
    }
}

/// A policy file with these routes.
fn routes(routes: &Value) -> String {
    let mut text = String::new();
    for route in routes.as_array().unwrap() {
        text.push_str("[[route]]\n");
        for (key, value) in route.as_object().unwrap() {
            // What stands in it is written alike in JSON and TOML.
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}
