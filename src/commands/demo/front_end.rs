//! The front-ends of `--green-blue` and `--http`: other apps of the platform, which call the back-end. They speak plaintext to an outbound listener of
//! their own sidecar, which shows the back-end their certificate.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::reporter;
use super::settings::{KEY, resolved};
use crate::config::Log;
use crate::exit::{Exit, Fault};
use crate::issuer::{CertificateAuthority, Folder, InstanceSpec, IssuerError};
use crate::sidecar::Sidecar;

/// How often each of them calls.
const EVERY: Duration = Duration::from_secs(2);

/// For each step of a call: on one machine anything longer is an answer in itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// An app that calls.
pub(super) struct FrontEnd {
    /// How it is told of.
    pub(super) name: &'static str,
    /// What its certificate says.
    pub(super) spec: InstanceSpec,
    /// What it asks for.
    pub(super) paths: &'static [&'static str],
}

impl FrontEnd {
    /// Two apps that have nothing in common, and ask for these paths; each of their certificates is valid for `validity`.
    ///
    /// # Errors
    /// There are no random bytes.
    pub(super) fn green_and_blue(
        paths: [&'static [&'static str]; 2],
        validity: Duration,
    ) -> Result<Vec<Self>, IssuerError> {
        let front_end = |(name, paths)| {
            Ok(Self { name, spec: InstanceSpec { key: KEY, validity, ..InstanceSpec::generate()? }, paths })
        };
        ["green", "blue"].into_iter().zip(paths).map(front_end).collect()
    }

    /// Where its pair is.
    pub(super) fn folder(&self, dir: &Path) -> Folder {
        Folder::client(dir.join(self.name))
    }

    /// Writes a new pair, which its sidecar shows from the next connection on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn write_pair(&self, dir: &Path, authority: &CertificateAuthority) -> Result<(), IssuerError> {
        self.folder(dir).write(&authority.issue(&self.spec, SystemTime::now())?)
    }

    /// Its sidecar, which dials `proxy` for it and expects the back-end.
    ///
    /// # Errors
    /// A socket cannot be opened.
    pub(super) fn open_sidecar(
        &self,
        dir: &Path,
        proxy: SocketAddr,
        back_end: &InstanceSpec,
        log: &Log,
    ) -> Result<FrontEndSidecar, Fault> {
        let folder = self.folder(dir);
        let config = resolved(log, |flags| {
            flags.extend([
                ("listen", "127.0.0.1:0".into()),
                // Nobody calls the front-ends.
                ("app", "127.0.0.1:1".into()),
                ("app-ready", "off".into()),
                ("admin", "off".into()),
                ("cert", folder.cert().into_os_string()),
                ("key", folder.key().into_os_string()),
                ("outbound", format!("0={proxy}").into()),
                ("outbound-expect", format!("cf:app:{}", back_end.app).into()),
            ]);
        })?;
        let sidecar = Sidecar::open(config)?;
        let outbound = sidecar.outbound_addresses().next();
        let outbound = outbound.ok_or_else(|| Fault::new(Exit::Internal, "no outbound listener is open"))?;
        Ok(FrontEndSidecar { caller: DemoClient { name: self.name, outbound, paths: self.paths }, sidecar })
    }
}

/// The sidecar of a front-end.
pub(super) struct FrontEndSidecar {
    pub(super) caller: DemoClient,
    pub(super) sidecar: Sidecar,
}

/// A front-end as it calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct DemoClient {
    /// How it is told of.
    pub(super) name: &'static str,
    /// Where it dials its sidecar, in plaintext.
    pub(super) outbound: SocketAddr,
    /// What it asks for.
    pub(super) paths: &'static [&'static str],
}

/// Who calls whom.
pub(super) struct CallLog {
    pub(super) callers: Vec<DemoClient>,
    /// Becomes true once the back-end serves, and that was told.
    pub(super) introduced: watch::Receiver<bool>,
}

/// Has each front-end call, and tells what it got. Ends only by a fault; never, if there is no front-end.
pub(super) async fn call_again_and_again(mut calls: CallLog) -> Fault {
    if calls.callers.is_empty() || calls.introduced.wait_for(|introduced| *introduced).await.is_err() {
        // Nobody calls; or the sidecar is gone, and ends the demo itself.
        return std::future::pending().await;
    }
    match calls.run().await {
        Err(fault) => fault,
        Ok(never) => match never {},
    }
}

impl CallLog {
    async fn run(&self) -> Result<std::convert::Infallible, Fault> {
        let mut ticks = interval(EVERY);
        // A machine that slept owes one call, not all that it missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for DemoClient { name, outbound, paths } in self.callers.iter().copied() {
                for path in paths {
                    let called = tokio::task::spawn_blocking(move || call(outbound, path)).await;
                    let called = called.map_err(|error| Fault::new(Exit::Internal, error.to_string()))?;
                    reporter::print(name, &format!("GET {path} {}", outcome(&called)))?;
                }
            }
        }
    }
}

/// One request in plaintext, and the whole answer.
fn call(outbound: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&outbound, CALL_TIMEOUT)?;
    stream.set_read_timeout(Some(CALL_TIMEOUT))?;
    stream.set_write_timeout(Some(CALL_TIMEOUT))?;
    let mut answer = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nHost: back-end\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What a front-end got, in a line.
fn outcome(called: &io::Result<String>) -> String {
    let error = match called {
        Ok(answer) => {
            let status = answer.lines().next().unwrap_or_default();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
            let reason = head.lines().find_map(|line| line.strip_prefix("vestibule-reason: "));
            if let Some(reason) = reason {
                return format!("refused: {status}, {reason}");
            }
            return format!("answered: {status}, {:?}", body.lines().next().unwrap_or_default());
        }
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::ConnectionReset => "refused: its sidecar has reset the connection".to_owned(),
        _ => format!("no answer: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_a_refusal_and_silence_are_told_apart() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhello\nmore".to_owned();
        assert_eq!(outcome(&Ok(answer)), "answered: HTTP/1.1 200 OK, \"hello\"");
        let refused = "HTTP/1.1 403 Forbidden\r\nvestibule-reason: denied\r\n\r\n{}".to_owned();
        assert_eq!(outcome(&Ok(refused)), "refused: HTTP/1.1 403 Forbidden, denied");
        let reset = io::ErrorKind::ConnectionReset.into();
        assert_eq!(outcome(&Err(reset)), "refused: its sidecar has reset the connection");
        assert_eq!(outcome(&Err(io::ErrorKind::ConnectionRefused.into())), "no answer: connection refused");
    }

    #[test]
    fn green_and_blue_are_two_apps() {
        let [green, blue] = &FrontEnd::green_and_blue([&["/"], &["/"]], Duration::from_secs(60)).unwrap()[..] else {
            panic!("not two")
        };
        assert_eq!((green.name, blue.name), ("green", "blue"));
        assert_ne!(green.spec.app, blue.spec.app);
    }
}
