//! A denial as TLS says it: which error, and so which alert.

use rustls::{CertificateError, Error, InvalidMessage};

use crate::config::DenialAlert;
use crate::policy::{Denial, DenialReason};

/// It is about the server's name by right; rustls has no other that becomes a 42 and is told from bad bytes.
const BAD_CERTIFICATE: CertificateError = CertificateError::NotValidForName;

/// The error with which a verifier says it, which decides on the alert that the client is sent; `alert` is for those
/// whom the rules refuse.
pub(super) fn error(reason: DenialReason, alert: DenialAlert) -> Error {
    Error::InvalidCertificate(match reason {
        DenialReason::NoCertificate => return Error::NoCertificatesPresented,
        DenialReason::Untrusted => CertificateError::UnknownIssuer,
        DenialReason::Expired => CertificateError::Expired,
        DenialReason::NotYetValid => CertificateError::NotValidYet,
        DenialReason::Revoked => CertificateError::Revoked,
        DenialReason::WrongPurpose => CertificateError::InvalidPurpose,
        DenialReason::Malformed => CertificateError::BadEncoding,
        DenialReason::Unsupported => CertificateError::UnhandledCriticalExtension,
        DenialReason::ConstraintViolated | DenialReason::ChainTooLong => BAD_CERTIFICATE,
        DenialReason::IdentityInvalid
        | DenialReason::NameDoubtful
        | DenialReason::NotAllowed
        | DenialReason::DeniedByRule => match alert {
            DenialAlert::AccessDenied => CertificateError::ApplicationVerificationFailure,
            DenialAlert::BadCertificate => BAD_CERTIFICATE,
        },
    })
}

impl DenialReason {
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
                CertificateError::UnhandledCriticalExtension => Some(Self::Unsupported),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Denial {
    /// The denial that rustls's error stands for; `None` for one that is not about a client's certificates.
    pub fn of_handshake(error: &Error) -> Option<Self> {
        if *error == Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) {
            // rustls ends it before anybody is asked. Nothing else that a client has to say is as long.
            let what = "more than 65535 bytes, and no more than 60000 are looked at; send fewer or smaller ones";
            return Some(Self::because(DenialReason::ChainTooLong, what));
        }
        DenialReason::of_handshake(error).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;

    #[test]
    fn every_reason_has_its_alert_and_the_handshakes_own_are_read_back() {
        use DenialReason::*;
        for (reason, alert) in [
            (Untrusted, AlertDescription::UnknownCA),
            (Expired, AlertDescription::CertificateExpired),
            (NotYetValid, AlertDescription::CertificateExpired),
            (Revoked, AlertDescription::CertificateRevoked),
            (WrongPurpose, AlertDescription::UnsupportedCertificate),
            (Malformed, AlertDescription::BadCertificate),
            (Unsupported, AlertDescription::BadCertificate),
            (IdentityInvalid, AlertDescription::AccessDenied),
            (NameDoubtful, AlertDescription::AccessDenied),
            (NotAllowed, AlertDescription::AccessDenied),
            (DeniedByRule, AlertDescription::AccessDenied),
        ] {
            let error = super::error(reason, DenialAlert::AccessDenied);
            let told = alert != AlertDescription::AccessDenied;
            assert_eq!(DenialReason::of_handshake(&error), told.then_some(reason));
            let Error::InvalidCertificate(error) = error else { panic!("{error}") };
            assert_eq!(AlertDescription::from(error), alert, "{reason}");
        }
        let Error::InvalidCertificate(long) = super::error(ChainTooLong, DenialAlert::AccessDenied) else { panic!() };
        assert_eq!(AlertDescription::from(long), AlertDescription::BadCertificate);
        let nothing = super::error(NoCertificate, DenialAlert::AccessDenied);
        assert_eq!(DenialReason::of_handshake(&nothing), Some(NoCertificate));
        let Error::InvalidCertificate(gorouters) = super::error(NotAllowed, DenialAlert::BadCertificate) else {
            panic!()
        };
        assert_eq!(DenialReason::of_handshake(&Error::InvalidCertificate(gorouters.clone())), None);
        assert_eq!(AlertDescription::from(gorouters), AlertDescription::BadCertificate);
        assert_eq!(DenialReason::of_handshake(&Error::DecryptError), None);
    }
}
