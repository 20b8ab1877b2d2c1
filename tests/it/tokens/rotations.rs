//! Tokens and logins while the pair is replaced, again and again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use serde_json::json;
use tempfile::TempDir;
use vestibule::issuer::{CertificateAuthority, Folder, InstanceSpec, KeyKind, SubjectKey};

use super::programs::{StandIn, line, token};

/// How often the pair is replaced.
const ROTATIONS: usize = 1000;

#[test]
fn no_login_and_no_token_is_torn_while_the_pair_is_replaced_a_thousand_times() {
    let Some(vault) = StandIn::start("hashicorp_stand_in.py") else { return };
    let Some(comcast) = StandIn::start("comcast_stand_in.py") else { return };
    let authority = CertificateAuthority::generate(SystemTime::now()).unwrap();
    let spec = InstanceSpec::generate().unwrap();
    let dir = TempDir::new().unwrap();
    let folder = Folder::instance(dir.path());
    // Pairs with a key of their own each would take minutes.
    let keys = [(); 2].map(|()| SubjectKey::generate(KeyKind::Rsa2048).unwrap());
    let credentials: Vec<_> =
        keys.iter().map(|key| authority.issue_with_key(&spec, key, SystemTime::now()).unwrap()).collect();
    folder.write(&credentials[0]).unwrap();

    let issuing = credentials[0].cert_pem.split_inclusive("-----END CERTIFICATE-----\n").nth(1).unwrap();
    vault.set("/v1/auth/cf/config", &json!({ "identity_ca_certificates": authority.roots_pem() }));
    vault.set("/v1/auth/cf/roles/billing", &json!({ "disable_ip_matching": true }));
    comcast.set("/v1/auth/cf/config", &json!({ "ca": issuing }));
    let org = spec.organization.to_string();
    comcast.set(&format!("/v1/auth/cf/map/organizations/{org}"), &json!({ "policies": ["read"] }));

    let rotations = AtomicUsize::new(0);
    let mut logins = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            for at in 1..=ROTATIONS {
                folder.write(&credentials[at % 2]).unwrap();
                rotations.store(at, Ordering::Relaxed);
            }
        });
        while rotations.load(Ordering::Relaxed) < ROTATIONS || logins < 20 {
            let body = line(&token(&folder.cert(), &folder.key(), &["vault-cf", "--role", "billing"]));
            let (status, text) = vault.login(&body);
            assert_eq!(status, 200, "{text}");
            let words = ["jwt", "--audience", "a", "--form", "comcast", "--policy", "read"];
            let jwt = line(&token(&folder.cert(), &folder.key(), &words));
            let (status, text) = comcast.login(&json!({ "jwt": jwt }).to_string());
            assert_eq!(status, 200, "{text}");
            logins += 1;
        }
    });
}
