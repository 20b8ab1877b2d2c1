//! Requests to the forward proxy: what is sent on is for the server that was named, and can be read in one way.

use vestibule::outbound::fuzzing::requests;

pub fn fuzz(bytes: &[u8]) {
    let _ = requests(bytes);
}
