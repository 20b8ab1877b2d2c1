//! Whole connections to the identity endpoint: whatever comes, and however it is cut, there is one whole answer or the end.

use std::time::Duration;

use vestibule::identity_endpoint::fuzzing::connection;

/// An answer begins within this time, as a rule; otherwise the request is waited for no longer.
const WAIT: Duration = Duration::from_millis(5);

pub fn fuzz(input: &[u8]) {
    if let Some((piece, bytes)) = input.split_first() {
        let _ = connection(bytes, usize::from(*piece), WAIT);
    }
}
