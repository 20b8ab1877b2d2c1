//! What apps answer while the instance goes: every byte reaches the client, and it is told to let go where it may be told.

use vestibule::http_fuzzing::response;

pub fn fuzz(input: &[u8]) {
    response(input);
}
