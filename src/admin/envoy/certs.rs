//! `/certs`: what is shown, and who vouches for clients.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Envoy;
use crate::credentials::SnapshotReceiver;
use crate::identity::{AltNames, Certificate};
use crate::lifecycle::Validity;
use crate::trust::{Ca, ClientAuth};

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Envoy {
    /// One entry for each listener, as Envoy has one for each TLS context.
    pub(super) fn certs(&self) -> Value {
        let entries = self.bootstrap_listeners().map(|(listener, (_, current))| {
            let leaf = self.leaf(&listener.pair.name);
            json!({
                "ca_cert": cas(current),
                "cert_chain": leaf.iter().map(of_leaf).collect::<Vec<_>>(),
            })
        });
        json!({ "certificates": entries.collect::<Vec<_>>() })
    }

    fn leaf(&self, secret: &str) -> Option<Certificate> {
        let shown = self.shown.borrow();
        let shown = shown.iter().find(|shown| shown.source.to_string() == secret)?;
        Certificate::from_der(shown.pair.leaf()).ok()
    }
}

/// Whole days until `validity` is over; 0 once it is.
pub(super) fn days_left(validity: Validity) -> u64 {
    let left = validity.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    left.as_secs() / DAY.as_secs()
}

fn cas(current: &SnapshotReceiver) -> Vec<Value> {
    match current.load().as_deref().map(|snapshot| &snapshot.client_auth) {
        Some(ClientAuth::Certificate(authenticator)) => authenticator.anchors().cas().iter().map(of_ca).collect(),
        _ => Vec::new(),
    }
}

fn of_ca(ca: &Ca) -> Value {
    let validity = Validity { not_before: ca.not_before, not_after: ca.not_after };
    certificate(&ca.serial, &ca.alt_names, validity)
}

fn of_leaf(leaf: &Certificate) -> Value {
    certificate(&leaf.serial(), leaf.alt_names(), Validity::of(leaf))
}

fn certificate(serial: &str, names: &AltNames, validity: Validity) -> Value {
    json!({
        // All that Envoy says of a certificate that it has from a secret.
        "path": "<inline>",
        "serial_number": serial,
        "subject_alt_names": alt_names(names),
        "days_until_expiration": days_left(validity).to_string(),
        "valid_from": date(validity.not_before),
        "expiration_time": date(validity.not_after),
    })
}

fn alt_names(names: &AltNames) -> Vec<Value> {
    let dns = names.dns.iter().map(|name| json!({ "dns": name }));
    let uris = names.uris.iter().map(|name| json!({ "uri": name }));
    dns.chain(uris).chain(names.ips.iter().map(|ip| json!({ "ip_address": ip }))).collect()
}

/// RFC 3339 in UTC; empty for a date that has no such form.
fn date(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.0}")).unwrap_or_default()
}
