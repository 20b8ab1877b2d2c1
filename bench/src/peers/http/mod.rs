//! Vestibule, and the programs that it is compared with, as proxies that serve HTTP: they answer HTTP/1.1 and HTTP/2 clients over TLS,
//! and ask the app in HTTP/1.1.

mod envoy;
mod vestibule;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::vestibule::Vestibule;
use super::{ENVOY_MEND, Found, Peer, VESTIBULE};

use vestibule::HttpMode;

/// The same build of vestibule, which carries bytes and reads none of them.
pub(crate) const TCP_MODE: &str = "tcp-mode";

/// Looks for all of them; as [`super::find`].
///
/// # Errors
/// As [`super::find`].
pub(crate) fn find(vestibule: &Path, also: &[(String, PathBuf)]) -> Result<Found> {
    let ours: [Box<dyn Peer>; 2] =
        [Box::new(HttpMode::new(VESTIBULE, vestibule)), Box::new(Vestibule::new(TCP_MODE, vestibule))];
    let mut found = Found { peers: ours.into(), missing: vec![] };
    found.also(also, |name, path| Box::new(HttpMode::new(name, path)))?;
    found.take("envoy", ENVOY_MEND, super::envoy::find().map(envoy::ConnectionManager));
    found.take("haproxy", "apt-get install haproxy", super::haproxy::find_for_http());
    found.take("nginx", "apt-get install nginx", super::nginx::find_for_http());
    Ok(found)
}
