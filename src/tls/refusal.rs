//! A denial as TLS says it: which error, and so which alert.

use rustls::CertificateError;
use rustls::Error;

use crate::policy::Reason;

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
