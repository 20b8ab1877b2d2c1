//! Who dials us: what the client's certificate says, read once for each connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use super::certificate::AltNames;
use super::{Certificate, CertificateError, DistinguishedName, Identity, IdentityError};

/// 9999-12-31T23:59:59Z, since 1970: what a certificate says that has no end (RFC 5280, 4.1.2.5).
const NO_END: Duration = Duration::from_secs(253_402_300_799);

/// Who dials us. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// No certificate was asked for, or none was given.
    Anonymous,
    /// The holder of a certificate.
    Authenticated(Arc<PeerCertificate>),
}

/// What a client's certificate says, and nothing that any other certificate of its chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The Cloud Foundry identity; `Ok(None)` if the certificate is not Cloud Foundry's, an error if it claims to be
    /// and is not sound.
    pub identity: Result<Option<Identity>, IdentityError>,
    /// The subject's other names, as written.
    pub names: AltNames,
    /// The subject's only CN, as written; its characters are not otherwise checked.
    pub common_name: Option<String>,
    /// The subject has several CNs, or one that is neither a PrintableString nor a UTF8String; then it has none above.
    pub common_name_is_unclear: bool,
    /// The subject as RFC 4514 writes it, every odd character escaped: fit for a log.
    pub subject: String,
    /// The serial number in lower-case hexadecimal; empty if it is not known.
    pub serial: String,
    /// The last second in which the certificate is valid; the end of 9999 if it is not known.
    pub not_after: SystemTime,
    /// The certificates that were shown, leaf first; empty where somebody else has seen them.
    pub chain: Vec<CertificateDer<'static>>,
}

/// What somebody whose word counts says of a certificate that we have not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedNames {
    /// The subject.
    pub subject: DistinguishedName,
    /// All dNSNames; `None` if they are not told.
    pub dns: Option<Vec<String>>,
    /// All uniformResourceIdentifiers; `None` if they are not told.
    pub uris: Option<Vec<String>>,
}

/// What a certificate says for which nobody has vouched: for people to read, and never to decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedCertificate {
    /// The subject as RFC 4514 writes it.
    pub subject: String,
    /// Who is said to have issued it, written alike.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal.
    pub serial: String,
}

impl UnverifiedCertificate {
    /// What `leaf` (DER) says.
    ///
    /// # Errors
    /// The bytes cannot be read as a certificate.
    pub fn from_leaf(leaf: &[u8]) -> Result<Self, CertificateError> {
        let leaf = Certificate::from_der(leaf)?;
        Ok(Self { subject: leaf.subject(), issuer: leaf.issuer(), serial: leaf.serial() })
    }
}

impl Client {
    /// The holder of the first certificate of `chain`, for which the handshake or `TrustAnchors::vouch` has vouched: nothing is
    /// verified here.
    ///
    /// # Errors
    /// The bytes cannot be read as a certificate. Whatever vouched for it, such a client cannot be judged.
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, CertificateError> {
        let leaf = Certificate::from_der(chain.first().map_or(&[], |leaf| leaf.as_ref()))?;
        Ok(Self::Authenticated(Arc::new(PeerCertificate {
            identity: leaf.identity(),
            common_name: leaf.common_name().map(str::to_owned),
            common_name_is_unclear: leaf.has_unclear_common_name(),
            subject: leaf.subject(),
            serial: leaf.serial(),
            not_after: leaf.not_after(),
            names: leaf.alt_names().clone(),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
        })))
    }

    /// The holder of a certificate of which we know these names alone, judged by the same rules as one whose certificate was read.
    ///
    /// What is not told is not there for a rule that allows, and may be there for one that denies: where the DNS names are not told,
    /// every deny rule on a DNS name refuses the client as doubtful, and the same goes for URIs. (Subjects are always told.) IP and
    /// e-mail addresses are never told, and no deny rule speaks of them.
    ///
    /// There is no chain, no serial number and no end of validity: whoever has said who it is has looked at them.
    pub fn from_names(claimed: ClaimedNames) -> Self {
        let ClaimedNames { subject, dns, uris } = claimed;
        Self::Authenticated(Arc::new(PeerCertificate {
            identity: subject.identity(),
            common_name: subject.common_name().map(str::to_owned),
            common_name_is_unclear: subject.has_unclear_common_name(),
            subject: subject.to_string(),
            serial: String::new(),
            not_after: SystemTime::UNIX_EPOCH + NO_END,
            names: AltNames {
                dns_is_untold: dns.is_none(),
                uris_are_untold: uris.is_none(),
                dns: dns.unwrap_or_default(),
                uris: uris.unwrap_or_default(),
                ..AltNames::default()
            },
            chain: Vec::new(),
        }))
    }

    /// The holder of `leaf` (DER) alone.
    ///
    /// # Errors
    /// As [`Client::from_chain`].
    pub fn from_leaf(leaf: &[u8]) -> Result<Self, CertificateError> {
        Self::from_chain(&[CertificateDer::from(leaf)])
    }

    /// The certificates that were shown, leaf first; `None` without one.
    pub fn chain(&self) -> Option<&[CertificateDer<'static>]> {
        self.certificate().map(|holder| holder.chain.as_slice())
    }

    /// What the certificate says; `None` without one.
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        match self {
            Self::Anonymous => None,
            Self::Authenticated(holder) => Some(holder),
        }
    }

    /// The Cloud Foundry identity, if there is a sound one.
    pub fn identity(&self) -> Option<&Identity> {
        self.certificate()?.identity.as_ref().ok()?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::Client;
    use crate::identity::IdentityError;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn client(names: &[&str], subject: &[(DnType, &str)]) -> Client {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            parameters.distinguished_name.push(kind.clone(), *value);
        }
        Client::from_leaf(parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    #[test]
    fn a_certificates_holder_is_known_by_everything_that_a_rule_may_name() {
        let client = client(
            &["a.example", "10.0.0.1"],
            &[
                (DnType::OrganizationalUnitName, "app:7D6B3F5E-9a1c-4f0e-8b59-0f6a3a1d2c11"),
                (DnType::CommonName, "one"),
            ],
        );
        let identity = client.identity().unwrap();
        assert_eq!(identity.app.unwrap().to_string(), "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11");
        assert_eq!(identity.instance.as_ref().unwrap().as_str(), "one");
        let holder = client.certificate().unwrap();
        assert_eq!(holder.names.dns, ["a.example"]);
        assert_eq!(holder.names.ips, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(holder.common_name.as_deref(), Some("one"));
        assert_eq!(holder.subject, "CN=one,OU=app:7D6B3F5E-9a1c-4f0e-8b59-0f6a3a1d2c11");
        assert!(!holder.serial.is_empty());
    }

    #[test]
    fn an_unsound_identity_is_kept_as_an_error_and_never_as_half_an_identity() {
        let client = client(&[], &[(DnType::OrganizationalUnitName, "app:"), (DnType::CommonName, "one")]);
        assert_eq!(client.identity(), None);
        assert!(matches!(client.certificate().unwrap().identity, Err(IdentityError::Empty(_))));
    }

    #[test]
    fn the_anonymous_have_nothing_to_say() {
        assert_eq!((Client::Anonymous.certificate(), Client::Anonymous.identity()), (None, None));
        assert!(Client::from_leaf(b"no certificate").is_err());
    }
}
