//! Streams are run, and those whose clients leave no room for too long given up.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep};

use super::{Admission, ResponseBacklog, StreamBacklog};
use crate::budget::Reservation;
use crate::http::stream_memory::StreamCost;

/// How often a stream that waits for room is looked at, and how long it may wait while memory is short.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// What a stream takes of the room there is, as long as it is run.
#[derive(Debug)]
struct StreamMemory {
    backlog: Arc<ResponseBacklog>,
    reservation: Reservation,
    cost: StreamCost,
    admission: Admission,
}

impl StreamMemory {
    /// That of the next stream of a connection with this `backlog`. Its only one takes it however short memory is.
    fn of_next(backlog: &Arc<ResponseBacklog>, cost: StreamCost) -> Self {
        backlog.begun.fetch_add(1, Ordering::Relaxed);
        let mut reservation = backlog.budget.reservation();
        let admission = match backlog.streams.fetch_add(1, Ordering::Relaxed) {
            0 => {
                reservation.set(cost.always);
                Admission::Only
            }
            _ => reservation.try_resize(cost.always).map_or(Admission::Refused, |()| Admission::Further),
        };
        Self { backlog: Arc::clone(backlog), reservation, cost, admission }
    }

    /// Whether its client leaves room has changed.
    fn note_waits(&mut self, waits: bool) {
        if self.reservation.bytes() > 0 {
            self.reservation.set(self.cost.always + if waits { self.cost.unasked } else { 0 });
        }
    }
}

impl Drop for StreamMemory {
    fn drop(&mut self) {
        self.backlog.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of a stream before it is run.
type NextStream = (Arc<StreamBacklog>, StreamMemory);

/// Runs the streams of one connection, and gives up those whose clients leave no room for too long.
#[derive(Debug, Clone)]
pub(in crate::inbound::http) struct StreamExecutor {
    limit: Option<Duration>,
    cost: StreamCost,
    /// That of the stream which hyper runs next: it asks for the future of an answer, and runs it before it asks for another.
    next: Arc<Mutex<Option<NextStream>>>,
}

impl StreamExecutor {
    /// For clients that may leave no room for `limit`; `None`: for ever. Each stream takes so much as `cost` says.
    pub(in crate::inbound::http) fn new(limit: Option<Duration>, cost: StreamCost) -> Self {
        Self { limit, cost, next: Arc::default() }
    }

    /// The room of the stream that is run next, on a connection with this `backlog`.
    pub(in crate::inbound::http) fn begin(&self, backlog: &Arc<ResponseBacklog>) -> Arc<StreamBacklog> {
        let memory = StreamMemory::of_next(backlog, self.cost);
        let stream_backlog = Arc::new(StreamBacklog::new(backlog, memory.admission));
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(&stream_backlog), memory));
        stream_backlog
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stream_backlog, memory)) = next else { return drop(tokio::spawn(stream)) };
        let mut wait = BacklogWait { stream_backlog, limit: self.limit, timer: None, memory };
        // One that is given up is dropped, and h2 resets it.
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            poll_fn(|cx| if stream.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { wait.poll_over(cx) }).await;
        });
    }
}

/// How long a stream has waited for room.
struct BacklogWait {
    stream_backlog: Arc<StreamBacklog>,
    limit: Option<Duration>,
    timer: Option<Box<WaitTimer>>,
    memory: StreamMemory,
}

struct WaitTimer {
    timer: Pin<Box<Sleep>>,
    since: Instant,
    /// Of [`BacklogWait::progress`].
    progress: u64,
}

impl BacklogWait {
    /// Changes as the client makes room for the stream: for parts of its answer, or, as long as it waits for its turn, for anything, since it comes once
    /// those before it were sent.
    fn progress(&self, waits_for_turn: bool) -> u64 {
        let StreamBacklog { backlog, parts, .. } = &*self.stream_backlog;
        let writes = if waits_for_turn { backlog.writes.load(Ordering::Relaxed) } else { 0 };
        parts.load(Ordering::Relaxed).wrapping_add(writes)
    }

    /// Ready once it was too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stream_backlog = &self.stream_backlog;
        let waits = stream_backlog.waits.load(Ordering::Relaxed);
        self.memory.note_waits(waits);
        let waits_for_turn = stream_backlog.waits_for_turn.load(Ordering::Relaxed);
        if !waits && !waits_for_turn {
            return Poll::Pending;
        }
        let is_refused = stream_backlog.admission == Admission::Refused && !waits_for_turn;
        if is_refused && stream_backlog.backlog.is_under_pressure() {
            // It was told so as far as its client lets us.
            stream_backlog.is_stalled.store(true, Ordering::Relaxed);
            return Poll::Ready(());
        }
        let look = self.limit.map_or(CHECK_INTERVAL, |limit| limit.min(CHECK_INTERVAL));
        let progress = self.progress(waits_for_turn);
        let begin = || WaitTimer { timer: Box::pin(sleep(look)), since: Instant::now(), progress };
        let wait = self.timer.get_or_insert_with(|| Box::new(begin()));
        if wait.progress != progress {
            (wait.progress, wait.since) = (progress, Instant::now());
        }
        loop {
            ready!(wait.timer.as_mut().poll(cx));
            let waited = wait.since.elapsed();
            // Where the socket takes nothing, the connection makes room as a whole.
            let has_to_go = waited >= CHECK_INTERVAL
                && stream_backlog.backlog.is_under_pressure()
                && !stream_backlog.backlog.is_blocked.load(Ordering::Relaxed);
            if has_to_go || self.limit.is_some_and(|limit| waited >= limit) {
                stream_backlog.is_stalled.store(true, Ordering::Relaxed);
                return Poll::Ready(());
            }
            let left = self.limit.map_or(look, |limit| limit.saturating_sub(waited).min(look));
            wait.timer.as_mut().reset(Instant::now() + left.max(Duration::from_millis(1)));
        }
    }
}
