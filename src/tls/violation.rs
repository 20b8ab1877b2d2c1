//! How a peer has broken a session, in words.

use rustls::AlertDescription;

use super::record::KeyLimitReached;

/// The peer broke the protocol, or ended the session by an alert; or the session's keys are worn out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It broke the protocol, and was told by this alert of ours.
    #[error("the peer broke the TLS protocol: {} (our alert: {alert:?})", meaning(*.0), alert = .0)]
    Sent(AlertDescription),
    /// It has ended the session by this alert.
    #[error("the peer ended the TLS session by the alert {0:?}")]
    Received(AlertDescription),
    /// It has sent what cannot become a record, however much more comes.
    #[error("the peer broke the TLS protocol: a record is longer than any may be")]
    TooLong,
    /// The keys have sealed as much as they may, and there are no others.
    #[error("the keys of the TLS session are worn out")]
    KeyLimit,
}

impl From<KeyLimitReached> for Violation {
    fn from(_: KeyLimitReached) -> Self {
        Self::KeyLimit
    }
}

/// What a session is broken off for by `alert` (RFC 8446, 6.2).
fn meaning(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::BadRecordMac => {
            "a record cannot be decrypted, as it was changed on the way or sealed with other keys"
        }
        AlertDescription::RecordOverflow => "a record is longer than any may be",
        AlertDescription::ProtocolVersion => "what it sends is no TLS, or of another version",
        AlertDescription::UnexpectedMessage => "a message has no place where it came, or came too often",
        AlertDescription::DecodeError => "a message is malformed",
        AlertDescription::IllegalParameter => "a message says what it may not say",
        AlertDescription::BadCertificate => "a certificate is malformed",
        AlertDescription::InternalError => "keys that follow could not be made",
        _ => "it sent what it may not send",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_from_the_others() {
        let said = |violation: Violation| violation.to_string();
        assert!(said(Violation::Sent(AlertDescription::BadRecordMac)).contains("cannot be decrypted"));
        assert!(said(Violation::Sent(AlertDescription::ProtocolVersion)).contains("no TLS"));
        assert!(
            said(Violation::Sent(AlertDescription::DecodeError)).ends_with("is malformed (our alert: DecodeError)")
        );
        let received = said(Violation::Received(AlertDescription::AccessDenied));
        assert_eq!(received, "the peer ended the TLS session by the alert AccessDenied");
    }
}
