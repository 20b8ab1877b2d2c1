//! The end of a connection's sending, and what comes after it: a lingering close, until the client has all that it was sent.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::io::buffers;
use crate::lifecycle::Phase;
use crate::sys::{send_queue, socket};
use crate::telemetry::CloseReason;

/// How long a client that has been sent everything is given to take notice of our end and to close. Bytes that come meanwhile
/// are dropped.
const LINGER: Duration = Duration::from_secs(2);

/// How long a client may take nothing of what the kernel still holds for it.
const STALL: Duration = Duration::from_secs(10);

/// The kernel is asked at first so soon, and then less and less often.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is sent in the first round trip, in bytes (RFC 6928). Where there was no more than that, the kernel is not asked: it costs
/// some system calls for each connection.
const INITIAL_WINDOW: u64 = 14_600;

/// What a client has not taken of what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UndeliveredBytes {
    /// Bytes, as they were sealed.
    pub(super) bytes: u64,
    /// Why the rest was not waited for.
    pub(super) reason: CloseReason,
}

/// Ends our sending, then reads and drops until the client closes, so that unread bytes do not turn our FIN into a reset. It has
/// [`LINGER`] for that.
pub(super) async fn linger(client: TcpStream) {
    if socket::end_sending(&client).is_ok() {
        // A client that does not close in time has had its chance.
        let _ = timeout(LINGER, drop_all(&client)).await;
    }
}

/// As [`linger`], of a client that was sent `sent` bytes. As long as the kernel still holds some of them and the client takes some,
/// it goes on, until the process closes what is left. Gives what the client has not taken.
pub(super) async fn linger_until_delivered(
    client: TcpStream,
    sent: u64,
    mut phase: watch::Receiver<Phase>,
) -> Option<UndeliveredBytes> {
    if socket::end_sending(&client).is_err() {
        return None;
    }
    let mut remaining =
        SendQueues { client: &client, bytes: 0, since: Instant::now(), looked: Instant::now(), rate: None };
    let blind = if sent > INITIAL_WINDOW { STALL } else { LINGER };
    let mut client_closed = false;
    let mut pause = if sent > INITIAL_WINDOW { FIRST_LOOK } else { LINGER };
    loop {
        let mut over = false;
        tokio::select! {
            closed = drop_all(&client), if !client_closed => match closed {
                Ok(()) => client_closed = true,
                Err(_) => return remaining.at_reset(),
            },
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => over = true,
        }
        if client_closed && sent <= INITIAL_WINDOW {
            return None;
        }
        let looked = match remaining.unacknowledged() {
            Ok(looked) => looked,
            // Where that cannot be known, what was sent is given the time to be taken.
            Err(_) if client_closed || over || remaining.since.elapsed() >= blind => return None,
            Err(_) => continue,
        };
        match looked {
            // The kernel knows a connection no more once both sides have had everything, and when it was reset.
            None if matches!(client.take_error(), Ok(None)) => return None,
            None => return remaining.at_reset(),
            Some(0) if client_closed || over || remaining.since.elapsed() >= LINGER => return None,
            Some(0) => {}
            Some(bytes) if over => return Some(UndeliveredBytes { bytes, reason: CloseReason::DrainTimeout }),
            Some(bytes) if remaining.since.elapsed() >= STALL => {
                return Some(UndeliveredBytes { bytes, reason: CloseReason::ClientStalled });
            }
            Some(_) => {}
        }
    }
}

/// What the kernel holds for a client.
struct SendQueues<'a> {
    client: &'a TcpStream,
    /// At the last look.
    bytes: u64,
    /// When it was seen to become less.
    since: Instant,
    /// When that was.
    looked: Instant,
    /// What the client took between the last two looks, in bytes a second; `None` before there are two.
    rate: Option<f64>,
}

impl SendQueues<'_> {
    /// How much it is now, without our FIN; `None` if the connection is gone.
    ///
    /// # Errors
    /// The kernel does not say.
    fn unacknowledged(&mut self) -> io::Result<Option<u64>> {
        let Some(now) = send_queue::unacknowledged(self.client)? else { return Ok(None) };
        let now = now.saturating_sub(1);
        let passed = self.looked.elapsed();
        if self.bytes > 0 {
            self.rate = Some(self.bytes.saturating_sub(now) as f64 / passed.as_secs_f64().max(1e-3));
        }
        self.looked = Instant::now();
        if now < self.bytes {
            self.since = Instant::now();
        }
        self.bytes = now;
        Ok(Some(now))
    }

    /// The client has reset the connection. Many do that when they have had everything, for they leave our close_notify unread;
    /// so it counts only if the client cannot have taken the rest since the last look, at twice the rate at which it did before.
    fn at_reset(&self) -> Option<UndeliveredBytes> {
        let taken_since = self.rate? * 2.0 * self.looked.elapsed().as_secs_f64();
        let left = UndeliveredBytes { bytes: self.bytes, reason: CloseReason::ClientReset };
        (self.bytes as f64 > taken_since).then_some(left)
    }
}

/// Reads and drops until the client ends its sending.
async fn drop_all(client: &TcpStream) -> io::Result<()> {
    loop {
        client.readable().await?;
        match buffers::with(|buffers| client.try_read(&mut buffers.input)) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
