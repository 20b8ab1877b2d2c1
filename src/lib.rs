//! Vestibule: the small room between the street door and the house.
//!
//! A TLS proxy that lives inside an application's container, terminates TLS with the instance's own short-lived
//! identity, and hands plaintext to the app. Three stories, in the order of the modules below:
//!
//! - a process: parse → listen → start the app → ready → drain → exit
//! - a credential: files → watch → load → check the pair → swap → serve
//! - a connection: accept → ClientHello → dial → handshake → relay → record

pub mod budget;
pub mod buffers;
pub mod cli;
pub mod config;
pub mod exit;

pub mod identity;
pub mod issuer;
pub mod pem;
pub mod policy;
pub(crate) mod redact;

pub mod credentials;
pub mod proxy_protocol;
pub mod tls;

pub mod inbound;
pub mod listener;
pub mod relay;
pub mod upstream;

pub mod admin;
pub mod lifecycle;
pub mod supervisor;
pub mod telemetry;

pub mod commands;
pub mod sidecar;
mod sys;
