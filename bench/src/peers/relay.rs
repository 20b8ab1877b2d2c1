//! The relay without TLS, which is this program under another name.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Peer, Site};

/// The floor.
pub(super) struct Relay {
    program: PathBuf,
}

impl Relay {
    /// # Errors
    /// We do not know our own path.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { program: std::env::current_exe().context("cannot tell the path of this program")? })
    }
}

impl Peer for Relay {
    fn name(&self) -> &str {
        "relay"
    }

    fn version(&self) -> String {
        "without TLS, the floor".to_owned()
    }

    fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.arg("relay").arg(site.listen.to_string()).arg(site.app.to_string());
        Ok(command)
    }

    fn speaks_tls(&self) -> bool {
        false
    }
}
