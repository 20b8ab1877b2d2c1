//! The app behind both, in this process: it echoes, or hands its connections to the case.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, mpsc};
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wire::client::PATIENCE;

/// What the app does with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// Sends back what comes, and ends when the other side does.
    Echo,
    /// Gives it to the case.
    Hand,
}

/// An app. Dropped, it no longer listens.
pub(super) struct App {
    /// Where it listens.
    pub(super) addr: SocketAddr,
    taken: Arc<AtomicUsize>,
    hand: Receiver<TcpStream>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl App {
    /// Listens at `addr`.
    ///
    /// # Errors
    /// The address is taken.
    pub(super) fn start(addr: SocketAddr, mode: Mode) -> Result<Self> {
        let listener = TcpListener::bind(addr).with_context(|| format!("cannot listen at {addr}"))?;
        listener.set_nonblocking(true)?;
        let (taken, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (give, hand) = mpsc::channel();
        let inner = (Arc::clone(&taken), Arc::clone(&stop));
        let thread = thread::spawn(move || accept(&listener, mode, &inner.0, &inner.1, &give));
        Ok(Self { addr, taken, hand, stop, thread: Some(thread) })
    }

    /// How many connections there were since [`Self::forget`].
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// Forgets the connections that there were, as soon as no more come.
    pub(super) fn forget(&self) {
        let mut before = usize::MAX;
        while before != self.taken() {
            before = self.taken();
            thread::sleep(Duration::from_millis(60));
        }
        self.taken.store(0, Relaxed);
        while self.hand.try_recv().is_ok() {}
    }

    /// The next connection that is handed to the case.
    ///
    /// # Errors
    /// None comes.
    pub(super) fn next(&self) -> Result<TcpStream> {
        self.hand.recv_timeout(PATIENCE).context("no connection has come to the app")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It accepts, and can do nothing else.
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, mode: Mode, taken: &AtomicUsize, stop: &AtomicBool, give: &Sender<TcpStream>) {
    while !stop.load(Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        taken.fetch_add(1, Relaxed);
        let set = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        match mode {
            _ if set.is_err() => {}
            Mode::Echo => drop(thread::spawn(move || echo(stream))),
            // The case may have ended.
            Mode::Hand => drop(give.send(stream)),
        }
    }
}

fn echo(mut stream: TcpStream) {
    let mut space = vec![0; 16 * 1024];
    // Idle connections of a case are idle for longer than a read may take.
    if stream.set_read_timeout(None).is_err() {
        return;
    }
    while let Ok(n @ 1..) = stream.read(&mut space) {
        if stream.write_all(&space[..n]).is_err() {
            return;
        }
    }
    // The other side may be gone.
    let _ = stream.shutdown(Shutdown::Write);
}
