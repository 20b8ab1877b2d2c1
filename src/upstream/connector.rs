//! Dialling the app.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::config::AppAddr;
use crate::io::{AppStream, connect_tcp};

/// Why the app could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens.
    #[error("the app refused the connection")]
    Refused,
    /// No answer in time.
    #[error("the app did not accept within {0:?}")]
    TimedOut(Duration),
    /// Something else, as the kernel names it.
    #[error("the app cannot be reached")]
    Failed(#[source] io::Error),
    /// It accepted, and was gone before the client had been answered.
    #[error("the app reset the connection before the client had been answered")]
    Reset,
}

/// Where the app is, and how long it may take to accept.
#[derive(Debug)]
pub(super) struct Connector {
    addr: AppAddr,
    limit: Duration,
    /// Of an app on `localhost`: whether it accepted on ::1 last, which is then dialled first.
    on_six: AtomicBool,
}

impl Connector {
    pub(super) fn new(addr: AppAddr, limit: Duration) -> Self {
        Self { addr, limit, on_six: AtomicBool::new(false) }
    }

    pub(super) fn addr(&self) -> &AppAddr {
        &self.addr
    }

    /// A connection that the app has accepted.
    pub(super) async fn connect(&self) -> Result<AppStream, DialError> {
        match timeout(self.limit, self.dial()).await {
            Ok(Ok(stream)) => {
                // In a storm of new connections others have their turn between two dials. Not within the limit, which then
                // needs no timer.
                yield_now().await;
                Ok(stream)
            }
            Ok(Err(error)) => Err(match error.kind() {
                // A Unix socket's file that is not there is an app that does not listen yet.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => DialError::Refused,
                io::ErrorKind::TimedOut => DialError::TimedOut(self.limit),
                _ => DialError::Failed(error),
            }),
            Err(_) => Err(DialError::TimedOut(self.limit)),
        }
    }

    async fn dial(&self) -> io::Result<AppStream> {
        Ok(match &self.addr {
            AppAddr::Tcp(addr) => AppStream::Tcp(connect_tcp(*addr).await?),
            AppAddr::Localhost(port) => AppStream::Tcp(self.dial_localhost(*port).await?),
            AppAddr::Unix(path) => AppStream::Unix(UnixStream::connect(path).await?),
        })
    }

    /// Whichever of the two accepts; the error is that of the one that was dialled first. An app that has accepted costs one
    /// dial.
    async fn dial_localhost(&self, port: u16) -> io::Result<TcpStream> {
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let on_six = self.on_six.load(Ordering::Relaxed);
        let (first, second) = if on_six { (six, four) } else { (four, six) };
        let error = match connect_tcp(first).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let Ok(stream) = connect_tcp(second).await else { return Err(error) };
        self.on_six.store(!on_six, Ordering::Relaxed);
        Ok(stream)
    }
}
