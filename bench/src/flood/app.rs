//! The app behind the proxy, in this process and outside of the group. A connection's first byte says what it is to do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

/// Send back what comes.
pub(super) const ECHO: u8 = b'e';
/// Send without end, and read no more.
pub(super) const SEND: u8 = b's';
/// Do nothing more.
pub(super) const NOTHING: u8 = b'n';

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
        // Until the proxy is gone: nothing else tells, as nothing is read.
        _ => {
            while stream.peer_addr().is_ok() && !matches!(stream.take_error(), Ok(Some(_)) | Err(_)) {
                thread::sleep(std::time::Duration::from_millis(200));
            }
        }
    }
}
