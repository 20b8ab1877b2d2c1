//! A server that does not accept our certificate: what its alert says, and what helps.

use std::borrow::Cow;
use std::io;

use rustls::AlertDescription;

use crate::identity::{Guid, Identity};
use crate::tls::Violation;

/// An alert of a server about our certificate, and who that says we are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: it sent the alert {alert:?}", self.what())]
pub struct CertificateRejection {
    alert: AlertDescription,
    /// Who we are, where the platform says so.
    own_app: Option<Guid>,
}

impl CertificateRejection {
    /// The server's `alert` to whoever `own` is.
    pub(super) fn new(alert: AlertDescription, own: Option<&Identity>) -> Self {
        Self { alert, own_app: own.and_then(|own| own.app) }
    }

    fn what(&self) -> String {
        match (self.alert, self.own_app) {
            (AlertDescription::CertificateRequired, _) => {
                "the server wants a certificate, and none was shown".to_owned()
            }
            (_, Some(app)) => format!("the server does not accept our certificate, which names cf:app:{app}"),
            (_, None) => "the server does not accept our certificate".to_owned(),
        }
    }

    /// What helps.
    pub(super) fn remedy(&self) -> Cow<'static, str> {
        match (self.alert, self.own_app) {
            (AlertDescription::CertificateRequired, _) => "see --outbound-identity, and which CAs it asks for".into(),
            (AlertDescription::DecryptError, _) => {
                "have the server trust the CA that has issued it: one that it trusts is called alike, and has another key".into()
            }
            (AlertDescription::UnknownCA, _) => "have the server trust the CA that has issued it".into(),
            (AlertDescription::CertificateExpired, _) => {
                "see whether what rotates it still runs, and compare the clocks".into()
            }
            (_, Some(app)) => format!("have the server let in cf:app:{app}, as by --allow, and trust its CA").into(),
            (_, None) => "have the server let it in, as by --allow, and trust its CA".into(),
        }
    }

    /// What is wrong, and what helps.
    pub(super) fn with_remedy(&self) -> String {
        format!("{self}; {}", self.remedy())
    }
}

/// The server's alert about our certificate, if that is what `error` is. In TLS 1.3 it comes when our handshake is done.
pub(super) fn rejection(error: &io::Error) -> Option<AlertDescription> {
    let cause = error.get_ref()?;
    let alert = match (cause.downcast_ref::<rustls::Error>(), cause.downcast_ref::<Violation>()) {
        (Some(rustls::Error::AlertReceived(alert)), _) => *alert,
        (_, Some(Violation::Received(alert))) => *alert,
        _ => return None,
    };
    let is_about_ours = matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // What is not signed by the key that the server knows by its name, is no certificate to it (RFC 8446, 6.2).
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    );
    is_about_ours.then_some(alert)
}
