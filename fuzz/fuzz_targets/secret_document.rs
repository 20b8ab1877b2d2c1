//! VCAP_SERVICES: all bytes but those of credentials that are references stay as they were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::secrets::fuzzing;

fuzz_target!(|text: &str| fuzzing::document(text));
