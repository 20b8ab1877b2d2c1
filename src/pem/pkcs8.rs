//! PKCS #8, the form of private keys that every library reads (RFC 5208; RFC 5958).

use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode, Sequence, SliceReader, Tag, Tagged};
use zeroize::Zeroizing;

use super::KeyForm;

/// A key is not written as its form wants it. Nothing of the key is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not as its form wants it")]
pub struct Pkcs8Error;

/// PrivateKeyInfo without its optional attributes (RFC 5208, section 5), and so without what RFC 5958 has added.
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AnyRef<'a>,
    private_key: &'a OctetStringRef,
}

/// A private key in DER of any form as PKCS #8, version 1, which older libraries read too. `algorithm` is what the certificate of the key
/// says of it: the content of its AlgorithmIdentifier.
///
/// # Errors
/// [`Pkcs8Error`]
pub fn to_pkcs8(form: KeyForm, key: &[u8], algorithm: &[u8]) -> Result<Zeroizing<Vec<u8>>, Pkcs8Error> {
    let private_key = match form {
        KeyForm::Pkcs8 => private_key_in_pkcs8(key)?,
        KeyForm::Pkcs1 | KeyForm::Sec1 => key,
    };
    let info = || {
        let algorithm = AnyRef::new(Tag::Sequence, algorithm)?;
        PrivateKeyInfo { version: 0, algorithm, private_key: OctetStringRef::new(private_key)? }.to_der()
    };
    info().map(Zeroizing::new).map_err(|_: der::Error| Pkcs8Error)
}

/// What stands for the private key itself in a PKCS #8 document of either version: PKCS #1, SEC 1, or what the algorithm has.
///
/// # Errors
/// [`Pkcs8Error`]
pub fn private_key_in_pkcs8(document: &[u8]) -> Result<&[u8], Pkcs8Error> {
    let key = || {
        let document = AnyRef::from_der(document)?;
        document.tag().assert_eq(Tag::Sequence)?;
        let mut fields = SliceReader::new(document.value())?;
        let _version = u8::decode(&mut fields)?;
        let _algorithm = AnyRef::decode(&mut fields)?;
        // Attributes and a public key may follow, and nobody needs them.
        <&OctetStringRef>::decode(&mut fields).map(OctetStringRef::as_bytes)
    };
    key().map_err(|_: der::Error| Pkcs8Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::identity::Certificate;
    use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind};
    use crate::pem::Pem;

    #[test]
    fn a_key_of_any_form_becomes_what_the_library_would_have_written() {
        for kind in [KeyKind::Rsa2048, KeyKind::P256, KeyKind::P384, KeyKind::Ed25519] {
            let authority = CertificateAuthority::generate(std::time::SystemTime::now()).unwrap();
            let spec = InstanceSpec { key: kind, ..InstanceSpec::generate().unwrap() };
            let credential = authority.issue(&spec, std::time::SystemTime::now()).unwrap();
            let chain = Pem::read(credential.cert_pem.as_bytes()).unwrap().chain();
            let leaf = Certificate::from_der(&chain[0]).unwrap();
            let pem = Pem::read(credential.key_pem.as_bytes()).unwrap();
            let (block, form) = pem.keys().next().unwrap();
            let algorithm = leaf.public_key().0;
            let pkcs8 = to_pkcs8(form, &block.der, algorithm).unwrap();
            assert_eq!(to_pkcs8(KeyForm::Pkcs8, &pkcs8, algorithm).unwrap(), pkcs8, "{kind:?}");
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(pkcs8.to_vec());
            let key = crate::crypto::provider().key_provider.load_private_key(key.into()).unwrap();
            rustls::sign::CertifiedKey::new(chain, key).keys_match().unwrap();
        }
    }

    #[test]
    fn the_public_key_and_attributes_of_the_second_version_are_left_out_and_what_is_no_key_is_refused() {
        // OneAsymmetricKey of Ed25519: version 1, the algorithm, the seed, and [1] the public key.
        let mut document =
            vec![0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        document.extend([7; 32]);
        document.extend([0x81, 0x21, 0x00]);
        document.extend([9; 32]);
        let inner = private_key_in_pkcs8(&document).unwrap();
        assert_eq!((inner.len(), &inner[..2]), (34, &[0x04, 0x20][..]));
        let first = to_pkcs8(KeyForm::Pkcs8, &document, &document[7..12]).unwrap();
        assert_eq!((first.len(), first[4]), (48, 0));
        for bad in [&b""[..], b"\x30\x00", b"\x04\x02\x02\x00", &document[..40]] {
            assert_eq!(private_key_in_pkcs8(bad), Err(Pkcs8Error));
        }
    }
}
