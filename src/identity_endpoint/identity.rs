//! Who the instance is, for those who ask.

use std::time::SystemTime;

use serde::Serialize;

use super::rejection::EndpointRejection;
use crate::credentials::ServedCertificate;
use crate::identity::{Certificate, Guid, Identity};
use crate::telemetry::TokenRequestResult;

/// The answer to `GET /identity`. What the certificate does not say is null.
#[derive(Debug, Serialize)]
pub(super) struct IdentityResponse {
    org_guid: Option<String>,
    space_guid: Option<String>,
    app_guid: Option<String>,
    cf_instance_guid: Option<String>,
    instance_ip: Option<String>,
    not_before: String,
    not_after: String,
    serial: String,
    fingerprint_sha256: String,
    generation: u64,
}

impl IdentityResponse {
    /// What the pair that is served says at the time `now`.
    ///
    /// # Errors
    /// The pair stands for nobody now.
    pub(super) fn of(served: &ServedCertificate, now: SystemTime) -> Result<Self, EndpointRejection> {
        let unusable = |error: String| EndpointRejection::new(TokenRequestResult::UnusablePair, error);
        let leaf = Certificate::from_der(served.pair.leaf()).map_err(|error| unusable(error.to_string()))?;
        if leaf.is_retirement() {
            let detail = "the instance is about to stop: it has no name any more";
            return Err(EndpointRejection::new(TokenRequestResult::Retired, detail));
        }
        if now > leaf.not_after() {
            return Err(EndpointRejection::new(
                TokenRequestResult::Expired,
                "the certificate has expired; have it renewed",
            ));
        }
        if now < leaf.not_before() {
            let detail = "the certificate is not valid yet; look at this machine's clock";
            return Err(EndpointRejection::new(TokenRequestResult::NotYetValid, detail));
        }
        let identity = leaf.identity().map_err(|error| unusable(error.to_string()))?;
        let identity = identity.as_ref();
        let guid = |part: fn(&Identity) -> Option<Guid>| identity.and_then(part).map(|guid| guid.to_string());
        Ok(Self {
            org_guid: guid(|identity| identity.organization),
            space_guid: guid(|identity| identity.space),
            app_guid: guid(|identity| identity.app),
            cf_instance_guid: identity.and_then(|identity| identity.instance.as_ref()).map(ToString::to_string),
            instance_ip: leaf.alt_names().ips.first().map(ToString::to_string),
            not_before: date(leaf.not_before()),
            not_after: date(leaf.not_after()),
            serial: leaf.serial(),
            fingerprint_sha256: leaf.fingerprint_hex(),
            generation: served.generation,
        })
    }
}

/// RFC 3339, in UTC and whole seconds.
pub(super) fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}
