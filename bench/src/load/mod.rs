//! The client: connections, requests, and what they took.

pub(crate) mod bare;
mod connection;
pub(crate) mod pace;
pub(crate) mod percentiles;
pub(crate) mod storm;
pub(crate) mod tls;

pub(crate) use connection::{Connection, Target};
pub(crate) use tls::Client;
