//! The way to the app.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::config::AppAddr;
use crate::relay::AppStream;

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
}

/// Connects to the app at `app`, waiting for at most `limit`.
///
/// # Errors
/// [`DialError`], when the app has not accepted.
pub async fn dial(app: &AppAddr, limit: Duration) -> Result<AppStream, DialError> {
    match timeout(limit, connect(app)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            // A Unix socket's file that is not there is an app that does not listen yet.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => DialError::Refused,
            io::ErrorKind::TimedOut => DialError::TimedOut(limit),
            _ => DialError::Failed(error),
        }),
        Err(_) => Err(DialError::TimedOut(limit)),
    }
}

async fn connect(app: &AppAddr) -> io::Result<AppStream> {
    Ok(match app {
        AppAddr::Tcp(addr) => {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            AppStream::Tcp(stream)
        }
        AppAddr::Unix(path) => AppStream::Unix(UnixStream::connect(path).await?),
    })
}
