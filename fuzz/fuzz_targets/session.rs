//! What a client with the right keys says after the handshake, however it is cut into reads: our session and rustls's come to the
//! same end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::tls::differential::Schedule;

fuzz_target!(|bytes: &[u8]| Schedule::from_bytes(bytes).run());
