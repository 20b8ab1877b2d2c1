//! Values of variables and strings of documents: whatever stands there, they are read without harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::secrets::fuzzing;

fuzz_target!(|text: &str| fuzzing::reference(text));
