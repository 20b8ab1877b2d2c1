//! Certificates and keys, written as PEM (RFC 7468).

use der::pem::LineEnding;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

/// A block for each of `certificates`, in their order, each with a line break at its end.
pub fn certificates<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    // A CERTIFICATE of less than a gibibyte can always be written.
    let block =
        |der: &CertificateDer<'_>| der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default();
    certificates.into_iter().map(block).collect()
}

/// A private key of PKCS #8 in DER as a block, with a line break at its end.
pub fn private_key(pkcs8: &[u8]) -> Zeroizing<String> {
    // The length is known beforehand, so that no part of it stays behind in memory that was grown.
    Zeroizing::new(der::pem::encode_string("PRIVATE KEY", LineEnding::LF, pkcs8).unwrap_or_default())
}
