//! The fields that the app is given.

use base64ct::{Base64, Encoding};
use hyper::header::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;

use super::{XfccDetail, XfccForm};
use crate::identity::{Certificate, Client, PeerCertificate};
use crate::pem;

const X_FORWARDED_CLIENT_CERT: &str = "x-forwarded-client-cert";
const CLIENT_CERT: &str = "client-cert";
const CLIENT_CERT_CHAIN: &str = "client-cert-chain";
const APP: &str = "x-vestibule-app";
const SPACE: &str = "x-vestibule-space";
const ORG: &str = "x-vestibule-org";
const INSTANCE: &str = "x-vestibule-instance";
const SUBJECT_KIND: &str = "x-vestibule-subject-kind";

/// What the app is told of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XfccFields {
    /// Each name occurs once.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Names that cannot be written so that every reader reads them alike, and that are not there: those with a control byte or a
    /// backslash, and URIs of no length.
    pub left_out: usize,
}

/// What `client`'s certificate says, in these forms; Envoy's with these details, in Envoy's order. `own_uris` are those of our own
/// certificate.
///
/// Of a client whose certificate somebody else has seen, nothing is said. Of two forms that [conflict](super::conflict) the first is
/// written.
pub fn identity_fields(
    client: &PeerCertificate,
    own_uris: &[String],
    forms: &[XfccForm],
    details: &[XfccDetail],
) -> XfccFields {
    let mut out = XfccFields::default();
    let Some((leaf, cas)) = client.chain.split_first() else { return out };
    for form in forms {
        match form {
            XfccForm::Raw => out.set(X_FORWARDED_CLIENT_CERT, &Base64::encode_string(leaf)),
            XfccForm::Envoy => {
                let element = EnvoyElement::of(client, own_uris, details);
                out.left_out += element.left_out;
                out.set(X_FORWARDED_CLIENT_CERT, &element.text);
            }
            XfccForm::Rfc9440 => {
                out.set(CLIENT_CERT, &byte_sequence(leaf));
                out.set(CLIENT_CERT_CHAIN, &cas.iter().map(byte_sequence).collect::<Vec<_>>().join(", "));
            }
        }
    }
    out
}

/// Who calls, in words of our own: X-Vestibule-App, -Space, -Org and -Instance of a sound Cloud Foundry identity, as far as they are in
/// it, and always X-Vestibule-Subject-Kind. That is `cf` for such an identity, `dns` for another certificate with a DNS name,
/// `anonymous` without a certificate, and `other`, which is also said of an identity that is not sound.
pub fn caller_fields(client: &Client) -> Vec<(HeaderName, HeaderValue)> {
    let mut out = XfccFields::default();
    if let Some(identity) = client.identity() {
        for (name, guid) in [(APP, identity.app), (SPACE, identity.space), (ORG, identity.organization)] {
            out.set(name, &guid.map(|guid| guid.to_string()).unwrap_or_default());
        }
        out.set(INSTANCE, identity.instance.as_ref().map_or("", |instance| instance.as_str()));
    }
    let kind = match client.certificate() {
        None => "anonymous",
        Some(PeerCertificate { identity: Ok(Some(_)), .. }) => "cf",
        Some(PeerCertificate { identity: Ok(None), names, .. }) if names.dns.iter().any(|name| !name.is_empty()) => {
            "dns"
        }
        Some(_) => "other",
    };
    out.set(SUBJECT_KIND, kind);
    out.fields
}

impl XfccFields {
    /// Adds a field, unless it has nothing to say or is there already.
    fn set(&mut self, name: &'static str, value: &str) {
        // All that is written here is printable ASCII, which is always a value.
        let Ok(value) = HeaderValue::from_str(value) else { return };
        if !value.is_empty() && self.fields.iter().all(|(other, _)| other != name) {
            self.fields.push((HeaderName::from_static(name), value));
        }
    }
}

/// One element of Envoy's form.
#[derive(Default)]
struct EnvoyElement {
    text: String,
    left_out: usize,
}

impl EnvoyElement {
    fn of(client: &PeerCertificate, own_uris: &[String], details: &[XfccDetail]) -> Self {
        let mut element = Self::default();
        // Whoever is a client has shown a certificate that could be read.
        let Ok(leaf) = Certificate::from_der(client.chain.first().map_or(&[], |leaf| leaf)) else { return element };
        let mut details = details.to_vec();
        details.sort();
        details.dedup();
        for detail in details {
            match detail {
                XfccDetail::By => element.push_names(detail, own_uris),
                XfccDetail::Hash => element.push(detail, &leaf.fingerprint_hex()),
                XfccDetail::Cert => element.push(detail, &percent_encoded(&client.chain[..1])),
                XfccDetail::Chain => element.push(detail, &percent_encoded(&client.chain)),
                XfccDetail::Subject => element.push(detail, &leaf.subject_for_field()),
                // As Envoy says that there is none, so that a reader can tell it from not being told.
                XfccDetail::Uri if client.names.uris.is_empty() => element.push(detail, ""),
                XfccDetail::Uri => element.push_names(detail, &client.names.uris),
                XfccDetail::Dns => element.push_names(detail, &client.names.dns),
            }
        }
        element
    }

    fn push_names(&mut self, detail: XfccDetail, names: &[String]) {
        for name in names {
            let is_none = name.is_empty() && detail != XfccDetail::Dns;
            let is_plain = name.bytes().all(|byte| byte == b' ' || (byte.is_ascii_graphic() && byte != b'\\'));
            if is_none || !is_plain {
                self.left_out += 1;
            } else {
                self.push(detail, &name.replace('"', "\\\""));
            }
        }
    }

    /// Adds a pair; `value` may stand in quotes as it is.
    fn push(&mut self, detail: XfccDetail, value: &str) {
        if !self.text.is_empty() {
            self.text.push(';');
        }
        for part in [detail.key(), "=\"", value, "\""] {
            self.text.push_str(part);
        }
    }
}

/// As Envoy encodes it: what PEM is made of, but for letters, digits and dashes.
fn percent_encoded(chain: &[CertificateDer<'_>]) -> String {
    let text = pem::certificates(chain);
    let mut encoded = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '\n' => encoded.push_str("%0A"),
            ' ' => encoded.push_str("%20"),
            '+' => encoded.push_str("%2B"),
            '/' => encoded.push_str("%2F"),
            '=' => encoded.push_str("%3D"),
            c => encoded.push(c),
        }
    }
    encoded
}

/// A byte sequence of RFC 8941.
fn byte_sequence(der: &CertificateDer<'_>) -> String {
    format!(":{}:", Base64::encode_string(der))
}
