//! What a client with the right keys says after the handshake, however it is cut into reads: our session and rustls's come to the
//! same end.

use vestibule::tls::differential::{Peer, Schedule};

pub fn fuzz(bytes: &[u8]) {
    Schedule::from_bytes(Peer::Client, bytes).run();
}
