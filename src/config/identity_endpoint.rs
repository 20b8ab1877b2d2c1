//! The identity endpoint: where the app asks for tokens, and which it may ask for.

mod reading;

use std::path::PathBuf;
use std::time::Duration;

use super::ClientAuthSettings;
use super::outbound::OutboundListen;

/// What an audience has, at most: it stands in a claim and in log lines.
pub const MAX_AUDIENCE_BYTES: usize = 256;

/// Where the app asks who it is, for tokens, and whether those of others are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityEndpoint {
    /// Where it is asked. Invariant: loopback, or a socket file.
    pub listen: OutboundListen,
    /// For whom a token may be asked. Invariant: never empty.
    pub audiences: Vec<String>,
    /// How long a token lives, at most and where nothing is said.
    pub ttl: Duration,
    /// Who may connect to the socket file; empty: our own user, which is the app's.
    pub peer_uids: Vec<u32>,
    /// Signatures a second; at least 1.
    pub rate: u32,
    /// Where the bearer token is written that a request over TCP shows; `None`: in a folder of ours, or there is none.
    pub token_file: Option<PathBuf>,
    /// How tokens of others are judged; `None`: they are not.
    pub verification: Option<TokenVerification>,
}

/// How tokens of others are judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenVerification {
    /// Files and folders of CAs, PEM. Invariant: never empty.
    pub ca: Vec<PathBuf>,
    /// Files and folders of CRLs, PEM or DER.
    pub crl: Vec<PathBuf>,
    /// Which policies whom is granted; `None`: nobody any.
    pub roles: Option<PathBuf>,
    /// How long a token may live.
    pub max_ttl: Duration,
    /// How far clocks may be apart.
    pub skew: Duration,
}

impl TokenVerification {
    /// Its CAs and CRLs, as those of clients are read.
    pub fn trust_files(&self) -> ClientAuthSettings {
        ClientAuthSettings::of_signers(self.ca.clone(), self.crl.clone())
    }
}

impl IdentityEndpoint {
    /// Whether it is asked over TCP, where everybody on this machine can connect.
    pub fn is_on_tcp(&self) -> bool {
        !matches!(self.listen, OutboundListen::Unix(_))
    }
}

#[cfg(test)]
mod tests;
