//! The front-ends of `--green-blue`: other apps of the platform, which call the back-end with their own certificates.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{KEY, narrator};
use crate::credentials::ServedCertificate;
use crate::crypto::provider;
use crate::exit::{Exit, Fault};
use crate::issuer::{Authority, Folder, InstanceSpec, IssuerError};

/// How often each of them calls.
const EVERY: Duration = Duration::from_secs(2);

/// For each step of a call: on one machine anything longer is an answer in itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: back-end\r\nConnection: close\r\n\r\n";

/// An app that calls.
pub(super) struct FrontEnd {
    /// How it is told of.
    pub(super) name: &'static str,
    /// What its certificate says.
    pub(super) spec: InstanceSpec,
}

impl FrontEnd {
    /// Two apps that have nothing in common.
    ///
    /// # Errors
    /// There are no random bytes.
    pub(super) fn green_and_blue() -> Result<Vec<Self>, IssuerError> {
        let front_end = |name| Ok(Self { name, spec: InstanceSpec { key: KEY, ..InstanceSpec::generate()? } });
        ["green", "blue"].into_iter().map(front_end).collect()
    }

    /// Where its pair is.
    pub(super) fn folder(&self, dir: &Path) -> Folder {
        Folder::client(dir.join(self.name))
    }

    /// Writes its pair.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write_pair(&self, dir: &Path, authority: &Authority) -> Result<(), IssuerError> {
        self.folder(dir).write(&authority.issue(&self.spec, SystemTime::now())?)
    }

    /// A TLS client that shows the pair.
    fn client(&self, dir: &Path, roots: &RootCertStore) -> Result<Arc<ClientConfig>, Fault> {
        let (folder, fault) = (self.folder(dir), |error: &dyn std::error::Error| {
            Fault::new(Exit::Internal, format!("{} cannot call: {error}", self.name))
        });
        let chain = CertificateDer::pem_file_iter(folder.cert()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| fault(&error))?;
        let key = PrivateKeyDer::from_pem_file(folder.key()).map_err(|error| fault(&error))?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots.clone()).with_client_auth_cert(chain, key));
        config.map(Arc::new).map_err(|error| fault(&error))
    }
}

/// Who calls whom.
pub(super) struct CallLog<'a> {
    pub(super) front_ends: &'a [FrontEnd],
    /// Where their pairs are.
    pub(super) dir: &'a Path,
    /// The CAs under which the back-end is verified.
    pub(super) roots: &'a Path,
    /// The back-end's name.
    pub(super) name: &'a str,
    /// Where to dial it.
    pub(super) proxy: SocketAddr,
    /// Tells when it serves.
    pub(super) shown: watch::Receiver<Vec<ServedCertificate>>,
}

/// Has each front-end call, and tells what it got. Ends only by a fault; never, if there is no front-end.
pub(super) async fn call_again_and_again(mut calls: CallLog<'_>) -> Fault {
    if calls.front_ends.is_empty() || calls.shown.wait_for(|shown| !shown.is_empty()).await.is_err() {
        // Nobody calls; or the sidecar is gone, and ends the demo itself.
        return std::future::pending().await;
    }
    match calls.run().await {
        Err(fault) => fault,
        Ok(never) => match never {},
    }
}

impl CallLog<'_> {
    async fn run(&self) -> Result<std::convert::Infallible, Fault> {
        let internal = |what: String| Fault::new(Exit::Internal, what);
        let mut roots = RootCertStore::empty();
        let cas = CertificateDer::pem_file_iter(self.roots).map_err(|error| internal(error.to_string()))?;
        roots.add_parsable_certificates(cas.filter_map(Result::ok));
        let name = ServerName::try_from(self.name.to_owned()).map_err(|error| internal(error.to_string()))?;
        let clients = self.front_ends.iter().map(|front_end| Ok((front_end.name, front_end.client(self.dir, &roots)?)));
        let clients = clients.collect::<Result<Vec<_>, Fault>>()?;
        let mut ticks = interval(EVERY);
        // A machine that slept owes one call, not all that it missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (front_end, client) in &clients {
                let (client, name, proxy) = (Arc::clone(client), name.clone(), self.proxy);
                let call = tokio::task::spawn_blocking(move || call(client, name, proxy));
                let called = call.await.map_err(|error| internal(error.to_string()))?;
                narrator::tell(front_end, &outcome(&called))?;
            }
        }
    }
}

/// One request, and the whole answer.
fn call(client: Arc<ClientConfig>, name: ServerName<'static>, proxy: SocketAddr) -> io::Result<String> {
    let mut tls = ClientConnection::new(client, name).map_err(io::Error::other)?;
    let mut tcp = TcpStream::connect_timeout(&proxy, CALL_TIMEOUT)?;
    tcp.set_read_timeout(Some(CALL_TIMEOUT))?;
    tcp.set_write_timeout(Some(CALL_TIMEOUT))?;
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    let mut answer = String::new();
    stream.write_all(REQUEST)?;
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What a front-end got, in a line.
fn outcome(called: &io::Result<String>) -> String {
    let error = match called {
        Ok(answer) => {
            let status = answer.lines().next().unwrap_or_default();
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            return format!("answered: {status}, {:?}", body.lines().next().unwrap_or_default());
        }
        Err(error) => error,
    };
    match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => format!("refused: the alert {alert:?} ({})", u8::from(*alert)),
        _ => format!("no answer: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;

    #[test]
    fn an_answer_a_refusal_and_silence_are_told_apart() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhello\nmore".to_owned();
        assert_eq!(outcome(&Ok(answer)), "answered: HTTP/1.1 200 OK, \"hello\"");
        let alert = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
        let refused = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert_eq!(outcome(&Err(refused)), "refused: the alert AccessDenied (49)");
        assert_eq!(outcome(&Err(io::ErrorKind::ConnectionRefused.into())), "no answer: connection refused");
    }

    #[test]
    fn green_and_blue_are_two_apps() {
        let [green, blue] = &FrontEnd::green_and_blue().unwrap()[..] else { panic!("not two") };
        assert_eq!((green.name, blue.name), ("green", "blue"));
        assert_ne!(green.spec.app, blue.spec.app);
    }
}
