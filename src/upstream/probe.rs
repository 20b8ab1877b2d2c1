//! Asking the app whether it is ready.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connector::Connector;
use crate::config::{AppAddr, AppReady};
use crate::io::AppStream;

/// For the answer to a request; an app that warms up may take its time.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether the app is ready in the sense of `ready`. A request has `probe_prefix` in front of it.
pub(super) async fn ask(app: &Connector, ready: &AppReady, probe_prefix: &[u8]) -> bool {
    let Ok(stream) = app.connect().await else { return false };
    match ready {
        AppReady::Off | AppReady::Tcp => true,
        AppReady::Http(path) => {
            let status = timeout(ANSWER, status(stream, app.addr(), path, probe_prefix)).await;
            matches!(status, Ok(Ok(Some(100..400))))
        }
    }
}

/// The status of the answer to a GET for `path`; `None` if the answer is not HTTP.
async fn status(mut stream: AppStream, app: &AppAddr, path: &str, probe_prefix: &[u8]) -> io::Result<Option<u16>> {
    let host = match app {
        AppAddr::Tcp(_) | AppAddr::Localhost(_) => app.to_string(),
        AppAddr::Unix(_) => "localhost".to_owned(),
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: vestibule\r\nConnection: close\r\n\r\n");
    stream.write_all(&[probe_prefix, request.as_bytes()].concat()).await?;
    let mut start = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut start).await?;
    let start = std::str::from_utf8(&start).unwrap_or_default();
    Ok(start.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)?.parse().ok()))
}
