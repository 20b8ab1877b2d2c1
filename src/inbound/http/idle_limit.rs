//! How long a connection that speaks HTTP/2 may wait for its next request.
//!
//! Such a connection takes memory for the requests that its client may begin, whether it does or not. Where there is little left of it, those that
//! nobody uses make room for others: their clients are told so in order, and connect again when they have something to ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::budget::MemoryBudget;
use crate::http::stream_memory::is_short_of_places;

/// How long they may wait then, at the least.
const WHILE_SHORT: Duration = Duration::from_secs(10);

/// By how much more at the most, by chance for each: those that became idle together do not go together, and so no more of them than have to.
const SPREAD: Duration = Duration::from_secs(5);

/// Why a connection that nobody uses has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdleEnd {
    /// It was so for as long as was configured.
    Configured,
    /// It makes room for others.
    MakesRoom,
}

/// A connection went for want of memory, and not because of what was configured.
#[derive(Debug, thiserror::Error)]
#[error(
    "idle while the memory for connections that speak HTTP/2 was short; raise the container's memory limit (or --memory-limit)"
)]
pub(super) struct MadeRoom;

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

    /// Why a connection that has been idle `since` then has been so for too long, if it has.
    pub(super) fn end(&self, since: Instant) -> Option<IdleEnd> {
        let idle = since.elapsed();
        if self.configured.is_some_and(|limit| idle >= limit) {
            return Some(IdleEnd::Configured);
        }
        (idle >= WHILE_SHORT && is_short_of_places(&self.budget)).then_some(IdleEnd::MakesRoom)
    }

    /// When to ask that next, of one that has been idle `since` then and may go on; `None`: never.
    pub(super) fn next_look(&self, since: Instant) -> Option<Instant> {
        let configured = self.configured.and_then(|limit| since.checked_add(limit));
        let short = self.budget.limit().map(|_| Instant::now() + WHILE_SHORT + SPREAD.mul_f64(fastrand::f64()));
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
        assert!(none.next_look(Instant::now()).is_none() && none.end(ago(60)).is_none());
        let hour = IdleLimit::new(Some(HOUR), &budget);
        let began = Instant::now();
        assert_eq!(hour.next_look(began), Some(began + HOUR));
        assert_eq!(hour.end(ago(60)), None);
        assert_eq!(IdleLimit::new(Some(Duration::from_secs(30)), &budget).end(ago(60)), Some(IdleEnd::Configured));
    }

    #[test]
    fn connections_that_nobody_uses_go_after_seconds_while_there_is_little_room_for_others() {
        let budget = Budgets::new(None, Some(1 << 20)).streams;
        for configured in [None, Some(HOUR)] {
            let limit = IdleLimit::new(configured, &budget);
            let next = limit.next_look(ago(60)).expect("it is looked at");
            assert!(next > Instant::now(), "and not at once again");
            assert_eq!(limit.end(ago(60)), None);
            let mut held = budget.reservation();
            held.set(900 * 1024);
            assert_eq!((limit.end(ago(60)), limit.end(ago(5))), (Some(IdleEnd::MakesRoom), None));
            held.set(700 * 1024);
            assert_eq!(limit.end(ago(60)), None);
        }
    }

    #[test]
    fn connections_that_became_idle_together_are_looked_at_one_after_the_other() {
        let budget = Budgets::new(None, Some(1 << 20)).streams;
        let limit = IdleLimit::new(None, &budget);
        let began = Instant::now();
        let mut looks: Vec<_> = (0..100).filter_map(|_| limit.next_look(began)).collect();
        looks.sort();
        assert!(looks[0] >= began + WHILE_SHORT && looks[99] <= Instant::now() + WHILE_SHORT + SPREAD);
        assert!(looks[99] - looks[0] > SPREAD / 2, "{looks:?}");
    }
}
