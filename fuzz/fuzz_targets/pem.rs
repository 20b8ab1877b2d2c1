//! PEM as others write it: each BEGIN mark leads to a block, or is named, or the text is refused; what is refused is said without any of it; and
//! another reader that takes all of a text finds no certificate, list or key that we do not.

use rustls_pki_types::pem::{PemObject, SectionKind};
use vestibule::pem::{self, BlockKind, KeyForm, Pem};

pub fn fuzz(text: &[u8]) {
    match Pem::read(text) {
        Ok(pem) => {
            let marks = text.windows(11).filter(|window| window == b"-----BEGIN ").count();
            assert!(pem.blocks.len() + pem.outside.stray_marks.len() >= marks);
            let lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).count();
            assert!(pem.blocks.iter().all(|block| (1..=lines).contains(&block.line)));
            assert!(pem.passed_over(|_| false).iter().all(|note| note.len() < 200));
            let again = Pem::read(pem::certificates(&pem.chain()).as_bytes()).unwrap();
            assert_eq!(again.chain(), pem.chain());
            if let Some(theirs) = theirs(text) {
                let ours = |kind: SectionKind, der: &[u8]| {
                    pem.blocks.iter().any(|block| is_kind(block.kind, kind) && block.der == der)
                };
                assert!(theirs.iter().all(|(kind, der)| is_named(*kind) || ours(*kind, der)), "{theirs:?}");
            }
        }
        Err(error) => assert!(error.to_string().len() < 200),
    }
}

/// All sections of `text`, as another reader finds them; `None`: it does not take all of it.
fn theirs(text: &[u8]) -> Option<Vec<(SectionKind, Vec<u8>)>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text).collect::<Result<_, _>>().ok()
}

/// Whether a section is of no kind that is read.
fn is_named(kind: SectionKind) -> bool {
    use SectionKind::{Certificate, Crl, EcPrivateKey, PrivateKey, RsaPrivateKey};
    !matches!(kind, Certificate | Crl | PrivateKey | RsaPrivateKey | EcPrivateKey)
}

fn is_kind(ours: BlockKind, theirs: SectionKind) -> bool {
    ours == match theirs {
        SectionKind::Certificate => BlockKind::Certificate,
        SectionKind::Crl => BlockKind::Crl,
        SectionKind::PrivateKey => BlockKind::Key(KeyForm::Pkcs8),
        SectionKind::RsaPrivateKey => BlockKind::Key(KeyForm::Pkcs1),
        SectionKind::EcPrivateKey => BlockKind::Key(KeyForm::Sec1),
        _ => return false,
    }
}
