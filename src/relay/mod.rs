//! The copying of bytes both ways, after the handshake.
//!
//! One future, no task and no buffer of its own: bytes pass through the thread's buffers, and only what the receiving
//! side would not take yet is kept. While something is kept in a direction, nothing more is read in it, so memory is
//! bounded by one read and one record each way, and the slow side slows the fast one.
//!
//! What each end sees when the other goes:
//!
//! | what happens | the other side sees |
//! |---|---|
//! | the client sends close_notify | the app: end of file; its answer still arrives |
//! | the client's TCP ends or resets without it | the app: a reset, since what it got is not whole |
//! | the app ends its sending | the client: close_notify and FIN; its own sending goes on |
//! | the app resets | the client: what had come, then FIN without close_notify, since it is not whole |

mod app_stream;
mod backlog;
mod quiet;

use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

pub use app_stream::AppStream;

use crate::buffers;
use crate::buffers::Buffers;
use crate::buffers::READ;
use crate::sys::socket;
use crate::tls::Established;
use crate::tls::Outgoing;
use crate::tls::Session;
use backlog::Backlog;
use quiet::Quiet;

/// Reads in a row before other connections get their turn: at most a mebibyte each way.
const READS_PER_TURN: usize = 16;

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides said that they were done.
    Complete,
    /// The client's TCP ended without close_notify.
    ClientTruncated,
    /// The client reset the connection.
    ClientReset,
    /// The client broke the TLS protocol; it got an alert.
    ClientViolation,
    /// The app reset the connection, or stopped reading before it was done.
    AppReset,
    /// Nothing moved either way for as long as was allowed.
    Quiet,
}

/// Plaintext bytes that were carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// From the client to the app.
    pub up: u64,
    /// From the app to the client.
    pub down: u64,
}

/// Both connections, and what is on its way between them.
#[derive(Debug)]
pub struct Relay {
    client: TcpStream,
    app: AppStream,
    session: Session,
    /// Ciphertext from the client that is not decrypted: part of a record, or what waits behind `to_app`.
    held: Vec<u8>,
    /// `held` may contain whole records.
    more_held: bool,
    /// Plaintext that the app would not take yet.
    to_app: Backlog,
    /// Ciphertext that the client would not take yet.
    to_client: Backlog,
    up: Way,
    down: Way,
    /// The app reset the connection while it was written to; its remaining bytes are still to be read.
    app_was_reset: bool,
    carried: Carried,
    quiet: Quiet,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Its source has ended; what is kept is still to be delivered.
    Ending,
    Done,
}

/// What became of one direction's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It waits for a socket, or is done.
    Over,
    /// It has used up its turn.
    Busy,
}

impl Relay {
    /// A relay between the established session on `client` and `app`.
    pub fn new(client: TcpStream, established: Established, app: AppStream) -> Self {
        let mut quiet = Quiet::default();
        if !established.early.is_empty() || !established.held.is_empty() {
            quiet.heard_client();
        }
        Self {
            client,
            app,
            more_held: !established.held.is_empty(),
            held: established.held,
            to_app: Backlog::from(established.early),
            session: established.session,
            to_client: Backlog::default(),
            up: Way::Open,
            down: Way::Open,
            app_was_reset: false,
            carried: Carried::default(),
            quiet,
        }
    }

    /// Plaintext bytes carried so far.
    pub fn carried(&self) -> Carried {
        self.carried
    }

    /// Ends the relay once nothing has moved either way for `limit`.
    pub fn end_when_silent(&mut self, limit: Duration) {
        self.quiet.after_silence(limit);
    }

    /// Ends the relay once it is idle: nothing has moved for `limit`, and the last word was not the client's, so that no
    /// request waits for its answer.
    pub fn end_when_idle(&mut self, limit: Duration) {
        self.quiet.after_answer(limit);
    }

    /// Both ends' connections, to be closed as `end` demands.
    pub fn into_parts(self) -> (TcpStream, AppStream) {
        (self.client, self.app)
    }

    /// Tells the client that nothing more comes and that all was whole, as far as the socket takes it at once.
    pub fn say_goodbye(&mut self) {
        if self.down == Way::Done || !self.to_client.is_empty() {
            return;
        }
        buffers::with(|buffers| {
            buffers.output.clear();
            if self.session.close(&mut self.held, &mut buffers.output, |_| {}).is_ok() {
                // Best effort: a client whose receive window is full learns it from the FIN.
                let _ = self.client.try_write(buffers.output.bytes());
            }
        });
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Poll<End> {
        loop {
            let down = self.carry_down(cx, buffers);
            let kept_for_client = self.to_client.len();
            let up = match down {
                Ok(_) => self.carry_up(cx, buffers),
                Err(_) => Ok(Turn::Over),
            };
            match (down, up) {
                (Err(end), _) | (_, Err(end)) => return Poll::Ready(end),
                _ if self.up == Way::Done && self.down == Way::Done => return Poll::Ready(self.end()),
                // A key update is answered in the other direction, and a read may have been decrypted there.
                _ if self.to_client.len() > kept_for_client => {}
                (Ok(Turn::Over), Ok(Turn::Over)) => return Poll::Pending,
                _ => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn end(&self) -> End {
        if self.app_was_reset { End::AppReset } else { End::Complete }
    }

    /// client → app
    fn carry_up(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<Turn, End> {
        for _ in 0..READS_PER_TURN {
            if self.up == Way::Done {
                return Ok(Turn::Over);
            }
            match self.to_app.poll_deliver(Pin::new(&mut self.app), cx, &mut self.carried.up) {
                Poll::Pending => return Ok(Turn::Over),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.app_stops_reading(&error);
                    return Ok(Turn::Over);
                }
            }
            if self.session.client_closed() {
                self.up = Way::Done;
                // The app may be gone already: then there is nobody to tell.
                let _ = self.app.end_sending();
                return Ok(Turn::Over);
            }
            if self.more_held {
                let mut held = std::mem::take(&mut self.held);
                let used = self.decrypt(cx, &mut held, &mut buffers.output)?;
                held.drain(..used);
                self.held = held;
                continue;
            }
            if self.client.poll_read_ready(cx).is_pending() {
                return Ok(Turn::Over);
            }
            let kept = self.held.len();
            let Some(space) = buffers.input.get_mut(kept..).filter(|space| !space.is_empty()) else {
                // No record is that long; only a handshake message in pieces can be, and none is due.
                return Err(End::ClientViolation);
            };
            let mut space = ReadBuf::new(space);
            let read = match Pin::new(&mut self.client).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(Turn::Over),
                Poll::Ready(Err(error)) => return Err(client_failed(&error)),
                Poll::Ready(Ok(())) => space.filled().len(),
            };
            if read == 0 {
                return Err(End::ClientTruncated);
            }
            self.quiet.heard_client();
            buffers.input[..kept].copy_from_slice(&self.held);
            let wire = &mut buffers.input[..kept + read];
            let used = self.decrypt(cx, wire, &mut buffers.output)?;
            self.held = wire[used..].to_vec();
        }
        Ok(Turn::Busy)
    }

    /// Decrypts `wire` and writes it to the app at once, as far as the app takes it. Gives the bytes done with.
    fn decrypt(&mut self, cx: &mut Context<'_>, wire: &mut [u8], output: &mut Outgoing) -> Result<usize, End> {
        output.clear();
        let Self { session, app, to_app, carried, .. } = self;
        let mut app_failed = None;
        let decrypted = session.decrypt(wire, output, |payload| {
            match to_app.poll_pass(payload, Pin::new(&mut *app), cx, &mut carried.up) {
                Poll::Ready(Ok(())) => ControlFlow::Continue(()),
                Poll::Pending => ControlFlow::Break(()),
                Poll::Ready(Err(error)) => {
                    app_failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        self.to_client.keep(output.bytes());
        let Ok(decrypted) = decrypted else {
            // The alert explains it; a client that does not read has no use for it.
            let _ = self.to_client.poll_deliver(Pin::new(&mut self.client), cx, &mut 0);
            return Err(End::ClientViolation);
        };
        self.more_held = decrypted.stopped;
        if let Some(error) = app_failed {
            self.app_stops_reading(&error);
        }
        Ok(decrypted.used)
    }

    /// The app takes no more bytes. What it has sent is still delivered; its end tells how it ended.
    fn app_stops_reading(&mut self, error: &io::Error) {
        self.up = Way::Done;
        self.to_app = Backlog::default();
        // A reset that came before the app's FIN leaves ECONNRESET, one that came after it EPIPE: in the second case
        // the answer was whole. The error is reported once, so that the next read will not tell.
        self.app_was_reset |= error.kind() == io::ErrorKind::ConnectionReset;
    }

    /// app → client
    fn carry_down(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<Turn, End> {
        for _ in 0..READS_PER_TURN {
            match self.to_client.poll_deliver(Pin::new(&mut self.client), cx, &mut 0) {
                Poll::Pending => return Ok(Turn::Over),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(client_failed(&error)),
            }
            match self.down {
                Way::Open => {}
                Way::Ending => {
                    self.down = Way::Done;
                    let _ = socket::end_sending(&self.client);
                    return Ok(Turn::Over);
                }
                Way::Done => return Ok(Turn::Over),
            }
            if self.app.poll_read_ready(cx).is_pending() {
                return Ok(Turn::Over);
            }
            let mut space = ReadBuf::new(&mut buffers.input[..READ]);
            let read = match Pin::new(&mut self.app).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(Turn::Over),
                Poll::Ready(Err(_)) => return Err(End::AppReset),
                Poll::Ready(Ok(())) => space.filled().len(),
            };
            if read == 0 && self.app_was_reset {
                return Err(End::AppReset);
            }
            self.encrypt(cx, read, buffers)?;
        }
        Ok(Turn::Busy)
    }

    /// Encrypts `read` bytes of the input buffer, or close_notify if there are none, and writes them to the client as far
    /// as it takes them.
    fn encrypt(&mut self, cx: &mut Context<'_>, read: usize, buffers: &mut Buffers) -> Result<(), End> {
        buffers.output.clear();
        let to_app = &mut self.to_app;
        let keep = |payload: &[u8]| to_app.keep(payload);
        let used = if read == 0 {
            self.down = Way::Ending;
            self.session.close(&mut self.held, &mut buffers.output, keep)
        } else {
            self.quiet.heard_app();
            self.carried.down += read as u64;
            self.session.encrypt(&mut self.held, &buffers.input[..read], &mut buffers.output, keep)
        };
        let used = used.map_err(|_| End::ClientViolation)?;
        self.held.drain(..used);
        match self.to_client.poll_pass(buffers.output.bytes(), Pin::new(&mut self.client), cx, &mut 0) {
            Poll::Ready(Err(error)) => Err(client_failed(&error)),
            // What the socket did not take is kept, and delivered before anything else is read.
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

impl Future for Relay {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        match buffers::with(|buffers| this.poll_turn(cx, buffers)) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => this.quiet.poll(cx).map(|()| End::Quiet),
        }
    }
}

fn client_failed(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::ClientReset,
        _ => End::ClientTruncated,
    }
}
