//! One turn of a relay: as much as both sockets take and give at once, and then others.

use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::{BacklogWatch, RareState, Relay, RelayEnd, TransferState};
use crate::budget::Reservation;
use crate::http::{KeepAliveEnder, WebSocketEnder};
use crate::io::buffers::{Buffers, READ, RECORD};
use crate::io::{ClientSocket, Outgoing, Socket};
use crate::tls::{KeyLimitReached, Violation, record_length};

/// Reads in a row before other connections get their turn: at most a mebibyte each way.
pub(crate) const READS_PER_TURN: usize = 16;

/// Bytes that are read at a time however short memory is: established traffic slows down then, and goes on.
const MIN_READ: usize = 4 * 1024;

/// Bytes that a connection may hold for as long as it likes: what has come of it since memory is short.
pub(crate) const MIN_BACKLOG_BYTES: usize = 2 * MIN_READ;

/// How many bytes to read at most, where what the other side does not take is of `reservation`: it will have to be kept.
pub(crate) fn read_limit(reservation: &Reservation) -> usize {
    reservation.budget().share().clamp(MIN_READ, READ)
}

/// How far one direction of a relay has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransferStep {
    /// It waits for a socket, or is done.
    Waiting,
    /// The transfer has used up its turn.
    Yielded,
}

impl<C: ClientSocket, A: Socket> Relay<C, A> {
    pub(super) fn poll_transfer(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Poll<RelayEnd> {
        loop {
            let down = self.transfer_down(cx, buffers);
            let kept_for_client = self.to_client.len();
            let up = match down {
                Ok(_) => self.transfer_up(cx, buffers),
                Err(_) => Ok(TransferStep::Waiting),
            };
            match (down, up) {
                (Err(end), _) | (_, Err(end)) => return Poll::Ready(end),
                _ if self.is_done() => return Poll::Ready(self.end()),
                _ if self.has_ended_keep_alive() => return Poll::Ready(RelayEnd::KeepAliveEnded),
                // What is said to the client about its records goes in the other direction.
                _ if self.to_client.len() > kept_for_client => {}
                _ if self.session.owes_key_update() && self.to_client.is_empty() => {}
                (Ok(TransferStep::Waiting), Ok(TransferStep::Waiting)) => return Poll::Pending,
                _ => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.down == TransferState::Done && (self.up == TransferState::Done || self.app_is_gone)
    }

    /// Whether the client has been sent the answer that is the last one.
    fn has_ended_keep_alive(&self) -> bool {
        self.keep_alive().is_some_and(KeepAliveEnder::has_sent_close)
            && self.down == TransferState::Open
            && self.exchange.is_between_exchanges()
            && self.to_client.is_empty()
    }

    /// Looks after what is kept, now and then. A client that resets while its upload is blocked is not read from, so nothing
    /// tells; and a connection that is stuck may have to go.
    pub(super) fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let may_have_to_go = self.memory() > MIN_BACKLOG_BYTES && self.reservation.budget().limit().is_some();
        if self.to_app.is_empty() && !may_have_to_go {
            return Poll::Pending;
        }
        let (keeps_up, keeps_down) =
            (!self.to_app.is_empty() || !self.pending_ciphertext.is_empty(), !self.to_client.is_empty());
        let transferred = self.transferred();
        let stall = self.rare.get_or_insert_default().stall.get_or_insert_with(|| BacklogWatch::new(transferred));
        let budget = may_have_to_go.then(|| &**self.reservation.budget());
        stall.poll_relay(cx, &self.client, transferred, !self.to_app.is_empty(), (keeps_up, keeps_down), budget)
    }

    /// How many bytes of the client to have at most, those that are held among them. When memory is short no more than the rest of
    /// one record is read: that alone will have to be kept if the app does not take it.
    fn upload_limit(&self) -> usize {
        let share = self.reservation.budget().share();
        if share >= RECORD + READ {
            return RECORD + READ;
        }
        share.max(MIN_READ).max(record_length(&self.pending_ciphertext).unwrap_or_default()).min(RECORD + READ)
    }

    fn end(&self) -> RelayEnd {
        if self.app_was_reset { RelayEnd::AppReset } else { RelayEnd::Complete }
    }

    /// client → app
    fn transfer_up(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<TransferStep, RelayEnd> {
        for _ in 0..READS_PER_TURN {
            if self.up == TransferState::Done {
                return Ok(TransferStep::Waiting);
            }
            match self.to_app.poll_deliver(Pin::new(&mut self.app), cx, &mut self.transferred.up) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.app_stops_reading(&error);
                    return Ok(TransferStep::Waiting);
                }
            }
            if self.session.peer_closed() {
                self.up = TransferState::Ending;
            }
            if self.up.finish(|| self.app.end_sending()) {
                return Ok(TransferStep::Waiting);
            }
            if self.more_pending {
                let mut pending_ciphertext = std::mem::take(&mut self.pending_ciphertext);
                let used = self.decrypt(cx, &mut pending_ciphertext, &mut buffers.output)?;
                // The memory of what is done with goes with it.
                self.pending_ciphertext = pending_ciphertext.split_off(used);
                continue;
            }
            if self.client.poll_read_ready(cx).is_pending() {
                return Ok(TransferStep::Waiting);
            }
            let kept = self.pending_ciphertext.len();
            let limit = self.upload_limit();
            let Some(space) = buffers.input.get_mut(kept..limit).filter(|space| !space.is_empty()) else {
                // No record is that long; only a handshake message in pieces can be, and none is due.
                return Err(RelayEnd::ClientViolation(Violation::TooLong));
            };
            let mut space = ReadBuf::new(space);
            let read = match Pin::new(&mut self.client).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Err(error)) => return Err(client_failed(&error)),
                Poll::Ready(Ok(())) => space.filled().len(),
            };
            if read == 0 && self.down == TransferState::Done {
                // It has had the whole answer, and left without another word. Should the app still have wanted more, it
                // learns by a reset that there is none.
                self.app.reset_on_close();
                return Err(self.end());
            }
            if read == 0 {
                return Err(RelayEnd::ClientTruncated);
            }
            buffers.input[..kept].copy_from_slice(&self.pending_ciphertext);
            let wire = &mut buffers.input[..kept + read];
            let used = self.decrypt(cx, wire, &mut buffers.output)?;
            self.pending_ciphertext = wire[used..].to_vec();
        }
        Ok(TransferStep::Yielded)
    }

    /// Decrypts `wire` and writes it to the app at once, as far as the app takes it. Gives the bytes done with.
    fn decrypt(&mut self, cx: &mut Context<'_>, wire: &mut [u8], output: &mut Outgoing) -> Result<usize, RelayEnd> {
        output.clear();
        let Self { session, app, to_app, transferred, exchange, idle, rare, .. } = self;
        let mut app_failed = None;
        let decrypted = session.decrypt(wire, output, |payload| {
            // Data alone ends a silence: parts of a record and key updates come as easily from a client that has nothing to say.
            if let Some(RareState { keep_alive: Some(ender), .. }) = rare.as_deref_mut() {
                ender.on_request(payload, exchange.is_between_exchanges() || idle.is_before_first_byte());
            }
            idle.on_client_data();
            exchange.on_request(payload);
            match to_app.poll_write_through(payload, Pin::new(&mut *app), cx, &mut transferred.up) {
                Poll::Ready(Ok(())) => ControlFlow::Continue(()),
                Poll::Pending => ControlFlow::Break(()),
                Poll::Ready(Err(error)) => {
                    app_failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        self.to_client.push(output.bytes());
        let decrypted = match decrypted {
            Ok(decrypted) => decrypted,
            Err(violation) => {
                // The alert explains it; a client that does not read has no use for it.
                let _ = self.to_client.poll_deliver(Pin::new(&mut self.client), cx, &mut 0);
                return Err(RelayEnd::ClientViolation(violation));
            }
        };
        self.more_pending = decrypted.paused;
        if let Some(error) = app_failed {
            self.app_stops_reading(&error);
        }
        Ok(decrypted.used)
    }

    /// The app takes no more bytes. What it has sent is still delivered; its end tells how it ended.
    fn app_stops_reading(&mut self, error: &io::Error) {
        self.up.give_up(&mut self.to_app);
        // A reset that came before the app's FIN leaves ECONNRESET, one that came after it EPIPE: in the second case
        // the answer was whole. The error is reported once, so that the next read will not tell.
        self.app_was_reset |= error.kind() == io::ErrorKind::ConnectionReset;
    }

    /// app → client
    fn transfer_down(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<TransferStep, RelayEnd> {
        for _ in 0..READS_PER_TURN {
            match self.to_client.poll_deliver(Pin::new(&mut self.client), cx, &mut 0) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(client_failed(&error)),
            }
            if self.session.owes_key_update() {
                buffers.output.clear();
                self.session.write_key_update(&mut buffers.output).map_err(worn_out)?;
                self.to_client.push(buffers.output.bytes());
                continue;
            }
            if self.down.finish(|| self.client.end_sending()) {
                return Ok(TransferStep::Waiting);
            }
            if let Some(close_frame) = self.web_socket().and_then(WebSocketEnder::due) {
                buffers.output.clear();
                self.session.encrypt(close_frame, &mut buffers.output).map_err(worn_out)?;
                self.transferred.down += close_frame.len() as u64;
                self.to_client.push(buffers.output.bytes());
                continue;
            }
            if self.app.poll_read_ready(cx).is_pending() {
                return Ok(TransferStep::Waiting);
            }
            let mut space = ReadBuf::new(&mut buffers.input[..read_limit(&self.reservation)]);
            let read = match Pin::new(&mut self.app).poll_read(cx, &mut space) {
                Poll::Pending => return Ok(TransferStep::Waiting),
                Poll::Ready(Err(_)) => return Err(RelayEnd::AppReset),
                Poll::Ready(Ok(())) => space.filled().len(),
            };
            if read == 0 && self.app_was_reset {
                return Err(RelayEnd::AppReset);
            }
            self.encrypt(cx, read, buffers)?;
        }
        Ok(TransferStep::Yielded)
    }

    /// Encrypts `read` bytes of the input buffer, or what stands in for them, and writes that to the client, as far as it takes it; if there
    /// are none, ends our sending.
    fn encrypt(&mut self, cx: &mut Context<'_>, read: usize, buffers: &mut Buffers) -> Result<(), RelayEnd> {
        let Buffers { input, output } = buffers;
        output.clear();
        let replaced = match self.rare.as_deref_mut() {
            Some(RareState { web_socket: Some(ender), .. }) => ender.on_frames(&input[..read]),
            Some(RareState { keep_alive: Some(ender), .. }) => ender.on_response(&input[..read]),
            _ => None,
        };
        if read == 0 && replaced.is_none() {
            self.down = TransferState::Ending;
            self.session.close_notify(output).map_err(worn_out)?;
            // Our FIN follows, and goes with it in one packet.
            let sent = self.client.send_before_more(output.bytes()).map_err(|error| client_failed(&error))?;
            self.to_client.push(&output.bytes()[sent..]);
            return Ok(());
        }
        let bytes = replaced.as_deref().unwrap_or(&input[..read]);
        if bytes.is_empty() {
            return Ok(());
        }
        self.idle.on_app_data();
        self.exchange.on_response(bytes);
        self.transferred.down += bytes.len() as u64;
        self.session.encrypt(bytes, output).map_err(worn_out)?;
        match self.to_client.poll_write_through(output.bytes(), Pin::new(&mut self.client), cx, &mut 0) {
            Poll::Ready(Err(error)) => Err(client_failed(&error)),
            // What the socket did not take is kept, and delivered before anything else is read.
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

/// The session's keys are worn out.
fn worn_out(error: KeyLimitReached) -> RelayEnd {
    RelayEnd::ClientViolation(error.into())
}

fn client_failed(error: &io::Error) -> RelayEnd {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => RelayEnd::ClientReset,
        _ => RelayEnd::ClientTruncated,
    }
}
