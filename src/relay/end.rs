//! How a relay ends, and what of its bytes has left us by then.

use std::task::{Context, Poll};

use super::idle::IdleTimer;
use crate::http::WebSocketEnder;
use crate::io::{ClientSocket, Transferred, WriteBuffer};
use crate::tls::Violation;

/// Looks in a row that have found no progress, after which a direction is stuck.
pub(super) const STUCK: u8 = 5;

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEnd {
    /// Both sides said that they were done.
    Complete,
    /// The client's TCP ended without close_notify.
    ClientTruncated,
    /// The client reset the connection.
    ClientReset,
    /// The client broke the TLS protocol, in this way.
    ClientViolation(Violation),
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
    STUCK
)]
pub struct NoBacklogProgress;

/// Of `sent` bytes, those that have left the kernel for the client, where some more are `blocked`: the kernel takes more in large steps
/// only, many seconds apart for a slow client. It grows as long as the client takes any; nothing else can be said of it.
pub(crate) fn delivered_to(client: &impl ClientSocket, sent: u64, blocked: bool) -> u64 {
    let waiting = if blocked { client.unacknowledged() } else { 0 };
    sent.wrapping_sub(waiting)
}

/// What ends a relay that waits for its sockets: that it has `stalled`, a WebSocket connection of which neither side has let go, or silence.
/// `moved` are the bytes carried so far, and whether an answer is under way.
pub(super) fn poll_pause(
    cx: &mut Context<'_>,
    stalled: Poll<RelayEnd>,
    web_socket: Option<&mut WebSocketEnder>,
    idle: &mut IdleTimer,
    client: &impl ClientSocket,
    (to_app, to_client): (&WriteBuffer, &WriteBuffer),
    (moved, is_under_way): (Transferred, bool),
) -> Poll<RelayEnd> {
    if stalled.is_ready() {
        return stalled;
    }
    if web_socket.is_some_and(|ender| ender.poll_over(cx).is_ready()) {
        return Poll::Ready(RelayEnd::KeepAliveEnded);
    }
    // Bytes that one side is slow to take are not silence, as long as it takes some.
    let blocked = !to_client.is_empty();
    let on_its_way = !to_app.is_empty() || blocked;
    let delivered = || moved.up.wrapping_add(delivered_to(client, moved.down, blocked));
    idle.poll(cx, on_its_way, delivered, is_under_way).map(|()| RelayEnd::Idle)
}
