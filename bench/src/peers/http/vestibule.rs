//! Vestibule in HTTP mode, at its defaults.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::peers::vestibule::Vestibule;
use crate::peers::{Peer, Site};

/// A build of vestibule that reads requests.
pub(super) struct HttpMode {
    build: Vestibule,
}

impl HttpMode {
    /// The one at `binary`, which the tables call `name`.
    pub(super) fn new(name: &str, binary: &Path) -> Self {
        Self { build: Vestibule::new(name, binary) }
    }
}

impl Peer for HttpMode {
    fn name(&self) -> &str {
        self.build.name()
    }

    fn version(&self) -> String {
        self.build.version()
    }

    fn program(&self) -> &Path {
        self.build.program()
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let mut command = self.build.command(site)?;
        command.args(["--mode", "http"]);
        Ok(command)
    }

    fn speaks_http(&self) -> bool {
        true
    }

    fn is_vestibule(&self) -> bool {
        true
    }
}
