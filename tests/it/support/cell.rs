//! A container's configuration folder, written as the cell writes it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use vestibule::issuer::InstanceSpec;

use super::client::{Connector, connector};
use super::credentials::{issue_rsa, leaf};
use super::diego::{Container, sds_pair, sds_validation_context};
use super::sidecar::{Setup, Sidecar};
use super::{app, eventually};

/// Where the files are in a container.
const FOLDER: &str = "/etc/cf-assets/envoy_config";

/// What starts a proxy that says everything.
const LOUD: [&str; 4] = ["--drain-time-s", "900", "--log-level", "debug"];

/// A container on a cell.
pub(crate) struct Cell {
    dir: TempDir,
    container: Container,
    /// The text of `envoy.yaml`, once everything in it is where the test wants it.
    bootstrap: String,
    /// The bundle of CAs whose clients are trusted.
    pub(crate) trusted: String,
    /// Which of these clients may come in.
    pub(crate) names: Vec<&'static str>,
    pub(crate) spec: InstanceSpec,
}

impl Cell {
    /// A container whose apps listen there, one for each of its ports. Listeners and admin are on free ports, and nothing has
    /// been written yet.
    pub(crate) fn unwritten(container: Container, apps: &[SocketAddr]) -> Self {
        let dir = TempDir::new().unwrap();
        let container = Container { ip: "127.0.0.1", ..container };
        let folder = dir.path().to_str().unwrap().to_owned();
        let mut cell = Self {
            bootstrap: container.envoy_yaml().replace(FOLDER, &folder),
            dir,
            container,
            trusted: String::new(),
            names: Vec::new(),
            spec: InstanceSpec::generate().unwrap(),
        };
        cell.edit("address: 0.0.0.0", "address: 127.0.0.1");
        cell.edit(&port(container.admin_port()), &port(0));
        for (_, proxy) in container.listeners() {
            cell.edit(&port(proxy), &port(0));
        }
        assert_eq!(apps.len(), container.ports.len());
        for (known, app) in container.ports.iter().zip(apps) {
            cell.edit(&port(*known), &port(app.port()));
        }
        cell
    }

    /// The same with all files in place, for whoever needs no clients' certificates.
    pub(crate) fn new(container: Container, apps: &[SocketAddr]) -> Self {
        let cell = Self::unwritten(container, apps);
        cell.update();
        cell
    }

    /// Replaces everything in `envoy.yaml` that reads `from`.
    #[track_caller]
    pub(crate) fn edit(&mut self, from: &str, to: &str) {
        assert!(self.bootstrap.contains(from), "{from:?} is not there");
        self.bootstrap = self.bootstrap.replace(from, to);
    }

    /// Puts the listeners, in their order, and then the admin address on ports that the test knows beforehand.
    pub(crate) fn on_known_ports(&mut self) -> Vec<SocketAddr> {
        let addrs: Vec<_> = (0..=self.listeners()).map(|_| app::nobody()).collect();
        // The admin address comes first in the file.
        for addr in addrs.iter().rev().take(1).chain(addrs.iter().take(self.listeners())) {
            self.bootstrap = self.bootstrap.replacen(&port(0), &port(addr.port()), 1);
        }
        addrs
    }

    /// How many listeners there are.
    pub(crate) fn listeners(&self) -> usize {
        self.container.listeners().len()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `envoy.yaml`
    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.dir().join("envoy.yaml")
    }

    /// What the cell writes there.
    pub(crate) fn bootstrap_text(&self) -> &str {
        &self.bootstrap
    }

    /// Where the secret of that name is.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.dir().join(format!("sds-{name}.yaml"))
    }

    /// Writes everything in the platform's order; gives the leaves of the id pair and of the C2C pair.
    pub(crate) fn update(&self) -> (CertificateDer<'static>, CertificateDer<'static>) {
        // In place, as the cell does.
        fs::write(self.bootstrap(), &self.bootstrap).unwrap();
        let leaves = (self.rotate("id-cert-and-key"), self.rotate("c2c-cert-and-key"));
        self.write_context();
        leaves
    }

    /// A new pair in the secret of that name; gives its leaf.
    pub(crate) fn rotate(&self, name: &str) -> CertificateDer<'static> {
        let credential = issue_rsa(&self.spec);
        self.replace(name, &sds_pair(name, &credential.cert_pem, &credential.key_pem));
        leaf(credential.cert_pem.as_bytes())
    }

    /// The validation context, as `trusted` and `names` say.
    pub(crate) fn write_context(&self) {
        self.replace("id-validation-context", &sds_validation_context(&self.trusted, &self.names));
    }

    /// Replaces a secret's file: written beside it, and renamed.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let path = self.secret(name);
        let draft = path.with_extension("yaml.tmp");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    /// What the platform does before it stops an instance: pairs without a name, by the same renames.
    pub(crate) fn retire(&mut self) -> (CertificateDer<'static>, CertificateDer<'static>) {
        let retired = self.spec.retired();
        let spec = std::mem::replace(&mut self.spec, retired);
        let leaves = self.update();
        self.spec = spec;
        leaves
    }

    /// What starts the proxy, saying everything.
    pub(crate) fn setup(&self) -> Setup {
        LOUD.iter()
            .fold(Setup::command(&["envoy", "-c", self.bootstrap().to_str().unwrap()]), |setup, arg| setup.arg(arg))
    }

    /// Starts the proxy and waits for its listeners.
    pub(crate) fn listening(&self) -> Sidecar {
        let sidecar = self.setup().start();
        self.wait_for_listeners(&sidecar);
        sidecar
    }

    pub(crate) fn wait_for_listeners(&self, sidecar: &Sidecar) {
        eventually("all listeners", || (sidecar.lines_of("listening").len() == self.listeners()).then_some(()));
    }

    /// Starts the proxy and waits until it shows both pairs.
    pub(crate) fn serving(&self) -> Sidecar {
        let sidecar = self.listening();
        eventually("both pairs", || (sidecar.lines_of("certificate loaded").len() == 2).then_some(()));
        sidecar
    }

    /// A client that expects this instance.
    pub(crate) fn connector(&self) -> Connector {
        connector(self.spec.instance.as_ref().unwrap().as_str())
    }
}

fn port(port: u16) -> String {
    format!("port_value: {port}\n")
}
