//! Established traffic, which strangers must not disturb.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustls::ClientConfig;

use super::app::{ECHO, SEND};
use crate::wire::client::Client;
use crate::wire::end::End;

/// Between two turns of one connection.
const PAUSE: Duration = Duration::from_millis(5);

/// Connections that ask for something small; that send and get large records; that download.
const SMALL: usize = 2;
const BOTH_WAYS: usize = 2;
const DOWN: usize = 2;

/// Connections with their threads.
pub(super) struct Traffic {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

/// What they saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Small requests that were answered.
    pub(super) requests: usize,
    /// The slowest of them.
    pub(super) slowest: Duration,
    /// Bytes of the others.
    pub(super) bytes: usize,
    /// What went wrong.
    pub(super) errors: Vec<String>,
}

impl Traffic {
    /// Connects to `addr`, and begins.
    ///
    /// # Errors
    /// A connection cannot be made.
    pub(super) fn start(config: &Arc<ClientConfig>, addr: SocketAddr) -> Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for nth in 0..SMALL + BOTH_WAYS + DOWN {
            let connect = || {
                let mut client = Client::connect(addr, config, "localhost")?;
                client.send(&[if nth < SMALL + BOTH_WAYS { ECHO } else { SEND }])?;
                Ok(client)
            };
            let client = connect().map_err(|end: End| anyhow!("no established traffic: {end:?}"))?;
            let done = Arc::clone(&done);
            threads.push(thread::spawn(move || work(client, nth, &done)));
        }
        Ok(Self { done, threads })
    }

    /// Ends it.
    pub(super) fn stop(self) -> Seen {
        self.done.store(true, Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            match thread.join() {
                Ok(seen) => {
                    all.requests += seen.requests;
                    all.slowest = all.slowest.max(seen.slowest);
                    all.bytes += seen.bytes;
                    all.errors.extend(seen.errors);
                }
                Err(_) => all.errors.push("a thread panicked".to_owned()),
            }
        }
        all
    }
}

fn work(mut client: Client, nth: usize, done: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !done.load(Relaxed) {
        let began = Instant::now();
        let turn = if nth < SMALL {
            exchange(&mut client, 200)
        } else if nth < SMALL + BOTH_WAYS {
            exchange(&mut client, 16 * 1024)
        } else {
            client.receive(64 * 1024).and_then(|bytes| whole(&bytes, &[0; 64 * 1024]))
        };
        match turn {
            Ok(_) if nth < SMALL => {
                seen.requests += 1;
                seen.slowest = seen.slowest.max(began.elapsed());
            }
            Ok(bytes) => seen.bytes += bytes,
            Err(end) => {
                seen.errors.push(format!("connection {nth}: {end:?}"));
                return seen;
            }
        }
        thread::sleep(PAUSE);
    }
    seen
}

fn exchange(client: &mut Client, bytes: usize) -> Result<usize, End> {
    let sent = vec![7; bytes];
    client.send(&sent)?;
    whole(&client.receive(bytes)?, &sent)
}

fn whole(came: &[u8], wanted: &[u8]) -> Result<usize, End> {
    if came == wanted { Ok(came.len()) } else { Err(End::Other("other bytes".to_owned())) }
}
