//! The key of a pair once more, for whoever writes it elsewhere: read anew from where the pair was found, and held no longer than needed.

use rustls::CertificateError;
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use super::load::{LARGEST, read, read_secret};
use super::{LoadError, Pair, PairError};
use crate::config::envoy::sds;
use crate::config::{PairFiles, PairSource, SdsSecretRef};
use crate::crypto::provider;
use crate::identity::Certificate;
use crate::pem::{Pem, to_pkcs8};

/// Reads the private key of `pair` from `source`, as PKCS #8 in DER, which is wiped when it is dropped. It blocks.
///
/// # Errors
/// [`LoadError`]; [`PairError::Mismatch`] where another key stands there by now.
pub fn read_private_key(source: &PairSource, pair: &Pair) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let text = Zeroizing::new(match source {
        PairSource::Files(files) => read(&files.key, LARGEST)?,
        PairSource::Secret(secret) => read_secret(secret, sds::pair)?.key.into_bytes(),
    });
    pkcs8(&text, pair).map_err(|error| match source {
        PairSource::Files(PairFiles { cert, key }) => {
            LoadError::Pair { cert: cert.clone(), key: key.clone(), source: error }
        }
        PairSource::Secret(secret @ SdsSecretRef { .. }) => {
            LoadError::PairInSecret { secret: Box::new(secret.clone()), source: error }
        }
    })
}

fn pkcs8(text: &[u8], pair: &Pair) -> Result<Zeroizing<Vec<u8>>, PairError> {
    let mut pem = Pem::read(text).map_err(PairError::KeyPem)?;
    let key = pem.private_key().ok_or(PairError::NoKey)?;
    let key = provider().key_provider.load_private_key(key).map_err(PairError::Key)?;
    let is_ours = CertifiedKey::new(pair.chain().to_vec(), key).keys_match().is_ok();
    let written = match (is_ours, pem.keys().next()) {
        (true, Some((block, form))) => {
            let leaf = Certificate::from_der(pair.leaf())
                .map_err(|_| PairError::Certificate(CertificateError::BadEncoding.into()))?;
            to_pkcs8(form, &block.der, leaf.public_key().0)
                .map_err(|error| PairError::Key(rustls::Error::General(error.to_string())))
        }
        _ => Err(PairError::Mismatch),
    };
    pem.blocks.iter_mut().for_each(|block| block.der.zeroize());
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::SystemTime;

    use crate::issuer::{CertificateAuthority, InstanceSpec};

    #[test]
    fn only_the_key_of_this_pair_is_given_and_a_file_that_was_replaced_is_not() {
        let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
        let spec = InstanceSpec::generate().unwrap();
        let [ours, other] = [(), ()].map(|()| authority.issue(&spec, SystemTime::now()).unwrap());
        let pair = Pair::from_pem(ours.cert_pem.as_bytes(), ours.key_pem.as_bytes(), &provider()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("c"), folder.path().join("k"));
        let source = PairSource::Files(PairFiles { cert, key: key.clone() });
        let read = || read_private_key(&source, &pair).map_err(|error| error.to_string());
        assert!(read().unwrap_err().contains("no such file"));
        std::fs::write(&key, &other.key_pem).unwrap();
        assert!(read().unwrap_err().contains("the key does not belong to the certificate"));
        // Never anything of the key, whatever became of the file.
        std::fs::write(&key, &ours.key_pem[..ours.key_pem.len() / 2]).unwrap();
        assert!(read().unwrap_err().contains("torn or not PEM"));
        std::fs::write(&key, &ours.key_pem).unwrap();
        let again = crate::pem::private_key(&read().unwrap());
        Pair::from_pem(ours.cert_pem.as_bytes(), again.as_bytes(), &provider()).unwrap();
    }
}
