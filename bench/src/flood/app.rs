//! The app behind the proxy, in this process and outside of the group. A connection's first byte says what it is to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Send back what comes.
pub(super) const ECHO: u8 = b'e';
/// Send without end, and read no more.
pub(super) const SEND: u8 = b's';
/// Do nothing more.
pub(super) const NOTHING: u8 = b'n';
/// A request of HTTP begins so.
const GET: u8 = b'G';

/// The path of a large body. A request for anything else is not answered.
pub(super) const LARGE: &str = "/large";

/// Bytes of that body.
const BODY: usize = 1 << 20;

/// An app that listens for as long as this process lasts.
pub(super) struct App {
    /// Where it listens.
    pub(super) addr: SocketAddr,
}

impl App {
    /// Listens at a free port.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let addr = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { addr })
    }
}

fn serve(mut stream: TcpStream) {
    let mut first = [0];
    if stream.read_exact(&mut first).is_err() {
        return;
    }
    let mut space = vec![0; 64 * 1024];
    match first {
        [ECHO] => {
            while let Ok(n @ 1..) = stream.read(&mut space) {
                if stream.write_all(&space[..n]).is_err() {
                    return;
                }
            }
        }
        [SEND] => while stream.write_all(&space).is_ok() {},
        // What fails is the proxy's end of it.
        [GET] => drop(answer(&stream, &space)),
        // Until the proxy is gone: nothing else tells, as nothing is read.
        _ => {
            while stream.peer_addr().is_ok() && !matches!(stream.take_error(), Ok(Some(_)) | Err(_)) {
                thread::sleep(std::time::Duration::from_millis(200));
            }
        }
    }
}

/// Reads a request without its first byte, and answers with `part` over and over; or, where another path is asked for, never.
fn answer(mut stream: &TcpStream, part: &[u8]) -> io::Result<()> {
    let mut request = BufReader::new(stream);
    let mut line = String::new();
    request.read_line(&mut line)?;
    let is_large = line.split(' ').nth(1) == Some(LARGE);
    while line.trim_end() != "" {
        line.clear();
        request.read_line(&mut line)?;
    }
    if is_large {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\nConnection: close\r\n\r\n")?;
        for _ in 0..BODY / part.len() {
            stream.write_all(part)?;
        }
        return Ok(());
    }
    io::copy(&mut request, &mut io::sink()).map(drop)
}
