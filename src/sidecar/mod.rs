//! The proxy as a whole: `Config` → [`Sidecar`] (listening) → `Exit`. The only module that wires the others together.

mod app_files;
mod child;
mod forward_proxy;
mod identity_endpoint;
mod inbound;
mod leases;
mod open;
mod outbound;
mod outbound_socket;
mod platform_pair;
mod proxy_environment;
mod rotation_events;
mod rotation_hook;
mod running;
mod sandbox;
mod secrets;
mod serve;
mod shared;
mod shutdown;
#[cfg(test)]
mod simulation;
mod sockets;
mod workers;

pub use self::open::Sidecar;
pub use self::sandbox::launch;
pub use self::workers::{Workers, runtime};
