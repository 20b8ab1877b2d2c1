//! The roots as rustls asks them.

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerified;
use rustls::server::danger::ClientCertVerifier;

use super::Roots;
use crate::policy::Reason;

/// Verifies client certificates under some roots.
///
/// rustls's own verifier asks webpki the same; but it takes the first CRL of a name for the only one, so that a CA renewed
/// under its old name would refuse everybody, and it does not look at the dates of the CAs.
#[derive(Debug)]
pub(super) struct Verifier {
    roots: Roots,
    optional: bool,
}

impl Verifier {
    pub(super) fn new(roots: Roots, optional: bool) -> Self {
        Self { roots, optional }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.roots.hints()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.roots.verify_parts(end_entity, intermediates, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(reason) => Err(reason.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, self.roots.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, self.roots.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.algorithms().supported_schemes()
    }
}

/// The error with which a verifier says it, which decides on the alert that the client is sent.
impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        Self::InvalidCertificate(match reason {
            Reason::NoCertificate => return Self::NoCertificatesPresented,
            Reason::Untrusted => CertificateError::UnknownIssuer,
            Reason::Expired => CertificateError::Expired,
            Reason::NotYetValid => CertificateError::NotValidYet,
            Reason::Revoked => CertificateError::Revoked,
            Reason::WrongPurpose => CertificateError::InvalidPurpose,
            Reason::Malformed => CertificateError::BadEncoding,
            Reason::IdentityInvalid | Reason::NotAllowed | Reason::DeniedByRule => {
                CertificateError::ApplicationVerificationFailure
            }
        })
    }
}

impl Reason {
    /// Why a handshake was ended over the client's certificate; `None` if it ended for something else.
    ///
    /// Behind [`CertificateError::ApplicationVerificationFailure`] stands a denial that the error does not tell.
    pub fn of_handshake(error: &Error) -> Option<Self> {
        match error {
            Error::NoCertificatesPresented => Some(Self::NoCertificate),
            Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer => Some(Self::Untrusted),
                CertificateError::Expired => Some(Self::Expired),
                CertificateError::NotValidYet => Some(Self::NotYetValid),
                CertificateError::Revoked => Some(Self::Revoked),
                CertificateError::InvalidPurpose => Some(Self::WrongPurpose),
                CertificateError::BadEncoding => Some(Self::Malformed),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;

    #[test]
    fn every_reason_has_its_alert_and_the_handshakes_own_are_read_back() {
        use Reason::*;
        for (reason, alert) in [
            (Untrusted, AlertDescription::UnknownCA),
            (Expired, AlertDescription::CertificateExpired),
            (NotYetValid, AlertDescription::CertificateExpired),
            (Revoked, AlertDescription::CertificateRevoked),
            (WrongPurpose, AlertDescription::UnsupportedCertificate),
            (Malformed, AlertDescription::BadCertificate),
            (IdentityInvalid, AlertDescription::AccessDenied),
            (NotAllowed, AlertDescription::AccessDenied),
            (DeniedByRule, AlertDescription::AccessDenied),
        ] {
            let error = Error::from(reason);
            let told = alert != AlertDescription::AccessDenied;
            assert_eq!(Reason::of_handshake(&error), told.then_some(reason));
            let Error::InvalidCertificate(error) = error else { panic!("{error}") };
            assert_eq!(AlertDescription::from(error), alert, "{reason}");
        }
        assert_eq!(Reason::of_handshake(&NoCertificate.into()), Some(NoCertificate));
        assert_eq!(Reason::of_handshake(&Error::DecryptError), None);
    }
}
