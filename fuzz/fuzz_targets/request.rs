//! Requests as apps send them: hyper sees those that were judged, and no others, however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::request_differential::agree;

fuzz_target!(|input: &[u8]| {
    if let Some((size, bytes)) = input.split_first() {
        let _ = agree(bytes, usize::from(*size));
    }
});
