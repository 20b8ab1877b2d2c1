//! What the comparisons with Envoy share: a blocking client that can say how a connection closed, the certificates of clients, and what
//! gorouter would make of it all.

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod end;
pub(crate) mod gorouter;
