//! Vestibule, and the programs that it is compared with, as what stands between an app and a server that wants mutual TLS: they take
//! plaintext on loopback, show a client's certificate, and verify who answers.

mod envoy;
mod ghostunnel;
mod vestibule;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::relay::Relay;
use super::{ENVOY_MEND, Found, Peer, VESTIBULE};

use vestibule::{Outbound, Way};

/// Vestibule without an outbound listener: what one costs before it is used.
pub(crate) const WITHOUT: &str = "without outbound";

/// Vestibule that sends requests one by one over connections that are kept, as its option calls it.
pub(crate) const HTTP: &str = "http1";

/// Vestibule as a proxy for the app's own HTTP clients.
pub(crate) const FORWARD_PROXY: &str = "forward-proxy";

/// Envoy that sends requests one by one.
pub(crate) const ENVOY_HTTP: &str = "envoy-http1";

/// Looks for all of them; as [`super::find`].
///
/// # Errors
/// As [`super::find`].
pub(crate) fn find(vestibule: &Path, also: &[(String, PathBuf)]) -> Result<Found> {
    let ours: [Box<dyn Peer>; 4] = [
        Box::new(Outbound::new(VESTIBULE, vestibule, Way::Tcp)),
        Box::new(Outbound::new(HTTP, vestibule, Way::Http)),
        Box::new(Outbound::new(FORWARD_PROXY, vestibule, Way::ForwardProxy)),
        Box::new(vestibule::Without::new(WITHOUT, vestibule)),
    ];
    let mut found = Found { peers: ours.into(), missing: vec![] };
    found.also(also, |name, path| Box::new(Outbound::new(name, path, Way::Tcp)))?;
    found.take("envoy", ENVOY_MEND, super::envoy::find().map(envoy::EnvoyClient::new));
    found
        .peers
        .extend(super::envoy::find().map(|envoy| Box::new(envoy::EnvoyClient::for_http(envoy)) as Box<dyn Peer>));
    found.take("ghostunnel", "on PATH", super::ghostunnel::find().map(ghostunnel::GhostunnelClient));
    found.peers.push(Box::new(Relay::new()?));
    Ok(found)
}
