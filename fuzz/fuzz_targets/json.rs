//! JSON of strangers: what is read is what serde_json reads, and an object.

use serde_json::Value;
use vestibule::token::strict_json;

pub fn fuzz(bytes: &[u8]) {
    if let Ok(members) = strict_json::object(bytes) {
        assert_eq!(serde_json::from_slice::<Value>(bytes).ok(), Some(Value::Object(members)));
    }
}
