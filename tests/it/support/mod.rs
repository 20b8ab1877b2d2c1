//! What the tests stand on.

pub(crate) mod app;
pub(crate) mod cell;
pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod credhub;
pub(crate) mod diego;
pub(crate) mod dns;
pub(crate) mod http_app;
pub(crate) mod machine;
pub(crate) mod platform;
pub(crate) mod sidecar;

use std::time::{Duration, Instant};

/// How long a fact may take to come true before a test fails. Generous: machines are shared.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Holds what `attempt` takes to `limit`. A busy machine makes some attempts long; a wait of the program's own makes all of them long, so
/// one that is short enough is enough.
#[track_caller]
pub(crate) fn within(limit: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut longer = Vec::new();
    while longer.len() < 5 {
        let took = attempt();
        if took < limit {
            return;
        }
        longer.push(took);
    }
    panic!("none within {limit:?}: {longer:?}");
}

/// Waits until `fact` gives something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {TEST_TIMEOUT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
