//! The last clients that were denied, for whoever looks.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::verdict::Verdict;
use crate::diagnostics::SafeText;
use crate::identity::{Client, Identity, UnverifiedCertificate};
use crate::policy::{Denial, DenialReason, Permit};

/// Denials that are remembered.
const MAX_DENIALS: usize = 50;

/// One denial, small whatever the certificate says: some 800 bytes at most.
#[derive(Debug, Clone)]
pub struct Denied {
    /// The time of the denial.
    pub at: SystemTime,
    /// The client's address.
    pub peer: SocketAddr,
    /// Where it came to.
    pub listener: SocketAddr,
    /// `denial`, or `audit` if audit mode has let it in.
    pub verdict: &'static str,
    /// The reason of the denial.
    pub reason: DenialReason,
    /// The rule that decided; `None` if none did.
    pub rule: Option<SafeText>,
    /// Who it was.
    pub client: DeniedClient,
}

/// What `/status.json` and the status page say of a client that was denied.
#[derive(Debug, Clone)]
pub enum DeniedClient {
    /// No client CA has vouched for anything.
    Unknown,
    /// A Cloud Foundry identity.
    Known(Identity),
    /// The subject of another certificate.
    Subject(SafeText),
    /// The subject and issuer of a certificate for which no client CA vouches.
    Unverified {
        /// Whom it is said to name.
        subject: SafeText,
        /// Who is said to have issued it.
        issuer: SafeText,
    },
}

/// The last denials. Without any it costs nothing.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<VecDeque<Denied>>);

impl Denials {
    /// Remembers a verdict that was a denial, or would have been one but for audit mode. `client`: as far as a client CA
    /// has vouched for it, and else what its certificate says.
    pub(super) fn record(
        &self,
        peer: SocketAddr,
        listener: SocketAddr,
        (client, unverified): (Option<&Client>, Option<&UnverifiedCertificate>),
        decision: &Result<Permit, Denial>,
    ) {
        let (verdict, rule, Some(reason)) = Verdict::of(decision) else { return };
        let certificate = client.and_then(Client::certificate);
        let caller = match (client.and_then(Client::identity), certificate, unverified) {
            (Some(identity), ..) => DeniedClient::Known(identity.clone()),
            (None, Some(certificate), _) => DeniedClient::Subject(SafeText::of(&certificate.subject)),
            (None, None, Some(UnverifiedCertificate { subject, issuer, .. })) => {
                DeniedClient::Unverified { subject: SafeText::of(subject), issuer: SafeText::of(issuer) }
            }
            (None, None, None) => DeniedClient::Unknown,
        };
        let at = SystemTime::now();
        let rule = rule.map(SafeText::of);
        let denied = Denied { at, peer, listener, verdict: verdict.as_str(), reason, rule, client: caller };
        let mut last = self.lock();
        if last.len() == MAX_DENIALS {
            last.pop_front();
        }
        last.push_back(denied);
    }

    /// The last ones, the newest first.
    pub(super) fn last(&self) -> Vec<Denied> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Denied>> {
        // A denial is put in whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(denials: &Denials, port: u16) {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        denials.record(at(port), at(1), (None, None), &Err(DenialReason::NoCertificate.into()));
    }

    #[test]
    fn the_last_ones_are_remembered_and_the_newest_comes_first() {
        let denials = Denials::default();
        assert!(denials.last().is_empty());
        (1000..1000 + 3 * MAX_DENIALS as u16).for_each(|port| denied(&denials, port));
        let ports: Vec<_> = denials.last().iter().map(|denied| denied.peer.port()).collect();
        assert_eq!((ports.len(), ports[0], ports[MAX_DENIALS - 1]), (MAX_DENIALS, 1149, 1100));
    }

    #[test]
    fn nothing_is_remembered_of_those_who_come_in() {
        let denials = Denials::default();
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let permit = crate::policy::Policy::anonymous().authorize(&Client::Anonymous, None);
        denials.record(at, at, (Some(&Client::Anonymous), None), &permit);
        assert!(denials.last().is_empty());
    }
}
