//! Heads that come over HTTP/2 and that nobody has judged: what is said in few bytes may take many.
//!
//! h2 reads each frame of a head as it comes, and all that have come before it hands on the first request. So a head that does not end counts for
//! what it may take, and no more is read before somebody has judged what has ended.

use super::frames::{FrameStart, UnfinishedHead};
use super::stream_memory::{FREE_UNSETTLED, MAX_UNSETTLED, UNJUDGED, of_unfinished_head};
use crate::budget::{BudgetExceeded, Reservation};

/// What a connection has of them.
#[derive(Debug)]
pub(crate) struct HeadMemory {
    reservation: Reservation,
    /// The longest list of fields that is read.
    max_list: u32,
    /// Bytes of heads that have come since everything was judged.
    unjudged: usize,
    /// Requests that had been handed on when reading was put off.
    put_off_at: Option<usize>,
    /// Bytes that came before the client has said that it knows our settings; `None`: it has.
    unsettled: Option<usize>,
}

/// There is no memory for a head that has begun.
#[derive(Debug, thiserror::Error)]
#[error(
    "the memory for backlogs is short, and what has come of a head that is not whole takes much of it; send smaller heads, raise the container's memory limit (or --memory-limit), or add instances"
)]
pub(crate) struct TooLargeHeads;

impl HeadMemory {
    /// None yet. What they take is of `reservation`; no list of fields is longer than `max_list`.
    pub(crate) fn new(reservation: Reservation, max_list: u32) -> Self {
        Self { reservation, max_list, unjudged: 0, put_off_at: None, unsettled: Some(0) }
    }

    /// A frame begins.
    pub(crate) fn add(&mut self, frame: FrameStart) {
        if frame.is_of_head() {
            self.unjudged = self.unjudged.saturating_add(frame.length);
        }
        if frame.is_settings_ack {
            self.unsettled = None;
        }
    }

    /// So many `bytes` have come. Whether that is more than any client sends that has not said that it knows our settings.
    pub(crate) fn note_read(&mut self, bytes: usize) -> bool {
        let limited = self.reservation.budget().limit().is_some();
        self.unsettled.as_mut().is_some_and(|unsettled| {
            *unsettled = unsettled.saturating_add(bytes);
            limited && *unsettled > MAX_UNSETTLED
        })
    }

    /// Accounts for what has come of a `head` that is not whole.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn hold(&mut self, head: Option<UnfinishedHead>) -> Result<(), BudgetExceeded> {
        let unsettled = self.unsettled.unwrap_or_default().saturating_sub(FREE_UNSETTLED);
        self.reservation
            .try_resize_for_moment(unsettled + head.map_or(0, |head| of_unfinished_head(head, self.max_list)))
    }

    /// Whether nothing more is to be read now: heads have come that may not have been judged, now that `handed_on` requests were handed on in all.
    /// Whoever asks again and is told so again may do something in between; once it hands on no more requests, all are judged that can be.
    pub(crate) fn puts_off(&mut self, handed_on: usize) -> bool {
        if self.unjudged <= UNJUDGED {
            return false;
        }
        if self.put_off_at == Some(handed_on) {
            (self.unjudged, self.put_off_at) = (0, None);
            return false;
        }
        self.put_off_at = Some(handed_on);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;
    use crate::http::frames::{HEADERS, SETTINGS};

    #[test]
    fn a_head_that_is_not_whole_counts_for_what_it_may_take_until_it_is() {
        let budget = Budgets::new(None, Some(4 << 20)).backlogs;
        let mut memory = HeadMemory::new(budget.reservation(), 128 * 1024);
        let mut held = |read, unread| {
            memory.hold(Some(UnfinishedHead { read, unread })).unwrap();
            budget.held()
        };
        assert_eq!(held(0, 1000), 0, "what most are");
        assert_eq!(held(0, 10_000), 20_000, "nobody has read it");
        assert_eq!(held(500, 0), 32_000);
        assert_eq!(held(16_384, 100), 3 * 128 * 1024, "a list is no longer");
        memory.hold(None).unwrap();
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn heads_that_do_not_end_leave_something_of_the_budget_to_others() {
        let budget = Budgets::new(None, Some(4 << 20)).backlogs;
        let mut heads = Vec::new();
        let head = Some(UnfinishedHead { read: 4000, unread: 0 });
        loop {
            let mut memory = HeadMemory::new(budget.reservation(), 128 * 1024);
            if memory.hold(head).is_err() {
                break;
            }
            heads.push(memory);
        }
        assert!((5..19).contains(&heads.len()), "{}", heads.len());
        assert!(budget.held() <= 3 << 20);
    }

    #[test]
    fn what_comes_before_a_client_knows_our_settings_counts_and_has_an_end() {
        let budget = Budgets::new(None, Some(4 << 20)).backlogs;
        let mut memory = HeadMemory::new(budget.reservation(), 128 * 1024);
        assert!(!memory.note_read(100 * 1024));
        memory.hold(None).unwrap();
        assert_eq!(budget.held(), 84 * 1024);
        assert!(memory.note_read(100 * 1024));
        memory.add(FrameStart {
            kind: SETTINGS,
            length: 0,
            continues: true,
            ends_stream: false,
            is_padded: false,
            is_settings_ack: true,
        });
        assert!(!memory.note_read(1 << 30));
        memory.hold(None).unwrap();
        assert_eq!(budget.held(), 0);
        let mut unlimited = HeadMemory::new(Budgets::new(None, None).backlogs.reservation(), 128 * 1024);
        assert!(!unlimited.note_read(1 << 30));
    }

    #[test]
    fn no_more_is_read_before_what_came_was_handed_on_and_never_for_ever() {
        let budget = Budgets::new(None, None).backlogs;
        let mut memory = HeadMemory::new(budget.reservation(), 128 * 1024);
        let head = |length| FrameStart {
            kind: HEADERS,
            length,
            continues: false,
            ends_stream: false,
            is_padded: false,
            is_settings_ack: false,
        };
        memory.add(head(UNJUDGED));
        assert!(!memory.puts_off(0), "a few are nothing");
        memory.add(head(1));
        assert!(memory.puts_off(0));
        assert!(memory.puts_off(1), "one was handed on, and another may be");
        assert!(memory.puts_off(2));
        assert!(!memory.puts_off(2), "none was left");
        assert!(!memory.puts_off(2) && !memory.puts_off(3));
        memory.add(head(UNJUDGED + 1));
        assert!(memory.puts_off(3));
        assert!(!memory.puts_off(3), "trailers are handed to nobody");
    }
}
