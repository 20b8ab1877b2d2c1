//! The transfer of bytes between the app and an endpoint, both ways.
//!
//! One future, no task and no buffer of its own, as with clients: bytes pass through the thread's buffers, and only what the receiving
//! side would not take yet is kept. While something is kept in a direction, nothing more is read in it.
//!
//! | what happens | the other side sees |
//! |---|---|
//! | the app ends its sending | the endpoint: close_notify and FIN; its answer still arrives |
//! | the app resets | the endpoint: a reset, without close_notify |
//! | the endpoint sends close_notify | the app: end of file; its own sending goes on |
//! | the endpoint's TCP ends or resets without it | the app: a reset, since what it got is not whole |
//! | the same behind close_notify of the app's, which nobody has to answer | the app: an end of file behind a whole answer of HTTP/1.1, else a reset |
//! | we end it in a pause | the endpoint: close_notify and FIN; the app: an end of file behind a whole answer of HTTP/1.1, else a reset |

use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::certificate_rejection::rejection;
use super::stream::EndpointStream;
use crate::budget::Reservation;
use crate::http::{KeepAliveEnder, ResponseTracker};
use crate::io::buffers::Buffers;
use crate::io::{AppStream, PeriodicCheck, Socket, Transferred, WriteBuffer, buffers};
use crate::relay::{
    BacklogWatch, IdleTimer, MIN_BACKLOG_BYTES, READS_PER_TURN, TransferState, TransferStep, delivered_to, read_limit,
};

/// How the transfer ended.
#[derive(Debug)]
pub(super) enum OutboundRelayEnd {
    /// Both sides said that they were done.
    Complete,
    /// The app reset the connection.
    AppReset,
    /// The endpoint's TCP ended without close_notify.
    EndpointTruncated,
    /// The endpoint reset the connection.
    EndpointReset,
    /// The endpoint broke the TLS protocol, or ended it by an alert.
    EndpointViolation(io::Error),
    /// The server does not accept our certificate.
    Rejected(AlertDescription),
    /// Nothing moved either way for as long as was allowed.
    Idle,
    /// The app was told, in the server's place, that the answer which it has been given is the last one.
    KeepAliveEnded,
    /// It was stuck while memory was short.
    BacklogEvicted,
}

/// The app's connection in plaintext and the TLS connection to an endpoint, and the bytes on their way between them.
pub(super) struct OutboundRelay {
    app: AppStream,
    endpoint: EndpointStream,
    /// Plaintext that the endpoint would not take yet.
    to_endpoint: WriteBuffer,
    /// Plaintext that the app would not take yet.
    to_app: WriteBuffer,
    up: TransferState,
    down: TransferState,
    /// The app has ended its sending, and the endpoint has been told by close_notify.
    has_said_goodbye: bool,
    /// The session may have ciphertext that the endpoint would not take yet.
    is_unflushed: bool,
    transferred: Transferred,
    idle: IdleTimer,
    exchange: ResponseTracker,
    /// Ends the connection behind an answer, once it is to be let go.
    keep_alive: Option<Box<KeepAliveEnder>>,
    /// An app that keeps its connection for the next request is told with the answer to that; its silence says nothing.
    is_patient: bool,
    /// Looks after an upload that is blocked: nothing else tells that the app has gone.
    blocked: PeriodicCheck,
    /// The memory of what is kept.
    reservation: Reservation,
    /// Looks after what is kept. Made when it is first needed.
    stall: Option<BacklogWatch>,
}

impl OutboundRelay {
    /// What it keeps is of `reservation`.
    pub(super) fn new(app: AppStream, endpoint: EndpointStream, reservation: Reservation) -> Self {
        Self {
            app,
            endpoint,
            to_endpoint: WriteBuffer::default(),
            to_app: WriteBuffer::default(),
            up: TransferState::Open,
            down: TransferState::Open,
            has_said_goodbye: false,
            is_unflushed: false,
            transferred: Transferred::default(),
            idle: IdleTimer::default(),
            exchange: ResponseTracker::default(),
            keep_alive: None,
            is_patient: false,
            blocked: PeriodicCheck::default(),
            reservation,
            stall: None,
        }
    }

    /// Bytes that are kept because a side does not take them.
    fn memory(&self) -> usize {
        let heads = self.keep_alive.as_ref().map_or(0, |ender| ender.memory());
        self.to_endpoint.memory() + self.to_app.memory() + self.endpoint.memory() + heads
    }

    /// Whether it has kept something for too long, and has to make room for others.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> bool {
        let memory = self.memory();
        self.reservation.set(memory);
        if memory <= MIN_BACKLOG_BYTES || self.reservation.budget().limit().is_none() {
            return false;
        }
        let keeps_up = !self.to_endpoint.is_empty() || self.is_unflushed;
        // Of a record, or a message of TLS, that the endpoint does not end.
        let keeps_down = !self.to_app.is_empty() || self.endpoint.unread() > MIN_BACKLOG_BYTES;
        let stall = self.stall.get_or_insert_with(|| BacklogWatch::new(self.transferred));
        while stall.poll_check(cx).is_ready() {
            let down = match &self.app {
                AppStream::Tcp(app) => delivered_to(app, self.transferred.down, keeps_down),
                AppStream::Unix(_) => self.transferred.down,
            };
            let is_stuck = stall.is_stuck(Transferred { down, ..self.transferred }, keeps_up, keeps_down);
            if is_stuck && self.reservation.budget().is_under_pressure() {
                return true;
            }
        }
        false
    }

    /// What was sent before is carried first: the app's bytes `up`, and the endpoint's `down`.
    pub(super) fn begin_with(&mut self, up: Vec<u8>, down: Vec<u8>) {
        self.is_unflushed = !up.is_empty();
        if !up.is_empty() {
            self.idle.on_client_data();
            self.exchange.on_request(&up);
        }
        if !down.is_empty() {
            self.idle.on_app_data();
            self.exchange.on_response(&down);
        }
        self.to_endpoint = WriteBuffer::from(up);
        self.to_app = WriteBuffer::from(down);
    }

    /// They speak another protocol than HTTP from now on.
    pub(super) fn switch_protocol(&mut self) {
        self.exchange.on_switch();
    }

    /// Plaintext bytes carried so far: up to the endpoint, down to the app.
    pub(super) fn transferred(&self) -> Transferred {
        self.transferred
    }

    /// Ends the transfer once nothing has moved either way for `limit`.
    pub(super) fn set_idle_timeout(&mut self, limit: Duration) {
        self.idle.set_timeout(limit);
    }

    /// Ends the transfer where nobody misses it: behind an answer of HTTP/1.1 that says so to the app, or once nothing has moved for `silence`
    /// and nobody waits: the last word was the endpoint's. `is_patient`: an app that keeps the connection for its next request, in HTTP/1.1,
    /// may be about to send that, so that such a silence does not count.
    pub(super) fn drain_when_silent(&mut self, silence: Duration, is_patient: bool) {
        self.keep_alive.get_or_insert_default();
        self.is_patient = is_patient;
        // Where a limit is set to silence as such, it is soon enough while there is time.
        if !(is_patient && self.idle.is_limited()) {
            self.idle.set_drain_idle_timeout(silence);
        }
    }

    /// Whether the app waits for an answer, or an answer is under way: an end of file would look like the end of it.
    pub(super) fn is_within_an_exchange(&self) -> bool {
        let is_done = self.up == TransferState::Done && self.down == TransferState::Done;
        !is_done && (self.idle.client_waits() || self.exchange.is_under_way() || !self.to_app.is_empty())
    }

    /// Whether the app is found to have gone while it is not read from.
    fn poll_app_gone(&mut self, cx: &mut Context<'_>) -> bool {
        if self.to_endpoint.is_empty() && !self.is_unflushed {
            self.blocked.rest();
            return false;
        }
        self.blocked.poll(cx, || self.app.is_reset())
    }

    /// Ends both connections between two exchanges: close_notify and FIN for the endpoint, as far as the socket takes it at once. The app sees an
    /// end of file where it has been told so before, or where HTTP/1.1 says that its last answer was whole. Of any other protocol nobody knows
    /// whether that was the end of what it reads: there it sees a reset.
    pub(super) fn close(mut self) {
        // Nobody waits for an endpoint that does not read, which learns it from the FIN.
        let _ = Pin::new(&mut self.endpoint).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        if self.down == TransferState::Done || self.exchange.is_between_exchanges() {
            let _ = self.app.end_sending();
        } else {
            self.app.reset();
        }
    }

    /// Ends both connections by resets: nobody may take what came for whole.
    pub(super) fn reset(self) {
        self.app.reset();
        self.endpoint.reset_on_close();
    }

    fn poll_transfer(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Poll<OutboundRelayEnd> {
        let turns = self.transfer_down(cx, buffers).and_then(|down| Ok((down, self.transfer_up(cx, buffers)?)));
        match turns {
            Err(end) => Poll::Ready(end),
            Ok(_) if self.up == TransferState::Done && self.down == TransferState::Done => {
                Poll::Ready(OutboundRelayEnd::Complete)
            }
            Ok(_) if self.has_ended_keep_alive() => Poll::Ready(OutboundRelayEnd::KeepAliveEnded),
            Ok((TransferStep::Waiting, TransferStep::Waiting)) => Poll::Pending,
            Ok(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Whether the app has been given the answer that is the last one.
    fn has_ended_keep_alive(&self) -> bool {
        self.keep_alive.as_ref().is_some_and(|ender| ender.has_sent_close())
            && self.down == TransferState::Open
            && self.exchange.is_between_exchanges()
            && self.to_app.is_empty()
    }

    /// app → endpoint
    fn transfer_up(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<TransferStep, OutboundRelayEnd> {
        for _ in 0..READS_PER_TURN {
            if self.up == TransferState::Done {
                return Ok(TransferStep::Waiting);
            }
            let Buffers { input, output } = buffers;
            let delivered = self.to_endpoint.poll_deliver(
                Pin::new(&mut self.endpoint.writer_with(output)),
                cx,
                &mut self.transferred.up,
            );
            if !self.took(delivered) {
                return Ok(TransferStep::Waiting);
            }
            if self.is_unflushed {
                let flushed = Pin::new(&mut self.endpoint.writer_with(output)).poll_flush(cx);
                if !self.took(flushed) {
                    return Ok(TransferStep::Waiting);
                }
                self.is_unflushed = false;
            }
            if self.up == TransferState::Ending {
                let shut = Pin::new(&mut self.endpoint.writer_with(output)).poll_shutdown(cx);
                if self.took(shut) {
                    self.up = TransferState::Done;
                    self.has_said_goodbye = true;
                }
                return Ok(TransferStep::Waiting);
            }
            if self.app.poll_read_ready(cx).is_pending() {
                return Ok(TransferStep::Waiting);
            }
            let mut space = ReadBuf::new(&mut input[..read_limit(&self.reservation)]);
            match Pin::new(&mut self.app).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Err(_)) => return Err(OutboundRelayEnd::AppReset),
                Poll::Ready(Ok(())) => {}
            }
            let read = space.filled();
            if read.is_empty() {
                self.up = TransferState::Ending;
                continue;
            }
            if let Some(ender) = &mut self.keep_alive {
                ender.on_request(read, self.exchange.is_between_exchanges() || self.idle.is_before_first_byte());
            }
            self.idle.on_client_data();
            self.exchange.on_request(read);
            self.is_unflushed = true;
            let mut to = self.endpoint.writer_with(output);
            let written = self.to_endpoint.poll_write_through(read, Pin::new(&mut to), cx, &mut self.transferred.up);
            if !self.took(written) {
                return Ok(TransferStep::Waiting);
            }
        }
        Ok(TransferStep::Yielded)
    }

    /// Whether the endpoint took what it was given. One that takes nothing more may have said why: what it has sent is read first.
    fn took(&mut self, delivered: Poll<io::Result<()>>) -> bool {
        match delivered {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(_)) => {
                self.up.give_up(&mut self.to_endpoint);
                false
            }
        }
    }

    /// endpoint → app
    fn transfer_down(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<TransferStep, OutboundRelayEnd> {
        for _ in 0..READS_PER_TURN {
            match self.to_app.poll_deliver(Pin::new(&mut self.app), cx, &mut self.transferred.down) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(OutboundRelayEnd::AppReset),
            }
            if self.down.finish(|| self.app.end_sending()) {
                return Ok(TransferStep::Waiting);
            }
            let limit = read_limit(&self.reservation);
            let Self { endpoint, app, to_app, transferred, idle, exchange, keep_alive, .. } = self;
            let mut app_failed = false;
            let mut to_cx = Context::from_waker(cx.waker());
            let mut hand_on = |read: &[u8]| {
                let replaced = keep_alive.as_mut().and_then(|ender| ender.on_response(read));
                let bytes = replaced.as_deref().unwrap_or(read);
                if bytes.is_empty() {
                    return ControlFlow::Continue(());
                }
                idle.on_app_data();
                exchange.on_response(bytes);
                match to_app.poll_write_through(bytes, Pin::new(&mut *app), &mut to_cx, &mut transferred.down) {
                    Poll::Ready(Ok(())) => ControlFlow::Continue(()),
                    Poll::Pending => ControlFlow::Break(()),
                    Poll::Ready(Err(_)) => {
                        app_failed = true;
                        ControlFlow::Break(())
                    }
                }
            };
            let more = endpoint.poll_hand_on(cx, buffers, limit, &mut hand_on);
            if let Poll::Ready(Ok(false)) = more {
                // What was held back of an answer that is none.
                let _ = hand_on(&[]);
                self.down = TransferState::Ending;
            }
            match more {
                _ if app_failed => return Err(OutboundRelayEnd::AppReset),
                Poll::Pending => return Ok(TransferStep::Waiting),
                // What it has said is whole, and the app has not read all of it yet.
                Poll::Ready(Err(error)) if self.is_done(&error) => self.down = TransferState::Ending,
                Poll::Ready(Err(error)) => return Err(self.endpoint_failed(error)),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Ok(TransferStep::Yielded)
    }

    /// Whether nothing is missing, though the endpoint's connection has come to `error`: the app was done before, and its last answer is whole.
    fn is_done(&self, error: &io::Error) -> bool {
        let is_close = rejection(error).is_none() && error.kind() != io::ErrorKind::InvalidData;
        is_close && self.has_said_goodbye && self.exchange.is_between_exchanges()
    }

    /// The endpoint's connection has come to `error`. Behind our close_notify a server need not send one of its own, and many do not: where no answer
    /// of HTTP/1.1 is under way, all that is known is that both sides are done.
    fn endpoint_failed(&self, error: io::Error) -> OutboundRelayEnd {
        match (rejection(&error), error.kind()) {
            (Some(alert), _) => OutboundRelayEnd::Rejected(alert),
            (None, io::ErrorKind::UnexpectedEof) if self.has_said_goodbye && !self.exchange.is_under_way() => {
                OutboundRelayEnd::Complete
            }
            (None, io::ErrorKind::UnexpectedEof) => OutboundRelayEnd::EndpointTruncated,
            (None, io::ErrorKind::InvalidData) => OutboundRelayEnd::EndpointViolation(error),
            (None, _) => OutboundRelayEnd::EndpointReset,
        }
    }

    /// Whether the app has all that was sent to it: what the kernel still keeps would be lost with a reset.
    fn is_delivered(&self) -> bool {
        match &self.app {
            AppStream::Tcp(app) => delivered_to(app, self.transferred.down, true) == self.transferred.down,
            AppStream::Unix(_) => true,
        }
    }
}

impl Future for OutboundRelay {
    type Output = OutboundRelayEnd;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<OutboundRelayEnd> {
        let this = self.get_mut();
        match buffers::with(|buffers| this.poll_transfer(cx, buffers)) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                if this.poll_app_gone(cx) {
                    return Poll::Ready(OutboundRelayEnd::AppReset);
                }
                if this.poll_stuck(cx) {
                    return Poll::Ready(OutboundRelayEnd::BacklogEvicted);
                }
                let on_its_way = !this.to_app.is_empty() || !this.to_endpoint.is_empty() || this.is_unflushed;
                let Transferred { up, down } = this.transferred;
                let is_kept = this.is_patient && this.exchange.is_between_exchanges();
                let is_excused = is_kept || this.exchange.is_under_way();
                loop {
                    ready!(this.idle.poll(cx, on_its_way, || up.wrapping_add(down), is_excused));
                    if this.keep_alive.is_none() || this.is_delivered() {
                        return Poll::Ready(OutboundRelayEnd::Idle);
                    }
                    this.idle.on_delivery();
                }
            }
        }
    }
}
