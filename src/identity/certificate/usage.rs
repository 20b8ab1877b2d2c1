//! What a certificate and its key may be used for: basicConstraints, keyUsage and extendedKeyUsage (RFC 5280, 4.2.1).

use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier};

use super::Certificate;

const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
/// The purposes that RFC 5280, 4.2.1.12, names.
const PURPOSES: [(&str, ObjectIdentifier); 7] = [
    ("clientAuth", CLIENT_AUTH),
    ("serverAuth", SERVER_AUTH),
    ("codeSigning", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3")),
    ("emailProtection", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4")),
    ("timeStamping", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8")),
    ("OCSPSigning", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9")),
    ("anyExtendedKeyUsage", ANY_EXTENDED_KEY_USAGE),
];
/// More purposes than these are counted and not named.
const MAX_PURPOSES: usize = 8;
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// On which side of a connection somebody shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Of those who dial us.
    Client,
    /// Of those whom we dial.
    Server,
}

impl Role {
    /// `clientAuth`: the purpose that its extendedKeyUsage has to allow.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Client => "clientAuth",
            Self::Server => "serverAuth",
        }
    }

    fn purpose_id(self) -> ObjectIdentifier {
        match self {
            Self::Client => CLIENT_AUTH,
            Self::Server => SERVER_AUTH,
        }
    }
}

/// What a key may be for by a keyUsage (RFC 5280, 4.2.1.3), as far as anybody here asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUsageBit {
    /// `digitalSignature`
    DigitalSignature,
    /// `keyAgreement`
    KeyAgreement,
}

impl Certificate {
    /// It may sign other certificates: basicConstraints say so.
    pub fn is_ca(&self) -> bool {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. }))))
    }

    /// What its key is called in what it signs (RFC 5280, 4.2.1.2); `None`: it does not say, or not legibly.
    pub(crate) fn key_identifier(&self) -> Option<Box<[u8]>> {
        let (_, identifier) = self.parsed.tbs_certificate().get_extension::<SubjectKeyIdentifier>().ok()??;
        Some(identifier.0.as_bytes().into())
    }

    /// Why it may not vouch for those in `role` though it is a CA's: what its keyUsage (RFC 5280, 4.2.1.3) or extendedKeyUsage (4.2.1.12) leaves
    /// out, as a part of a sentence. Both limit nothing where they are absent.
    pub fn ca_fault(&self, role: Role) -> Option<&'static str> {
        let extensions = self.parsed.tbs_certificate();
        match extensions.get_extension::<KeyUsage>() {
            Ok(None) => {}
            Ok(Some((_, usage))) if usage.key_cert_sign() => {}
            Ok(Some(_)) => return Some("may not sign certificates (its keyUsage lacks keyCertSign)"),
            Err(_) => return Some("has a keyUsage that cannot be read"),
        }
        match extensions.get_extension::<ExtendedKeyUsage>() {
            Ok(None) => None,
            Ok(Some((_, usage)))
                if usage.0.iter().any(|id| [role.purpose_id(), ANY_EXTENDED_KEY_USAGE].contains(id)) =>
            {
                None
            }
            Ok(Some(_)) => Some(match role {
                Role::Client => "may not vouch for clients (its extendedKeyUsage lacks clientAuth)",
                Role::Server => "may not vouch for servers (its extendedKeyUsage lacks serverAuth)",
            }),
            Err(_) => Some("has an extendedKeyUsage that cannot be read"),
        }
    }

    /// What its key is for by its extendedKeyUsage (RFC 5280, 4.2.1.12), by the RFC's names or as object identifiers; at most nine
    /// texts, of which the last may count the rest. `None`: it has none, or none that can be read, and for that it is no limit.
    pub fn extended_key_usages(&self) -> Option<Vec<String>> {
        let (_, usage) = self.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>().ok()??;
        let name = |id: &ObjectIdentifier| match PURPOSES.iter().find(|(_, known)| known == id) {
            Some((name, _)) => (*name).to_owned(),
            None => id.to_string(),
        };
        let mut names: Vec<_> = usage.0.iter().take(MAX_PURPOSES).map(name).collect();
        if let Some(more) = usage.0.len().checked_sub(MAX_PURPOSES).filter(|more| *more > 0) {
            names.push(format!("{more} more"));
        }
        Some(names)
    }

    /// Why its key may not sign a handshake: a keyUsage without digitalSignature (RFC 8446, 4.4.2.2).
    pub fn signing_fault(&self) -> Option<&'static str> {
        match self.parsed.tbs_certificate().get_extension::<KeyUsage>() {
            Ok(None) => None,
            Ok(Some((_, usage))) if usage.digital_signature() => None,
            Ok(Some(_)) => Some("its keyUsage lacks digitalSignature"),
            Err(_) => Some("its keyUsage cannot be read"),
        }
    }

    /// Whether its keyUsage (RFC 5280, 4.2.1.3) is there and has this bit.
    pub fn has_key_usage(&self, bit: KeyUsageBit) -> bool {
        let Ok(Some((_, usage))) = self.parsed.tbs_certificate().get_extension::<KeyUsage>() else { return false };
        match bit {
            KeyUsageBit::DigitalSignature => usage.digital_signature(),
            KeyUsageBit::KeyAgreement => usage.key_agreement(),
        }
    }

    /// Whether its extendedKeyUsage (RFC 5280, 4.2.1.12) names the purpose of `role`, or is not there. anyExtendedKeyUsage does not name it.
    pub fn is_for(&self, role: Role) -> bool {
        match self.parsed.tbs_certificate().get_extension::<ExtendedKeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, purposes))) => purposes.0.contains(&role.purpose_id()),
            Err(_) => false,
        }
    }

    /// How many CAs may stand between this one and an end of a chain (RFC 5280, 4.2.1.9); `None`: there is no limit.
    pub fn path_length(&self) -> Option<u8> {
        let constraints = self.parsed.tbs_certificate().get_extension::<BasicConstraints>();
        constraints.ok().flatten().and_then(|(_, constraints)| constraints.path_len_constraint)
    }
}
