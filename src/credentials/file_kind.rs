//! What the files are for that are loaded and watched.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum FileKind {
    /// A pair: the certificate chain and its key.
    Certificate,
    /// The CAs that vouch for clients.
    ClientCa,
    /// What these CAs have taken back.
    ClientCrl,
    /// The CAs that vouch for those who show tokens.
    TokenCa,
    /// What these CAs have taken back.
    TokenCrl,
    /// The CAs that vouch for servers.
    ServerCa,
    /// The rules.
    Policy,
}

impl FileKind {
    /// The word for it in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What is waited for while there is none of it yet.
    pub(super) fn awaited(self) -> &'static str {
        match self {
            Self::Certificate => "credentials",
            Self::ClientCa | Self::ClientCrl | Self::Policy => "client CAs and rules",
            Self::TokenCa | Self::TokenCrl => "token CAs",
            Self::ServerCa => "server CAs",
        }
    }
}

/// As a sentence of the log begins: `client CA`.
impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "credential",
            Self::ClientCa => "client CA",
            Self::ClientCrl => "client CRL",
            Self::TokenCa => "token CA",
            Self::TokenCrl => "token CRL",
            Self::ServerCa => "server CA",
            Self::Policy => "policy",
        })
    }
}
