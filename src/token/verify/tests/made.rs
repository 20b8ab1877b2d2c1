//! Certificates and tokens written by hand, field by field, so that each can be wrong in one way and sound in all others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value, json};

use crate::identity::tests::{name, tlv};
use crate::identity::{Certificate, Role};
use crate::token::issue::fixed_length;
use crate::trust::{Text, TrustAnchors};

pub(super) const ORG: &str = "c9f1d2b3-44e5-4c66-9d77-8e88f9990a33";
pub(super) const SPACE: &str = "2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22";
pub(super) const APP: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
pub(super) const INSTANCE: &str = "51f0a007-a1b2-4c3d-5e6f-7a07";
pub(super) const OTHER: &str = "00000000-0000-4000-8000-000000000000";

/// In seconds since 1970.
pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const DAY: i64 = 86_400;

pub(super) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(super) const KEY_AGREEMENT: u8 = 0x08;
pub(super) const KEY_CERT_SIGN: u8 = 0x04;

pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
pub(super) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
pub(super) const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];

pub(super) fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
}

/// A certificate and its key.
pub(super) struct TestIdentity {
    pub(super) key: KeyPair,
    pub(super) subject: Vec<u8>,
    pub(super) der: CertificateDer<'static>,
}

/// What a certificate is to say.
pub(super) struct CertificateSpec {
    pub(super) units: Vec<String>,
    pub(super) name: Option<&'static str>,
    pub(super) serial: u8,
    pub(super) begins: i64,
    pub(super) ends: i64,
    /// The first byte of keyUsage.
    pub(super) usage: Option<u8>,
    pub(super) purposes: Option<Vec<&'static [u8]>>,
    /// It is a CA's, with this path length.
    pub(super) ca: Option<Option<u8>>,
    pub(super) uris: Vec<&'static str>,
    pub(super) dns: Vec<&'static str>,
    /// The dNSName that is permitted below it.
    pub(super) permitted: Option<&'static str>,
    /// certificatePolicies, and called critical.
    pub(super) critical_policies: bool,
}

impl CertificateSpec {
    /// A sound instance.
    pub(super) fn leaf() -> Self {
        Self {
            units: [("organization", ORG), ("space", SPACE), ("app", APP)]
                .map(|(kind, id)| format!("{kind}:{id}"))
                .into(),
            name: Some(INSTANCE),
            serial: 1,
            begins: NOW - 3600,
            ends: NOW + DAY,
            usage: Some(DIGITAL_SIGNATURE),
            purposes: Some(vec![CLIENT_AUTH, SERVER_AUTH]),
            ca: None,
            uris: Vec::new(),
            dns: Vec::new(),
            permitted: None,
            critical_policies: false,
        }
    }

    /// A sound CA.
    pub(super) fn ca(name: &'static str) -> Self {
        Self {
            units: Vec::new(),
            name: Some(name),
            begins: NOW - 10 * DAY,
            ends: NOW + 10 * DAY,
            usage: Some(KEY_CERT_SIGN),
            purposes: None,
            ca: Some(None),
            ..Self::leaf()
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(super) fn self_signed(&self) -> TestIdentity {
        let key = KeyPair::generate().unwrap();
        let subject = self.subject();
        let der = self.sign(&key, &subject, &key);
        TestIdentity { key, subject, der }
    }

    pub(super) fn signed_by(&self, issuer: &TestIdentity) -> TestIdentity {
        self.signed_for(KeyPair::generate().unwrap(), issuer)
    }

    pub(super) fn signed_for(&self, key: KeyPair, issuer: &TestIdentity) -> TestIdentity {
        let der = self.sign(&key, &issuer.subject, &issuer.key);
        TestIdentity { key, subject: self.subject(), der }
    }

    fn subject(&self) -> Vec<u8> {
        let mut attributes: Vec<(u8, u8, &[u8])> = self.units.iter().map(|unit| (11, 19, unit.as_bytes())).collect();
        attributes.extend(self.name.map(|name| (3, 19, name.as_bytes())));
        let rdns: Vec<_> = attributes.iter().map(std::slice::from_ref).collect();
        name(&rdns)
    }

    fn sign(&self, key: &KeyPair, issuer: &[u8], signer: &KeyPair) -> CertificateDer<'static> {
        let time = |seconds: i64| {
            let time = jiff::Timestamp::from_second(seconds).unwrap();
            tlv(23, &[time.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()])
        };
        let to_be_signed = tlv(
            0x30,
            &[
                &tlv(0xa0, &[&tlv(2, &[&[2]])]),
                &tlv(2, &[&[self.serial]]),
                &ecdsa_with_sha256(),
                issuer,
                &tlv(0x30, &[&time(self.begins), &time(self.ends)]),
                &self.subject(),
                &key.subject_public_key_info(),
                &tlv(0xa3, &[&tlv(0x30, &[&self.extensions().concat()])]),
            ],
        );
        sign(&to_be_signed, signer).into()
    }

    fn extensions(&self) -> Vec<Vec<u8>> {
        let extension = |id: u8, critical: bool, value: Vec<u8>| {
            let critical = if critical { tlv(1, &[&[0xff]]) } else { Vec::new() };
            tlv(0x30, &[&tlv(6, &[&[0x55, 0x1d, id]]), &critical, &tlv(4, &[&value])])
        };
        let mut all = Vec::new();
        if let Some(usage) = self.usage {
            all.push(extension(15, true, tlv(3, &[&[usage.trailing_zeros() as u8, usage]])));
        }
        if let Some(purposes) = &self.purposes {
            let purposes: Vec<_> = purposes.iter().flat_map(|id| tlv(6, &[id])).collect();
            all.push(extension(37, false, tlv(0x30, &[&purposes])));
        }
        if let Some(length) = self.ca {
            let length = length.map(|length| tlv(2, &[&[length]])).unwrap_or_default();
            all.push(extension(19, true, tlv(0x30, &[&tlv(1, &[&[0xff]]), &length])));
        }
        let uris = self.uris.iter().map(|uri| tlv(0x86, &[uri.as_bytes()]));
        let names: Vec<_> = uris.chain(self.dns.iter().map(|dns| tlv(0x82, &[dns.as_bytes()]))).flatten().collect();
        if !names.is_empty() {
            all.push(extension(17, false, tlv(0x30, &[&names])));
        }
        if let Some(permitted) = self.permitted {
            let subtree = tlv(0x30, &[&tlv(0x82, &[permitted.as_bytes()])]);
            all.push(extension(30, true, tlv(0x30, &[&tlv(0xa0, &[&subtree])])));
        }
        if self.critical_policies {
            all.push(extension(32, true, tlv(0x30, &[&tlv(0x30, &[&tlv(6, &[&[0x2a, 3]])])])));
        }
        all
    }
}

/// A CRL of `issuer` that names `serial`.
pub(super) fn crl(issuer: &TestIdentity, serial: u8) -> Vec<u8> {
    let time = tlv(23, &[b"260101000000Z"]);
    let revoked = tlv(0x30, &[&tlv(0x30, &[&tlv(2, &[&[serial]]), &time])]);
    let parts: [&[u8]; 5] = [&tlv(2, &[&[1]]), &ecdsa_with_sha256(), &issuer.subject, &time, &revoked];
    sign(&tlv(0x30, &parts), &issuer.key)
}

fn ecdsa_with_sha256() -> Vec<u8> {
    tlv(0x30, &[&tlv(6, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])])
}

fn sign(to_be_signed: &[u8], signer: &KeyPair) -> Vec<u8> {
    let signature = signer.sign(to_be_signed).unwrap();
    tlv(0x30, &[to_be_signed, &ecdsa_with_sha256(), &tlv(3, &[&[0], &signature])])
}

fn text(label: &str, der: &[u8]) -> Text {
    let body = Base64::encode_string(der);
    let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    Text { path: "made.pem".into(), bytes: pem.into(), named: true }
}

pub(super) fn anchors(cas: &[&TestIdentity], crls: &[Vec<u8>]) -> TrustAnchors {
    let cas: Vec<_> = cas.iter().map(|ca| text("CERTIFICATE", &ca.der)).collect();
    let crls: Vec<_> = crls.iter().map(|crl| text("X509 CRL", crl)).collect();
    TrustAnchors::parse(&cas, &crls, Role::Client).unwrap().0
}

/// A token that is about to be signed.
pub(super) struct TokenDraft<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    key: &'a KeyPair,
}

impl<'a> TokenDraft<'a> {
    /// A sound one of `chain`, whose first is the signer.
    pub(super) fn of(chain: &[&'a TestIdentity]) -> Self {
        let x5c: Vec<_> = chain.iter().map(|one| Base64::encode_string(&one.der)).collect();
        let thumbprint = thumbprint(chain[0]);
        let header = json!({ "alg": "ES256", "typ": "JWT", "x5t#S256": thumbprint, "kid": thumbprint, "x5c": x5c });
        let claims = json!({
            "iss": format!("cf:app:{APP}"), "sub": format!("cf:app:{APP}"), "aud": "me", "jti": "one",
            "iat": NOW, "nbf": NOW - 30, "exp": NOW + 300,
            "org_guid": ORG, "space_guid": SPACE, "app_guid": APP, "cf_instance_guid": INSTANCE,
        });
        let object = |value: Value| value.as_object().unwrap().clone();
        Self { header: object(header), claims: object(claims), key: &chain[0].key }
    }

    /// With these members of the header; null takes one out.
    pub(super) fn header(mut self, change: Value) -> Self {
        put(&mut self.header, change);
        self
    }

    /// The same of the claims.
    pub(super) fn claims(mut self, change: Value) -> Self {
        put(&mut self.claims, change);
        self
    }

    /// In the form of Comcast's plugin.
    pub(super) fn comcast(mut self, policies: Value) -> Self {
        let x5c = self.header.remove("x5c").unwrap();
        self.header(json!({ "kid": null, "JWK": { "kty": "EC", "x5c": x5c } })).claims(json!({ "Policies": policies }))
    }

    pub(super) fn signed_by(self, key: &'a KeyPair) -> Self {
        Self { key, ..self }
    }

    pub(super) fn token(&self) -> String {
        let bytes = |object: &Map<String, Value>| Value::Object(object.clone()).to_string();
        self.token_of(&bytes(&self.header), &bytes(&self.claims))
    }

    /// A token of these texts.
    pub(super) fn token_of(&self, header: &str, claims: &str) -> String {
        let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
        let text = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = fixed_length(&self.key.sign(text.as_bytes()).unwrap(), 32).unwrap();
        format!("{text}.{}", encode(&signature))
    }
}

pub(super) fn thumbprint(holder: &TestIdentity) -> String {
    Base64UrlUnpadded::encode_string(Certificate::from_der(&holder.der).unwrap().fingerprint())
}

fn put(object: &mut Map<String, Value>, change: Value) {
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
}
