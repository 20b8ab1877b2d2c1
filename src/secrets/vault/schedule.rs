//! When a token is renewed, and when we log in anew. Pure: time is an argument.

use std::time::{Duration, Instant};

use super::response::Renewal;

/// The first wait after a failure; each next one is twice as long.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

/// The longest, and the wait after what no time mends.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenewalStep {
    /// Ask for a new token.
    LogIn,
    /// Make the token that is there last longer.
    Renew,
}

/// How something has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// It may pass.
    Transient,
    /// What was asked is refused: for a renewal, that the token is not renewed any more; for a login, that no time mends it.
    Refused,
}

/// The life of one token after another.
#[derive(Debug)]
pub(super) struct RenewalSchedule {
    next: Option<(Instant, RenewalStep)>,
    /// What the first answer has granted.
    first: Duration,
    /// When the token ends; `None`: there is none, or it never does.
    ends: Option<Instant>,
    failures: u32,
}

impl RenewalSchedule {
    /// Nobody has logged in yet, which is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: Some((now, RenewalStep::LogIn)), first: Duration::ZERO, ends: None, failures: 0 }
    }

    /// The token is left to end by itself.
    pub(super) fn give_up(&mut self) {
        self.next = None;
    }

    /// Something is to be done at `at`, with a token of which nothing else is known.
    pub(super) fn due(at: Instant) -> Self {
        Self { next: Some((at, RenewalStep::Renew)), first: Duration::ZERO, ends: None, failures: 0 }
    }

    /// What is to be done next, and when; `None`: nothing, for the token is good for ever.
    pub(super) fn next(&self) -> Option<(Instant, RenewalStep)> {
        self.next
    }

    /// When the token ends; `None`: there is none, or it never does.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// A login has given a token.
    pub(super) fn logged_in(&mut self, now: Instant, Renewal { lease, renewable }: Renewal) {
        self.first = lease;
        self.grant(now, lease, if renewable { RenewalStep::Renew } else { RenewalStep::LogIn });
    }

    /// A renewal was answered: with a new lease, or with nothing.
    pub(super) fn renewed(&mut self, now: Instant, renewal: Option<Renewal>) {
        match renewal {
            // Near the longest that a token may live, the leases become shorter and shorter.
            Some(Renewal { lease, .. }) if !lease.is_zero() && lease < self.first / 3 => {
                self.grant(now, lease, RenewalStep::LogIn);
                self.next = Some((now, RenewalStep::LogIn));
            }
            Some(Renewal { lease, renewable }) => {
                self.grant(now, lease, if renewable { RenewalStep::Renew } else { RenewalStep::LogIn });
            }
            None => self.next = Some((now, RenewalStep::LogIn)),
        }
    }

    /// The step that was due has failed. `jitter` is drawn from 0 to 1.
    pub(super) fn failed(&mut self, now: Instant, failed: Failed, jitter: f64) {
        let step = self.next.map_or(RenewalStep::LogIn, |(_, step)| step);
        match (step, failed) {
            // The token may be gone, or be of a kind that is not renewed.
            (RenewalStep::Renew, Failed::Refused) => self.next = Some((now, RenewalStep::LogIn)),
            (RenewalStep::Renew, Failed::Transient) => {
                let at = now + self.back_off(jitter);
                // What could not be renewed in time is replaced.
                let step =
                    if self.ends.is_some_and(|ends| ends <= at) { RenewalStep::LogIn } else { RenewalStep::Renew };
                self.next = Some((at, step));
            }
            (RenewalStep::LogIn, Failed::Transient) => {
                self.next = Some((now + self.back_off(jitter), RenewalStep::LogIn))
            }
            (RenewalStep::LogIn, Failed::Refused) => {
                let wait = LONGEST_BACK_OFF.mul_f64(1.0 - jitter / 10.0);
                self.next = Some((now + wait, RenewalStep::LogIn));
            }
        }
    }

    /// Another pair is in service, or the token is of no use any more: a token is asked for at once.
    pub(super) fn log_in_anew(&mut self, now: Instant) {
        self.failures = 0;
        self.next = Some((now, RenewalStep::LogIn));
    }

    fn grant(&mut self, now: Instant, lease: Duration, step: RenewalStep) {
        self.failures = 0;
        self.ends = (!lease.is_zero()).then(|| now + lease);
        // Two thirds of it, but never at once again and again.
        let wait = (lease * 2 / 3).max(FIRST_BACK_OFF);
        self.next = (!lease.is_zero()).then(|| (now + wait, step));
    }

    /// Twice as long each time, and by chance up to a half less, so that instances do not come all at once.
    fn back_off(&mut self, jitter: f64) -> Duration {
        let wait = FIRST_BACK_OFF.saturating_mul(1 << self.failures.min(9)).min(LONGEST_BACK_OFF);
        self.failures += 1;
        wait.mul_f64(1.0 - jitter / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn lease(seconds: u64, renewable: bool) -> Renewal {
        Renewal { lease: Duration::from_secs(seconds), renewable }
    }

    fn logged_in(seconds: u64, renewable: bool) -> (Instant, RenewalSchedule) {
        let now = Instant::now();
        let mut schedule = RenewalSchedule::new(now);
        assert_eq!(schedule.next(), Some((now, RenewalStep::LogIn)));
        schedule.logged_in(now, lease(seconds, renewable));
        (now, schedule)
    }

    #[test]
    fn a_token_is_renewed_at_two_thirds_of_each_lease() {
        let (now, mut schedule) = logged_in(3600, true);
        let due = now + HOUR * 2 / 3;
        assert_eq!(schedule.next(), Some((due, RenewalStep::Renew)));
        assert_eq!(schedule.ends(), Some(now + HOUR));
        schedule.renewed(due, Some(lease(1800, true)));
        assert_eq!(schedule.next(), Some((due + HOUR / 3, RenewalStep::Renew)));
    }

    #[test]
    fn one_that_cannot_be_renewed_is_replaced_at_two_thirds() {
        let (now, mut schedule) = logged_in(3600, false);
        assert_eq!(schedule.next(), Some((now + HOUR * 2 / 3, RenewalStep::LogIn)));
        schedule.logged_in(now, lease(3600, true));
        schedule.renewed(now, Some(lease(3600, false)));
        assert_eq!(schedule.next(), Some((now + HOUR * 2 / 3, RenewalStep::LogIn)));
    }

    #[test]
    fn a_lease_below_a_third_of_the_first_or_none_at_all_is_answered_by_a_login() {
        for renewal in [Some(lease(1199, true)), None] {
            let (now, mut schedule) = logged_in(3600, true);
            schedule.renewed(now, renewal);
            assert_eq!(schedule.next(), Some((now, RenewalStep::LogIn)), "{renewal:?}");
        }
        let (now, mut schedule) = logged_in(3600, true);
        schedule.renewed(now, Some(lease(1200, true)));
        assert_eq!(schedule.next().map(|(_, step)| step), Some(RenewalStep::Renew));
    }

    #[test]
    fn a_refused_renewal_is_answered_by_a_login_at_once_and_a_refused_login_after_minutes() {
        let (now, mut schedule) = logged_in(3600, true);
        schedule.failed(now, Failed::Refused, 0.5);
        assert_eq!(schedule.next(), Some((now, RenewalStep::LogIn)));
        schedule.failed(now, Failed::Refused, 0.0);
        assert_eq!(schedule.next(), Some((now + LONGEST_BACK_OFF, RenewalStep::LogIn)));
    }

    #[test]
    fn failures_that_may_pass_are_waited_for_twice_as_long_each_time() {
        let now = Instant::now();
        let mut schedule = RenewalSchedule::new(now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            schedule.failed(now, Failed::Transient, 0.0);
            waits.push(schedule.next().unwrap().0.duration_since(now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        schedule.failed(now, Failed::Transient, 1.0);
        assert_eq!(schedule.next(), Some((now + LONGEST_BACK_OFF / 2, RenewalStep::LogIn)));
        schedule.logged_in(now, lease(10, true));
        schedule.failed(now, Failed::Transient, 0.0);
        assert_eq!(schedule.next(), Some((now + FIRST_BACK_OFF, RenewalStep::Renew)), "a success is a new beginning");
    }

    #[test]
    fn a_token_that_cannot_be_renewed_before_it_ends_is_replaced() {
        let (now, mut schedule) = logged_in(9, true);
        let mut at = now + Duration::from_secs(6);
        let mut steps = Vec::new();
        for _ in 0..3 {
            schedule.failed(at, Failed::Transient, 0.0);
            let (next, step) = schedule.next().unwrap();
            steps.push(step);
            at = next;
        }
        assert_eq!(steps, [RenewalStep::Renew, RenewalStep::LogIn, RenewalStep::LogIn]);
    }

    #[test]
    fn a_rotation_is_a_login_at_once_and_forgets_the_failures_before() {
        let (now, mut schedule) = logged_in(3600, true);
        schedule.log_in_anew(now);
        assert_eq!(schedule.next(), Some((now, RenewalStep::LogIn)));
        assert_eq!(schedule.ends(), Some(now + HOUR), "the old token is still good");
    }

    #[test]
    fn a_token_without_an_end_is_left_alone_and_a_short_one_is_not_renewed_all_the_time() {
        let (_, schedule) = logged_in(0, true);
        assert_eq!((schedule.next(), schedule.ends()), (None, None));
        let (now, schedule) = logged_in(1, true);
        assert_eq!(schedule.next(), Some((now + FIRST_BACK_OFF, RenewalStep::Renew)));
    }
}
