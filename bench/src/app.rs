//! The app behind every proxy: small answers, many bytes down, many bytes up, in as much HTTP/1.1 as that takes.

use std::io;
use std::io::Write;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a client asks for a small answer.
pub(crate) const SMALL: &str = "GET /small HTTP/1.1\r\nHost: app\r\nAccept: */*\r\n\r\n";

/// The small answer, whole.
pub(crate) const ANSWER: &str = concat!(
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 120\r\n\r\n",
    "the answer of the app, of the length that a small document has, and of the same bytes each time;",
    " it ends with this dot ."
);

/// The request for `bytes` from the app.
pub(crate) fn down(bytes: u64) -> String {
    format!("GET /down/{bytes} HTTP/1.1\r\nHost: app\r\n\r\n")
}

/// The head of a request that brings `bytes` to the app.
pub(crate) fn up(bytes: u64) -> String {
    format!("PUT /up/{bytes} HTTP/1.1\r\nHost: app\r\nContent-Length: {bytes}\r\n\r\n")
}

/// Listens on a free port of 127.0.0.1, writes its address to stdout, and serves until it is killed.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn serve() -> Result<()> {
    crate::runtime()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        println!("{}", listener.local_addr()?);
        io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await.context("cannot accept")?;
            stream.set_nodelay(true)?;
            // A client that leaves is no matter for an app that keeps nothing.
            tokio::spawn(async move { drop(connection(stream).await) });
        }
    })
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut held = Vec::with_capacity(512);
    loop {
        let Some(head) = head(&mut stream, &mut held).await? else { return Ok(()) };
        let line = String::from_utf8_lossy(&held[..head]).lines().next().unwrap_or_default().to_owned();
        held.drain(..head);
        let amount = || line.split(['/', ' ']).filter_map(|word| word.parse().ok()).next_back().unwrap_or(0);
        if line.starts_with("GET /down/") {
            send(&mut stream, amount()).await?;
        } else if line.starts_with("PUT /up/") {
            take(&mut stream, amount(), &mut held).await?;
            stream.write_all(ANSWER.as_bytes()).await?;
        } else {
            stream.write_all(ANSWER.as_bytes()).await?;
        }
    }
}

/// Reads until a head is whole, and returns its length; `None` at the end of the connection.
async fn head(stream: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
}

async fn send(stream: &mut TcpStream, mut left: u64) -> io::Result<()> {
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
async fn take(stream: &mut TcpStream, bytes: u64, held: &mut Vec<u8>) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::ANSWER;

    #[test]
    fn the_small_answer_has_the_length_that_it_states() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
