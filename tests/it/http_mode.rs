//! `--mode http`: each request is judged, rewritten and sent to the app, and leaves a line in the log.

mod ageing;
mod bodies;
mod callers;
mod changes;
mod continuing;
mod draining;
mod health;
mod http2;
mod identity;
mod kept;
mod limits;
mod messages;
mod origin;
mod own_answers;
mod paths;
mod talk;
mod unanswered;
mod unread;
mod upgrading;

use std::net::SocketAddr;

use serde_json::Value;
use vestibule::issuer::Credential;

use crate::clients::Backend;
use crate::support::client::{Connector, connector};
use crate::support::eventually;
use crate::support::sidecar::{Setup, Sidecar};
use talk::Talk;

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// The program in HTTP mode, and what its clients have to know.
struct Front {
    backend: Backend,
    sidecar: Sidecar,
    /// What clients expect the certificate to be for.
    name: String,
    /// Its certificate is not that any more.
    is_retired: bool,
}

impl Front {
    /// In front of `app`, for everybody. `options` are words.
    fn open(app: SocketAddr, options: &str) -> Self {
        Self::before(app, &format!("--client-auth request --allow any,anonymous {options}"))
    }

    /// The same, with no rules but those of `options`.
    fn before(app: SocketAddr, options: &str) -> Self {
        Self::with(Backend::new(), app, options)
    }

    fn with(backend: Backend, app: SocketAddr, options: &str) -> Self {
        let sidecar = Self::setup(&backend, app, options).ready();
        let name = backend.credentials.instance().to_owned();
        Self { backend, sidecar, name, is_retired: false }
    }

    fn setup(backend: &Backend, app: SocketAddr, options: &str) -> Setup {
        options.split_whitespace().fold(backend.before(app).arg("--mode").arg("http"), Setup::arg)
    }

    fn connector(&self) -> Connector {
        let connector = connector(&self.name).alpn(&["http/1.1"]);
        if self.is_retired { connector.unverified() } else { connector }
    }

    /// A client that shows this.
    fn connector_as(&self, credential: &Credential) -> Connector {
        self.connector().showing(&credential.cert_pem, &credential.key_pem)
    }

    /// A connection of a client without a certificate.
    fn talk(&self) -> Talk {
        Talk::by(&self.connector(), self.sidecar.addr())
    }

    fn talk_as(&self, credential: &Credential) -> Talk {
        Talk::by(&self.connector_as(credential), self.sidecar.addr())
    }

    /// The entries of requests, once there are `n`.
    #[track_caller]
    fn requests(&self, n: usize) -> Vec<Value> {
        self.sidecar.lines_eventually("request completed", n)
    }

    /// Waits until the entry of a request has this reason.
    #[track_caller]
    fn refused(&self, reason: &str) -> Value {
        self.sidecar.wait_until(&format!("a request that ended by {reason}"), |line| line["reason"] == reason)
    }

    /// The instance goes from here on, without an end of the process.
    fn retire(&mut self) {
        self.backend.credentials.spec = self.backend.credentials.spec.retired();
        self.backend.credentials.rotate();
        self.is_retired = true;
        self.sidecar.wait_for("retirement certificate received; closing idle connections");
    }
}

/// The values of a field in a head, in their order, whatever letters its name is written in.
fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// Waits until the app was asked so many times.
#[track_caller]
fn asked(app: &crate::support::http_app::HttpApp, n: usize) -> Vec<crate::support::http_app::Asked> {
    eventually("what the app is asked", || Some(app.asked()).filter(|asked| asked.len() >= n))
}
