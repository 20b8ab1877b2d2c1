//! What is negotiable in a handshake.

use strum::{IntoStaticStr, VariantArray};

/// What is negotiable in a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// ALPN protocols in order of preference; empty means that ALPN is not spoken.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
    /// The newest version that is accepted; not older than `min_version`.
    pub max_version: TlsVersion,
    /// The TLS 1.2 suites that are accepted, in our order of preference; empty means all that we speak, in the client's.
    pub tls12_suites: Vec<Tls12Suite>,
    /// What a client is told that may not come in.
    pub denial_alert: DenialAlert,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            alpn: Vec::new(),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            tls12_suites: Vec::new(),
            denial_alert: DenialAlert::AccessDenied,
        }
    }
}

/// A suite of TLS 1.2 that we speak, all of them ECDHE and AEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls12Suite {
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`
    EcdsaAes128,
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`
    EcdsaAes256,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`
    EcdsaChacha20,
    /// `ECDHE-RSA-AES128-GCM-SHA256`
    RsaAes128,
    /// `ECDHE-RSA-AES256-GCM-SHA384`
    RsaAes256,
    /// `ECDHE-RSA-CHACHA20-POLY1305`
    RsaChacha20,
}

/// What a client is told whose certificate is good, and who may not come in by the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialAlert {
    /// 49, `access_denied`: what RFC 8446 (6.2) has for it.
    AccessDenied,
    /// 42, `bad_certificate`: what gorouter takes for a client certificate that was refused (its answer is 496).
    BadCertificate,
}

/// A protocol version we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray, IntoStaticStr)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with ECDHE and AEAD only.
    #[strum(serialize = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[strum(serialize = "1.3")]
    Tls13,
}
