//! JSON of strangers: what is read is what serde_json reads, and an object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vestibule::token::strict_json;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(members) = strict_json::object(bytes) {
        assert_eq!(serde_json::from_slice::<Value>(bytes).ok(), Some(Value::Object(members)));
    }
});
