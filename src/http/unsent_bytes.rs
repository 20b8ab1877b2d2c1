//! What was handed to whoever sends a message and was not sent yet.
//!
//! hyper takes parts of a body as long as its buffer for writing is smaller than the longest head that it may read. What the other side does not
//! take would pile up there; so the next part is handed to it when what it has is nearly sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What may wait to be sent while one more part is handed on, in bytes: small parts go out together.
const ENOUGH: usize = 8 * 1024;

/// The bytes of a message that were handed to whoever sends it and were not sent yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnsentBytes(Arc<Mutex<SendState>>);

#[derive(Debug, Default)]
struct SendState {
    bytes: usize,
    /// Waits until they were sent.
    next: Option<Waker>,
}

impl UnsentBytes {
    fn state(&self) -> MutexGuard<'_, SendState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once another part may be handed on.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.bytes < ENOUGH {
            return Poll::Ready(());
        }
        state.next = Some(cx.waker().clone());
        Poll::Pending
    }

    /// `bytes` more are handed on.
    pub(crate) fn add(&self, bytes: usize) {
        self.state().bytes += bytes;
    }

    /// All of them were sent.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        state.bytes = 0;
        if let Some(next) = state.next.take() {
            next.wake();
        }
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.state().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_part_has_to_wait_until_what_was_handed_on_is_sent() {
        let (unsent, cx) = (UnsentBytes::default(), Context::from_waker(Waker::noop()));
        unsent.add(ENOUGH - 1);
        assert!(unsent.poll_room(&cx).is_ready(), "small parts go together");
        unsent.add(1);
        assert!(unsent.poll_room(&cx).is_pending());
        assert_eq!(unsent.count(), ENOUGH);
        unsent.clear();
        assert!(unsent.poll_room(&cx).is_ready());
        assert_eq!(unsent.count(), 0);
    }
}
