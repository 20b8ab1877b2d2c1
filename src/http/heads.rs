//! What was judged of the requests of one connection, between whoever reads them and whoever answers them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::head_scan::{HeadRefusal, RequestHead};

/// What was judged of each request, in their order, for whoever answers them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<JudgedRequests>>);

#[derive(Debug, Default)]
struct JudgedRequests {
    unanswered: VecDeque<Result<RequestHead, HeadRefusal>>,
    /// What follows the head that might have switched is another request.
    is_resumed: bool,
    /// The body that is under way does not follow its own rules.
    is_broken: bool,
    /// Requests that were handed on and are not answered yet.
    in_flight: usize,
    /// A head has begun that is not whole.
    is_partial: bool,
    /// Not all that was written has been sent.
    is_blocked: bool,
    /// Waits for an answer, behind which it goes on.
    reader: Option<Waker>,
}

/// A request that is not answered yet: no other is handed on before this is dropped.
#[derive(Debug)]
pub(crate) struct RequestInFlight(Heads);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let mut judged = self.0.judged();
        judged.in_flight -= 1;
        judged.wake();
    }
}

impl JudgedRequests {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Heads {
    fn judged(&self) -> MutexGuard<'_, JudgedRequests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was found: it is in flight from now on.
    pub(super) fn push(&self, head: Result<RequestHead, HeadRefusal>) {
        let mut judged = self.judged();
        judged.in_flight += 1;
        judged.unanswered.push_back(head);
    }

    /// That of the next request, and what is held until it is answered. To be asked once for each; `None`: there was none, which the caller
    /// takes for a refusal.
    pub(crate) fn next(&self) -> Option<(Result<RequestHead, HeadRefusal>, RequestInFlight)> {
        let head = self.judged().unanswered.pop_front()?;
        Some((head, RequestInFlight(self.clone())))
    }

    /// Whether a request is not answered yet.
    pub(super) fn is_in_flight(&self) -> bool {
        self.judged().in_flight > 0
    }

    /// The same; who reads is woken once it is.
    pub(super) fn is_busy(&self, cx: &Context<'_>) -> bool {
        let mut judged = self.judged();
        judged.reader = Some(cx.waker().clone());
        judged.in_flight > 0
    }

    /// Whether a head has begun that is not whole.
    pub(super) fn note_partial(&self, is_partial: bool) {
        self.judged().is_partial = is_partial;
    }

    /// Whether not all that was written has been sent.
    pub(super) fn note_blocked(&self, is_blocked: bool) {
        self.judged().is_blocked = is_blocked;
    }

    /// Whether nothing is under way: every request was answered, all of that was sent, and nothing of another one has come.
    pub(crate) fn is_at_rest(&self) -> bool {
        let judged = self.judged();
        judged.in_flight == 0 && !judged.is_partial && !judged.is_blocked
    }

    /// The last head might have switched to another protocol, and does not: another request may follow.
    pub(crate) fn resume(&self) {
        let mut judged = self.judged();
        judged.is_resumed = true;
        judged.wake();
    }

    /// The body that is under way does not follow its own rules.
    pub(super) fn note_broken(&self) {
        self.judged().is_broken = true;
    }

    /// Whether that is so.
    pub(crate) fn is_broken(&self) -> bool {
        self.judged().is_broken
    }

    /// Whether another request may follow; who reads is woken once it may.
    pub(super) fn is_resumed(&self, cx: &Context<'_>) -> bool {
        let mut judged = self.judged();
        judged.reader = Some(cx.waker().clone());
        std::mem::take(&mut judged.is_resumed)
    }
}
