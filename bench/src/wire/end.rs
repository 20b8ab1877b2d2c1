//! How a connection closed, as the client sees it.

use std::io::ErrorKind;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError};

/// Why there is no more to read, or no connection at all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// Nobody listens.
    Refused,
    /// RST.
    Reset,
    /// FIN without close_notify: cut off.
    Fin,
    /// close_notify: all that was sent is whole.
    CloseNotify,
    /// A fatal alert of the other side.
    Alert(AlertDescription),
    /// The certificate is valid, and another's.
    OtherName,
    /// The certificate is not valid.
    BadCertificate(CertificateError),
    /// What came is no TLS.
    NotTls,
    /// Nothing came in time.
    Silence,
    /// Whatever else there is.
    Other(String),
}

impl End {
    /// From what a socket or rustls says.
    pub(crate) fn of(error: &io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::of_tls(error);
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::UnexpectedEof => Self::Fin,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Silence,
            _ => Self::Other(error.to_string()),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::Alert(*alert),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::OtherName,
            rustls::Error::InvalidCertificate(error) => Self::BadCertificate(error.clone()),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            error => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("RST"),
            Self::Fin => f.write_str("FIN"),
            Self::CloseNotify => f.write_str("close_notify"),
            Self::Alert(alert) => write!(f, "alert {} {}", u8::from(*alert), alert.as_str().unwrap_or_default()),
            Self::OtherName => f.write_str("another's certificate"),
            Self::BadCertificate(error) => write!(f, "bad certificate: {error}"),
            Self::NotTls => f.write_str("no TLS"),
            Self::Silence => f.write_str("open"),
            Self::Other(what) => f.write_str(what),
        }
    }
}
