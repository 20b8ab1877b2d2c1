use super::super::{ForwardedIdentity, parse};
use super::{APP, HASH, INSTANCE, SUBJECT, diego};
use crate::identity::Client;
use crate::policy::{DenialReason, Policy, PolicyMode, Rule};

fn named(pairs: &str) -> Client {
    match parse(&[format!("Hash={HASH};{pairs}").as_bytes()]).unwrap() {
        ForwardedIdentity::Named { client, .. } => client,
        other => panic!("{other:?}"),
    }
}

fn verdict(client: &Client, allow: &[&str], deny: &[&str]) -> Result<(), DenialReason> {
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse::<Rule>().unwrap()).collect();
    let policy =
        Policy { mode: PolicyMode::Enforce, allow: rules(allow), deny: rules(deny), routes: Default::default() };
    policy.authorize(client, None).map(drop).map_err(|denial| denial.reason())
}

#[test]
fn a_forwarded_caller_is_judged_by_the_rules_for_certificates() {
    let app = format!("cf:app:{APP}");
    let caller = named(&format!("Subject=\"{SUBJECT}\";URI=;DNS={INSTANCE}"));
    for client in [&caller, &diego()] {
        assert_eq!(verdict(client, &[&app], &["cf:app:00000000-0000-4000-8000-000000000000", "dns:a.example"]), Ok(()));
        assert_eq!(verdict(client, &["any"], &[&app]), Err(DenialReason::DeniedByRule));
        assert_eq!(verdict(client, &["dns:a.example"], &[]), Err(DenialReason::NotAllowed));
        assert_eq!(verdict(client, &["any"], &[&format!("dns:{INSTANCE}")]), Err(DenialReason::DeniedByRule));
    }
    let other = named("Subject=\"CN=b\";URI=spiffe://o/a;DNS=a.example");
    for rule in ["dns:a.example", "uri:spiffe://o/a", "cn:b", "any"] {
        assert_eq!(verdict(&other, &[rule], &[]), Ok(()), "{rule}");
        assert_eq!(verdict(&other, &["any"], &[rule]), Err(DenialReason::DeniedByRule), "{rule}");
    }
}

#[test]
fn names_that_are_not_told_may_be_those_that_a_rule_denies() {
    let caller = named(&format!("Subject=\"{SUBJECT}\""));
    for deny in ["dns:a.example", "dns:*.example", "uri:spiffe://o/a", "uri:spiffe://o/*"] {
        assert_eq!(verdict(&caller, &["cf:any"], &[deny]), Err(DenialReason::NameDoubtful), "{deny}");
    }
    // The subject is told.
    assert_eq!(verdict(&caller, &["cf:any"], &["cn:a", "cf:space:00000000-0000-4000-8000-000000000000"]), Ok(()));
    // And for what is not told nobody is admitted.
    let caller = named("Subject=\"CN=a\"");
    for allow in ["dns:a.example", "uri:spiffe://o/a", "cf:any"] {
        assert_eq!(verdict(&caller, &[allow], &[]), Err(DenialReason::NotAllowed), "{allow}");
    }
    // An empty URI says that there is none; of DNS names nothing says that.
    let caller = named(&format!("Subject=\"{SUBJECT}\";URI="));
    assert_eq!(verdict(&caller, &["cf:any"], &["uri:spiffe://o/a"]), Ok(()));
    assert_eq!(verdict(&caller, &["cf:any"], &["dns:a.example"]), Err(DenialReason::NameDoubtful));
}
