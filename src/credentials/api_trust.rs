//! Who vouches for the servers whose API we call ourselves, and what those are shown.

use std::path::PathBuf;

use super::server_trust::system_cas;
use super::trust_files::{TrustFileKind, TrustFiles};
use super::{OutboundSnapshot, Pair, PairValidity, TrustError};
use crate::identity::{Certificate, Role};
use crate::tls;
use crate::trust::{NameCheck, ServerAuthenticator, ServerPolicy, ServerRemedies, TrustAnchors};

/// Where the CAs are found that vouch for the servers of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCas {
    /// A file or a folder; `None`: those of the platform and of this system.
    pub given: Option<PathBuf>,
    /// The platform's folder, `$CF_SYSTEM_CERT_PATH`. It need not be there.
    pub platform: Option<PathBuf>,
    /// The option that gives others.
    pub option: &'static str,
}

/// The CAs that vouch for the servers of an API, as they were read once.
#[derive(Debug, Clone)]
pub struct ApiTrust {
    anchors: TrustAnchors,
    asked: String,
    help: String,
}

impl ApiCas {
    fn places(&self) -> Vec<PathBuf> {
        match &self.given {
            Some(given) => vec![given.clone()],
            None => self.platform.iter().filter(|path| path.exists()).cloned().chain(system_cas()).collect(),
        }
    }
}

impl ApiTrust {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence with the remedy: a file cannot be read, or there is no CA in any.
    pub fn load(cas: &ApiCas) -> Result<Self, String> {
        let places = cas.places();
        let names: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
        let (names, option) = (names.join(" and "), cas.option);
        if places.is_empty() {
            return Err(format!("this system has no CAs, and there is no $CF_SYSTEM_CERT_PATH; add {option} FILE"));
        }
        // Who has named the file knows it by its option.
        let of_option = |what: String| match cas.given {
            Some(_) => format!("{option}: {what}"),
            None => what,
        };
        let files = TrustFiles::read(&places, TrustFileKind::Cas(Role::Server), None)
            .map_err(|error| of_option(error.with_help()))?;
        let (anchors, _) =
            TrustAnchors::parse(&files.texts, &[], Role::Server).map_err(|error| match files.texts[..] {
                [] => format!("no CA in {names}; add {option} FILE with the one of the server"),
                _ => of_option(TrustError::of_anchors(error).with_help()),
            })?;
        Ok(Self {
            anchors,
            asked: format!("CAs in {names}"),
            help: format!("add {option} FILE with the one that does"),
        })
    }

    /// What a connection to the server is made with: `pair` is shown, or nothing. The server must have the name, or the address, that is
    /// dialled.
    ///
    /// # Errors
    /// rustls does not take our suites.
    pub fn snapshot(&self, pair: Option<&Pair>) -> Result<OutboundSnapshot, rustls::Error> {
        let authenticator = ServerAuthenticator::new(ServerPolicy {
            anchors: self.anchors.clone(),
            others: None,
            expected: None,
            own: None,
            name_check: NameCheck::All,
            asked: self.asked.clone(),
            help: Some(self.help.clone()),
            remedies: ServerRemedies {
                untrusted: self.help.clone(),
                no_ca: self.help.clone(),
                ca_out_of_date: self.help.clone(),
                name_mismatch: "write the URL with a name that it has".to_owned(),
                unexpected_identity: "see where the URL leads".to_owned(),
            },
        });
        let leaf = pair.and_then(|pair| Certificate::from_der(pair.leaf()).ok());
        let validity = leaf.map(|leaf| PairValidity { not_before: leaf.not_before(), not_after: leaf.not_after() });
        let client_config = tls::client_config(pair.map(Pair::certified_key), authenticator.clone())?;
        Ok(OutboundSnapshot { client_config, authenticator, generation: 1, pair_generation: 1, validity })
    }
}
