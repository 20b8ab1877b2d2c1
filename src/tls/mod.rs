//! TLS with clients, and with the servers that the app dials: rustls on aws-lc-rs, and nothing else.

mod alert;
mod client_config;
mod client_handshake;
mod client_hello;
mod client_verifier;
#[cfg(any(test, feature = "fuzzing"))]
pub mod differential;
mod handshake;
mod handshake_driver;
mod hello_reader;
mod hello_rules;
mod record;
mod server_config;
mod server_name;
mod server_verifier;
mod session;
mod stream;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod test_peer;
mod violation;

pub use client_config::client_config;
pub use client_handshake::{EstablishedWithServer, ServerHandshakeError, client_handshake};
pub use client_verifier::ClientVerifier;
pub use handshake::{Established, HandshakeError, SigningLimiter, handshake};
pub use handshake_driver::Negotiated;
pub use hello_reader::{Hello, HelloError, old_tls_alert, read_hello};
pub use record::{KeyLimitReached, record_length};
pub use server_config::{Selected, ServerConfigs};
pub use server_verifier::denial_of;
pub use session::{Decrypted, Session};
pub use stream::Stream;
pub(crate) use stream::StreamParts;
pub use violation::Violation;
