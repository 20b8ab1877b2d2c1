use std::fs;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use tempfile::TempDir;

use super::*;

const GUID: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";
/// Of all CAs here.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Noon of some day.
fn now() -> SystemTime {
    UNIX_EPOCH + 20_000 * DAY
}

/// A CA that is valid from ten days ago until `left` from now, and its CRL, to be replaced at `next`.
fn ca(name: &str, from: SystemTime, until: SystemTime, next: SystemTime) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (from.into(), until.into());
    let pem = params.self_signed(&*KEY).unwrap().pem();
    let crl = CertificateRevocationListParams {
        this_update: (now() - 10 * DAY).into(),
        next_update: next.into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    (pem, crl.signed_by(&Issuer::from_params(&params, &*KEY)).unwrap().pem().unwrap())
}

/// A folder with a CA that is valid for a year, and what reads it.
fn set_up(rules: &[&str], denied: &[&str]) -> (TempDir, ClientAuthSettings) {
    let dir = TempDir::new().unwrap();
    let (pem, _) = ca("one", now() - DAY, now() + 365 * DAY, now());
    fs::create_dir(dir.path().join("ca")).unwrap();
    fs::write(dir.path().join("ca/one.crt"), pem).unwrap();
    let parse = |rules: &[&str]| rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let signers = ClientAuthSettings::of_signers(vec![dir.path().join("ca")], Vec::new());
    let certified = ClientAuthSettings { allow: parse(rules), deny: parse(denied), ..signers };
    (dir, certified)
}

/// What is found, without the path of the folder.
fn found(dir: &TempDir, certified: &ClientAuthSettings, own: Option<&Identity>) -> Vec<String> {
    let mut found = Findings::default();
    let mut check =
        ClientChecks { place: String::new(), certified, is_plaintext: false, now: now(), own, found: &mut found };
    match ClientPolicyFiles::read(certified, None).and_then(|texts| texts.client_policy(certified)) {
        Ok(client_policy) => check.client_policy(&client_policy),
        Err(error) => error.each().iter().for_each(|error| check.unread(error)),
    }
    let text = found.to_text().replace(&format!("{}/", dir.path().display()), "");
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_sound_set_up_is_counted() {
    let (dir, mut certified) = set_up(&["cf:any", "cn:x"], &["cn:y"]);
    let (_, crl) = ca("one", now(), now(), now() + DAY);
    fs::write(dir.path().join("crl.pem"), crl).unwrap();
    certified.crl = vec![dir.path().join("crl.pem")];
    assert_eq!(
        found(&dir, &certified, None),
        [
            "ok client_ca 1 CA in ca may vouch for clients",
            "ok crl 1 CRL, each of them current",
            "ok rules 2 rules to allow, 1 to deny"
        ]
    );
}

#[test]
fn each_ca_that_needs_care_is_named_and_what_was_left_out_is_said() {
    let (dir, certified) = set_up(&["any"], &[]);
    let write = |name: &str, text: &str| fs::write(dir.path().join("ca").join(name), text).unwrap();
    write("a.crt", &ca("gone", now() - 9 * DAY, now() - DAY, now()).0);
    write("b.crt", &ca("going", now() - DAY, now() + 5 * DAY, now()).0);
    write("c.crt", &ca("coming", now() + DAY, now() + 500 * DAY, now()).0);
    write("readme.txt", "hello");
    assert_eq!(
        found(&dir, &certified, None),
        [
            "warning client_ca ca/readme.txt: no certificate in PEM in it, left out; take it out, or put there what is meant",
            "ok client_ca 4 CAs in ca may vouch for clients",
            "warning client_ca the CA CN=gone expired on 2024-10-03T00:00:00Z; take it out, or put its successor there",
            "warning client_ca the CA CN=going expires on 2024-10-09T00:00:00Z, in 5d; put its successor beside it now",
            "warning client_ca the CA CN=coming is not valid before 2024-10-05T00:00:00Z; wait, or compare `date -u` with another machine's",
            "ok rules 1 rule to allow, 0 to deny",
        ]
    );
    fs::remove_file(dir.path().join("ca/one.crt")).unwrap();
    fs::remove_file(dir.path().join("ca/b.crt")).unwrap();
    let found = found(&dir, &certified, None);
    let line = "problem client_ca 2 CAs in ca, and none is valid now: nobody comes in; give --client-ca the CAs that issue now";
    assert!(found.contains(&line.to_owned()), "{found:?}");
}

#[test]
fn an_issuer_whose_every_crl_is_past_its_day_is_a_problem_and_one_beside_a_later_one_is_named() {
    let (dir, mut certified) = set_up(&["any"], &[]);
    fs::write(dir.path().join("crl.pem"), ca("one", now(), now(), now() - 2 * DAY).1).unwrap();
    certified.crl = vec![dir.path().join("crl.pem")];
    assert_eq!(
        found(&dir, &certified, None)[1],
        "problem crl crl.pem: CRL 1: the CRL of CN=one was to be replaced by 2024-10-02T00:00:00Z, 2d ago: \
         what was revoked since is not in it; see whether what writes it still runs"
    );
    fs::write(dir.path().join("new.pem"), ca("one", now(), now(), now() + DAY).1).unwrap();
    certified.crl.push(dir.path().join("new.pem"));
    let found = found(&dir, &certified, None);
    assert!(found[1].starts_with("warning crl crl.pem: CRL 1: the CRL of CN=one was to be replaced by "), "{found:?}");
    assert!(!found.iter().any(|line| line.starts_with("problem")), "{found:?}");
}

#[test]
fn a_crl_that_no_client_ca_has_signed_and_one_that_is_dated_ahead_are_named() {
    let (dir, mut certified) = set_up(&["any"], &[]);
    fs::write(dir.path().join("crl.pem"), ca("other", now(), now(), now() + DAY).1).unwrap();
    certified.crl = vec![dir.path().join("crl.pem")];
    let said = found(&dir, &certified, None);
    let line = "warning crl crl.pem: CRL 1: no CA of ours has signed this CRL: CN=other is not among them;";
    assert!(said[1].starts_with(line), "{said:?}");
    let mut found = Findings::default();
    let now = now() - 11 * DAY;
    let admission = ClientPolicyFiles::read(&certified, None).unwrap().client_policy(&certified).unwrap();
    ClientChecks {
        place: String::new(),
        certified: &certified,
        is_plaintext: false,
        now,
        own: None,
        found: &mut found,
    }
    .crls(&admission.anchors);
    assert!(found.to_text().contains("it is dated 2024-09-24T00:00:00Z, which is to come"), "{}", found.to_text());
}

#[test]
fn what_cannot_be_read_is_a_problem_of_its_own_subject() {
    let (dir, mut certified) = set_up(&["any"], &[]);
    certified.policy = Some(dir.path().join("policy.toml"));
    assert!(found(&dir, &certified, None)[0].starts_with("problem rules policy.toml: no such file; "));
    fs::write(dir.path().join("policy.toml"), "allow = ['cf:ap:x']\nmod = 'audit'").unwrap();
    assert_eq!(
        found(&dir, &certified, None),
        [
            "problem rules policy.toml:1: allow: \"cf:ap:x\": no such rule; the nearest is cf:app:GUID",
            "problem rules policy.toml:2: mod: no such key; the nearest is mode",
        ]
    );
    certified.crl = vec![dir.path().join("crl.pem")];
    assert!(found(&dir, &certified, None)[0].starts_with("problem crl crl.pem: no such file; "));
    fs::write(dir.path().join("ca/one.crt"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    certified.crl.clear();
    let found = found(&dir, &certified, None);
    assert!(
        found[0].starts_with("problem client_ca no client CA in ca; ")
            && found[0].contains("ca/one.crt: torn or not PEM")
    );
}

#[test]
fn rules_that_mean_nobody_are_named_with_the_help() {
    let (app, name) = (format!("cf:app:{GUID}"), format!("dns:{GUID}.apps.internal"));
    let (dir, mut certified) = set_up(&[&app, "anonymous", "cf:same:app", &name], &[&app]);
    let own = Identity { organization: None, space: None, app: None, instance: None };
    assert_eq!(
        found(&dir, &certified, Some(&own))[1..],
        [
            "ok rules 4 rules to allow, 1 to deny".to_owned(),
            format!("warning rules allow {app} admits nobody: deny {app} beats it; take one of them out"),
            "warning rules allow anonymous means nobody: every client must show a certificate; \
             add --client-auth request, or take the rule out"
                .to_owned(),
            "warning rules allow cf:same:app means nobody: our own certificate does not say it; \
             name the GUID instead, or give --cert an instance's certificate"
                .to_owned(),
            format!(
                "warning rules allow {name} looks like Cloud Foundry's {GUID}, and a rule on a name admits none of its \
                 certificates; write cf:app:{GUID} or cf:instance:{GUID}"
            ),
        ]
    );
    certified.required = false;
    let own = Identity { app: GUID.parse().ok(), ..own };
    let found = found(&dir, &certified, Some(&own));
    assert!(!found.iter().any(|line| line.contains("anonymous") || line.contains("cf:same")), "{found:?}");
}

#[test]
fn a_policy_that_admits_nobody_or_everybody_is_told() {
    let (dir, mut certified) = set_up(&[], &[]);
    assert!(found(&dir, &certified, None)[1].starts_with("problem rules no rule admits anybody; "));
    (certified.any_implied, certified.allow, certified.mode) = (true, vec![Rule::Any], Some(PolicyMode::Audit));
    let found = found(&dir, &certified, None);
    assert!(found[1].starts_with("warning rules no rule is given: every client with a certificate"), "{found:?}");
    assert!(found[2].starts_with("warning rules mode audit: "), "{found:?}");
}

#[test]
fn routes_are_counted_and_those_that_decide_nothing_are_named() {
    let (dir, mut certified) = set_up(&[], &["cf:any"]);
    let policy = dir.path().join("policy.toml");
    certified.policy = Some(policy.clone());
    certified.routes = Some(Vec::new());
    let sound = "[[route]]\npath = '/a'\nallow = ['anonymous', 'cn:x']\n";
    fs::write(&policy, sound).unwrap();
    certified.required = false;
    assert_eq!(found(&dir, &certified, None)[1..], ["ok rules 0 rules to allow, 1 to deny, 1 route"]);
    certified.required = true;
    let others = "[[route]]\npath = '/a'\nallow = []\n\
        [[route]]\npath = '/b'\nmethods = ['GET']\nallow = ['cf:same:app']\n\
        [[route]]\npath = '*'\nmethods = ['GET']\nallow = ['any']\n";
    fs::write(&policy, format!("{sound}{others}")).unwrap();
    assert_eq!(
        found(&dir, &certified, None)[1..],
        [
            "ok rules 0 rules to allow, 1 to deny, 4 routes",
            "warning rules the route /a never decides: /a, of the same path, has its methods; take one of them out, or give it other methods",
            "warning rules the route GET /b: allow cf:same:app admits nobody: deny cf:any beats it; take one of them out",
            "warning rules the route GET /b: allow cf:same:app means nobody: our own certificate does not say it; name the GUID instead, or give --cert an instance's certificate",
            "warning rules the route GET * never decides: only OPTIONS asks for *; add OPTIONS to its methods, or take it out",
            "warning rules the route /a: allow anonymous means nobody: every client must show a certificate; add --client-auth request, or take the rule out",
            "warning rules the route /a admits nobody; name in its allow who may, if somebody may",
        ]
    );
    fs::write(&policy, "[[route]]\npath = '/a/../b'\nallow = ['any']\n").unwrap();
    assert_eq!(
        found(&dir, &certified, None),
        ["problem rules policy.toml:2: path: \"/a/../b\" is the path of no request; write \"/b\", to which it folds"]
    );
}
