//! CAs and CRLs as others write them, in PEM or DER: what is refused is said briefly, and what is taken vouches for nobody whom it cannot verify.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use vestibule::identity::Role;
use vestibule::issuer::{CertificateAuthority, InstanceSpec};
use vestibule::pem::Pem;
use vestibule::trust::{Text, TrustAnchors};

/// A good chain under a CA of its own, new with each start.
static STRANGER: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let now = SystemTime::now();
    let issued = CertificateAuthority::generate(now).unwrap().issue(&InstanceSpec::generate().unwrap(), now).unwrap();
    Pem::read(issued.cert_pem.as_bytes()).unwrap().chain()
});

/// What a note or an error may say of one file.
const LONGEST: usize = 64 * 1024;

fn text(name: &str, bytes: &[u8]) -> Text {
    Text { path: PathBuf::from(name), bytes: bytes.to_vec(), named: true }
}

pub fn fuzz(input: &[u8]) {
    // A CA, and behind a NUL a CRL: neither has one in PEM, and in DER there may be several ways to read them.
    let cut = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (ca, crl) = (&input[..cut], input.get(cut + 1..).unwrap_or_default());
    for (cas, crls) in
        [(&[text("ca", ca)][..], &[][..]), (&[text("ca", ca)], &[text("crl", crl)]), (&[], &[text("crl", input)])]
    {
        match TrustAnchors::parse(cas, crls, Role::Client) {
            Ok((anchors, notes)) => {
                assert!(notes.iter().chain(anchors.crl_notes()).all(|note| note.len() < LONGEST));
                let _ = (anchors.not_after(), anchors.crl_issuers(), anchors.hints());
                assert!(anchors.verify(&[], SystemTime::now()).is_err());
                assert!(anchors.verify(&STRANGER, SystemTime::now()).is_err(), "whose CA nobody has written down");
            }
            Err(error) => assert!(error.to_string().len() < LONGEST),
        }
    }
}
