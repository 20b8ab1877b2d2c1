//! Certificates as clients send them, before anybody has vouched for them: rules see each name that another reader sees.

use rustls_pki_types::CertificateDer;
use vestibule::identity::critical::WebpkiCertificate;
use vestibule::identity::{Certificate, Client, Identity, critical};
use vestibule::policy::{Policy, PolicyMode, Routes, Rule};
use webpki::EndEntityCert;

pub fn fuzz(der: &[u8]) {
    let _ = Certificate::from_der(der);
    let _ = Identity::from_der(der);
    let _ = critical::unknown_critical(der);
    // What is shown to the verifier differs in one mark at most.
    let readable = WebpkiCertificate::new(der);
    let differing: Vec<_> = der.iter().zip(readable.shown().iter()).filter(|(sent, shown)| sent != shown).collect();
    assert!(readable.shown().len() == der.len() && (differing.is_empty() || differing == [(&0xff, &0)]));
    // And without its dates in digits, beside that mark.
    let undated = WebpkiCertificate::undated(der);
    let mut differing = readable.shown().iter().zip(undated.shown().iter()).filter(|(dated, shown)| dated != shown);
    assert!(undated.shown().len() == der.len() && differing.all(|(_, shown)| shown.is_ascii_digit() || *shown == b'Z'));
    if let Ok(client) = Client::from_leaf(der) {
        if let (Ok(theirs), Some(holder)) = (EndEntityCert::try_from(&CertificateDer::from(der)), client.certificate())
        {
            let is_ours = |name: &str| holder.names.dns.iter().any(|ours| ours == name);
            assert!(theirs.valid_dns_names().all(is_ours), "{:?}", holder.names.dns);
        }
        let deny = ["dns:evil.example", "uri:spiffe://o/admin/*", "cn:Bob"].map(|rule| rule.parse::<Rule>().unwrap());
        let policy = Policy {
            mode: PolicyMode::Enforce,
            allow: vec![Rule::Any],
            deny: deny.to_vec(),
            routes: Routes::default(),
        };
        if let (Ok(_), Some(holder), None) = (policy.authorize(&client, None), client.certificate(), client.identity())
        {
            let seen = |name: &str| name.replace(|c: char| !c.is_ascii_graphic(), "").to_ascii_lowercase();
            let is_denied = |name: &String| seen(name).trim_end_matches('.') == "evil.example";
            assert!(!holder.names.dns.iter().any(is_denied));
            assert!(!holder.names.uris.iter().any(|uri| seen(uri).starts_with("spiffe://o/admin/")));
            assert!(holder.common_name.as_deref().is_none_or(|name| seen(name) != "bob"));
        }
    }
}
