//! Requests as apps and clients send them: hyper sees those that were judged, and no others, however the bytes are cut.

use vestibule::request_differential::{agree, agree_as_server};

pub fn fuzz(input: &[u8]) {
    // The lowest bit says who is asked, the others how the bytes are cut.
    match input.split_first() {
        Some((first, bytes)) if first & 1 == 1 => drop(agree(bytes, usize::from(first >> 1))),
        Some((first, bytes)) => drop(agree_as_server(bytes, usize::from(first >> 1))),
        None => {}
    }
}
