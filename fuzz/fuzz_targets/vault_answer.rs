//! What Vault answers, or whoever stands in its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::secrets::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::vault_answer(bytes));
