//! The client: connections, requests, and what they took.

pub(crate) mod bare;
mod connection;
mod http2;
pub(crate) mod pace;
pub(crate) mod percentiles;
pub(crate) mod storm;
pub(crate) mod tls;

pub(crate) use connection::{Connection, Target};
pub(crate) use http2::Http2;
pub(crate) use tls::Client;
