//! Frames of HTTP/2: those that are counted are those that are there, however the bytes are cut.

use vestibule::http_fuzzing::frames;

pub fn fuzz(input: &[u8]) {
    frames(input);
}
