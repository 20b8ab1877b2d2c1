//! Certificates, written as PEM (RFC 7468).

use der::pem::LineEnding;
use rustls::pki_types::CertificateDer;

/// A block for each of `certificates`, in their order, each with a line break at its end.
pub fn certificates<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    // A CERTIFICATE of less than a gibibyte can always be written.
    let block =
        |der: &CertificateDer<'_>| der::pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default();
    certificates.into_iter().map(block).collect()
}
