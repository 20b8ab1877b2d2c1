//! PROXY headers as whoever stands in front of us sends them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::proxy_protocol::Header;

fuzz_target!(|bytes: &[u8]| {
    let _ = Header::parse(bytes);
});
