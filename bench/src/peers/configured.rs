//! Vestibule with more configured than the others have: as the app's entrypoint, in HTTP mode, with an outbound listener. They are there
//! to be compared when nothing is asked of them.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::vestibule::Vestibule;
use super::{Peer, Site};
use crate::credentials::SERVER_APP;

/// The app's entrypoint, with nothing else configured.
pub(crate) const RUN: &str = "run";

/// A build of vestibule.
pub(super) struct Configured {
    build: Vestibule,
    command: &'static str,
    with: With,
}

/// What is configured.
#[derive(Clone, Copy)]
enum With {
    Nothing,
    Http,
    Outbound,
}

/// All of them, of the build at `binary`.
pub(super) fn all(binary: &Path) -> impl Iterator<Item = Configured> {
    [
        ("proxy-http", Vestibule::PROXY, With::Http),
        ("proxy-outbound", Vestibule::PROXY, With::Outbound),
        (RUN, Vestibule::RUN, With::Nothing),
        ("run-http", Vestibule::RUN, With::Http),
        ("run-outbound", Vestibule::RUN, With::Outbound),
    ]
    .map(|(name, command, with)| Configured { build: Vestibule::new(name, binary), command, with })
    .into_iter()
}

impl Peer for Configured {
    fn name(&self) -> &str {
        self.build.name()
    }

    fn version(&self) -> String {
        "the same".to_owned()
    }

    fn program(&self) -> &Path {
        self.build.program()
    }

    fn command(&self, site: &Site<'_>) -> Result<Command> {
        let mut command = self.build.command_as(self.command, site)?;
        match self.with {
            With::Nothing => {}
            With::Http => {
                command.args(["--mode", "http"]);
            }
            With::Outbound => {
                command
                    .args(["--outbound", &format!("{}={}", site.spare[1], site.server)])
                    .args(["--outbound-expect", &format!("cf:app:{SERVER_APP}")])
                    .arg("--outbound-ca")
                    .arg(&site.credentials.ca);
            }
        }
        if self.starts_the_app() {
            // What serves is the app of all; this one is there to be its child.
            command.args(["--", "sleep", "1000000"]);
        }
        Ok(command)
    }

    fn speaks_http(&self) -> bool {
        matches!(self.with, With::Http)
    }

    fn is_vestibule(&self) -> bool {
        true
    }

    fn carries(&self) -> bool {
        false
    }

    fn starts_the_app(&self) -> bool {
        self.command == Vestibule::RUN
    }
}
