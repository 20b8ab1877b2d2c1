//! PROXY headers as whoever stands in front of us sends them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::proxy_protocol::ReceivedHeader;

fuzz_target!(|bytes: &[u8]| {
    let _ = ReceivedHeader::parse(bytes);
});
