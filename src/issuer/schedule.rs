//! When Diego rotates.

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// The time from one rotation to the next, for credentials that live `validity`: half an hour before they expire, or
/// an eighth of their life if they live four hours or less.
pub fn rotate_after(validity: Duration) -> Duration {
    if validity > 4 * HOUR { validity - HOUR / 2 } else { validity * 7 / 8 }
}

#[cfg(test)]
mod tests {
    use super::{HOUR, rotate_after};
    use std::time::Duration;

    #[test]
    fn the_schedule_is_diegos() {
        assert_eq!(rotate_after(24 * HOUR), Duration::from_secs(84_600), "23.5 h");
        assert_eq!(rotate_after(4 * HOUR + Duration::from_secs(1)), Duration::from_secs(12_601));
        assert_eq!(rotate_after(4 * HOUR), Duration::from_secs(12_600));
        assert_eq!(rotate_after(HOUR), Duration::from_secs(3150), "52.5 min");
        assert_eq!(rotate_after(Duration::from_secs(8)), Duration::from_secs(7));
    }
}
