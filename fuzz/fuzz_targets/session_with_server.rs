//! What a server with the right keys says after the handshake, however it is cut into reads: our session, by which the app dials it, and
//! rustls's come to the same end, and keep as many of its tickets.

use vestibule::tls::differential::{Peer, Schedule};

pub fn fuzz(bytes: &[u8]) {
    Schedule::from_bytes(Peer::Server, bytes).run();
}
