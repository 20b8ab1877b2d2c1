//! Vestibule: an mTLS sidecar proxy and container entrypoint.
//!
//! It lives inside an application's container, terminates TLS with the instance's own short-lived
//! identity, and hands plaintext to the app; for what the app dials it shows that identity itself. Five stories,
//! which ARCHITECTURE.md tells in full:
//!
//! - a connection: accept → ClientHello → dial → handshake → authorize → relay → access log entry
//! - a request (HTTP mode): scan → hyper → validate → forward → answer → access log entry
//! - an outbound connection: accept → endpoint → handshake → authorize the server → relay → access log entry
//! - a credential (certificate rotation): files → watch → load → check → swap → serve
//! - a process (graceful shutdown): parse → listen → start the app → ready → drain → exit
//!
//! Secrets for the app's environment (`secrets`) and tokens signed with the instance's key (`token`, `identity_endpoint`) stand beside them.

pub mod diagnostics;
pub mod exit;
pub mod pem;
pub mod secret;
pub mod signal;
mod sys;

pub mod crypto;
pub mod identity;
pub mod issuer;
pub mod policy;

pub mod budget;
pub mod config;
mod http;
pub use http::path as request_path;
#[cfg(any(test, feature = "fuzzing"))]
pub use http::{differential as request_differential, fuzzing as http_fuzzing};
pub mod io;
pub mod proxy_protocol;
pub mod xfcc;

pub mod credentials;
pub mod tls;
pub mod trust;

pub mod relay;
pub mod telemetry;
pub mod upstream;

pub mod lifecycle;
pub mod supervisor;

pub mod inbound;
pub mod listener;

pub mod identity_endpoint;
pub mod token;

pub mod admin;
pub mod app_files;
pub mod metrics;
pub mod outbound;
pub mod sandbox;
pub mod secrets;

pub mod cli;
pub mod commands;
pub mod sidecar;

#[cfg(test)]
mod simulation;
