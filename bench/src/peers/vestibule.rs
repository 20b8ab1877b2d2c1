//! Vestibule, at its defaults but for what all peers share: one thread.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::Peer;
use super::Site;
use crate::credentials::Pair;

/// The build that the run is about.
pub(crate) const NAME: &str = "vestibule";

/// A build of vestibule.
pub(super) struct Vestibule {
    name: String,
    binary: PathBuf,
}

impl Vestibule {
    /// The one at `binary`, which the tables call `name`.
    pub(super) fn new(name: &str, binary: &Path) -> Self {
        Self { name: name.to_owned(), binary: binary.to_owned() }
    }
}

impl Peer for Vestibule {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        super::version_in(&super::says(&self.binary, &["--version"]))
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let pair = site.credentials.first();
        let mut command = Command::new(&self.binary);
        command
            .args(["proxy", "--threads", "1"])
            .args(["--listen", &site.listen.to_string(), "--app", &site.app.to_string()])
            .args(["--admin", &site.spare[0].to_string()])
            .arg("--cert")
            .arg(site.write("instance.crt", &pair.chain)?)
            .arg("--key")
            .arg(site.write("instance.key", &pair.key)?);
        if site.asks_clients {
            command.args(["--client-auth", "require", "--client-ca"]).arg(&site.credentials.ca);
        }
        if let Some(which) = site.access_log {
            command.args(["--access-log", which]);
        }
        Ok(command)
    }

    fn is_vestibule(&self) -> bool {
        true
    }

    fn rotates(&self) -> bool {
        true
    }

    fn rotate(&self, site: &Site<'_>, pair: &Pair) -> Result<()> {
        site.replace("instance.crt", &pair.chain)?;
        site.replace("instance.key", &pair.key)
    }
}
