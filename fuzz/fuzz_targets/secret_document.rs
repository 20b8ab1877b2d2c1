//! VCAP_SERVICES: all bytes but those of credentials that are references stay as they were.

use vestibule::secrets::fuzzing;

pub fn fuzz(text: &str) {
    fuzzing::document(text);
}
