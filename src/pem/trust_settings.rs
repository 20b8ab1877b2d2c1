//! What OpenSSL writes behind a certificate that it calls trusted (`X509_CERT_AUX`): for what it is trusted.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Header, Reader, SliceReader};

use super::error::PemFault;

const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// A certificate, and whether the settings behind it (OpenSSL's X509_CERT_AUX) keep it from vouching for clients.
pub(super) fn trusted_certificate(der: &[u8]) -> Result<(Vec<u8>, bool), PemFault> {
    let read = || -> der::Result<(Vec<u8>, bool)> {
        let mut reader = SliceReader::new(der)?;
        let certificate = reader.tlv_bytes()?.to_vec();
        let (mut trusted, mut rejected) = (None, Vec::new());
        if !reader.is_finished() {
            let settings = AnyRef::decode(&mut reader)?;
            let mut settings = SliceReader::new(settings.value())?;
            while !settings.is_finished() {
                let field = settings.tlv_bytes()?;
                match field.first() {
                    Some(0x30) => trusted = Some(oids(field)?),
                    Some(0xa0) => rejected = oids(field)?,
                    // Its alias, its key's id, and what else may stand there.
                    _ => {}
                }
            }
        }
        reader.finish()?;
        let names = |oids: &[ObjectIdentifier]| oids.contains(&CLIENT_AUTH) || oids.contains(&ANY_EXTENDED_KEY_USAGE);
        Ok((certificate, names(&rejected) || trusted.is_some_and(|trusted| !names(&trusted))))
    };
    read().map_err(|_| PemFault::TrustSettings)
}

/// The object identifiers in a list, whatever its own tag is.
fn oids(list: &[u8]) -> der::Result<Vec<ObjectIdentifier>> {
    let mut reader = SliceReader::new(list)?;
    Header::decode(&mut reader)?;
    let mut oids = Vec::new();
    while !reader.is_finished() {
        oids.push(ObjectIdentifier::decode(&mut reader)?);
    }
    Ok(oids)
}
