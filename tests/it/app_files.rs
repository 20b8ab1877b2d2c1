//! Files for the app: what stands in them, and that nobody ever sees half of one.

mod hooks;
mod places;
mod scarce;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tempfile::TempDir;
use vestibule::credentials::Pair;
use vestibule::crypto::provider;
use vestibule::issuer::{CertificateAuthority, KeyKind};

use crate::support::client::connector;
use crate::support::credentials::{Credentials, issue_rsa, leaf};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

/// A proxy with credentials of its own, and a folder for what it writes.
struct Scene {
    credentials: Credentials,
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { credentials: Credentials::new(), folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `NAME=PATH`
    fn file(&self, before: &str, name: &str) -> String {
        format!("{before}={}", self.path(name).display())
    }

    fn proxy(&self) -> Setup {
        Setup::proxy(&self.credentials, app::echo())
    }

    /// The names in the folder.
    fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.collect::<BTreeSet<_>>().into_iter().collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Waits until the files of `generation` are in place.
#[track_caller]
fn written(sidecar: &Sidecar, generation: u64) -> Value {
    sidecar.wait_until(&format!("app files written of generation {generation}"), |line| {
        line["message"] == "app files written" && line["generation"] == generation
    })
}

/// What OpenSSL prints, for `args`.
fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn chain(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().unwrap()
}

/// A token's header and claims, and its leaf, whose key has signed it: OpenSSL says so.
fn verified(folder: &Path, token: &str) -> (Value, Value, CertificateDer<'static>) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let decode = |part: &str| Base64UrlUnpadded::decode_vec(part).unwrap();
    let mut parts = signed.split('.').map(|part| serde_json::from_slice::<Value>(&decode(part)).unwrap());
    let (header, claims) = (parts.next().unwrap(), parts.next().unwrap());
    let leaf = Base64::decode_vec(header["x5c"][0].as_str().unwrap()).unwrap();
    let path = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    fs::write(path("leaf.der"), &leaf).unwrap();
    fs::write(path("signed"), signed).unwrap();
    fs::write(path("signature"), decode(signature)).unwrap();
    let public = openssl(&["x509", "-inform", "DER", "-in", &path("leaf.der"), "-noout", "-pubkey"]);
    fs::write(path("public.pem"), public).unwrap();
    assert_eq!(header["alg"], "RS256");
    openssl(&["dgst", "-sha256", "-verify", &path("public.pem"), "-signature", &path("signature"), &path("signed")]);
    (header, claims, leaf.into())
}

#[test]
fn every_form_is_written_with_its_mode_and_openssl_reads_the_key_of_every_kind() {
    let mut scene = Scene::new();
    let forms = ["pkcs8", "pem", "chain", "ca"];
    let files = forms.map(|form| scene.file(form, form));
    let setup = scene.proxy().arg("--credential-file").arg(&files.join(",")).arg("--file-mode").arg("0640");
    let sidecar = setup.ready();
    written(&sidecar, 1);
    let authority = CertificateAuthority::generate(std::time::SystemTime::now()).unwrap();
    // Diego's PKCS #1, SEC 1 of both curves, and PKCS #8.
    for (nth, kind) in [KeyKind::Rsa2048, KeyKind::P256, KeyKind::P384, KeyKind::Ed25519].into_iter().enumerate() {
        scene.credentials.spec.key = kind;
        let credential = authority.issue(&scene.credentials.spec, std::time::SystemTime::now()).unwrap();
        scene.credentials.folder.write(&credential).unwrap();
        written(&sidecar, nth as u64 + 2);
        let whole = chain(credential.cert_pem.as_bytes());
        assert_eq!(chain(&fs::read(scene.path("chain")).unwrap()), whole);
        assert_eq!(chain(&fs::read(scene.path("pem")).unwrap()), whole);
        assert_eq!(chain(&fs::read(scene.path("ca")).unwrap()), whole[1..]);
        let certified = openssl(&["x509", "-in", scene.path("chain").to_str().unwrap(), "-noout", "-pubkey"]);
        for form in ["pkcs8", "pem"] {
            let path = scene.path(form);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n") && text.ends_with("-----\n"), "{kind:?}");
            let public = openssl(&["pkey", "-in", path.to_str().unwrap(), "-pubout"]);
            assert_eq!(public, certified, "{kind:?} in {form}");
            openssl(&["pkey", "-in", path.to_str().unwrap(), "-noout", "-check"]);
        }
    }
    assert_eq!(forms.map(|form| mode(&scene.path(form))), [0o640, 0o640, 0o644, 0o644]);
    assert_eq!(scene.names(), ["ca", "chain", "pem", "pkcs8"]);
}

#[test]
fn a_token_file_verifies_by_its_own_certificate_and_is_another_at_once_after_a_rotation() {
    let scene = Scene::new();
    let first = issue_rsa(&scene.credentials.spec);
    scene.credentials.folder.write(&first).unwrap();
    let setup = scene.proxy().arg("--identity-file").arg(&scene.file("https://vault.example/?a=b", "token"));
    let sidecar = setup.ready();
    written(&sidecar, 1);
    let path = scene.path("token");
    assert_eq!(mode(&path), 0o600);
    let work = TempDir::new().unwrap();
    let read = |generation: u64, credential: &str| {
        let token = fs::read_to_string(&path).unwrap();
        let (header, claims, signer) = verified(work.path(), &token);
        assert_eq!(claims["aud"], "https://vault.example/?a=b");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
        assert_eq!(signer, leaf(credential.as_bytes()));
        assert!(header.get("JWK").is_none() && header.get("jwk").is_none());
        let issued = sidecar.wait_until("its line", |line| line["jti"] == claims["jti"]);
        assert_eq!((&issued["message"], &issued["generation"]), (&"token issued".into(), &generation.into()));
        // The token itself is nowhere.
        let secret = token.rsplit_once('.').unwrap().1;
        assert!(sidecar.lines().iter().all(|line| !line.to_string().contains(secret)));
        token
    };
    let before = read(1, &first.cert_pem);
    let second = issue_rsa(&scene.credentials.spec);
    scene.credentials.folder.write(&second).unwrap();
    written(&sidecar, 2);
    assert_ne!(read(2, &second.cert_pem), before);
    fs::remove_file(&path).unwrap();
    let third = issue_rsa(&scene.credentials.spec);
    scene.credentials.folder.write(&third).unwrap();
    written(&sidecar, 3);
    read(3, &third.cert_pem);
    assert!(sidecar.lines_of("app file not written").is_empty());
}

#[test]
fn a_reader_in_a_loop_sees_whole_files_only_during_a_storm_of_rotations() {
    let mut scene = Scene::new();
    let files = [scene.file("pem", "pem"), scene.file("chain", "chain")].join(",");
    let token = scene.file("a", "token");
    let setup = scene.proxy().arg("--credential-file").arg(&files).arg("--identity-file").arg(&token);
    let sidecar = setup.ready();
    written(&sidecar, 1);
    let (pem, chain_file, token) = (scene.path("pem"), scene.path("chain"), scene.path("token"));
    let over = AtomicBool::new(false);
    let (last, seen) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                let text = fs::read(&pem).unwrap();
                // Whole, and of one pair.
                let pair = Pair::from_pem(&text, &text, &provider()).unwrap();
                assert_eq!(pair.chain().len(), 2);
                seen.insert(pair.leaf().to_vec());
                assert_eq!(chain(&fs::read(&chain_file).unwrap()).len(), 2);
                let token = fs::read_to_string(&token).unwrap();
                let parts: Vec<_> = token.split('.').map(|part| Base64UrlUnpadded::decode_vec(part).unwrap()).collect();
                assert_eq!((parts.len(), parts[2].len()), (3, 64), "an ES256 signature is whole");
            }
            seen
        });
        let mut last = scene.credentials.rotate();
        for nth in 0..60 {
            let before = sidecar.lines_of("app files written").len();
            last = scene.credentials.rotate();
            if nth % 5 == 0 {
                // Some of them are taken up, some are overtaken.
                eventually("a generation", || (sidecar.lines_of("app files written").len() > before).then_some(()));
            }
        }
        eventually("the newest pair", || {
            let text = fs::read(&pem).unwrap();
            (Pair::from_pem(&text, &text, &provider()).unwrap().leaf() == &last).then_some(())
        });
        over.store(true, Ordering::Relaxed);
        (last, reader.join().unwrap())
    });
    assert!(seen.len() > 2, "{} pairs were seen", seen.len());
    assert_eq!(connector(scene.credentials.instance()).connect(sidecar.addr()).unwrap().leaf(), last);
    eventually("the last temporary file to go", || (scene.names() == ["chain", "pem", "token"]).then_some(()));
    let loud = |line: &Value| line["level"] == "error" || line["level"] == "warn";
    assert!(!sidecar.lines().iter().any(loud), "{:#?}", sidecar.lines().into_iter().filter(loud).collect::<Vec<_>>());
}

#[test]
fn whoever_is_killed_at_any_point_leaves_whole_files_and_the_next_start_leaves_nothing_else() {
    let mut scene = Scene::new();
    let files: Vec<_> = ["pkcs8", "pem", "chain", "ca"].iter().map(|form| scene.file(form, form)).collect();
    let (files, token) = (files.join(","), scene.file("a", "token"));
    let setup = |scene: &Scene| scene.proxy().arg("--credential-file").arg(&files).arg("--identity-file").arg(&token);
    let mut leftovers = 0;
    for round in 0..12 {
        if round == 0 {
            // As one that was killed between the first byte and the rename leaves it; whether the kills below hit that is luck.
            fs::write(scene.path(".token.aB3dE6gH.vestibule"), "ey").unwrap();
        }
        let mut sidecar = setup(&scene).ready();
        written(&sidecar, 1);
        assert_eq!(scene.names(), ["ca", "chain", "pem", "pkcs8", "token"], "round {round}");
        scene.credentials.rotate();
        // In the middle of what it does then: each time after another number of files.
        let issued = |sidecar: &Sidecar| sidecar.lines_of("token issued").len();
        if round % 3 != 0 {
            eventually("the new generation", || (!sidecar.lines_of("certificate rotated").is_empty()).then_some(()));
        }
        if round % 3 == 2 {
            eventually("its token", || (issued(&sidecar) > 1).then_some(()));
        }
        sidecar.signal("KILL");
        sidecar.exited();
        for name in ["pem", "chain", "ca", "pkcs8", "token"] {
            let text = fs::read_to_string(scene.path(name)).unwrap();
            match name {
                "token" => assert_eq!(text.split('.').count(), 3),
                "pem" => drop(Pair::from_pem(text.as_bytes(), text.as_bytes(), &provider()).unwrap()),
                _ => assert!(text.starts_with("-----BEGIN ") && text.ends_with("-----\n")),
            }
        }
        leftovers += scene.names().len() - 5;
    }
    eprintln!("{leftovers} files were left half-written");
    let sidecar = setup(&scene).ready();
    written(&sidecar, 1);
    assert_eq!(scene.names(), ["ca", "chain", "pem", "pkcs8", "token"]);
}

#[test]
fn a_token_that_somebody_deletes_comes_back_on_schedule() {
    let scene = Scene::new();
    let setup = scene.proxy().arg("--identity-file").arg(&scene.file("a", "token")).arg("--identity-ttl").arg("10s");
    let sidecar = setup.ready();
    written(&sidecar, 1);
    let first = fs::read_to_string(scene.path("token")).unwrap();
    fs::remove_file(scene.path("token")).unwrap();
    let second = eventually("the next one", || fs::read_to_string(scene.path("token")).ok());
    assert_ne!(first, second);
    // The file is there before the line that tells of it.
    let issued = sidecar.lines_eventually("token issued", 2);
    assert_eq!((issued.len(), &issued[1]["generation"]), (2, &1.into()));
    assert!(sidecar.lines_of("app file not written").is_empty());
    assert_eq!(sidecar.lines_of("app files written").len(), 1, "nothing was missing");
}
