//! What was judged of the requests of one connection, between whoever reads them and whoever answers them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::head_rejection::HeadRejection;
use super::head_scan::RequestHead;

/// What was judged of each request, in their order, for whoever answers them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestHeads(Arc<Mutex<HeadQueue>>);

#[derive(Debug, Default)]
struct HeadQueue {
    unanswered: VecDeque<Result<RequestHead, HeadRejection>>,
    /// What follows the head that might have switched is another request.
    is_resumed: bool,
    /// The body that is under way does not follow its own rules.
    is_broken: bool,
    /// Requests that were handed on and are not answered yet.
    in_flight: usize,
    /// Since when a head has begun that is not whole.
    partial_since: Option<Instant>,
    /// Not all that was written has been sent.
    is_blocked: bool,
    /// Waits for an answer, behind which it goes on.
    reader: Option<Waker>,
}

/// A request that is not answered yet: no other is handed on before this is dropped.
#[derive(Debug)]
pub(crate) struct RequestInFlight(RequestHeads);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let mut lock = self.0.lock();
        lock.in_flight -= 1;
        lock.wake();
    }
}

impl HeadQueue {
    fn is_busy(&self) -> bool {
        self.in_flight > 0 || self.is_blocked
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl RequestHeads {
    fn lock(&self) -> MutexGuard<'_, HeadQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was found: it is in flight from now on.
    pub(super) fn push(&self, head: Result<RequestHead, HeadRejection>) {
        let mut lock = self.lock();
        lock.in_flight += 1;
        lock.unanswered.push_back(head);
    }

    /// That of the next request, and what is held until it is answered. To be asked once for each; `None`: there was none, which the caller
    /// takes for a refusal.
    pub(crate) fn next(&self) -> Option<(Result<RequestHead, HeadRejection>, RequestInFlight)> {
        let head = self.lock().unanswered.pop_front()?;
        Some((head, RequestInFlight(self.clone())))
    }

    /// Whether a request is not answered yet.
    pub(super) fn is_in_flight(&self) -> bool {
        self.lock().in_flight > 0
    }

    /// Whether another request has to wait: one is not answered yet, or an answer was not sent yet, so that those of a client who takes none do
    /// not pile up.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().is_busy()
    }

    /// The same; who reads is woken once it need not.
    pub(super) fn poll_busy(&self, cx: &Context<'_>) -> bool {
        let mut lock = self.lock();
        lock.reader = Some(cx.waker().clone());
        lock.is_busy()
    }

    /// Whether a head has begun that is not whole.
    pub(super) fn note_partial(&self, is_partial: bool) {
        self.lock().partial_since = is_partial.then(Instant::now);
    }

    /// Whether not all that was written has been sent.
    pub(super) fn note_blocked(&self, is_blocked: bool) {
        let mut lock = self.lock();
        lock.is_blocked = is_blocked;
        lock.wake();
    }

    /// Whether nothing is under way: every request was answered, all of that was sent, and nothing of another one has come.
    pub(crate) fn is_at_rest(&self) -> bool {
        let lock = self.lock();
        !lock.is_busy() && lock.partial_since.is_none()
    }

    /// Since when nothing is waited for but the rest of a head.
    pub(crate) fn partial_since(&self) -> Option<Instant> {
        let lock = self.lock();
        lock.partial_since.filter(|_| !lock.is_busy())
    }

    /// The last head might have switched to another protocol, and does not: another request may follow.
    pub(crate) fn resume(&self) {
        let mut lock = self.lock();
        lock.is_resumed = true;
        lock.wake();
    }

    /// The body that is under way does not follow its own rules.
    pub(super) fn note_broken(&self) {
        self.lock().is_broken = true;
    }

    /// Whether that is so.
    pub(crate) fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    /// Whether another request may follow; who reads is woken once it may.
    pub(super) fn is_resumed(&self, cx: &Context<'_>) -> bool {
        let mut lock = self.lock();
        lock.reader = Some(cx.waker().clone());
        std::mem::take(&mut lock.is_resumed)
    }
}
