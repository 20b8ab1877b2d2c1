mod judging;
mod reading;
mod writing;

use std::fmt::Write;

use rustls::pki_types::CertificateDer;

use super::{XfccDetail, XfccFields, XfccForm, identity_fields};
use crate::identity::Client;
use crate::identity::tests::{AttributeSpec, certificate, tlv};
use crate::pem::Pem;

const DIEGO: &str =
    include_str!("../../tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt");
const HASH: &str = "1326f435093a1ed0df1b94333636d89d2f38aba8a1e666a2d88ea37f597578a1";
/// As OpenSSL prints it, and so Envoy.
const SUBJECT: &str = "CN=51f0a007-a1b2-4c3d-5e6f-7a07,OU=organization:c9f1d2b3-44e5-4c66-9d77-8e88f9990a33\
    +OU=space:2a0c8e64-31f7-4b6e-a3ad-5d9d2c5b7e22+OU=app:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
const APP: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
const INSTANCE: &str = "51f0a007-a1b2-4c3d-5e6f-7a07";
const USUAL: [XfccDetail; 4] = [XfccDetail::Hash, XfccDetail::Subject, XfccDetail::Uri, XfccDetail::Dns];
const UTF8: u8 = 12;

fn chain() -> Vec<CertificateDer<'static>> {
    Pem::read(DIEGO.as_bytes()).unwrap().chain()
}

fn diego() -> Client {
    Client::from_chain(&chain()).unwrap()
}

/// What stands between the marks of the fixture's certificates: their base64, as OpenSSL has written it.
fn bodies() -> Vec<String> {
    let ends = DIEGO.split("-----BEGIN CERTIFICATE-----").skip(1);
    ends.map(|block| block.split("-----END").next().unwrap().split_whitespace().collect()).collect()
}

/// As Envoy encodes it, character by character.
fn encoded(pem: &str) -> String {
    pem.chars().fold(String::new(), |mut text, c| {
        match c {
            c if c.is_ascii_alphanumeric() || c == '-' => text.push(c),
            c => write!(text, "%{:02X}", u32::from(c)).unwrap(),
        }
        text
    })
}

/// The fixture's first certificate, its marks and its line breaks with it.
fn leaf_pem() -> &'static str {
    let end = "-----END CERTIFICATE-----\n";
    &DIEGO[DIEGO.find("-----BEGIN").unwrap()..DIEGO.find(end).unwrap() + end.len()]
}

fn holder(subject: &[&[AttributeSpec<'_>]], uris: &[&str], dns: &[&str]) -> Client {
    let uris = uris.iter().map(|name| tlv(0x86, &[name.as_bytes()]));
    let names: Vec<u8> = uris.chain(dns.iter().map(|name| tlv(0x82, &[name.as_bytes()]))).flatten().collect();
    Client::from_leaf(&certificate(subject, &[], &[&tlv(0x30, &[&names])])).unwrap()
}

fn identity_headers(client: &Client, forms: &[XfccForm], details: &[XfccDetail]) -> XfccFields {
    identity_fields(client.certificate().unwrap(), &[], forms, details)
}

/// The value in Envoy's form, and how many names are not in it.
fn in_envoys_form(client: &Client, details: &[XfccDetail]) -> (String, usize) {
    let XfccFields { fields, left_out } = identity_headers(client, &[XfccForm::Envoy], details);
    (fields[0].1.to_str().unwrap().to_owned(), left_out)
}
