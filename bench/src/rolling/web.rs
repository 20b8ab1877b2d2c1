//! The app of the instances: HTTP/1.1 with keep-alive, which on TERM ends as Go's server does: it listens no more, closes what is idle,
//! and what it is at gets its answer with `Connection: close`.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::wire::gorouter::Method;

/// How every answer ends.
pub(super) const BODY: &str = "done.";

/// How long the app takes until it listens.
const START: Duration = Duration::from_millis(300);

/// How long an answer takes it.
const WORK: Duration = Duration::from_millis(10);

/// What a user asks for.
pub(super) fn request(method: Method) -> &'static str {
    match method {
        Method::Get => "GET / HTTP/1.1\r\nHost: app\r\n\r\n",
        Method::Post => "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nhello",
    }
}

/// Serves `port`, or `$PORT`, until TERM.
///
/// # Errors
/// There is no port, or it is taken.
pub(crate) fn serve(port: Option<u16>) -> Result<()> {
    let named = || std::env::var("PORT").ok()?.parse().ok();
    let port = port.or_else(named).context("no port is named")?;
    crate::runtime()?.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        sleep(START).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("cannot listen")?;
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = term.recv() => break,
                accepted = listener.accept() => {
                    let (stream, _) = accepted.context("cannot accept")?;
                    stream.set_nodelay(true)?;
                    connections.spawn(connection(stream, stopping.clone()));
                }
            }
        }
        drop(listener);
        stop.send(true)?;
        while connections.join_next().await.is_some() {}
        Ok(())
    })
}

async fn connection(mut stream: TcpStream, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        while !is_whole(&held) {
            tokio::select! {
                biased;
                read = stream.read_buf(&mut held) => if read? == 0 { return Ok(()) },
                stopped = stopping.changed(), if held.is_empty() => {
                    // Either it is true now, or nobody is left who could say so.
                    drop(stopped);
                    return stream.shutdown().await;
                }
            }
        }
        held.clear();
        sleep(WORK).await;
        let last = *stopping.borrow();
        let header = if last { "Connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\n{header}Content-Length: {}\r\n\r\n{BODY}", BODY.len());
        stream.write_all(head.as_bytes()).await?;
        if last {
            return stream.shutdown().await;
        }
    }
}

/// Whether one request is there; clients send no second one before the answer.
fn is_whole(held: &[u8]) -> bool {
    held == request(Method::Get).as_bytes() || held == request(Method::Post).as_bytes()
}
