//! X-Forwarded-Client-Cert as some proxy sends it; and the same bytes as a certificate, of which what we write is read as the same.

use vestibule::identity::Client;
use vestibule::policy::{Policy, PolicyMode, Rule};
use vestibule::xfcc::{ForwardedIdentity, XfccDetail, XfccError, XfccForm, caller_fields, identity_fields, parse};

pub fn fuzz(bytes: &[u8]) {
    match parse(&[bytes]) {
        Ok(ForwardedIdentity::Certificate { der, .. }) => drop(Client::from_leaf(&der).unwrap()),
        Ok(ForwardedIdentity::Named { client, .. }) => {
            let holder = client.certificate().unwrap();
            assert!(holder.identity.is_ok() && holder.chain.is_empty());
            let deny: Vec<Rule> = vec!["dns:evil.example".parse().unwrap()];
            let policy = Policy { mode: PolicyMode::Enforce, allow: vec![Rule::Any], deny, routes: Default::default() };
            let is_named = holder.names.dns.iter().any(|name| name.eq_ignore_ascii_case("evil.example"));
            assert!(policy.authorize(&client, None).is_err() || !(holder.names.dns_is_untold || is_named));
            let _ = caller_fields(&client);
        }
        Err(error) => assert!(error.to_string().len() < 200),
    }
    let Ok(client) = Client::from_leaf(bytes) else { return };
    let holder = client.certificate().unwrap();
    let details = [XfccDetail::Hash, XfccDetail::Subject, XfccDetail::Uri, XfccDetail::Dns];
    for form in [XfccForm::Raw, XfccForm::Envoy, XfccForm::Rfc9440] {
        let told = identity_fields(holder, &[], &[form], &details);
        let [(name, value)] = &told.fields[..] else { panic!("not one field") };
        if name.as_str() != "x-forwarded-client-cert" {
            continue;
        }
        match (parse(&[value.as_bytes()]), &holder.identity) {
            (Ok(ForwardedIdentity::Certificate { der, .. }), _) => assert_eq!(der.as_ref(), bytes),
            (Ok(ForwardedIdentity::Named { client, .. }), Ok(identity)) => {
                assert_eq!(client.identity(), identity.as_ref());
                assert_eq!(client.certificate().unwrap().common_name, holder.common_name);
            }
            (Err(XfccError::Unsound(error)), Err(expected)) => assert_eq!(error, *expected),
            (Err(XfccError::TooLong | XfccError::TooManyPairs), _) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}
