//! What CredHub answers, or whoever stands in its place.

use vestibule::secrets::fuzzing;

pub fn fuzz(bytes: &[u8]) {
    fuzzing::credhub_answer(bytes);
}
