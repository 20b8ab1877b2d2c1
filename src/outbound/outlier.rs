//! Outlier ejection: an endpoint that fails several times in a row is left alone for a while, then tried once.

use std::time::Duration;

use tokio::time::Instant;

/// The first time of an ejection; each that follows without a success between is twice as long.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// An endpoint whose probe has lasted for so long is well.
const PROBE: Duration = Duration::from_secs(5);

/// By how much each time is drawn shorter or longer, so that many instances do not come back in one moment.
const JITTER: f64 = 0.2;

/// What is known of one endpoint's failures.
#[derive(Debug, Default)]
pub(super) struct Outlier {
    /// Failures since the last success.
    failures: u32,
    /// How often it has come to nothing behind a handshake that was a success, since something came of one. In TLS 1.3 a server refuses our
    /// certificate there; one whose app is gone may end each connection there.
    broken: u32,
    /// Ejections since the last success.
    ejections: u32,
    /// It is left alone until then.
    until: Option<Instant>,
    /// It is tried since then, to find out whether it is well again.
    probed: Option<Instant>,
}

/// Whether an endpoint may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Availability {
    /// It gets connections.
    Ready,
    /// Its time is over: it gets one, to find out.
    Probe,
    /// It is left alone.
    Ejected,
}

impl Outlier {
    pub(super) fn availability(&self, now: Instant) -> Availability {
        match self.until {
            None => Availability::Ready,
            // Nothing has come of it yet, and nothing has gone wrong: it may be a connection that lasts.
            Some(_) if self.probed.is_some_and(|since| now.duration_since(since) >= PROBE) => Availability::Ready,
            Some(until) if until <= now && self.probed.is_none() => Availability::Probe,
            Some(_) => Availability::Ejected,
        }
    }

    /// How much longer than `now` it is left alone; `None`: it is not.
    pub(super) fn ejected_for(&self, now: Instant) -> Option<Duration> {
        Some(self.until?.saturating_duration_since(now)).filter(|_| self.availability(now) == Availability::Ejected)
    }

    /// It gets a connection at `now`, though it is ejected.
    pub(super) fn probe(&mut self, now: Instant) {
        self.probed = Some(now);
    }

    /// A probe has come to nothing that could be counted, as it was given up.
    pub(super) fn abandon_probe(&mut self) {
        self.probed = None;
    }

    /// The handshake was a success. That says nothing of an endpoint which fails behind it: there is more to find out.
    pub(super) fn succeeded(&mut self) {
        match self.broken {
            0 => *self = Self::default(),
            _ => self.failures = 0,
        }
    }

    /// Something came of a connection.
    pub(super) fn answered(&mut self) {
        if self.broken > 0 {
            *self = Self::default();
        }
    }

    /// It has come to nothing behind the handshake, which is a failure as others are, where another endpoint may do better.
    pub(super) fn failed_behind_handshake(
        &mut self,
        limit: Option<u32>,
        may_be: bool,
        now: Instant,
        random: f64,
    ) -> bool {
        self.broken = self.broken.saturating_add(1);
        self.eject_after(self.broken, limit, may_be, now, random)
    }

    /// It has failed. Gives whether it is ejected now and was not before: after `limit` failures in a row, if it `may_be`. `random` is
    /// from 0 to 1.
    pub(super) fn failed(&mut self, limit: Option<u32>, may_be: bool, now: Instant, random: f64) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.eject_after(self.failures, limit, may_be, now, random)
    }

    fn eject_after(&mut self, failures: u32, limit: Option<u32>, may_be: bool, now: Instant, random: f64) -> bool {
        let was_ejected = self.until.is_some();
        self.probed = None;
        if limit.is_none_or(|limit| failures < limit) || !may_be {
            return false;
        }
        let doubled = FIRST.saturating_mul(1 << self.ejections.min(10)).min(LONGEST);
        self.ejections += 1;
        self.until = Some(now + doubled.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0)));
        !was_ejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn failures_behind_handshakes_count_until_something_comes_of_one() {
        let (mut outlier, now) = (Outlier::default(), Instant::now());
        let reject = |outlier: &mut Outlier| {
            outlier.succeeded();
            outlier.failed_behind_handshake(Some(3), true, now, 0.5)
        };
        assert!(!reject(&mut outlier) && !reject(&mut outlier));
        outlier.answered();
        assert!(!reject(&mut outlier) && !reject(&mut outlier));
        assert!(reject(&mut outlier));
        assert_eq!(outlier.availability(now), Availability::Ejected);
        let first = outlier.until;
        // The handshake of a probe is not what was to be found out: nobody else comes in beside it, and it is ejected for longer.
        let later = now + 5 * SECOND;
        assert_eq!(outlier.availability(later), Availability::Probe);
        outlier.probe(later);
        outlier.succeeded();
        assert_eq!(outlier.availability(later), Availability::Ejected);
        assert_eq!(outlier.availability(later + PROBE), Availability::Ready, "it is a connection that lasts");
        assert!(!outlier.failed_behind_handshake(Some(3), true, later, 0.5), "it is ejected already");
        assert!(outlier.until > first);
        outlier.answered();
        assert_eq!(outlier.availability(now), Availability::Ready);
    }

    #[test]
    fn an_endpoint_is_ejected_after_so_many_failures_in_a_row_and_a_success_forgets_them() {
        let now = Instant::now();
        let mut outlier = Outlier::default();
        assert!(!outlier.failed(Some(3), true, now, 0.5) && !outlier.failed(Some(3), true, now, 0.5));
        outlier.succeeded();
        assert!(!outlier.failed(Some(3), true, now, 0.5) && !outlier.failed(Some(3), true, now, 0.5));
        assert_eq!(outlier.availability(now), Availability::Ready);
        assert!(outlier.failed(Some(3), true, now, 0.5));
        assert_eq!(outlier.availability(now + 4 * SECOND), Availability::Ejected);
        assert_eq!(outlier.availability(now + 5 * SECOND), Availability::Probe);
    }

    #[test]
    fn one_connection_finds_out_whether_it_is_well_and_each_failure_doubles_the_time_up_to_a_minute() {
        let mut now = Instant::now();
        let mut outlier = Outlier::default();
        assert!(outlier.failed(Some(1), true, now, 0.5));
        for seconds in [5, 10, 20, 40, 60, 60] {
            assert_eq!(outlier.availability(now + seconds * SECOND - SECOND / 10), Availability::Ejected);
            now += seconds * SECOND;
            assert_eq!(outlier.availability(now), Availability::Probe);
            outlier.probe(now);
            assert_eq!(outlier.availability(now), Availability::Ejected, "one at a time");
            assert!(!outlier.failed(Some(1), true, now, 0.5), "it is ejected already");
        }
        now += 60 * SECOND;
        outlier.probe(now);
        outlier.abandon_probe();
        assert_eq!(outlier.availability(now), Availability::Probe);
        outlier.succeeded();
        assert_eq!(outlier.availability(now), Availability::Ready);
    }

    #[test]
    fn the_last_one_and_those_of_whom_it_is_not_wanted_are_never_ejected() {
        let now = Instant::now();
        let mut outlier = Outlier::default();
        assert!((0..10).all(|_| !outlier.failed(None, true, now, 0.5) && !outlier.failed(Some(1), false, now, 0.5)));
        assert_eq!(outlier.availability(now), Availability::Ready);
    }

    #[test]
    fn the_time_is_drawn_within_a_fifth() {
        let now = Instant::now();
        for (random, least, most) in [(0.0, 3900, 4100), (1.0, 5900, 6100)] {
            let mut outlier = Outlier::default();
            outlier.failed(Some(1), true, now, random);
            assert_eq!(outlier.availability(now + Duration::from_millis(least)), Availability::Ejected);
            assert_eq!(outlier.availability(now + Duration::from_millis(most)), Availability::Probe);
        }
    }
}
