//! Fresh credentials of Diego's shape, written by the product's own issuer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The size of an RSA key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rsa {
    /// 2048 bits: what Diego issues by default.
    Bits2048,
    /// 3072 bits: what it issues where that is asked for.
    Bits3072,
}

impl Rsa {
    fn option(self) -> &'static str {
        match self {
            Self::Bits2048 => "rsa-2048",
            Self::Bits3072 => "rsa-3072",
        }
    }
}

/// A certificate chain and its key, as PEM text.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The chain, leaf first.
    pub(crate) chain: String,
    /// The key, PKCS#1.
    pub(crate) key: String,
}

impl Pair {
    fn read(dir: &Path, name: &str) -> Result<Self> {
        let read = |ending: &str| {
            let path = dir.join(format!("{name}.{ending}"));
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Self { chain: read("crt")?, key: read("key")? })
    }

    /// Lets `vestibule issuer` write one into `dir`, under the CA that is there, or a new one; `options` are its own.
    ///
    /// # Errors
    /// The issuer fails; the message says what it wrote.
    pub(crate) fn issue(vestibule: &Path, dir: &Path, options: &[&str]) -> Result<Self> {
        let out = Command::new(vestibule)
            .arg("issuer")
            .arg(dir)
            .arg("--once")
            .args(options)
            .output()
            .with_context(|| format!("cannot start {}", vestibule.display()))?;
        ensure!(out.status.success(), "vestibule issuer failed: {}", String::from_utf8_lossy(&out.stderr).trim());
        Self::read(dir, "instance")
    }

    /// Key and chain in one file, as some servers want them.
    pub(crate) fn combined(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

/// The app whose pairs servers have: a proxy of a client may be told that nobody else is to answer.
pub(crate) const SERVER_APP: &str = "7ae0f2c4-3c5e-4d0a-9a3a-2f9f6d6c1b58";

/// What one CA has issued.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The CA's certificates, PEM.
    pub(crate) ca: PathBuf,
    /// The server's pairs: the first is served at the start, the others are for rotations.
    pub(crate) pairs: Vec<Pair>,
    /// A client's pair.
    pub(crate) client: Pair,
}

impl Credentials {
    /// Lets `vestibule issuer` write `pairs` pairs of the kind `rsa` into `dir`.
    ///
    /// # Errors
    /// The issuer fails; the message says what it wrote.
    pub(crate) fn issue(vestibule: &Path, dir: &Path, rsa: Rsa, pairs: usize) -> Result<Self> {
        let mut issued = Vec::new();
        for _ in 0..pairs {
            issued.push(Pair::issue(vestibule, dir, &["--client", "--app", SERVER_APP, "--key", rsa.option()])?);
        }
        Ok(Self { ca: dir.join("ca.crt"), pairs: issued, client: Pair::read(dir, "client")? })
    }

    /// The pair that is served at the start.
    pub(crate) fn first(&self) -> &Pair {
        &self.pairs[0]
    }
}
