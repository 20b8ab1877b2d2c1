//! How long a connection that speaks HTTP/2 may wait for its next request.
//!
//! Such a connection takes memory for the requests that its client may begin, whether it does or not. Where there is little left of it, those that
//! nobody uses make room for others: their clients are told so in order, and connect again when they have something to ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::budget::MemoryBudget;
use crate::http::stream_memory::is_short_of_places;

/// How long they may wait then.
const WHILE_SHORT: Duration = Duration::from_secs(10);

/// How long a connection may be idle.
#[derive(Debug)]
pub(super) struct IdleLimit {
    /// As it was configured, if it was.
    configured: Option<Duration>,
    /// That of streams.
    budget: Arc<MemoryBudget>,
}

impl IdleLimit {
    /// What `configured` says, and less while there is little left of `budget`, the one for streams.
    pub(super) fn new(configured: Option<Duration>, budget: &Arc<MemoryBudget>) -> Self {
        Self { configured, budget: Arc::clone(budget) }
    }

    /// Whether a connection that has been idle `since` then has been so for too long.
    pub(super) fn is_over(&self, since: Instant) -> bool {
        let short = is_short_of_places(&self.budget).then_some(WHILE_SHORT);
        let limit = [self.configured, short].into_iter().flatten().min();
        limit.is_some_and(|limit| since.elapsed() >= limit)
    }

    /// When to ask that next, of one that has been idle `since` then and may go on; `None`: never.
    pub(super) fn next_look(&self, since: Instant) -> Option<Instant> {
        let configured = self.configured.and_then(|limit| since.checked_add(limit));
        let short = self.budget.limit().map(|_| Instant::now() + WHILE_SHORT);
        [configured, short].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;

    const HOUR: Duration = Duration::from_secs(3600);

    /// That many seconds ago.
    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine has been up for so long")
    }

    #[test]
    fn without_a_limit_of_memory_what_is_configured_counts_alone_and_nothing_is_looked_at_without_it() {
        let budget = Budgets::new(None, None).streams;
        let none = IdleLimit::new(None, &budget);
        assert!(none.next_look(Instant::now()).is_none() && !none.is_over(ago(60)));
        let hour = IdleLimit::new(Some(HOUR), &budget);
        let began = Instant::now();
        assert_eq!(hour.next_look(began), Some(began + HOUR));
        assert!(!hour.is_over(ago(60)));
        assert!(IdleLimit::new(Some(Duration::from_secs(30)), &budget).is_over(ago(60)));
    }

    #[test]
    fn connections_that_nobody_uses_go_after_seconds_while_there_is_little_room_for_others() {
        let budget = Budgets::new(None, Some(1 << 20)).streams;
        for configured in [None, Some(HOUR)] {
            let limit = IdleLimit::new(configured, &budget);
            let next = limit.next_look(ago(60)).expect("it is looked at");
            assert!(next > Instant::now(), "and not at once again");
            assert!(!limit.is_over(ago(60)));
            let mut held = budget.reservation();
            held.set(900 * 1024);
            assert!(limit.is_over(ago(60)) && !limit.is_over(ago(5)));
            held.set(700 * 1024);
            assert!(!limit.is_over(ago(60)));
        }
    }
}
