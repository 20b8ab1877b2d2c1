//! The pairs that are shown: who we are, and for how long.

use std::time::SystemTime;

use serde::Serialize;

use super::{IdentityStatus, PATH};
use crate::config::PairSource;
use crate::credentials::ServedCertificate;
use crate::diagnostics::{SafeText, date};
use crate::identity::Certificate;

/// A pair that is shown. Of its key nothing is said, not even of which kind it is.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct PairStatus {
    /// Where it was found.
    pub(in crate::admin) source: SafeText,
    #[serde(flatten)]
    pub(in crate::admin) who: IdentityStatus,
    pub(in crate::admin) serial: SafeText,
    pub(in crate::admin) retirement: bool,
    pub(in crate::admin) generation: u64,
    /// When it was taken into service.
    pub(in crate::admin) since: String,
    pub(in crate::admin) since_seconds: u64,
    pub(in crate::admin) not_before: Option<String>,
    pub(in crate::admin) not_after: Option<String>,
    /// Until the end of its validity; negative after it.
    pub(in crate::admin) seconds_left: Option<i64>,
}

impl PairStatus {
    pub(super) fn of(shown: &ServedCertificate, now: SystemTime) -> Self {
        let certificate = Certificate::from_der(shown.pair.leaf()).ok();
        let certificate = certificate.as_ref();
        let identity = certificate.and_then(|certificate| certificate.identity().ok().flatten());
        let who = match (identity, certificate) {
            (Some(identity), _) => IdentityStatus::of(&identity),
            (None, Some(certificate)) => {
                IdentityStatus { subject: Some(SafeText::of(certificate.subject())), ..IdentityStatus::default() }
            }
            (None, None) => IdentityStatus::default(),
        };
        Self {
            source: source(&shown.source),
            who,
            serial: SafeText::of(certificate.map(Certificate::serial).unwrap_or_default()),
            retirement: certificate.is_some_and(Certificate::is_retirement),
            generation: shown.generation,
            since: date(shown.since),
            since_seconds: now.duration_since(shown.since).unwrap_or_default().as_secs(),
            not_before: certificate.map(|certificate| date(certificate.not_before())),
            not_after: certificate.map(|certificate| date(certificate.not_after())),
            seconds_left: certificate.map(|certificate| seconds(now, certificate.not_after())),
        }
    }
}

/// Where a pair is found, in words.
pub(super) fn source(source: &PairSource) -> SafeText {
    match source {
        PairSource::Files(files) => SafeText::up_to(PATH, files.cert.display()),
        PairSource::Secret(secret) => {
            SafeText::up_to(PATH, format_args!("{} in {}", secret.name, secret.path.display()))
        }
    }
}

/// From `now` to `end`.
fn seconds(now: SystemTime, end: SystemTime) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    match end.duration_since(now) {
        Ok(left) => whole(left.as_secs()),
        Err(over) => -whole(over.duration().as_secs()),
    }
}
