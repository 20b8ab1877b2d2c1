//! Where a pair is.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;

use super::options::{self, Preset};
use super::raw_value::RawValue;
use super::reader::{OptionReader, Reported, is_user_given};
use crate::diagnostics::{Problem, Source};

/// Where Diego writes the pair of its own proxy, in every container.
pub const PLATFORM_PAIR: &str = "/etc/cf-assets/envoy_config/sds-id-cert-and-key.yaml";

/// Where a pair is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PairSource {
    /// In two files.
    Files(PairFiles),
    /// In a document of secrets.
    Secret(SdsSecretRef),
}

/// A secret in a document as Envoy's discovery service (SDS) has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SdsSecretRef {
    /// Its name in the document.
    pub name: String,
    /// The document.
    pub path: PathBuf,
}

/// The two files of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PairFiles {
    /// PEM, leaf first.
    pub cert: PathBuf,
    /// PEM: PKCS#1, PKCS#8 or SEC1.
    pub key: PathBuf,
}

/// As log lines name a pair among several: the secret's name, or the certificate's file.
impl fmt::Display for PairSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(PairFiles { cert, .. }) => write!(f, "{}", cert.display()),
            Self::Secret(SdsSecretRef { name, .. }) => f.write_str(name),
        }
    }
}

impl OptionReader {
    pub(super) fn pair(&mut self) -> Result<PairSource, Reported> {
        let cert = self.path("cert");
        let key = self.path("key");
        let (cert, key) = (cert?, key?);
        self.cert_and_key_from_one_place()?;
        Ok(PairSource::Files(PairFiles { cert, key }))
    }

    /// Half a pair from one place and half from another never match. Better to say so now than to wait for a pair
    /// that will not come.
    fn cert_and_key_from_one_place(&mut self) -> Result<(), Reported> {
        let halves = (self.sources.values("cert").first(), self.sources.values("key").first());
        let (Some(cert), Some(key)) = halves else { return Ok(()) };
        let (half, other) = match origin("cert", cert).cmp(&origin("key", key)) {
            Ordering::Less => (cert, "key"),
            Ordering::Equal => return Ok(()),
            Ordering::Greater => (key, "cert"),
        };
        let beside = options::serving(other).and_then(|other| match &half.place {
            Source::Flag(_) => Some(other.flag()),
            Source::Variable(_) => other.variable(),
            Source::File { .. } => other.key().map(str::to_owned),
            Source::Platform(_) | Source::Default(_) => other.platform.map(str::to_owned),
        });
        let problem =
            Problem::new(format!("has no {other} beside it"), format!("give {} too", beside.unwrap_or_default()));
        let place = half.place.clone();
        Err(self.report(problem.at(place)))
    }
}

/// Whose word a credential's path is. The usual path counts as the default, whoever says it.
fn origin(name: &str, given: &RawValue) -> u8 {
    let default = options::serving(name).map(|option| option.default);
    let is_usual = matches!(default, Some(Preset::Value(path)) if given.value == path);
    match &given.place {
        place if is_user_given(place) => 0,
        Source::Platform(_) if !is_usual => 1,
        _ => 2,
    }
}
