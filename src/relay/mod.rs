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

mod idle;
mod plain;
#[cfg(test)]
mod simulation;
mod stall;
mod transfer;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::budget::Reservation;
use crate::http::{KeepAliveEnder, ResponseTracker, WebSocketEnder};
use crate::io::{AppStream, ClientSocket, Socket, Transferred, WriteBuffer, buffers};
use crate::policy::Permit;
use crate::tls::{Established, Session, Stream, StreamParts};
pub(crate) use idle::IdleTimer;
pub(crate) use plain::PlainRelay;
pub(crate) use stall::BacklogWatch;
pub(crate) use transfer::{MIN_BACKLOG_BYTES, MIN_READ, READS_PER_TURN, TransferStep};

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEnd {
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
    Idle,
    /// The client was told, in the app's place, that nothing follows: behind an answer, all of which it has been sent, or in a WebSocket
    /// connection, of which neither side has let go since.
    KeepAliveEnded,
    /// It was stuck while memory was short.
    BacklogEvicted,
}

/// What there is to say of [`RelayEnd::BacklogEvicted`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the memory for backlogs is short, and this connection has held some for {} seconds without progress; raise the container's memory limit (or --memory-limit), or add instances",
    stall::STUCK
)]
pub struct NoBacklogProgress;

/// The client's TLS session and the app's connection, and the bytes on their way between them.
#[derive(Debug)]
pub struct Relay<C = TcpStream, A = AppStream> {
    client: C,
    app: A,
    session: Session,
    /// Ciphertext from the client that is not decrypted: part of a record, or what waits behind `to_app`.
    held: Vec<u8>,
    /// `held` may contain whole records.
    more_held: bool,
    /// Plaintext that the app would not take yet.
    to_app: WriteBuffer,
    /// Ciphertext that the client would not take yet.
    to_client: WriteBuffer,
    up: TransferState,
    down: TransferState,
    /// The app reset the connection while it was written to; its remaining bytes are still to be read.
    app_was_reset: bool,
    /// The app is gone: once its bytes are delivered, nothing is left to wait for.
    app_is_gone: bool,
    transferred: Transferred,
    /// Bytes among those to the app that are ours.
    announced: u32,
    /// Bytes of the client's chain that the session keeps.
    chain: u32,
    idle: IdleTimer,
    exchange: ResponseTracker,
    /// Made when it is first needed.
    rare: Option<Box<RareState>>,
    /// The memory of what is kept.
    reservation: Reservation,
}

/// What most connections never need.
#[derive(Debug, Default)]
struct RareState {
    /// Looks after a connection that keeps something.
    stall: Option<BacklogWatch>,
    /// Ends the connection behind an answer, while the instance goes.
    keep_alive: Option<KeepAliveEnder>,
    /// Ends a WebSocket connection, while the instance goes.
    web_socket: Option<WebSocketEnder>,
}

/// What of a client's chain is no more than any connection may hold.
const USUAL_CHAIN: usize = 4 * 1024;

/// Bytes that a connection holds for as long as it lasts because the client's chain is longer than usual: rustls keeps it, and so do we,
/// to ask again whether the client may stay.
pub fn chain_memory(established: &Established) -> usize {
    2 * established.chain_bytes.saturating_sub(USUAL_CHAIN)
}

/// Of `sent` bytes, those that have left the kernel for the client, where some more are `blocked`: the kernel takes more in large steps
/// only, many seconds apart for a slow client. It grows as long as the client takes any; nothing else can be said of it.
pub(crate) fn delivered_to(client: &impl ClientSocket, sent: u64, blocked: bool) -> u64 {
    let waiting = if blocked { client.unacknowledged() } else { 0 };
    sent.wrapping_sub(waiting)
}

/// A length that is never near its type's end.
fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransferState {
    Open,
    /// Its source has ended; what is kept is still to be delivered.
    Ending,
    Done,
}

impl<C: ClientSocket, A: Socket> Relay<C, A> {
    /// A relay between the established session on `client` and `app`. No permit, no bytes. The app gets `proxy_header` (PROXY
    /// protocol) in front of whatever the client sends, and need not wait for that. What the relay keeps is of `reservation`, which has room for
    /// [`chain_memory`] of the session.
    pub fn new(
        _: &Permit,
        client: C,
        established: Established,
        app: A,
        proxy_header: Vec<u8>,
        reservation: Reservation,
    ) -> Self {
        let chain = small(chain_memory(&established));
        Self {
            client,
            app,
            more_held: !established.pending_ciphertext.is_empty(),
            held: established.pending_ciphertext,
            announced: small(proxy_header.len()),
            chain,
            to_app: WriteBuffer::from(proxy_header),
            session: established.session,
            to_client: WriteBuffer::default(),
            up: TransferState::Open,
            down: TransferState::Open,
            app_was_reset: false,
            app_is_gone: false,
            rare: None,
            reservation,
            transferred: Transferred::default(),
            idle: IdleTimer::default(),
            exchange: ResponseTracker::default(),
        }
    }

    /// Takes no more from the client; to the app it is as if the client had ended its sending.
    pub fn dismiss_client(&mut self) {
        if self.up != TransferState::Done {
            self.up = TransferState::Done;
            self.to_app = WriteBuffer::default();
            // The app may be gone already.
            let _ = self.app.end_sending();
        }
    }

    /// Plaintext bytes carried so far. The PROXY header does not count, nor does what the client's socket would not take yet:
    /// that counts as it stands there, sealed.
    pub fn transferred(&self) -> Transferred {
        Transferred {
            up: self.transferred.up.saturating_sub(self.announced.into()),
            down: self.transferred.down.saturating_sub(self.to_client.len() as u64),
        }
    }

    /// Ends the relay once nothing has moved either way for `limit`.
    pub fn set_idle_timeout(&mut self, limit: Duration) {
        self.idle.set_timeout(limit);
    }

    /// Ends the relay once it is idle: nothing has moved for `limit`, the last word was not the client's, so that no request
    /// waits for its answer, and no answer is known to be under way.
    pub fn set_drain_idle_timeout(&mut self, limit: Duration) {
        self.idle.set_drain_idle_timeout(limit);
    }

    /// The client's side.
    pub fn client(&self) -> &C {
        &self.client
    }

    /// From now on an answer in HTTP/1.1 that follows a complete request tells the client, in the app's place, to let go of the connection,
    /// and the relay ends behind it. To be called once.
    pub fn end_keep_alive(&mut self) {
        self.rare.get_or_insert_default().keep_alive.get_or_insert_default();
    }

    /// The two sides speak WebSocket, of which the app has said `said` already: [`end_web_socket`](Self::end_web_socket) will find its frames.
    pub(crate) fn follow_web_socket(&mut self, said: &[u8]) {
        // Nothing of it is changed before that.
        let _ = self.rare.get_or_insert_default().web_socket.get_or_insert_default().on_frames(said);
    }

    /// From now on the client is told, in the app's place, that the WebSocket connection ends, where it is followed.
    pub(crate) fn end_web_socket(&mut self) {
        if let Some(ender) = self.web_socket() {
            ender.end();
        }
    }

    fn web_socket(&mut self) -> Option<&mut WebSocketEnder> {
        self.rare.as_mut()?.web_socket.as_mut()
    }

    /// The app is gone, and will read nothing more: ends the relay once what it sent has been delivered.
    pub fn end_after_backlog(&mut self) {
        self.app_is_gone = true;
    }

    fn keep_alive(&self) -> Option<&KeepAliveEnder> {
        self.rare.as_ref()?.keep_alive.as_ref()
    }

    /// Bytes that are held because a side is slow or has said too much.
    fn memory(&self) -> usize {
        let head = self.keep_alive().map_or(0, KeepAliveEnder::memory);
        self.chain as usize + head + self.held.capacity() + self.to_app.memory() + self.to_client.memory()
    }

    /// Whether nothing is left that one side has sent and the other has not got.
    pub fn is_clear(&self) -> bool {
        self.held.is_empty() && self.to_app.is_empty() && self.to_client.is_empty()
    }

    /// Both ends' connections, to be closed as `end` demands.
    pub fn into_parts(self) -> (C, A) {
        (self.client, self.app)
    }

    /// Tells the client that nothing more comes and that all was whole, as far as the socket takes it at once.
    pub fn close_notify(&mut self) {
        if self.down == TransferState::Done || !self.to_client.is_empty() {
            return;
        }
        buffers::with(|buffers| {
            buffers.output.clear();
            if self.session.close_notify(&mut buffers.output).is_ok() {
                // Best effort: a client whose receive window is full learns it from the FIN.
                let _ = self.client.try_write(buffers.output.bytes());
            }
        });
    }
}

impl Relay {
    /// A relay between a client whose connection has carried requests so far, and `app`, which both have agreed to speak another protocol. No
    /// permit, no bytes. `for_app` and `for_client` have come already from the other side, and `before` was
    /// carried before that.
    ///
    /// # Errors
    /// The session's keys are worn out.
    pub(crate) fn of_stream(
        _: &Permit,
        client: Stream,
        app: AppStream,
        (mut for_app, for_client): (Vec<u8>, &[u8]),
        before: Transferred,
        reservation: Reservation,
    ) -> io::Result<Self> {
        let StreamParts { tcp, mut session, plaintext, held, unsent } = client.into_parts();
        for_app.extend_from_slice(&plaintext);
        let mut to_client = unsent;
        buffers::with(|buffers| {
            buffers.output.clear();
            session.encrypt(for_client, &mut buffers.output).map_err(io::Error::other)?;
            to_client.push(buffers.output.bytes());
            Ok::<_, io::Error>(())
        })?;
        Ok(Self {
            client: tcp,
            app,
            more_held: !held.is_empty(),
            held,
            session,
            transferred: Transferred {
                up: before.up + for_app.len() as u64,
                down: before.down + to_client.len() as u64,
            },
            announced: 0,
            chain: 0,
            to_app: WriteBuffer::from(for_app),
            to_client,
            up: TransferState::Open,
            down: TransferState::Open,
            app_was_reset: false,
            app_is_gone: false,
            rare: None,
            reservation,
            idle: IdleTimer::default(),
            exchange: ResponseTracker::default(),
        })
    }
}

impl<C: ClientSocket, A: Socket> Future for Relay<C, A> {
    type Output = RelayEnd;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let this = self.get_mut();
        match buffers::with(|buffers| this.poll_transfer(cx, buffers)) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                this.reservation.set(this.memory());
                if let Poll::Ready(end) = this.poll_stall(cx) {
                    return Poll::Ready(end);
                }
                if this.web_socket().is_some_and(|ender| ender.poll_over(cx).is_ready()) {
                    return Poll::Ready(RelayEnd::KeepAliveEnded);
                }
                // Bytes that one side is slow to take are not silence, as long as it takes some.
                let on_its_way = !this.to_app.is_empty() || !this.to_client.is_empty();
                let Transferred { up, down } = this.transferred();
                let (client, blocked) = (&this.client, !this.to_client.is_empty());
                let delivered = || up.wrapping_add(delivered_to(client, down, blocked));
                this.idle.poll(cx, on_its_way, delivered, this.exchange.is_under_way()).map(|()| RelayEnd::Idle)
            }
        }
    }
}
