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

mod end;
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
pub(crate) use end::delivered_to;
use end::poll_pause;
pub use end::{NoBacklogProgress, RelayEnd};
pub(crate) use idle::IdleTimer;
pub(crate) use plain::PlainRelay;
pub(crate) use stall::BacklogWatch;
pub(crate) use transfer::{MIN_BACKLOG_BYTES, READS_PER_TURN, TransferStep, read_limit};

/// The client's TLS session and the app's connection, and the bytes on their way between them.
#[derive(Debug)]
pub struct Relay<C = TcpStream, A = AppStream> {
    client: C,
    app: A,
    session: Session,
    /// Ciphertext from the client that is not decrypted: part of a record, or what waits behind `to_app`.
    pending_ciphertext: Vec<u8>,
    /// `pending_ciphertext` may contain whole records.
    more_pending: bool,
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
    proxy_header_bytes: u32,
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

impl TransferState {
    /// Whether nothing more is to be read in this direction, all that was kept being delivered. Once its source has ended, the side that
    /// it leads to is told by `end_sending`.
    pub(crate) fn finish(&mut self, end_sending: impl FnOnce() -> io::Result<()>) -> bool {
        if *self == Self::Ending {
            *self = Self::Done;
            // That side may be gone already: then there is nobody to tell.
            let _ = end_sending();
        }
        *self == Self::Done
    }

    /// The side that it leads to takes nothing more, what is `kept` included.
    pub(crate) fn give_up(&mut self, kept: &mut WriteBuffer) {
        *self = Self::Done;
        *kept = WriteBuffer::default();
    }
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
        let (chain, proxy_header_bytes) = (small(chain_memory(&established)), small(proxy_header.len()));
        let Established { session, pending_ciphertext, .. } = established;
        let begun = Self::begin((client, app), session, pending_ciphertext, reservation);
        Self { proxy_header_bytes, chain, to_app: WriteBuffer::from(proxy_header), ..begun }
    }

    /// Between `client` and `app`, of which nothing was carried yet; `pending_ciphertext` has come of the client's ciphertext.
    fn begin((client, app): (C, A), session: Session, pending_ciphertext: Vec<u8>, reservation: Reservation) -> Self {
        Self {
            client,
            app,
            session,
            more_pending: !pending_ciphertext.is_empty(),
            pending_ciphertext,
            to_app: WriteBuffer::default(),
            to_client: WriteBuffer::default(),
            up: TransferState::Open,
            down: TransferState::Open,
            app_was_reset: false,
            app_is_gone: false,
            transferred: Transferred::default(),
            proxy_header_bytes: 0,
            chain: 0,
            idle: IdleTimer::default(),
            exchange: ResponseTracker::default(),
            rare: None,
            reservation,
        }
    }

    /// Takes no more from the client; to the app it is as if the client had ended its sending.
    pub fn dismiss_client(&mut self) {
        if self.up != TransferState::Done {
            self.up.give_up(&mut self.to_app);
            // The app may be gone already.
            let _ = self.app.end_sending();
        }
    }

    /// Plaintext bytes carried so far. The PROXY header does not count, nor does what the client's socket would not take yet:
    /// that counts as it stands there, sealed.
    pub fn transferred(&self) -> Transferred {
        Transferred {
            up: self.transferred.up.saturating_sub(self.proxy_header_bytes.into()),
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
        self.chain as usize + head + self.pending_ciphertext.capacity() + self.to_app.memory() + self.to_client.memory()
    }

    /// Whether nothing is left that one side has sent and the other has not got.
    pub fn is_clear(&self) -> bool {
        self.pending_ciphertext.is_empty() && self.to_app.is_empty() && self.to_client.is_empty()
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
        let StreamParts { tcp, mut session, plaintext, pending_ciphertext, unsent } = client.into_parts();
        for_app.extend_from_slice(&plaintext);
        let mut to_client = unsent;
        buffers::with(|buffers| {
            buffers.output.clear();
            session.encrypt(for_client, &mut buffers.output).map_err(io::Error::other)?;
            to_client.push(buffers.output.bytes());
            Ok::<_, io::Error>(())
        })?;
        let transferred =
            Transferred { up: before.up + for_app.len() as u64, down: before.down + to_client.len() as u64 };
        let begun = Self::begin((tcp, app), session, pending_ciphertext, reservation);
        Ok(Self { to_app: WriteBuffer::from(for_app), to_client, transferred, ..begun })
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
                let stalled = this.poll_stall(cx);
                let moved = (this.transferred(), this.exchange.is_under_way());
                let ender = this.rare.as_mut().and_then(|rare| rare.web_socket.as_mut());
                poll_pause(cx, stalled, ender, &mut this.idle, &this.client, (&this.to_app, &this.to_client), moved)
            }
        }
    }
}
