//! When a file is written again. Pure.

use std::time::Duration;

/// The first retry of a file that could not be written.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Between two retries, at most.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// From the issue of a token that lives for `life` to that of its successor: two thirds of it, less up to a tenth, so that those who were started
/// together do not all sign together. `draw` is between 0 and 1.
pub(super) fn refresh_after(life: Duration, draw: f64) -> Duration {
    (life * 2 / 3).mul_f64(1.0 - draw.clamp(0.0, 1.0) / 10.0)
}

/// From the last of so many failures in a row to the next attempt.
pub(super) fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_at_two_thirds_of_its_life_less_up_to_a_tenth() {
        let life = Duration::from_secs(300);
        assert_eq!(refresh_after(life, 0.0), Duration::from_secs(200));
        assert_eq!(refresh_after(life, 0.5), Duration::from_secs(190));
        assert_eq!(refresh_after(life, 1.0), Duration::from_secs(180));
        assert_eq!(refresh_after(Duration::ZERO, 1.0), Duration::ZERO);
    }

    #[test]
    fn retries_are_doubled_from_a_second_to_five_minutes() {
        let seconds: Vec<_> = (1..=11).map(|failures| retry_after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(retry_after(u32::MAX), LONGEST_RETRY);
    }
}
