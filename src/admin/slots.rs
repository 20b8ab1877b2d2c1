//! Who may ask at once. Whoever connects and says nothing must not keep a probe waiting, so a newcomer always finds a place:
//! where all are taken, the oldest that has not asked its question yet gives way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections at once, each with a head of a few KiB.
const MAX_CONNECTIONS: usize = 16;

/// The places that are taken, in the order in which they were. Invariant: at most [`MAX_CONNECTIONS`].
#[derive(Debug, Default)]
pub(super) struct AdminSlots(Mutex<Vec<Arc<SlotState>>>);

#[derive(Debug, Default)]
struct SlotState {
    /// Whether the head of the request is complete.
    has_asked: AtomicBool,
    lost: Notify,
}

/// One connection's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct AdminSlot {
    slots: Arc<AdminSlots>,
    state: Arc<SlotState>,
}

impl AdminSlots {
    /// A place for a newcomer. If all are taken, the oldest without a complete head loses its own; if all wait for their
    /// answers to be read, the oldest of all does.
    pub(super) fn take(self: &Arc<Self>) -> AdminSlot {
        let mut taken = self.lock();
        if taken.len() >= MAX_CONNECTIONS {
            let silent = taken.iter().position(|state| !state.has_asked.load(Ordering::Relaxed));
            taken.remove(silent.unwrap_or(0)).lost.notify_one();
        }
        let state = Arc::new(SlotState::default());
        taken.push(Arc::clone(&state));
        AdminSlot { slots: Arc::clone(self), state }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<SlotState>>> {
        // The list cannot be left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdminSlot {
    /// The head is complete.
    pub(super) fn asks(&self) {
        self.state.has_asked.store(true, Ordering::Relaxed);
    }

    /// Whether the head is complete.
    pub(super) fn has_asked(&self) -> bool {
        self.state.has_asked.load(Ordering::Relaxed)
    }

    /// Waits until the place is given to a newcomer.
    pub(super) async fn lost(&self) {
        self.state.lost.notified().await;
    }
}

impl Drop for AdminSlot {
    fn drop(&mut self) {
        self.slots.lock().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_lost(slot: &AdminSlot) -> bool {
        pin!(slot.lost()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_that_has_not_asked_gives_way_and_then_the_oldest_of_all() {
        let slots = Arc::new(AdminSlots::default());
        let taken: Vec<_> = (0..MAX_CONNECTIONS).map(|_| slots.take()).collect();
        assert!(!taken.iter().any(is_lost));
        taken.iter().filter(|slot| !Arc::ptr_eq(&slot.state, &taken[3].state)).for_each(AdminSlot::asks);
        slots.take().asks();
        let lost: Vec<_> = taken.iter().map(is_lost).collect();
        assert_eq!(lost.iter().position(|lost| *lost), Some(3));
        assert_eq!(lost.iter().filter(|lost| **lost).count(), 1);
        // The newcomer has gone; one place is free.
        let newcomer = slots.take();
        newcomer.asks();
        assert!(!taken.iter().any(is_lost));
        let _last = slots.take();
        assert!(is_lost(&taken[0]) && !is_lost(&taken[1]) && !is_lost(&newcomer));
        drop(taken);
        assert_eq!(slots.lock().len(), 2);
    }
}
