//! The specification, as tests: real sockets, real files, the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod support;

mod access_log;
mod actions;
mod app_files;
mod architecture;
mod browser;
mod check;
mod clients;
mod command_line;
mod contrib;
mod conversations;
mod demo;
mod docs;
mod entrypoint;
mod envoy;
mod envoy_documents;
mod handshake;
mod health;
mod identity_endpoint;
mod kinds;
mod log;
mod manual;
mod memory;
mod metrics;
mod outbound;
mod policy;
mod process;
mod proxy_protocol;
mod relay;
mod reloads;
mod resource_limits;
mod rolling;
mod rotation;
mod secrets;
mod server_names;
mod session;
mod shutdown_idle;
mod slow_readers;
mod status;
mod supervisor;
mod token_commands;
mod token_receivers;
mod trust;
mod watching;
