//! How a certificate is put together and signed.
//!
//! x509-cert supplies the types, but its builder has profiles of its own and signs with another library; what Diego
//! writes is composed here field by field.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use der::asn1::{Any, BitString, Ia5String, Null, ObjectIdentifier, OctetString};
use der::oid::AssociatedOid;
use der::{Decode, Encode, EncodeValue, FixedTag, Sequence, Tag};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use super::key::SigningKey;
use super::{InstanceSpec, IssuerError, random};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// X.509 version 3.
const V3: u8 = 2;

/// What the CA is asked to sign: everything but version, serial number and algorithm.
pub(super) struct CertificateRequest<'a> {
    pub(super) subject: RdnSequence,
    pub(super) issuer: RdnSequence,
    /// Cut to whole seconds.
    pub(super) not_before: SystemTime,
    pub(super) validity: Duration,
    /// SubjectPublicKeyInfo in DER.
    pub(super) public_key: &'a [u8],
    /// In the order in which they are written.
    pub(super) extensions: Vec<Extension>,
}

/// TBSCertificate (RFC 5280, 4.1) without the unique identifiers, which nobody uses.
#[derive(Sequence)]
struct ToBeSigned {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial_number: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: RdnSequence,
    validity: Validity,
    subject: RdnSequence,
    public_key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// Certificate (RFC 5280, 4.1).
#[derive(Sequence)]
struct SignedCertificate {
    to_be_signed: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// Signs with sha256WithRSAEncryption, under a random serial number of 128 bits; the certificate in DER.
pub(super) fn sign(request: CertificateRequest<'_>, key: &SigningKey) -> Result<Vec<u8>, IssuerError> {
    let algorithm = AlgorithmIdentifierOwned { oid: SHA256_WITH_RSA, parameters: Some(Null.into()) };
    let since_1970 = request.not_before.duration_since(UNIX_EPOCH).map_err(|_| IssuerError::Dates)?;
    let not_before = UNIX_EPOCH + Duration::from_secs(since_1970.as_secs());
    let not_after =
        not_before.checked_add(Duration::from_secs(request.validity.as_secs())).ok_or(IssuerError::Dates)?;
    let to_be_signed = ToBeSigned {
        version: V3,
        serial_number: SerialNumber::new(&random::<16>()?)?,
        signature: algorithm.clone(),
        issuer: request.issuer,
        validity: Validity::new(Time::try_from(not_before)?, Time::try_from(not_after)?),
        subject: request.subject,
        public_key: SubjectPublicKeyInfoOwned::from_der(request.public_key)?,
        extensions: request.extensions,
    }
    .to_der()?;
    let signature = BitString::from_bytes(&key.sign(&to_be_signed)?)?;
    Ok(SignedCertificate { to_be_signed: Any::from_der(&to_be_signed)?, algorithm, signature }.to_der()?)
}

/// `CN=name` and nothing else.
pub(super) fn ca_name(name: &str) -> Result<RdnSequence, IssuerError> {
    Ok(vec![rdn(vec![printable(COMMON_NAME, name)?])?].into())
}

/// ONE multi-valued RDN with the three OUs (DER sorts them by length: app, space, organization), then the CN if there
/// is one.
pub(super) fn instance_name(spec: &InstanceSpec) -> Result<RdnSequence, IssuerError> {
    let units =
        [format!("organization:{}", spec.organization), format!("space:{}", spec.space), format!("app:{}", spec.app)];
    let units = units.iter().map(|unit| printable(ORGANIZATIONAL_UNIT, unit)).collect::<Result<_, _>>()?;
    let mut name = vec![rdn(units)?];
    if let Some(instance) = &spec.instance {
        name.push(rdn(vec![printable(COMMON_NAME, instance.as_str())?])?);
    }
    Ok(name.into())
}

fn rdn(attributes: Vec<AttributeTypeAndValue>) -> Result<RelativeDistinguishedName, IssuerError> {
    Ok(RelativeDistinguishedName::try_from(attributes)?)
}

fn printable(oid: ObjectIdentifier, text: &str) -> Result<AttributeTypeAndValue, IssuerError> {
    Ok(AttributeTypeAndValue { oid, value: Any::new(Tag::PrintableString, text.as_bytes())? })
}

/// What Diego puts into a leaf, in its order: usages, extended usages, the issuer's key, the names. Neither
/// basicConstraints nor a key identifier of its own.
pub(super) fn leaf_extensions(spec: &InstanceSpec, issuer_key: &[u8]) -> Result<Vec<Extension>, IssuerError> {
    let usage = KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment | KeyUsages::KeyAgreement;
    let instance = spec.instance.as_ref().map_or("", |instance| instance.as_str());
    let names = vec![GeneralName::DnsName(Ia5String::new(instance)?), GeneralName::from(spec.ip)];
    Ok(vec![
        extension(true, &KeyUsage(usage))?,
        extension(false, &ExtendedKeyUsage(vec![CLIENT_AUTH, SERVER_AUTH]))?,
        authority_key(issuer_key)?,
        extension(false, &SubjectAltName(names))?,
    ])
}

/// What a CA's certificate has: constraints, usages, its own key and its issuer's.
pub(super) fn ca_extensions(own_key: &[u8], issuer_key: &[u8]) -> Result<Vec<Extension>, IssuerError> {
    Ok(vec![
        extension(true, &BasicConstraints { ca: true, path_len_constraint: None })?,
        extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
        extension(false, &SubjectKeyIdentifier(key_identifier(own_key)?))?,
        authority_key(issuer_key)?,
    ])
}

fn authority_key(public_key: &[u8]) -> Result<Extension, IssuerError> {
    let identifier = AuthorityKeyIdentifier {
        key_identifier: Some(key_identifier(public_key)?),
        ..AuthorityKeyIdentifier::default()
    };
    extension(false, &identifier)
}

/// The leftmost 160 bits of the SHA-256 of the public key (RFC 7093, section 2, method 1).
fn key_identifier(public_key: &[u8]) -> Result<OctetString, IssuerError> {
    let info = SubjectPublicKeyInfoOwned::from_der(public_key)?;
    let hash = digest::digest(&digest::SHA256, info.subject_public_key.raw_bytes());
    Ok(OctetString::new(&hash.as_ref()[..20])?)
}

fn extension<T: AssociatedOid + EncodeValue + FixedTag>(critical: bool, value: &T) -> Result<Extension, IssuerError> {
    Ok(Extension { extn_id: T::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}
