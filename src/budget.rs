//! Memory that strangers may have us hold, in bytes.
//!
//! What is kept of a client that does not finish its sentence, or does not read, has to end somewhere: the control group's limit
//! is shared with the app, and whoever goes beyond it is killed. A [`MemoryBudget`] is what all connections together may hold of one
//! kind; a [`Reservation`] is what one of them holds of it, and gives it back when it is dropped.

mod awaited_room;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(crate) use awaited_room::{AwaitedRoom, ROOM_INTERVAL, ROOM_TIMEOUT};

/// The part of what is free that one connection may hold: so the last of it goes to those that need little, and clients with
/// a large unfinished message are turned away before those with a small one.
const SHARE_DIVISOR: usize = 8;

/// What waits for room may take one part in so many of what there is.
const WAITING_DIVISOR: u64 = 8;

/// What DNS servers say may take one part in so many of what there is.
const LOOKUPS_DIVISOR: u64 = 4;

/// The budgets of all connections.
#[derive(Debug)]
pub struct Budgets {
    /// What connections hold until their handshake is done.
    pub handshakes: Arc<MemoryBudget>,
    /// What relays hold because a side does not take it, or because the rest of a record has not come.
    pub backlogs: Arc<MemoryBudget>,
    /// What connections that speak HTTP/2 hold, with the streams that they are told that they may have.
    pub streams: Arc<MemoryBudget>,
    /// What heads of answers take that are there, and for which there is no room yet.
    pub waiting_heads: Arc<MemoryBudget>,
    /// What DNS servers have answered, until it is looked at.
    pub lookups: Arc<MemoryBudget>,
}

/// A number of bytes that all connections together may hold.
#[derive(Debug)]
pub struct MemoryBudget {
    /// `usize::MAX`: there is no limit, and nothing is counted.
    limit: usize,
    held: AtomicUsize,
    /// Somebody goes beyond it.
    is_overdrawn: AtomicBool,
}

/// There is no memory left for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory for handshakes is spent; raise the container's memory limit (or --memory-limit), or add instances")]
pub struct BudgetExceeded;

/// The bytes of a [`MemoryBudget`] that one connection holds.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

/// The right to hold more of a [`MemoryBudget`] than there is, of one at a time, until it is dropped.
#[derive(Debug)]
pub struct Overdraft(Arc<MemoryBudget>);

impl Drop for Overdraft {
    fn drop(&mut self) {
        self.0.is_overdrawn.store(false, Ordering::Relaxed);
    }
}

impl Budgets {
    /// Budgets of so many bytes each, that of streams as that of backlogs; `None` is no limit.
    pub fn new(handshakes: Option<u64>, backlogs: Option<u64>) -> Self {
        let of = |limit| Arc::new(MemoryBudget::new(limit));
        let part = |divisor| of(backlogs.map(|limit| limit / divisor));
        Self {
            handshakes: of(handshakes),
            backlogs: of(backlogs),
            streams: of(backlogs),
            waiting_heads: part(WAITING_DIVISOR),
            lookups: part(LOOKUPS_DIVISOR),
        }
    }
}

impl MemoryBudget {
    fn new(limit: Option<u64>) -> Self {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self { limit, held: AtomicUsize::new(0), is_overdrawn: AtomicBool::new(false) }
    }

    /// Bytes that may be held; `None` is no limit.
    pub fn limit(&self) -> Option<usize> {
        (self.limit != usize::MAX).then_some(self.limit)
    }

    /// Bytes that are held now. Nobody counts them where there is no limit.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether more than half is spent.
    pub fn is_under_pressure(&self) -> bool {
        self.free() < self.limit / 2
    }

    /// What one connection should hold of it at most, in bytes.
    pub fn share(&self) -> usize {
        self.free() / SHARE_DIVISOR
    }

    fn free(&self) -> usize {
        self.limit.saturating_sub(self.held())
    }

    /// The right to go beyond it once; `None` as long as somebody else does. For one of those who wait for more with a part of it in hand: otherwise
    /// they would wait for each other.
    pub fn overdraw(self: &Arc<Self>) -> Option<Overdraft> {
        let taken = self.is_overdrawn.swap(true, Ordering::Relaxed);
        (!taken).then(|| Overdraft(Arc::clone(self)))
    }

    /// A reservation of nothing.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Reservation {
    /// Reserves `bytes` in all, if that is a fair share of what is left. Two threads that ask at once may both be told yes, so the
    /// limit may be passed by a share for each thread.
    ///
    /// # Errors
    /// [`BudgetExceeded`]; the reservation is then what it was.
    pub fn try_resize(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        if bytes > self.bytes && bytes > (self.budget.free().saturating_add(self.bytes)) / SHARE_DIVISOR {
            return Err(BudgetExceeded);
        }
        self.set(bytes);
        Ok(())
    }

    /// Reserves `bytes` in all for somebody who has nothing else, though others have spent the budget: as long as no more than half as
    /// much again is spent then.
    ///
    /// # Errors
    /// [`BudgetExceeded`]; the reservation is then what it was.
    pub fn try_resize_for_first(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.try_resize_within(bytes, self.budget.limit.saturating_add(self.budget.limit / 2))
    }

    /// Reserves `bytes` in all for the only thing that somebody has ([`Self::try_resize_for_first`]), or for a further one ([`Self::try_resize`]).
    ///
    /// # Errors
    /// [`BudgetExceeded`]; the reservation is then what it was.
    pub fn try_resize_beside_others(&mut self, bytes: usize, is_only: bool) -> Result<(), BudgetExceeded> {
        if is_only { self.try_resize_for_first(bytes) } else { self.try_resize(bytes) }
    }

    /// Reserves `bytes` in all for what waits for its turn: as long as no more than all is spent then.
    ///
    /// # Errors
    /// [`BudgetExceeded`]; the reservation is then what it was.
    pub fn try_resize_in_turn(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.try_resize_within(bytes, self.budget.limit)
    }

    /// Reserves `bytes` in all for somebody whom nobody knows: as long as no more than half is spent then.
    ///
    /// # Errors
    /// [`BudgetExceeded`]; the reservation is then what it was.
    pub fn try_resize_for_stranger(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.try_resize_within(bytes, self.budget.limit / 2)
    }

    /// Reserves `bytes` in all for what ends soon, of however few: as long as no more than three quarters are spent then.
    ///
    /// # Errors
    /// [`BudgetExceeded`]; the reservation is then what it was.
    pub fn try_resize_for_moment(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.try_resize_within(bytes, self.budget.limit - self.budget.limit / 4)
    }

    /// Reserves `bytes` in all for what only makes something faster: as long as no more than a quarter is spent then.
    ///
    /// # Errors
    /// [`BudgetExceeded`]; the reservation is then what it was.
    pub fn try_resize_for_speed(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.try_resize_within(bytes, self.budget.limit / 4)
    }

    /// Reserves `bytes` in all as long as no more than `most` are held by all then.
    fn try_resize_within(&mut self, bytes: usize, most: usize) -> Result<(), BudgetExceeded> {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && self.budget.held().saturating_add(more) > most {
            return Err(BudgetExceeded);
        }
        self.set(bytes);
        Ok(())
    }

    /// Accounts for `bytes` in all, which are held already.
    pub fn set(&mut self, bytes: usize) {
        // Nothing is shared between threads as long as nothing changes, or where there is no limit.
        if bytes == self.bytes || self.budget.limit == usize::MAX {
            return;
        }
        let held = &self.budget.held;
        match bytes.checked_sub(self.bytes) {
            Some(more) => held.fetch_add(more, Ordering::Relaxed),
            None => held.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }

    /// Bytes that are reserved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The budget that it is of.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::simulate;

    fn budget(limit: u64) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget::new(Some(limit)))
    }

    #[test]
    fn what_a_connection_held_is_free_again_when_it_is_gone() {
        let budget = budget(1000);
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        one.try_resize(100).unwrap();
        other.set(500);
        assert_eq!((budget.held(), budget.is_under_pressure()), (600, true));
        one.try_resize(20).unwrap();
        assert_eq!(budget.held(), 520);
        drop(other);
        assert_eq!((budget.held(), budget.is_under_pressure()), (20, false));
        drop(one);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn whoever_has_nothing_else_gets_something_when_all_is_spent_and_no_more_than_half_as_much_again() {
        let budget = budget(1000);
        let mut others = budget.reservation();
        others.set(1000);
        let mut first = budget.reservation();
        assert_eq!(first.try_resize(1), Err(BudgetExceeded));
        first.try_resize_for_first(400).unwrap();
        let mut next = budget.reservation();
        assert_eq!(next.try_resize_for_first(101), Err(BudgetExceeded));
        next.try_resize_for_first(100).unwrap();
        assert_eq!(budget.held(), 1500);
        next.try_resize_for_first(50).unwrap();
        assert_eq!(budget.held(), 1450);
    }

    #[test]
    fn strangers_may_have_half_of_it_and_whoever_waits_for_a_turn_all() {
        let budget = budget(1000);
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        one.try_resize_for_stranger(500).unwrap();
        assert_eq!(other.try_resize_for_stranger(1), Err(BudgetExceeded));
        other.try_resize_in_turn(500).unwrap();
        assert_eq!(other.try_resize_in_turn(501), Err(BudgetExceeded));
        assert_eq!(budget.held(), 1000);
    }

    #[test]
    fn what_ends_soon_may_have_three_quarters_of_it() {
        let budget = budget(1000);
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        one.try_resize_for_moment(700).unwrap();
        assert_eq!(other.try_resize_for_moment(51), Err(BudgetExceeded));
        other.try_resize_for_moment(50).unwrap();
        one.try_resize_for_moment(600).unwrap();
        assert_eq!(budget.held(), 650);
    }

    #[test]
    fn what_only_makes_something_faster_may_have_a_quarter_of_it() {
        let budget = budget(1000);
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        one.try_resize_for_speed(200).unwrap();
        assert_eq!(other.try_resize_for_speed(51), Err(BudgetExceeded));
        other.set(600);
        one.try_resize_for_speed(0).unwrap();
        assert_eq!(one.try_resize_for_speed(1), Err(BudgetExceeded));
        assert_eq!(budget.held(), 600);
    }

    #[test]
    fn the_last_of_it_goes_to_those_that_need_little() {
        let budget = budget(64_000);
        let mut holders = Vec::new();
        let large = loop {
            let mut reservation = budget.reservation();
            if reservation.try_resize(1600).is_err() {
                break holders.len();
            }
            holders.push(reservation);
        };
        assert!((20..40).contains(&large), "{large}");
        let mut small = budget.reservation();
        small.try_resize(200).unwrap();
        assert_eq!(small.try_resize(1600), Err(BudgetExceeded));
        assert_eq!(budget.held(), large * 1600 + 200, "a refusal changes nothing");
        drop(holders.pop());
        small.try_resize(1600).unwrap();
    }

    #[test]
    fn what_is_held_already_is_accounted_for_beyond_the_limit_too() {
        let budget = budget(100);
        let mut reservation = budget.reservation();
        reservation.set(1000);
        assert_eq!((budget.held(), budget.share()), (1000, 0));
        reservation.try_resize(900).unwrap();
        assert_eq!(reservation.try_resize(901), Err(BudgetExceeded));
    }

    #[test]
    fn without_a_limit_nothing_is_refused_and_nothing_is_counted() {
        let budget = Arc::new(MemoryBudget::new(None));
        let mut reservation = budget.reservation();
        reservation.try_resize(1 << 40).unwrap();
        assert_eq!((budget.held(), budget.is_under_pressure(), budget.limit()), (0, false, None));
        assert!(budget.share() > 1 << 40);
    }

    #[test]
    fn under_every_schedule_what_is_held_is_the_sum_of_what_holders_have_and_nothing_is_left_behind() {
        let report = simulate("budgets", 400_000, |run| {
            let limit = 1 + run.length(1 << 30);
            let budget = budget(limit as u64);
            let mut holders = vec![budget.reservation()];
            while run.goes_on() {
                let at = run.below(holders.len());
                let (held, before) = (budget.held(), holders[at].bytes());
                let bytes = run.length(2 * limit);
                run.step(format_args!("{held} of {limit} are held, {before} by {at}, who wants {bytes}"));
                match run.below(8) {
                    0 => holders.push(budget.reservation()),
                    1 if holders.len() > 1 => drop(holders.swap_remove(at)),
                    2 => holders[at].set(bytes),
                    _ => {
                        let free = limit.saturating_sub(held).saturating_add(before);
                        match holders[at].try_resize(bytes) {
                            Ok(()) => {
                                run.saw("granted");
                                assert!(bytes <= before || bytes <= free / SHARE_DIVISOR, "more than a share");
                                assert!(budget.held() <= limit.max(held), "more than there is");
                            }
                            Err(BudgetExceeded) => {
                                run.saw("refused");
                                assert!(bytes > before, "what is given back is never refused");
                                assert_eq!((budget.held(), holders[at].bytes()), (held, before));
                            }
                        }
                    }
                }
                assert_eq!(budget.held(), holders.iter().map(Reservation::bytes).sum::<usize>());
            }
            drop(holders);
            assert_eq!(budget.held(), 0);
        });
        report.has_seen(&["granted", "refused"]);
    }
}
