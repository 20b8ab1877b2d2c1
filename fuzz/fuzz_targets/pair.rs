//! Certificate and key as others write them: what is a pair can be written anew and read as the same, and of what is none not a byte of the key is
//! told.

use rustls_pki_types::CertificateDer;
use vestibule::credentials::Pair;
use vestibule::crypto::provider;
use vestibule::pem::{self, KeyForm, Pem, private_key_in_pkcs8, to_pkcs8};

/// So many bytes of a text in a row are told of none.
const TOLD: usize = 12;

/// The most that is said of what is wrong, in bytes.
const LONGEST: usize = 500;

pub fn fuzz(input: &[u8]) {
    // A chain, and behind a NUL the key; or both in one.
    let cut = input.iter().position(|byte| *byte == 0);
    let (chain, key) = cut.map_or((input, input), |cut| (&input[..cut], &input[cut + 1..]));
    match Pair::from_pem(chain, key, &provider()) {
        Ok(pair) => {
            assert!(pair.notes().iter().all(|note| note.len() < LONGEST));
            let text = pem::certificates(pair.chain());
            assert!(same_chain(&text, pair.chain()));
            let keys = Pem::read(key).unwrap();
            let (block, form) = keys.keys().next().unwrap();
            let algorithm =
                vestibule::identity::Certificate::from_der(pair.leaf()).map(|leaf| leaf.public_key().0.to_vec());
            let Ok(algorithm) = algorithm else { return };
            let pkcs8 = to_pkcs8(form, &block.der, &algorithm).unwrap();
            assert_eq!(to_pkcs8(KeyForm::Pkcs8, &pkcs8, &algorithm).as_deref(), Ok(&*pkcs8));
            assert!(private_key_in_pkcs8(&pkcs8).is_ok());
            let again = Pair::from_pem(text.as_bytes(), pem::private_key(&pkcs8).as_bytes(), &provider());
            assert_eq!(again.unwrap().chain(), pair.chain());
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < LONGEST, "{said}");
            // Words of ours may stand in the text as well.
            let is_told = |part: &[u8]| said.as_bytes().windows(part.len()).any(|told| told == part);
            let secret =
                |part: &&[u8]| part.iter().all(u8::is_ascii_alphanumeric) && part.iter().any(u8::is_ascii_digit);
            assert!(!key.windows(TOLD).filter(secret).any(is_told), "{said}");
        }
    }
}

fn same_chain(text: &str, chain: &[CertificateDer<'static>]) -> bool {
    Pem::read(text.as_bytes()).is_ok_and(|read| read.chain() == chain)
}
