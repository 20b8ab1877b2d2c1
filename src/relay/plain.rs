//! The copying of bytes both ways where the client's are plaintext too.
//!
//! One future, no task and no buffer of its own, as with TLS. Without TLS nothing tells an end that was meant from one that was not:
//!
//! | what happens | the other side sees |
//! |---|---|
//! | a side ends its sending | an end of file; its own sending goes on |
//! | the client resets | the app: a reset |
//! | the app resets | the client: what had come, then FIN |

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::end::{RelayEnd, poll_pause};
use super::transfer::{MIN_BACKLOG_BYTES, READS_PER_TURN, TransferStep, read_limit};
use super::{BacklogWatch, IdleTimer, TransferState};
use crate::budget::Reservation;
use crate::http::WebSocketEnder;
use crate::io::buffers::Buffers;
use crate::io::{AppStream, ClientSocket, PlainStream, Socket, Transferred, WriteBuffer, buffers};
use crate::policy::Permit;

/// The client's connection and the app's, both in plaintext, and the bytes on their way between them.
#[derive(Debug)]
pub(crate) struct PlainRelay<C = TcpStream, A = AppStream> {
    client: C,
    app: A,
    to_app: WriteBuffer,
    to_client: WriteBuffer,
    up: TransferState,
    down: TransferState,
    /// The app has reset the connection while it was written to; its remaining bytes are still to be read.
    app_was_reset: bool,
    /// The app is gone: once its bytes are delivered, nothing is left to wait for.
    app_is_gone: bool,
    transferred: Transferred,
    idle: IdleTimer,
    stall: Option<BacklogWatch>,
    /// Ends a WebSocket connection, while the instance goes.
    web_socket: Option<Box<WebSocketEnder>>,
    /// The memory of what is kept.
    reservation: Reservation,
}

impl PlainRelay {
    /// A relay between a client whose connection has carried requests so far, and `app`, which both have agreed to speak another protocol. No
    /// permit, no bytes. `for_app` and `for_client` have come already from the other side, and `before` was carried before that.
    pub(crate) fn new(
        permit: &Permit,
        client: PlainStream,
        app: AppStream,
        (mut for_app, for_client): (Vec<u8>, Vec<u8>),
        before: Transferred,
        reservation: Reservation,
    ) -> Self {
        let (client, held) = client.into_parts();
        for_app.extend_from_slice(&held);
        Self::between(permit, client, app, (for_app, for_client), before, reservation)
    }
}

impl<C: ClientSocket, A: Socket> PlainRelay<C, A> {
    /// The same, where nothing of the client's is held but what is among the bytes `for_app`.
    pub(super) fn between(
        _: &Permit,
        client: C,
        app: A,
        (for_app, for_client): (Vec<u8>, Vec<u8>),
        before: Transferred,
        reservation: Reservation,
    ) -> Self {
        Self {
            client,
            app,
            to_app: WriteBuffer::from(for_app),
            to_client: WriteBuffer::from(for_client),
            up: TransferState::Open,
            down: TransferState::Open,
            app_was_reset: false,
            app_is_gone: false,
            transferred: before,
            idle: IdleTimer::default(),
            stall: None,
            web_socket: None,
            reservation,
        }
    }

    /// Bytes carried so far.
    pub(crate) fn transferred(&self) -> Transferred {
        self.transferred
    }

    /// Ends the relay once nothing has moved either way for `limit`.
    pub(crate) fn set_idle_timeout(&mut self, limit: Duration) {
        self.idle.set_timeout(limit);
    }

    /// The two sides speak WebSocket, of which the app has said `said` already: [`end_web_socket`](Self::end_web_socket) will find its frames.
    pub(crate) fn follow_web_socket(&mut self, said: &[u8]) {
        // Nothing of it is changed before that.
        let _ = self.web_socket.get_or_insert_default().on_frames(said);
    }

    /// From now on the client is told, in the app's place, that the WebSocket connection ends, where it is followed.
    pub(crate) fn end_web_socket(&mut self) {
        if let Some(ender) = &mut self.web_socket {
            ender.end();
        }
    }

    /// The app is gone, and will read nothing more: ends the relay once what it sent has been delivered.
    pub(crate) fn end_after_backlog(&mut self) {
        self.app_is_gone = true;
    }

    /// Both ends' connections, to be closed as `end` demands.
    pub(crate) fn into_parts(self) -> (C, A) {
        (self.client, self.app)
    }

    pub(super) fn memory(&self) -> usize {
        self.to_app.memory() + self.to_client.memory()
    }

    fn poll_transfer(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Poll<RelayEnd> {
        let turns = self.transfer_down(cx, buffers).and_then(|down| Ok((down, self.transfer_up(cx, buffers)?)));
        match turns {
            Err(end) => Poll::Ready(end),
            Ok(_) if self.down == TransferState::Done && (self.up == TransferState::Done || self.app_is_gone) => {
                Poll::Ready(if self.app_was_reset { RelayEnd::AppReset } else { RelayEnd::Complete })
            }
            Ok((TransferStep::Waiting, TransferStep::Waiting)) => Poll::Pending,
            Ok(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// client → app
    fn transfer_up(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<TransferStep, RelayEnd> {
        for _ in 0..READS_PER_TURN {
            match self.to_app.poll_deliver(Pin::new(&mut self.app), cx, &mut self.transferred.up) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.app_stops_reading(&error);
                    return Ok(TransferStep::Waiting);
                }
            }
            if self.up.finish(|| self.app.end_sending()) {
                return Ok(TransferStep::Waiting);
            }
            let mut space = ReadBuf::new(&mut buffers.input[..read_limit(&self.reservation)]);
            match Pin::new(&mut self.client).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Err(_)) => return Err(RelayEnd::ClientReset),
                Poll::Ready(Ok(())) => {}
            }
            let read = space.filled();
            if read.is_empty() {
                self.up = TransferState::Ending;
                continue;
            }
            self.idle.on_client_data();
            if let Poll::Ready(Err(error)) =
                self.to_app.poll_write_through(read, Pin::new(&mut self.app), cx, &mut self.transferred.up)
            {
                self.app_stops_reading(&error);
            }
        }
        Ok(TransferStep::Yielded)
    }

    /// The app takes no more bytes. What it has sent is still delivered.
    fn app_stops_reading(&mut self, error: &io::Error) {
        self.up.give_up(&mut self.to_app);
        self.app_was_reset |= error.kind() == io::ErrorKind::ConnectionReset;
    }

    /// app → client
    fn transfer_down(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<TransferStep, RelayEnd> {
        for _ in 0..READS_PER_TURN {
            match self.to_client.poll_deliver(Pin::new(&mut self.client), cx, &mut self.transferred.down) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(RelayEnd::ClientReset),
            }
            if self.down.finish(|| self.client.end_sending()) {
                return Ok(TransferStep::Waiting);
            }
            if let Some(close_frame) = self.web_socket.as_mut().and_then(|ender| ender.due()) {
                self.to_client.push(close_frame);
                continue;
            }
            let mut space = ReadBuf::new(&mut buffers.input[..read_limit(&self.reservation)]);
            match Pin::new(&mut self.app).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Err(_)) => return Err(RelayEnd::AppReset),
                Poll::Ready(Ok(())) => {}
            }
            let read = space.filled();
            if read.is_empty() {
                self.down = TransferState::Ending;
                continue;
            }
            self.idle.on_app_data();
            let replaced = self.web_socket.as_mut().and_then(|ender| ender.on_frames(read));
            let read = replaced.as_deref().unwrap_or(read);
            let written =
                self.to_client.poll_write_through(read, Pin::new(&mut self.client), cx, &mut self.transferred.down);
            if let Poll::Ready(Err(_)) = written {
                return Err(RelayEnd::ClientReset);
            }
        }
        Ok(TransferStep::Yielded)
    }

    /// Looks after what is kept, now and then: a client that resets while its upload is blocked is not read from, so nothing tells; and a
    /// connection that is stuck may have to go while memory is short.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let may_have_to_go = self.memory() > MIN_BACKLOG_BYTES && self.reservation.budget().limit().is_some();
        if self.to_app.is_empty() && !may_have_to_go {
            return Poll::Pending;
        }
        let (keeps_up, keeps_down) = (!self.to_app.is_empty(), !self.to_client.is_empty());
        let stall = self.stall.get_or_insert_with(|| BacklogWatch::new(self.transferred));
        let budget = may_have_to_go.then(|| &**self.reservation.budget());
        stall.poll_relay(cx, &self.client, self.transferred, keeps_up, (keeps_up, keeps_down), budget)
    }
}

impl<C: ClientSocket, A: Socket> Future for PlainRelay<C, A> {
    type Output = RelayEnd;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let this = self.get_mut();
        match buffers::with(|buffers| this.poll_transfer(cx, buffers)) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                this.reservation.set(this.memory());
                let (stalled, kept) = (this.poll_stall(cx), (&this.to_app, &this.to_client));
                let ender = this.web_socket.as_deref_mut();
                poll_pause(cx, stalled, ender, &mut this.idle, &this.client, kept, (this.transferred, false))
            }
        }
    }
}
