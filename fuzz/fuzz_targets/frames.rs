//! Frames of HTTP/2: those that are counted are those that are there, however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::http_fuzzing::frames;

fuzz_target!(|input: &[u8]| frames(input));
