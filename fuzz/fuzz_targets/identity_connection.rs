//! Whole connections to the identity endpoint: whatever comes, and however it is cut, there is one whole answer or the end.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vestibule::identity_endpoint::fuzzing::connection;

/// An answer begins within this time, as a rule; otherwise the request is waited for no longer.
const WAIT: Duration = Duration::from_millis(5);

fuzz_target!(|input: &[u8]| {
    if let Some((piece, bytes)) = input.split_first() {
        let _ = connection(bytes, usize::from(*piece), WAIT);
    }
});
