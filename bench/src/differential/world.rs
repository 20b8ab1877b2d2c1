//! What all cases share: both programs, the pairs that are served, and the CAs of clients.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::credentials::Pair;
use crate::wire::certificates::{Authority, Name, Usage, Validity, Wanted};

/// The instance.
pub(super) const GUID: &str = "51f0a000-a1b2-4c3d-5e6f-7a00";

/// The name that the router's certificate has.
pub(super) const ROUTER: &str = "gorouter.service.cf.internal";

/// Which of the two is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// The real Envoy.
    Envoy,
    /// Vestibule in its place.
    Vestibule,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Envoy, Self::Vestibule];
}

/// What all cases share.
pub(super) struct World {
    /// The instance's pair.
    pub(super) id: Pair,
    /// Its next one.
    pub(super) next_id: Pair,
    /// The pair between containers.
    pub(super) c2c: Pair,
    /// Its next one.
    pub(super) next_c2c: Pair,
    /// What is written when the instance is about to go.
    pub(super) retired: Pair,
    /// The CA of the platform's own clients.
    pub(super) platform: Authority,
    /// A CA that nobody trusts at first.
    pub(super) stranger: Authority,
    /// The router's pair.
    pub(super) router: Pair,
    vestibule: PathBuf,
    envoy: PathBuf,
    labels: Vec<(Vec<u8>, &'static str)>,
    work: TempDir,
}

impl World {
    /// Lets `vestibule` issue the pairs, and makes the CAs.
    ///
    /// # Errors
    /// Something of that fails.
    pub(super) fn make(vestibule: PathBuf, envoy: PathBuf) -> Result<Self> {
        let work =
            tempfile::Builder::new().prefix("vestibule-differential-").tempdir().context("cannot make a folder")?;
        let ca = work.path().join("ca");
        let issue =
            |more: &[&str]| Pair::issue(&vestibule, &ca, &[&["--key", "rsa-2048", "--instance", GUID], more].concat());
        let [id, next_id, c2c, next_c2c] = [issue(&[])?, issue(&[])?, issue(&[])?, issue(&[])?];
        let retired = issue(&["--retire"])?;
        let named = [(&id, "id"), (&next_id, "next id"), (&c2c, "c2c"), (&next_c2c, "next c2c"), (&retired, "retired")];
        let label = |(pair, label): (&Pair, _)| Ok::<_, anyhow::Error>((leaf(pair)?, label));
        let labels = named.into_iter().map(label).collect::<Result<_>>()?;
        let (platform, stranger) = (Authority::root("platform")?, Authority::root("stranger")?);
        let router = platform.client(router())?;
        Ok(Self { id, next_id, c2c, next_c2c, retired, platform, stranger, router, vestibule, envoy, labels, work })
    }

    /// The program of a side.
    pub(super) fn program(&self, side: Side) -> &Path {
        match side {
            Side::Envoy => &self.envoy,
            Side::Vestibule => &self.vestibule,
        }
    }

    /// The instances' CA.
    pub(super) fn ca(&self) -> PathBuf {
        self.work.path().join("ca/ca.crt")
    }

    /// A fresh folder, removed by whoever holds it.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn folder(&self) -> Result<TempDir> {
        TempDir::new_in(self.work.path()).context("cannot make a folder")
    }

    /// Writes a file that lives as long as all of this.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.work.path().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// What a certificate is called here.
    pub(super) fn label(&self, der: &[u8]) -> &'static str {
        self.labels.iter().find(|(known, _)| known == der).map_or("an unknown certificate", |(_, label)| label)
    }
}

/// What the router's certificate says.
pub(super) fn router() -> Wanted<'static> {
    Wanted { names: &[Name::Dns(ROUTER)], validity: Validity::Now, usage: Some(Usage::Client) }
}

fn leaf(pair: &Pair) -> Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_slice(pair.chain.as_bytes())?.to_vec())
}
