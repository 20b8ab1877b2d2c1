//! What comes to its end while it is in service, and when that is worth a word. Each is said once.
//!
//! Neither files nor clocks are known here.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::{FileKind, ServedCertificate};
use crate::config::PairSource;
use crate::identity::Certificate;
use crate::trust::{CrlIssuer, TrustAnchors};

/// The clock may be set while we sleep, so no sleep is longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The quarter of a long life is no time to hurry in.
const NEAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// A certificate, or the CRLs of an issuer, with the time of its end; a successor is another event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ExpiryEvent {
    /// The certificate that is shown from this generation on.
    Certificate { generation: u64, source: PairSource, not_after: SystemTime },
    /// The last of the CRLs of an issuer.
    Crls { kind: FileKind, issuer: String, next_update: SystemTime },
    /// One of several CAs of this kind, of which others are valid for longer.
    Ca { kind: FileKind, subject: String, serial: String, not_after: SystemTime },
    /// The last of the CAs of this kind.
    LastCa { kind: FileKind, subject: String, not_after: SystemTime },
}

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ExpiryStage {
    /// It should have had a successor for some time.
    Near,
    /// Its end has come.
    Expired,
}

/// All that comes to its end, and what was said of it.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    moments: Vec<(ExpiryEvent, ExpiryStage, SystemTime)>,
    said: HashMap<ExpiryEvent, ExpiryStage>,
}

impl Expiry {
    /// Takes note of what is in service now, the trust anchors with what their CAs are. What was said of what still is need not be said again.
    pub(super) fn update<'a>(
        &mut self,
        shown: &[ServedCertificate],
        anchors: impl Iterator<Item = (FileKind, &'a TrustAnchors)>,
    ) {
        self.moments.clear();
        shown.iter().for_each(|shown| self.add_certificate(shown));
        anchors.for_each(|(kind, anchors)| self.add_trust_anchors(kind, anchors));
        let known: HashSet<_> = self.moments.iter().map(|(known, ..)| known).collect();
        self.said.retain(|ending, _| known.contains(ending));
    }

    fn add_certificate(&mut self, shown: &ServedCertificate) {
        let Ok(certificate) = Certificate::from_der(shown.pair.leaf()) else { return };
        if certificate.is_retirement() {
            // It has no successor, and the instance ends before it does.
            return;
        }
        let until = certificate.not_after();
        let (generation, source) = (shown.generation, shown.source.clone());
        let ending = ExpiryEvent::Certificate { generation, source, not_after: until };
        self.add(ending, renewal_overdue(&certificate), until);
    }

    fn add_trust_anchors(&mut self, kind: FileKind, anchors: &TrustAnchors) {
        for CrlIssuer { issuer, this_update, next_update } in anchors.crl_issuers() {
            if let Some(next_update) = next_update {
                self.add(
                    ExpiryEvent::Crls { kind, issuer: issuer.to_owned(), next_update },
                    last_quarter(this_update, next_update),
                    next_update,
                );
            }
        }
        let last = anchors.not_after();
        for ca in anchors.cas().iter().filter(|ca| !anchors.has_renewed(ca)) {
            let (subject, not_after) = (ca.subject.clone(), ca.not_after);
            let event = if Some(not_after) == last {
                ExpiryEvent::LastCa { kind, subject, not_after }
            } else {
                ExpiryEvent::Ca { kind, subject, serial: ca.serial.clone(), not_after }
            };
            self.add(event, last_quarter(ca.not_before, not_after), not_after);
        }
    }

    /// What is `near` its end then, and over `until` then.
    fn add(&mut self, event: ExpiryEvent, near: SystemTime, until: SystemTime) {
        self.moments.push((event.clone(), ExpiryStage::Near, near));
        self.moments.push((event, ExpiryStage::Expired, until));
    }

    /// What has come to its end, or near to it, by `now`, and was not said before.
    pub(super) fn due(&mut self, now: SystemTime) -> Vec<(ExpiryEvent, ExpiryStage)> {
        let mut due: Vec<(ExpiryEvent, ExpiryStage)> = Vec::new();
        for (ending, nearness, at) in &self.moments {
            if *at > now || self.said.get(ending).is_some_and(|said| said >= nearness) {
                continue;
            }
            self.said.insert(ending.clone(), *nearness);
            // Of two that come at once the later one is enough.
            due.retain(|(other, _)| other != ending);
            due.push((ending.clone(), *nearness));
        }
        due
    }

    /// How long to sleep from `now` on until there may be something to say.
    pub(super) fn sleep(&self, now: SystemTime) -> Duration {
        let ahead = self.moments.iter().filter_map(|(_, _, at)| at.duration_since(now).ok());
        // A moment later, since the end itself is the last moment before.
        ahead.filter(|left| !left.is_zero()).min().map_or(LONGEST_SLEEP, |left| left.min(LONGEST_SLEEP))
    }
}

/// From when on `certificate`, which is replaced before its end, should have had a successor.
pub fn renewal_overdue(certificate: &Certificate) -> SystemTime {
    let is_diegos = matches!(certificate.identity(), Ok(Some(_)));
    let overdue = if is_diegos { after_diegos_renewal } else { last_quarter };
    overdue(certificate.not_before(), certificate.not_after())
}

/// When the last quarter of a life begins, or the last 30 days of a long one.
fn last_quarter(from: SystemTime, until: SystemTime) -> SystemTime {
    let quarter = until.duration_since(from).unwrap_or_default() / 4;
    until.checked_sub(quarter.min(NEAR)).unwrap_or(from)
}

/// When an instance's certificate should have been replaced for some time. Diego does so 30 minutes before the end of a life of more
/// than 4 hours, else when an eighth of it is left (executor, `credmanager.go`).
fn after_diegos_renewal(from: SystemTime, until: SystemTime) -> SystemTime {
    let life = until.duration_since(from).unwrap_or_default();
    until.checked_sub((life / 12).min(Duration::from_secs(20 * 60))).unwrap_or(from)
}

impl ExpiryEvent {
    /// Says that it is as near as that. `several`: which certificate has to be told.
    pub(super) fn log(&self, nearness: ExpiryStage, several: bool) {
        let date = |time| jiff::Timestamp::try_from(time).ok().map(tracing::field::display);
        match self {
            Self::Certificate { generation, source, not_after } => {
                let pair = several.then(|| tracing::field::display(source));
                let not_after = date(*not_after);
                match nearness {
                    ExpiryStage::Near => tracing::warn!(
                        generation,
                        pair,
                        not_after,
                        "the served certificate expires soon and no successor has come; see whether what rotates the pair still runs"
                    ),
                    ExpiryStage::Expired => tracing::error!(
                        generation,
                        pair,
                        not_after,
                        "the served certificate has expired and no successor has come; have a new pair written"
                    ),
                }
            }
            Self::Crls { kind, issuer, next_update } if nearness == ExpiryStage::Near => tracing::warn!(
                %issuer,
                next_update = date(*next_update),
                "the CRLs of this issuer expire soon (nextUpdate) and no successor has come; see whether what writes them to {} still runs",
                crl_option_of(*kind)
            ),
            Self::Crls { kind, issuer, next_update } => tracing::warn!(
                %issuer,
                next_update = date(*next_update),
                "every CRL of this issuer has expired (nextUpdate): what was revoked since is not in it; see whether what writes it to {} still runs",
                crl_option_of(*kind)
            ),
            Self::Ca { kind, subject, serial, not_after } if nearness == ExpiryStage::Near => tracing::warn!(
                ca = %subject,
                serial,
                not_after = date(*not_after),
                "a {kind} expires soon, and whom it vouches for is denied from then on: put its successor beside it in {}, and have {} renew under it",
                option_of(*kind),
                role_of(*kind)
            ),
            Self::Ca { kind, subject, serial, not_after } => tracing::warn!(
                ca = %subject,
                serial,
                not_after = date(*not_after),
                "a {kind} has expired, and whom it vouches for is denied: take it out of {} once all {} have moved to its successor",
                option_of(*kind),
                role_of(*kind)
            ),
            Self::LastCa { kind, subject, not_after } if nearness == ExpiryStage::Near => tracing::warn!(
                ca = %subject,
                not_after = date(*not_after),
                "the last {kind} expires soon: put its successor beside it in {}",
                option_of(*kind)
            ),
            Self::LastCa { kind, subject, not_after } => tracing::error!(
                ca = %subject,
                not_after = date(*not_after),
                "no {kind} is valid any more: {}; give {} the CAs that issue now",
                without(*kind),
                option_of(*kind)
            ),
        }
    }
}

fn crl_option_of(ca: FileKind) -> &'static str {
    if ca == FileKind::TokenCa { "--token-crl" } else { "--client-crl" }
}

fn option_of(ca: FileKind) -> &'static str {
    if ca == FileKind::TokenCa { "--token-ca" } else { "--client-ca" }
}

/// For whom CAs of this kind vouch.
fn role_of(ca: FileKind) -> &'static str {
    if ca == FileKind::TokenCa { "instances that send tokens" } else { "clients" }
}

/// What happens without a CA of this kind.
fn without(ca: FileKind) -> &'static str {
    if ca == FileKind::TokenCa { "no token is good" } else { "nobody comes in" }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::PairFiles;
    use crate::credentials::Pair;
    use crate::crypto::provider;
    use crate::identity::Role;
    use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind};
    use crate::trust::Text;

    const HOUR: Duration = Duration::from_secs(3600);

    fn shown(generation: u64, now: SystemTime, validity: Duration) -> ServedCertificate {
        let spec = InstanceSpec { validity, key: KeyKind::P256, ..InstanceSpec::generate().unwrap() };
        let made = CertificateAuthority::generate(now).unwrap().issue(&spec, now).unwrap();
        let pair = Pair::from_pem(made.cert_pem.as_bytes(), made.key_pem.as_bytes(), &provider()).unwrap();
        let source = PairSource::Files(PairFiles { cert: "a.crt".into(), key: "a.key".into() });
        ServedCertificate { source, pair, generation, since: now }
    }

    fn nearness(due: &[(ExpiryEvent, ExpiryStage)]) -> Vec<ExpiryStage> {
        due.iter().map(|(_, nearness)| *nearness).collect()
    }

    #[test]
    fn each_client_ca_is_warned_of_by_itself_but_not_one_that_is_listed_with_its_later_dates() {
        let now = SystemTime::now();
        let ca = |name: &str, key: &rcgen::KeyPair, days: u64| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) = ((now - HOUR).into(), (now + 24 * HOUR * days as u32).into());
            params.self_signed(key).unwrap().pem()
        };
        let (renewed, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let text = |pem: String| Text { path: "ca.crt".into(), bytes: pem.into_bytes(), named: true };
        let all = [ca("renewed", &renewed, 1), ca("renewed", &renewed, 50), ca("ending", &other, 2)].concat();
        let (anchors, _) = TrustAnchors::parse(&[text(all)], &[], Role::Client).unwrap();
        let mut expiry = Expiry::default();
        expiry.update(&[], std::iter::once((FileKind::ClientCa, &anchors)));
        assert_eq!(expiry.due(now), []);
        let subjects = |due: Vec<(ExpiryEvent, ExpiryStage)>| -> Vec<_> {
            let subject = |event| match event {
                ExpiryEvent::Ca { subject, .. } => subject,
                ExpiryEvent::LastCa { subject, .. } => format!("last {subject}"),
                other => panic!("{other:?}"),
            };
            due.into_iter().map(|(event, nearness)| (subject(event), nearness)).collect()
        };
        let ending = |nearness| vec![("CN=ending".to_owned(), nearness)];
        assert_eq!(subjects(expiry.due(now + 40 * HOUR)), ending(ExpiryStage::Near));
        assert_eq!(subjects(expiry.due(now + 49 * HOUR)), ending(ExpiryStage::Expired));
        let last = vec![("last CN=renewed".to_owned(), ExpiryStage::Expired)];
        assert_eq!(subjects(expiry.due(now + 51 * 24 * HOUR)), last);
    }

    #[test]
    fn a_warning_is_of_the_ca_that_it_names_and_of_its_option() {
        let now = SystemTime::now();
        let said = |kind| {
            let (subject, serial) = ("CN=ca".to_owned(), "1".to_owned());
            let events = [
                ExpiryEvent::Ca { kind, subject: subject.clone(), serial, not_after: now },
                ExpiryEvent::LastCa { kind, subject: subject.clone(), not_after: now },
                ExpiryEvent::Crls { kind, issuer: subject, next_update: now },
            ];
            let log = tempfile::NamedTempFile::new().unwrap();
            let subscriber = tracing_subscriber::fmt().with_writer(log.reopen().unwrap()).with_ansi(false).finish();
            tracing::subscriber::with_default(subscriber, || {
                for event in &events {
                    [ExpiryStage::Near, ExpiryStage::Expired]
                        .into_iter()
                        .for_each(|nearness| event.log(nearness, false));
                }
            });
            std::fs::read_to_string(log.path()).unwrap()
        };
        let (of_clients, of_tokens) = (said(FileKind::ClientCa), said(FileKind::TokenCa));
        assert_eq!((of_clients.lines().count(), of_tokens.lines().count()), (6, 6));
        for (text, own, other) in [(&of_clients, "client", "token"), (&of_tokens, "token", "client")] {
            for line in text.lines() {
                assert!(line.contains(&format!("{own} CA")) || line.contains(&format!("--{own}-crl")), "{line}");
                assert!(!line.contains(other), "{line}");
            }
        }
        assert!(of_tokens.contains("--token-ca") && of_tokens.contains("no token is good"), "{of_tokens}");
    }

    #[test]
    fn a_certificate_is_warned_of_once_when_no_successor_came_in_time_and_once_at_its_end() {
        let now = SystemTime::now();
        let certificate = shown(1, now, 8 * HOUR);
        let leaf = Certificate::from_der(certificate.pair.leaf()).unwrap();
        let (from, until) = (leaf.not_before(), leaf.not_after());
        assert_eq!(last_quarter(from, until), until - until.duration_since(from).unwrap() / 4);
        // Diego's own renews it 30 minutes before its end.
        let near = until - Duration::from_secs(20 * 60);
        assert_eq!(renewal_overdue(&leaf), near);
        let mut expiry = Expiry::default();
        expiry.update(std::slice::from_ref(&certificate), std::iter::empty());
        assert_eq!(expiry.due(near - Duration::from_secs(1)), []);
        assert_eq!(expiry.sleep(near - Duration::from_secs(1)), Duration::from_secs(1));
        assert_eq!(expiry.sleep(now), LONGEST_SLEEP);
        assert_eq!(nearness(&expiry.due(near)), [ExpiryStage::Near]);
        assert_eq!(expiry.due(until - Duration::from_secs(1)), [], "it was said");
        assert_eq!(nearness(&expiry.due(until)), [ExpiryStage::Expired]);
        expiry.update(std::slice::from_ref(&certificate), std::iter::empty());
        assert_eq!(expiry.due(until + HOUR), [], "a reload of something else is no reason to say it again");
        // A successor is warned of by itself.
        expiry.update(&[shown(2, now, 8 * HOUR)], std::iter::empty());
        assert_eq!(expiry.due(now), []);
        assert_eq!(nearness(&expiry.due(until + HOUR)), [ExpiryStage::Expired], "what has ended is not ending");
    }
}
