//! TLS as the client sees it: rustls on aws-lc-rs, and nothing else.

mod alert;
mod client_verifier;
#[cfg(any(test, feature = "fuzzing"))]
pub mod differential;
mod handshake;
mod handshake_driver;
mod hello;
mod outgoing;
mod provider;
mod record;
mod server_config;
mod server_name;
mod session;
#[cfg(any(test, feature = "fuzzing"))]
mod test_client;

pub use client_verifier::ClientVerifier;
pub use handshake::Established;
pub use handshake::HandshakeError;
pub use handshake::SigningLimiter;
pub use handshake::handshake;
pub use handshake_driver::Negotiated;
pub use hello::Hello;
pub use hello::HelloError;
pub use hello::read_hello;
pub use outgoing::Outgoing;
pub use provider::provider;
pub use record::KeyLimitReached;
pub use record::record_length;
pub use server_config::Selected;
pub use server_config::ServerConfigs;
pub use session::Decrypted;
pub use session::Session;
pub use session::Violation;
