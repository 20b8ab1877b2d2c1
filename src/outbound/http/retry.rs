//! How many requests may be sent a second time: a share of those that are under way, so that a server in trouble is not asked twice as
//! often as before.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So many may always be.
const MIN_RETRIES: usize = 3;

/// One of so many requests.
const SHARE: usize = 5;

/// Requests that are under way, and those of them that are sent a second time.
#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    retries: AtomicUsize,
}

/// One request that is sent a second time, as long as this is there.
#[derive(Debug)]
pub(super) struct Retry<'a>(&'a RetryBudget);

impl RetryBudget {
    /// Room for one more, while `requests` are under way.
    pub(super) fn take(&self, requests: usize) -> Option<Retry<'_>> {
        let most = MIN_RETRIES.max(requests / SHARE);
        let taken = self
            .retries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |retries| (retries < most).then_some(retries + 1));
        taken.is_ok().then(|| Retry(self))
    }

    /// Requests that are being sent a second time.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.retries.load(Ordering::Relaxed)
    }
}

impl Drop for Retry<'_> {
    fn drop(&mut self) {
        self.0.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_may_be_sent_again_and_three_in_any_case() {
        let budget = RetryBudget::default();
        let some: Vec<_> = (0..3).map(|_| budget.take(1).unwrap()).collect();
        assert!(budget.take(1).is_none());
        assert!(budget.take(19).is_none());
        let fourth = budget.take(20).unwrap();
        assert!(budget.take(20).is_none());
        drop((some, fourth));
        assert!(budget.take(0).is_some());
    }
}
