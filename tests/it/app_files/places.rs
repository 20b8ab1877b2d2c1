//! Where files may be, and what is said of places where they may not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use vestibule::credentials::Pair;
use vestibule::crypto::provider;

use super::{Scene, chain, names, written};
use crate::health::get;
use crate::metrics::Measured;
use crate::support::credentials::leaf;
use crate::support::eventually;
use crate::support::machine::{in_namespaces, lacks};
use crate::support::sidecar::Setup;

/// Status and last words of one that does not start.
fn refused(setup: Setup) -> (i32, String) {
    let mut sidecar = setup.start();
    let status = sidecar.exited();
    let lines = sidecar.lines();
    assert!(sidecar.lines_of("listening").is_empty());
    let said = lines.iter().filter(|line| line["level"] == "error").map(Value::to_string).collect();
    (status.code().unwrap(), said)
}

#[test]
fn what_can_never_be_right_is_refused_at_the_start() {
    let scene = Scene::new();
    let folder = |name: &str, mode: u32| {
        fs::create_dir(scene.path(name)).unwrap();
        fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    folder("folder", 0o755);
    folder("open", 0o777);
    folder("shared", 0o1777);
    symlink(scene.path("folder"), scene.path("link")).unwrap();
    let own = |path: std::path::PathBuf| format!("pem={}", path.display());
    let both = [scene.file("pem", "folder/x"), scene.file("chain", "link/x")].join(",");
    let linked = scene.path("certs");
    symlink(scene.credentials.dir(), &linked).unwrap();
    for (files, says) in [
        (scene.file("pem", "folder"), "it is a folder"),
        (scene.file("pem", "open/x"), "which has no sticky bit"),
        (both, "it is the same file as"),
        (own(scene.credentials.key()), "we read it ourselves, as --key"),
        (own(scene.credentials.cert()), "we read it ourselves, as --cert"),
        (own(linked.join("instance.key")), "we read it ourselves, as --key"),
    ] {
        let (status, said) = refused(scene.proxy().arg("--credential-file").arg(&files));
        assert_eq!(status, 78, "{files}: {said}");
        assert!(said.contains(says), "{files}: {said}");
    }
    let key = fs::read_to_string(scene.credentials.key()).unwrap();
    assert!(key.contains("PRIVATE KEY"), "what we read is as it was");
    // CAs are read from a folder, and whatever else would be put there.
    let cas = scene.path("folder");
    fs::write(cas.join("ca.pem"), crate::support::credentials::roots_pem()).unwrap();
    let setup = scene.proxy().arg("--client-ca").arg(cas.to_str().unwrap()).arg("--allow").arg("any");
    let (status, said) = refused(setup.arg("--credential-file").arg(&scene.file("ca", "link/own.pem")));
    assert_eq!(status, 78);
    assert!(said.contains("we read it ourselves, as --client-ca"), "{said}");
    // With the sticky bit nobody can take our file away.
    let sidecar = scene.proxy().arg("--credential-file").arg(&scene.file("pem", "shared/x")).ready();
    written(&sidecar, 1);
}

#[test]
fn a_folder_that_is_missing_is_said_once_changes_nothing_else_and_is_used_once_it_is_there() {
    let mut scene = Scene::new();
    let measured = Measured::new(
        scene
            .proxy()
            .arg("--credential-file")
            .arg(&[scene.file("chain", "later/chain"), scene.file("ca", "ca")].join(",")),
    );
    let error = measured.sidecar.wait_for("app file not written");
    assert_eq!((&error["level"], &error["error"]), (&"error".into(), &"its folder does not exist; make it".into()));
    assert_eq!(error["path"], scene.path("later/chain").to_str().unwrap());
    assert!(scene.path("ca").exists(), "the other one is not held up");
    let (status, _) = get(measured.admin(), "/readyz");
    assert_eq!(status, 200, "it is no reason not to be given work");
    let files = || serde_json::from_str::<Value>(&get(measured.admin(), "/status.json").1).unwrap()["files"].clone();
    let seen = files();
    assert_eq!(seen[0]["form"], "chain");
    assert_eq!((&seen[0]["generation"], &seen[0]["error"]), (&Value::Null, &error["error"]));
    assert_eq!((&seen[1]["form"], &seen[1]["generation"], &seen[1]["error"]), (&"ca".into(), &1.into(), &Value::Null));
    let page = get(measured.admin(), "/").1;
    assert!(page.contains("Files for the app") && page.contains("its folder does not exist; make it"), "{page}");
    // More than one attempt, and one line.
    let failed = "vestibule_identity_files_total{form=\"chain\",result=\"failed\"}";
    eventually("a retry", || (measured.series()[failed] > 1.0).then_some(()));
    assert_eq!(measured.sidecar.lines_of("app file not written").len(), 1);
    fs::create_dir(scene.path("later")).unwrap();
    written(&measured.sidecar, 1);
    assert_eq!(files()[0]["error"], Value::Null);
    assert_eq!(measured.series()["vestibule_identity_files_total{form=\"chain\",result=\"success\"}"], 1.0);
    let new = scene.credentials.rotate();
    written(&measured.sidecar, 2);
    assert_eq!(chain(&fs::read(scene.path("later/chain")).unwrap())[0], new);
}

#[test]
fn what_is_not_asked_for_is_nowhere() {
    let scene = Scene::new();
    let measured = Measured::new(scene.proxy());
    let series = measured.series();
    assert!(!series.keys().any(|name| name.contains("identity_files") || name.contains("rotation_hooks")));
    let status: Value = serde_json::from_str(&get(measured.admin(), "/status.json").1).unwrap();
    assert_eq!(status["files"], serde_json::json!([]));
    assert!(!get(measured.admin(), "/").1.contains("Files for the app"));
}

#[test]
fn a_folder_that_is_replaced_by_a_symlink_is_followed_and_one_that_others_may_write_is_not() {
    let mut scene = Scene::new();
    let folder = scene.folder.path().to_owned();
    let leads_to = |name: &str| {
        symlink(folder.join(name), folder.join("new")).unwrap();
        fs::rename(folder.join("new"), folder.join("here")).unwrap();
    };
    for (name, mode) in [("first", 0o755), ("second", 0o755), ("open", 0o777)] {
        fs::create_dir(scene.path(name)).unwrap();
        fs::set_permissions(scene.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::rename(scene.path("first"), scene.path("here")).unwrap();
    let sidecar = scene.proxy().arg("--credential-file").arg(&scene.file("chain", "here/chain")).ready();
    written(&sidecar, 1);
    let first = fs::read(scene.path("here/chain")).unwrap();
    fs::rename(scene.path("here"), scene.path("first")).unwrap();
    leads_to("second");
    let new = scene.credentials.rotate();
    written(&sidecar, 2);
    assert_eq!(leaf(&fs::read(scene.path("second/chain")).unwrap()), new);
    assert_eq!(fs::read(scene.path("first/chain")).unwrap(), first, "nobody writes there any more");
    leads_to("open");
    scene.credentials.rotate();
    let error = sidecar.wait_for("app file not written");
    assert!(error["error"].as_str().unwrap().contains("no sticky bit"), "{error}");
    assert_eq!(names(&scene.path("open")), [""; 0]);
    leads_to("first");
    written(&sidecar, 3);
    // A file that is a symlink is replaced itself.
    fs::rename(scene.path("first/chain"), scene.path("aside")).unwrap();
    symlink(scene.path("aside"), scene.path("first/chain")).unwrap();
    let aside = fs::read(scene.path("aside")).unwrap();
    let new = scene.credentials.rotate();
    written(&sidecar, 4);
    assert!(fs::symlink_metadata(scene.path("first/chain")).unwrap().is_file());
    assert_eq!(leaf(&fs::read(scene.path("first/chain")).unwrap()), new);
    assert_eq!(fs::read(scene.path("aside")).unwrap(), aside);
}

#[test]
fn check_names_a_file_that_nobody_can_write_and_a_hook_that_cannot_be_run() {
    let scene = Scene::new();
    let check = |args: &[&str]| {
        let mut command = Command::new(crate::support::sidecar::VESTIBULE);
        command.args(["check", "--json", "--listen", "127.0.0.1:0", "--app-ready", "off"]).args(args);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("CF_INSTANCE_CERT", scene.credentials.cert()).env("CF_INSTANCE_KEY", scene.credentials.key());
        let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let files = findings.into_iter().filter(|finding| finding["subject"] == "files");
        files.map(|finding| (finding["severity"].as_str().unwrap().to_owned(), finding.to_string())).collect::<Vec<_>>()
    };
    fs::write(scene.path("file"), "").unwrap();
    assert_eq!(check(&[]), []);
    let good = check(&["--identity-file", &scene.file("a", "x"), "--on-rotation", "exec:sh -c true"]);
    assert_eq!(good.iter().map(|(severity, _)| severity.as_str()).collect::<Vec<_>>(), ["ok", "ok"], "{good:?}");
    for (args, says) in [
        (["--identity-file", &scene.file("a", "nowhere/x")], "its folder does not exist"),
        (["--identity-file", &scene.file("a", "file/x")], "its folder is not a folder"),
        (["--credential-file", &format!("pem={}", scene.credentials.key().display())], "we read it ourselves"),
        (["--on-rotation", "exec:/nowhere/reload"], "cannot be run after a rotation"),
        (["--on-rotation", "exec:no-such-program-anywhere"], "cannot be run after a rotation"),
    ] {
        let found = check(&args);
        let is_named = |(severity, text): &(String, String)| severity == "problem" && text.contains(says);
        assert!(found.iter().any(is_named), "{args:?}: {found:?}");
    }
    assert_eq!(scene.names(), ["file"], "nothing is written");
}

/// What `check` finds wrong with files, given these options.
fn found(scene: &Scene, files: &str) -> String {
    let mut command = Command::new(crate::support::sidecar::VESTIBULE);
    command.args(["check", "--listen", "127.0.0.1:0", "--app-ready", "off", "--credential-file", files]);
    command.env("CF_INSTANCE_CERT", scene.credentials.cert()).env("CF_INSTANCE_KEY", scene.credentials.key());
    let report = String::from_utf8(command.output().unwrap().stdout).unwrap();
    report.lines().filter(|line| line.starts_with("problem  files")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_that_is_mounted_by_itself_is_refused_and_one_that_is_later_leaves_key_and_chain_as_they_are() {
    let test = "app_files::places::a_file_that_is_mounted_by_itself_is_refused_and_one_that_is_later_leaves_key_and_chain_as_they_are";
    if !in_namespaces(test, &["--mount"], "true", Path::new("/")) {
        return;
    }
    let mut scene = Scene::new();
    let shell = |program: &str, args: &[&Path]| assert!(Command::new(program).args(args).status().unwrap().success());
    let mount = |scene: &Scene| shell("mount", &[Path::new("--bind"), &scene.path("other"), &scene.path("chain")]);
    let files = [scene.file("pkcs8", "key"), scene.file("chain", "chain")].join(",");
    fs::write(scene.path("other"), "other's").unwrap();
    fs::write(scene.path("chain"), "").unwrap();
    mount(&scene);
    let says = "it is mounted there as a single file, which cannot be replaced; mount its folder instead";
    let (status, said) = refused(scene.proxy().arg("--credential-file").arg(&files));
    assert!(status == 78 && said.contains(says), "{status} {said}");
    let problem = found(&scene, &files);
    assert!(problem.contains(says), "{problem}");
    shell("umount", &[&scene.path("chain")]);
    let sidecar = scene.proxy().arg("--credential-file").arg(&files).ready();
    written(&sidecar, 1);
    let key = fs::read(scene.path("key")).unwrap();
    mount(&scene);
    scene.credentials.rotate();
    let told = sidecar.lines_eventually("app file not written", 2);
    let of = |name: &str| told.iter().find(|line| line["path"] == scene.path(name).to_str().unwrap()).unwrap();
    assert!(of("chain")["error"].as_str().unwrap().contains(says), "{told:#?}");
    assert!(of("key")["error"].as_str().unwrap().contains("both are replaced or neither"), "{told:#?}");
    assert_eq!(fs::read(scene.path("key")).unwrap(), key, "the key of a chain that is not there");
    shell("umount", &[&scene.path("chain")]);
    written(&sidecar, 2);
    let [new, chain] = ["key", "chain"].map(|name| fs::read(scene.path(name)).unwrap());
    assert!(new != key && Pair::from_pem(&chain, &new, &provider()).is_ok());
    assert_eq!(scene.names(), ["chain", "key", "other"]);
}

#[test]
fn another_users_file_in_a_folder_with_the_sticky_bit_is_refused_where_only_they_can_replace_it() {
    if !rustix::process::geteuid().is_root() {
        return lacks("root");
    }
    let scene = Scene::new();
    for path in [scene.folder.path(), scene.credentials.dir()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(scene.credentials.key(), fs::Permissions::from_mode(0o644)).unwrap();
    fs::create_dir(scene.path("shared")).unwrap();
    fs::set_permissions(scene.path("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(scene.path("shared/chain"), "another's").unwrap();
    let pair = [scene.credentials.cert(), scene.credentials.key()].map(|path| path.to_str().unwrap().to_owned());
    let file = scene.file("chain", "shared/chain");
    let words = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--app-ready",
        "off",
        "--credential-file",
        &file,
        "--cert",
        &pair[0],
        "--key",
        &pair[1],
    ];
    let output = Command::new("setpriv")
        .args(["--reuid", "4242", "--regid", "4242", "--clear-groups", crate::support::sidecar::VESTIBULE])
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("it is another user's file in a folder with the sticky bit"), "{said}");
    assert_eq!(found(&scene, &file), "", "we may replace files of others");
}

#[test]
fn key_and_chain_are_of_one_pair_even_where_only_one_of_them_could_be_written() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("key")).unwrap();
    let files = [scene.file("pkcs8", "key/key"), scene.file("chain", "chain"), scene.file("ca", "ca")].join(",");
    let sidecar = scene.proxy().arg("--credential-file").arg(&files).ready();
    written(&sidecar, 1);
    let before = [fs::read(scene.path("key/key")).unwrap(), fs::read(scene.path("chain")).unwrap()];
    fs::rename(scene.path("key"), scene.path("away")).unwrap();
    scene.credentials.rotate();
    let told = sidecar.lines_eventually("app file not written", 2);
    let of = |name: &str| told.iter().find(|line| line["path"] == scene.path(name).to_str().unwrap()).unwrap();
    assert!(of("key/key")["error"].as_str().unwrap().contains("its folder does not exist"), "{told:#?}");
    assert!(of("chain")["error"].as_str().unwrap().contains("both are replaced or neither"), "{told:#?}");
    assert_eq!(fs::read(scene.path("chain")).unwrap(), before[1], "the chain of a key that is not there");
    fs::rename(scene.path("away"), scene.path("key")).unwrap();
    written(&sidecar, 2);
    let [key, chain] = ["key/key", "chain"].map(|name| fs::read(scene.path(name)).unwrap());
    assert!(key != before[0] && chain != before[1]);
    assert!(Pair::from_pem(&chain, &key, &provider()).is_ok());
}
