//! TLS as the client sees it: rustls on aws-lc-rs, and nothing else.

#[cfg(any(test, feature = "fuzzing"))]
pub mod differential;
mod handshake;
mod hello;
mod negotiation;
mod outgoing;
mod protection;
mod provider;
mod refusal;
mod server;
mod server_name;
mod session;
#[cfg(any(test, feature = "fuzzing"))]
mod test_client;
mod witness;

pub use handshake::Established;
pub use handshake::HandshakeError;
pub use handshake::Turns;
pub use handshake::handshake;
pub use hello::Hello;
pub use hello::HelloError;
pub use hello::read_hello;
pub use negotiation::Negotiated;
pub use outgoing::Outgoing;
pub use protection::Exhausted;
pub use protection::record_length;
pub use provider::provider;
pub use server::Answer;
pub use server::Offer;
pub use session::Decrypted;
pub use session::Session;
pub use session::Violation;
pub use witness::Witness;
