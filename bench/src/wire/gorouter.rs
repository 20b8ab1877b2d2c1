//! What gorouter makes of an attempt that failed: whether it asks another instance, what it thinks of this one, and what the user gets.
//!
//! From its own error classifiers and from watching it: everything before the request is written is tried again, whatever it is;
//! after that an answer that never came is tried again for methods without effects, if the connection closed with FIN.

use rustls::AlertDescription;

use super::end::End;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    /// May be asked twice.
    Get,
    /// May not.
    Post,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Connecting.
    Dial,
    /// TLS, from the client's point of view.
    Handshake,
    /// The head of the request.
    Writing,
    /// Waiting for the answer.
    Reading,
}

/// What becomes of an instance after a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// It stays in the table as it was.
    Kept,
    /// It is left alone for 30 seconds.
    Marked,
    /// It is taken out of the table until it is registered again.
    Pruned,
}

/// An attempt without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// How far it came.
    pub(crate) phase: Phase,
    /// What happened then.
    pub(crate) end: End,
}

impl Failure {
    /// Whether another instance is asked.
    pub(crate) fn is_retried(&self, method: Method) -> bool {
        match self.phase {
            Phase::Dial | Phase::Handshake | Phase::Writing => true,
            Phase::Reading => match self.end {
                End::Fin | End::CloseNotify => method == Method::Get,
                _ => self.effect() == Effect::Pruned,
            },
        }
    }

    /// What becomes of the instance.
    pub(crate) fn effect(&self) -> Effect {
        match (&self.end, self.phase) {
            (End::Refused | End::OtherName | End::BadCertificate(_) | End::NotTls, _) | (_, Phase::Dial) => {
                Effect::Pruned
            }
            (End::Alert(alert), _) if is_about_the_clients_certificate(*alert) => Effect::Pruned,
            (End::Alert(AlertDescription::HandshakeFailure), _) => Effect::Pruned,
            (End::Silence, Phase::Handshake) => Effect::Pruned,
            (End::Reset, Phase::Handshake | Phase::Reading) => Effect::Marked,
            _ => Effect::Kept,
        }
    }

    /// The status that the user gets if nobody else is asked.
    pub(crate) fn status(&self) -> u16 {
        match &self.end {
            End::NotTls => 525,
            End::OtherName => 503,
            End::BadCertificate(_) => 526,
            End::Alert(alert) if is_about_the_clients_certificate(*alert) => 496,
            End::Alert(AlertDescription::HandshakeFailure) => 525,
            _ => 502,
        }
    }
}

/// Those that gorouter knows by their texts.
fn is_about_the_clients_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(alert, Alert::BadCertificate | Alert::UnknownCA | Alert::CertificateRequired)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(phase: Phase, end: End) -> Failure {
        Failure { phase, end }
    }

    #[test]
    fn a_reset_in_the_handshake_is_retried_by_all_methods_and_marks() {
        let reset = failure(Phase::Handshake, End::Reset);
        assert!(reset.is_retried(Method::Get) && reset.is_retried(Method::Post));
        assert_eq!((reset.effect(), reset.status()), (Effect::Marked, 502));
    }

    #[test]
    fn after_the_request_only_a_get_that_meets_fin_is_retried() {
        for end in [End::Fin, End::CloseNotify] {
            let fin = failure(Phase::Reading, end);
            assert!(fin.is_retried(Method::Get) && !fin.is_retried(Method::Post));
            assert_eq!(fin.effect(), Effect::Kept);
        }
        let reset = failure(Phase::Reading, End::Reset);
        assert!(!reset.is_retried(Method::Get) && !reset.is_retried(Method::Post));
    }

    #[test]
    fn the_retirement_pair_is_a_503_that_prunes() {
        let retired = failure(Phase::Handshake, End::OtherName);
        assert_eq!((retired.effect(), retired.status()), (Effect::Pruned, 503));
        assert!(retired.is_retried(Method::Post));
    }
}
