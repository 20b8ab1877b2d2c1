//! The app behind every proxy: small answers, many bytes down, many bytes up, in as much HTTP/1.1 as that takes.
//!
//! It listens in plaintext, for proxies of servers, and in [mutual TLS](tls), for those of clients.

mod tls;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::{fmt, io};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use tls::Handshakes;
pub(crate) use tls::{HANDSHAKES, HandshakeCount};

/// Where the app listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// In plaintext.
    pub(crate) plain: SocketAddr,
    /// In mutual TLS; its clients may resume.
    pub(crate) tls: SocketAddr,
    /// In mutual TLS without tickets: every handshake is a full one.
    pub(crate) tls_without_tickets: SocketAddr,
}

/// Where the small answer is.
pub(crate) const SMALL_PATH: &str = "/small";

/// What a client asks for a small answer.
pub(crate) const SMALL: &str = "GET /small HTTP/1.1\r\nHost: app\r\nAccept: */*\r\n\r\n";

/// The small answer, whole.
pub(crate) const ANSWER: &str = concat!(
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 120\r\n\r\n",
    "the answer of the app, of the length that a small document has, and of the same bytes each time;",
    " it ends with this dot ."
);

/// What the small answer says.
pub(crate) const ANSWER_BODY: &str = ANSWER.split_at(ANSWER.len() - 120).1;

/// Where `bytes` from the app are.
pub(crate) fn down_path(bytes: u64) -> String {
    format!("/down/{bytes}")
}

/// Where the app takes `bytes`.
pub(crate) fn up_path(bytes: u64) -> String {
    format!("/up/{bytes}")
}

/// The request for `bytes` from the app.
pub(crate) fn down(bytes: u64) -> String {
    format!("GET {} HTTP/1.1\r\nHost: app\r\n\r\n", down_path(bytes))
}

/// The head of a request that brings `bytes` to the app.
pub(crate) fn up(bytes: u64) -> String {
    format!("PUT {} HTTP/1.1\r\nHost: app\r\nContent-Length: {bytes}\r\n\r\n", up_path(bytes))
}

/// Listens on free ports of 127.0.0.1, writes them to stdout, and serves until it is killed. `credentials` is the folder of its pair
/// and of the CA of its clients.
///
/// # Errors
/// Those of the kernel, and a pair that cannot be used.
pub(crate) fn serve(credentials: &Path) -> Result<()> {
    crate::runtime()?.block_on(async {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (plain, tls, full) = (listen().await?, listen().await?, listen().await?);
        let addresses =
            Addresses { plain: plain.local_addr()?, tls: tls.local_addr()?, tls_without_tickets: full.local_addr()? };
        println!("{addresses}");
        io::stdout().flush()?;
        let handshakes = Arc::new(Handshakes::default());
        for (listener, tickets) in [(tls, true), (full, false)] {
            tokio::spawn(tls::serve(listener, tls::acceptor(credentials, tickets)?, Arc::clone(&handshakes)));
        }
        loop {
            let (stream, _) = plain.accept().await.context("cannot accept")?;
            stream.set_nodelay(true)?;
            let handshakes = Arc::clone(&handshakes);
            // A client that leaves is no matter for an app that keeps nothing.
            tokio::spawn(async move { drop(connection(stream, &handshakes).await) });
        }
    })
}

async fn connection(mut stream: impl AsyncRead + AsyncWrite + Unpin, handshakes: &Handshakes) -> io::Result<()> {
    let mut held = Vec::with_capacity(512);
    loop {
        let Some(head) = head(&mut stream, &mut held).await? else { return stream.shutdown().await };
        let line = String::from_utf8_lossy(&held[..head]).lines().next().unwrap_or_default().to_owned();
        held.drain(..head);
        let amount = || line.split(['/', ' ']).filter_map(|word| word.parse().ok()).next_back().unwrap_or(0);
        if line.starts_with("GET /down/") {
            send(&mut stream, amount()).await?;
        } else if line.starts_with("PUT /up/") {
            take(&mut stream, amount(), &mut held).await?;
            stream.write_all(ANSWER.as_bytes()).await?;
        } else if HANDSHAKES.starts_with(&line) {
            stream.write_all(handshakes.count().to_string().as_bytes()).await?;
        } else {
            stream.write_all(ANSWER.as_bytes()).await?;
        }
        stream.flush().await?;
    }
}

/// Reads until a head is whole, and returns its length; `None` at the end of the connection.
async fn head(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), held: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
}

async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), mut left: u64) -> io::Result<()> {
    let block = vec![b'd'; 256 * 1024];
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes()).await?;
    while left > 0 {
        let part = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        stream.write_all(&block[..part]).await?;
        left -= part as u64;
    }
    Ok(())
}

/// Takes a body of `bytes`, of which `held` may hold the beginning.
async fn take(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: u64, held: &mut Vec<u8>) -> io::Result<()> {
    let mut left = bytes.saturating_sub(held.len() as u64);
    held.clear();
    let mut block = vec![0; 256 * 1024];
    while left > 0 {
        let part = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match stream.read(&mut block[..part]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read as u64,
        }
    }
    Ok(())
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.plain, self.tls, self.tls_without_tickets)
    }
}

impl FromStr for Addresses {
    type Err = anyhow::Error;

    fn from_str(said: &str) -> Result<Self> {
        let mut addresses = said.split(' ').map(str::parse);
        let mut next = || addresses.next().context("an address is missing")?.context("this is no address");
        Ok(Self { plain: next()?, tls: next()?, tls_without_tickets: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWER, Addresses};

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let addr = |port: u16| ([127, 0, 0, 1], port).into();
        let addresses = Addresses { plain: addr(1), tls: addr(2), tls_without_tickets: addr(3) };
        assert_eq!(addresses.to_string().parse::<Addresses>().unwrap(), addresses);
        assert!("127.0.0.1:1 127.0.0.1:2".parse::<Addresses>().is_err());
    }

    #[test]
    fn the_small_answer_has_the_length_that_it_states() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
        assert_eq!(body, super::ANSWER_BODY);
    }
}
