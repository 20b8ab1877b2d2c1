//! Requests to the forward proxy: what is sent on is for the server that was named, and can be read in one way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::outbound::fuzzing::requests;

fuzz_target!(|bytes: &[u8]| {
    let _ = requests(bytes);
});
