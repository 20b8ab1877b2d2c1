use super::*;
use crate::credentials::client_policy_source::{ClientPolicySource, lacks_some_of};
use crate::credentials::source::ReloadSource;
use crate::identity::Client;
use crate::issuer::{CertificateAuthority, InstanceSpec, KeyKind, SubjectKey};
use crate::policy::DenialReason;
use crate::policy::PathHandling;
use crate::trust::{ClientAuth, ClientAuthenticator};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;
use tempfile::TempDir;

static AUTHORITY: LazyLock<CertificateAuthority> =
    LazyLock::new(|| CertificateAuthority::generate(SystemTime::now()).unwrap());
static KEY: LazyLock<SubjectKey> = LazyLock::new(|| SubjectKey::generate(KeyKind::P256).unwrap());

fn issue(spec: &InstanceSpec) -> Vec<CertificateDer<'static>> {
    let pem = AUTHORITY.issue_with_key(spec, &KEY, SystemTime::now()).unwrap().cert_pem;
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

/// A folder with the CA in it, and what reads it.
fn folder() -> (TempDir, ClientAuthSettings) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ca.crt"), AUTHORITY.roots_pem()).unwrap();
    let signers = ClientAuthSettings::of_signers(vec![dir.path().to_owned()], Vec::new());
    let certified = ClientAuthSettings { allow: Vec::new(), ..signers };
    (dir, certified)
}

fn load(certified: &ClientAuthSettings) -> Result<ClientPolicy, TrustError> {
    ClientPolicyFiles::read(certified, None)?.client_policy(certified)
}

#[test]
fn green_comes_in_and_blue_does_not() {
    let (_dir, mut certified) = folder();
    let (green, blue) = (InstanceSpec::generate().unwrap(), InstanceSpec::generate().unwrap());
    certified.allow = vec![Rule::App(green.app)];
    let client_policy = load(&certified).unwrap();
    let (client, permit) = client_policy.authorize(&issue(&green), None, SystemTime::now()).unwrap();
    assert_eq!(client.identity().unwrap().app, Some(green.app));
    assert_eq!(permit.rule(), Some(&Rule::App(green.app)));
    let denial = client_policy.authorize(&issue(&blue), None, SystemTime::now()).unwrap_err();
    assert_eq!((denial.reason(), denial.rule()), (DenialReason::NotAllowed, None));
    let later = SystemTime::now() + 2 * blue.validity;
    assert_eq!(client_policy.authorize(&issue(&green), None, later).unwrap_err().reason(), DenialReason::Expired);
    assert_eq!(client_policy.authorize(&[], None, later).unwrap_err().reason(), DenialReason::NoCertificate);
    // Audit admits whom the trust anchors vouch for, and nobody else.
    let audit = ClientPolicy { policy: Policy { mode: PolicyMode::Audit, ..client_policy.policy }, ..client_policy };
    let (_, permit) = audit.authorize(&issue(&blue), None, SystemTime::now()).unwrap();
    assert_eq!(permit.audited_denial().unwrap().reason(), DenialReason::NotAllowed);
    let stranger = CertificateAuthority::generate(SystemTime::now()).unwrap();
    let pem = stranger.issue_with_key(&green, &KEY, SystemTime::now()).unwrap().cert_pem;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(audit.authorize(&chain, None, SystemTime::now()).unwrap_err().reason(), DenialReason::Untrusted);
}

#[test]
fn a_folders_other_files_are_left_out_with_a_note() {
    let (dir, certified) = folder();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("readme.txt"), "the CAs of the platform").unwrap();
    fs::write(at(".hidden"), "").unwrap();
    fs::create_dir(at("more")).unwrap();
    std::os::unix::fs::symlink(at("ca.crt"), at("link.crt")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("dangling.crt")).unwrap();
    let said = |file: &str, what: &str| format!("{}: {what}", at(file).display());
    let readme = said("readme.txt", "no certificate in PEM in it, left out");
    let dangling = said("dangling.crt", "no such file; left out");
    let client_policy = load(&certified).unwrap();
    assert_eq!(client_policy.notes, [dangling.clone(), readme.clone()]);
    fs::write(at("new.crt"), "").unwrap();
    let client_policy = load(&certified).unwrap();
    assert_eq!(client_policy.notes, [dangling, said("new.crt", "the file is empty; left out"), readme]);
    assert_eq!(client_policy.anchors.cas().len(), 2);
    fs::remove_file(at("ca.crt")).unwrap();
    let error = load(&certified).unwrap_err();
    assert!(error.to_string().contains("without one nobody could come in"), "{error}");
}

#[test]
fn the_policy_file_adds_to_the_rules_that_were_given() {
    let (dir, mut certified) = folder();
    let path = dir.path().join(".policy.toml");
    let policy = |text: &str, certified: &ClientAuthSettings| {
        fs::write(&path, text).unwrap();
        load(certified).map(|client_policy| client_policy.policy)
    };
    certified.policy = Some(path.clone());
    let nobody = Policy { mode: PolicyMode::Enforce, allow: vec![], deny: vec![], routes: Routes::default() };
    assert_eq!(policy("allow = []", &certified).unwrap(), nobody);
    for nothing in ["", " \n"] {
        let error = policy(nothing, &certified).unwrap_err().to_string();
        assert!(error.contains("the file is empty"), "{error}");
    }
    certified.allow = vec![Rule::CloudFoundry];
    let both = policy("mode = 'audit'\nallow = ['cn:x']\ndeny = ['any']", &certified).unwrap();
    let allow = vec![Rule::CloudFoundry, "cn:x".parse().unwrap()];
    assert_eq!(both, Policy { mode: PolicyMode::Audit, allow, deny: vec![Rule::Any], routes: Routes::default() });
    certified.mode = Some(PolicyMode::Enforce);
    assert_eq!(policy("mode = 'audit'", &certified).unwrap().mode, PolicyMode::Enforce);
    let error = policy("allow = ['x']\nmod = 'audit'", &certified).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(lines, [format!("{}:1", path.display()), format!("{}:2", path.display())]);
    fs::write(&path, b"# \xff").unwrap();
    assert!(load(&certified).unwrap_err().to_string().contains("not UTF-8 text"));
    fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(load(&certified).unwrap_err().to_string().contains("larger than 1 MiB"));
}

#[test]
fn the_policy_file_adds_to_the_routes_that_were_given_where_requests_are_read() {
    let (dir, mut certified) = folder();
    let path = dir.path().join(".policy.toml");
    certified.policy = Some(path.clone());
    let file = "deny = ['cn:x']\n[[route]]\npath = '/health'\nallow = ['anonymous']\n";
    fs::write(&path, file).unwrap();
    let error = load(&certified).unwrap_err().with_help();
    let what = "the route /health stands where no request is read: a listener of mode tcp";
    let help = "write mode = \"http\" for the listener, or take its routes out";
    assert_eq!(error, format!("{}:2: route: {what}; {help}", path.display()));

    let green = InstanceSpec::generate().unwrap();
    let given = Route { path: "/api".parse().unwrap(), exact: false, methods: None, allow: vec![Rule::App(green.app)] };
    certified.routes = Some(vec![given.clone()]);
    certified.required = false;
    let client_policy = Arc::new(load(&certified).unwrap());
    let routes = &client_policy.policy.routes;
    assert_eq!(routes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/api", "/health"]);
    // A route for the anonymous: a certificate is asked for, and none is required.
    let now = SystemTime::now();
    let auth = |client_policy: &Arc<ClientPolicy>, required| {
        ClientAuth::Certificate(ClientAuthenticator::new(Arc::clone(client_policy), required, None))
    };
    let (anonymous, _) = auth(&client_policy, false).authorize(None, now).unwrap();
    assert_eq!(anonymous, Client::Anonymous);
    assert_eq!(auth(&client_policy, true).authorize(None, now).unwrap_err().reason(), DenialReason::NoCertificate);
    let (client, permit) = auth(&client_policy, false).authorize(Some(&issue(&green)), now).unwrap();
    assert_eq!(permit.rule(), Some(&Rule::App(green.app)));
    let asked = |client: &Client, path: &str| {
        let auth = auth(&client_policy, false);
        assert!(auth.has_routes());
        let verdict = auth.evaluate_request(client, "GET", path, PathHandling::default()).unwrap();
        let route = verdict.route.map(ToString::to_string);
        verdict.result.map(|_| route).map_err(|denial| denial.reason())
    };
    assert_eq!(asked(&client, "/api/x"), Ok(Some("/api".to_owned())));
    assert_eq!(asked(&client, "/health"), Err("denied"));
    assert_eq!(asked(&Client::Anonymous, "/health"), Ok(Some("/health".to_owned())));
    assert_eq!(asked(&Client::Anonymous, "/api"), Err("certificate_required"));

    // Without it, one is.
    fs::write(&path, "# none").unwrap();
    let without = Arc::new(load(&certified).unwrap());
    assert!(matches!(auth(&without, false), ClientAuth::Certificate(authenticator) if authenticator.is_required()));
    assert!(
        lacks_some_of(&without.policy, &client_policy.policy) && lacks_some_of(&client_policy.policy, &without.policy)
    );
    assert!(!lacks_some_of(&without.policy, &without.policy));
}

#[test]
fn a_file_of_a_folder_that_is_no_longer_good_counts_as_it_was_and_one_that_never_was_is_left_out() {
    let (dir, certified) = folder();
    let other = CertificateAuthority::generate(SystemTime::now()).unwrap().roots_pem();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("other.crt"), &other).unwrap();
    let before = ClientPolicyFiles::read(&certified, None).unwrap();
    assert_eq!(before.client_policy(&certified).unwrap().anchors.cas().len(), 4);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for bad in [&other[..other.len() / 3], "", garbage] {
        fs::write(at("other.crt"), bad).unwrap();
        let texts = ClientPolicyFiles::read(&certified, Some(&before)).unwrap();
        let ClientPolicy { anchors, notes, .. } = texts.client_policy(&certified).unwrap();
        assert_eq!((anchors.cas().len(), notes.len()), (4, 1));
        assert!(notes[0].contains("other.crt") && notes[0].ends_with("it counts as it was when it was last good"));
        // As it was, after the next look as well.
        assert!(ClientPolicyFiles::read(&certified, Some(&texts)).unwrap() == texts);
        let anew = ClientPolicyFiles::read(&certified, None).unwrap().client_policy(&certified).unwrap();
        assert_eq!((anew.anchors.cas().len(), anew.notes.len()), (2, 1));
    }
    fs::remove_file(at("other.crt")).unwrap();
    let gone = ClientPolicyFiles::read(&certified, Some(&before)).unwrap().client_policy(&certified).unwrap();
    assert_eq!((gone.anchors.cas().len(), gone.notes.len()), (2, 0));
}

#[test]
fn a_place_of_crls_in_which_there_is_none_revokes_nobody_and_is_refused() {
    let (dir, mut certified) = folder();
    let crls = dir.path().join("crls");
    fs::create_dir(&crls).unwrap();
    certified.crl = vec![crls.clone()];
    for name in ["README", ".hidden.crl", "below/list.crl"] {
        fs::create_dir_all(crls.join(name).parent().unwrap()).unwrap();
        fs::write(crls.join(name), "nothing").unwrap();
        let error = load(&certified).unwrap_err();
        assert!(error.to_string().contains("nothing would be revoked"), "{name}: {error}");
    }
}

#[test]
fn files_that_are_larger_together_than_the_memory_allows_are_an_error_and_of_one_that_says_so_nothing_is_read() {
    let (dir, certified) = folder();
    let garbage = dir.path().join("garbage.crt");
    fs::File::create(&garbage).unwrap().set_len(1 << 40).unwrap();
    let notes = load(&certified).unwrap().notes;
    assert!(notes[0].contains("garbage.crt: larger than 1 MiB"), "{notes:?}");
    let mut long = "# nothing\n".repeat(100_000);
    long.push_str(&AUTHORITY.roots_pem());
    for number in 0..20 {
        fs::write(dir.path().join(format!("long-{number:02}.crt")), &long).unwrap();
    }
    let ClientPolicy { anchors, notes, .. } = load(&certified).unwrap();
    assert_eq!(anchors.cas().len(), 2, "what there is room for counts");
    let left_out: Vec<_> = notes.iter().filter(|note| note.contains("larger than what is left for it")).collect();
    assert!((4..=19).contains(&left_out.len()), "{notes:?}");
    assert!(left_out[0].contains("long-") && left_out[0].contains("a sixteenth of the memory limit"), "{left_out:?}");
}

#[test]
fn a_crl_of_a_folder_has_to_be_good_or_to_have_been() {
    let (dir, mut certified) = folder();
    let crls = dir.path().join("crls");
    fs::create_dir(&crls).unwrap();
    certified.crl = vec![crls.clone()];
    fs::write(crls.join("a.crl"), "-----BEGIN X509 CRL-----\nAAAA").unwrap();
    let error = ClientPolicyFiles::read(&certified, None).unwrap_err();
    assert!(error.to_string().contains("a.crl: torn or not PEM"), "{error}");
}

#[test]
fn each_kind_that_cannot_be_used_counts_as_it_was_and_the_others_as_they_are() {
    let (dir, mut certified) = folder();
    let (ca, policy) = (dir.path().join("ca.crt"), dir.path().join(".policy.toml"));
    certified.ca = vec![ca.clone()];
    certified.policy = Some(policy.clone());
    fs::write(&policy, "allow = ['any']").unwrap();
    let before = ClientPolicyFiles::read(&certified, None).unwrap();
    fs::write(&ca, "torn").unwrap();
    fs::write(&policy, "allow = ['cn:x']").unwrap();
    let source = ClientPolicySource::Files(certified.clone());
    let files = ClientPolicyFiles::read(&certified, Some(&before)).unwrap();
    let failing = |files: &ClientPolicyFiles| -> Vec<FileKind> {
        source.faults_in(files).into_iter().map(|fault| fault.kind).collect()
    };
    assert_eq!(failing(&files), [FileKind::ClientCa]);
    let client_policy = files.client_policy(&certified).unwrap();
    assert_eq!(
        (client_policy.anchors.cas().len(), &client_policy.policy.allow[..]),
        (2, &["cn:x".parse().unwrap()][..])
    );
    fs::write(&policy, "allow = ['x']").unwrap();
    let files = ClientPolicyFiles::read(&certified, Some(&before)).unwrap();
    assert_eq!(failing(&files), [FileKind::ClientCa, FileKind::Policy]);
    assert_eq!(files, before, "nothing that is new can be used");
    let error = ClientPolicyFiles::read(&certified, None).unwrap_err();
    let kinds: Vec<_> = source.faults_of(&error).into_iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FileKind::ClientCa, FileKind::Policy], "{error}");
}

#[test]
fn what_was_read_tells_whether_anything_has_changed() {
    let (dir, certified) = folder();
    let before = ClientPolicyFiles::read(&certified, None).unwrap();
    assert_eq!(ClientPolicyFiles::read(&certified, None).unwrap(), before);
    fs::write(dir.path().join("note"), "x").unwrap();
    assert_eq!(ClientPolicyFiles::read(&certified, None).unwrap(), before, "nothing of it counts");
    fs::write(dir.path().join("more.crt"), CertificateAuthority::generate(SystemTime::now()).unwrap().roots_pem())
        .unwrap();
    assert_ne!(ClientPolicyFiles::read(&certified, None).unwrap(), before);
}
