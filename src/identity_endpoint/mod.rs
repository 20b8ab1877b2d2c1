//! Where the app asks who it is, for tokens, and whether the tokens of others are good: a small HTTP/1.1 server on a socket file or on
//! loopback.
//!
//! accept → user → head → body → cache, or signature → answer
//!
//! The app needs no key and no cryptography for it. What protects it is in `protections.rs`: no web page, no proxy and no request that an app was
//! talked into (SSRF) gets a token. Each connection is one request with bounds on everything.

mod bearer_token;
mod body;
mod cache;
mod connection;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod identity;
mod protections;
mod rate;
mod rejection;
mod response;
mod service;
mod token_request;
mod verification;

pub use bearer_token::{BearerTokenFile, BearerTokenWatcher};
pub use service::{IdentityService, MAX_CONNECTIONS, MAX_REFUSED};
pub use verification::EndpointVerifier;
