//! What apps answer while the instance goes: every byte reaches the client, and it is told to let go where it may be told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::http_fuzzing::response;

fuzz_target!(|input: &[u8]| response(input));
