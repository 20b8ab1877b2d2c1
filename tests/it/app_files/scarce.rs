//! A file system that is full, or read-only: the old files stay, and the new ones come once there is room.

use std::fs;
use std::path::Path;
use std::process::Command;

use vestibule::credentials::Pair;
use vestibule::crypto::provider;

use super::{Scene, names, written};
use crate::metrics::Measured;
use crate::support::credentials::leaf;
use crate::support::eventually;
use crate::support::machine::in_namespaces;

fn mount(args: &[&str]) {
    assert!(Command::new("mount").args(args).status().unwrap().success(), "mount {args:?}");
}

/// A scene in whose folder a file system of 64 KiB is mounted.
fn on_a_small_tmpfs() -> Scene {
    let scene = Scene::new();
    mount(&["-t", "tmpfs", "-o", "size=64k,mode=755", "none", scene.folder.path().to_str().unwrap()]);
    scene
}

/// A proxy that writes a pair, as `pem` and `chain`, and whose first generation is in place.
fn writing(scene: &Scene) -> Measured {
    let files = [scene.file("pem", "pem"), scene.file("chain", "chain")].join(",");
    let measured = Measured::new(scene.proxy().arg("--credential-file").arg(&files));
    written(&measured.sidecar, 1);
    measured
}

/// That the files are those of a pair from before, whole.
fn are_as_before(scene: &Scene, before: &[u8]) {
    assert_eq!(fs::read(scene.path("pem")).unwrap(), before);
    Pair::from_pem(before, before, &provider()).unwrap();
    assert_eq!(leaf(&fs::read(scene.path("chain")).unwrap()), leaf(before));
}

/// Fills what is left of the file system with `path`.
fn fill(path: &Path) {
    let mut size = 1 << 16;
    let mut content = Vec::new();
    while size > 0 {
        content.resize(content.len() + size, b'x');
        if fs::write(path, &content).is_err() {
            content.truncate(content.len() - size);
            size /= 2;
        }
    }
    let _ = fs::write(path, &content);
}

#[test]
fn a_full_file_system_keeps_the_old_files_and_takes_the_new_ones_once_there_is_room() {
    let test = "app_files::scarce::a_full_file_system_keeps_the_old_files_and_takes_the_new_ones_once_there_is_room";
    if !in_namespaces(test, &["--mount"], "true", Path::new("/")) {
        return;
    }
    let mut scene = on_a_small_tmpfs();
    let measured = writing(&scene);
    let before = fs::read(scene.path("pem")).unwrap();
    fill(&scene.path("filler"));
    let new = scene.credentials.rotate();
    let error = measured.sidecar.wait_for("app file not written");
    assert!(error["error"].as_str().unwrap().contains("No space left on device"), "{error}");
    let failed = "vestibule_identity_files_total{form=\"pem\",result=\"failed\"}";
    eventually("a retry", || (measured.series()[failed] > 1.0).then_some(()));
    are_as_before(&scene, &before);
    assert_eq!(names(scene.folder.path()), ["chain", "filler", "pem"], "nothing half-written stays");
    assert_eq!(
        measured.sidecar.lines_of("app file not written").len(),
        2,
        "one line for each file, however often it is tried"
    );
    fs::remove_file(scene.path("filler")).unwrap();
    written(&measured.sidecar, 2);
    assert_eq!(leaf(&fs::read(scene.path("pem")).unwrap()), new);
    assert_eq!(names(scene.folder.path()), ["chain", "pem"]);
}

#[test]
fn a_read_only_file_system_keeps_the_old_files_and_takes_the_new_ones_once_it_can_be_written() {
    let test =
        "app_files::scarce::a_read_only_file_system_keeps_the_old_files_and_takes_the_new_ones_once_it_can_be_written";
    if !in_namespaces(test, &["--mount"], "true", Path::new("/")) {
        return;
    }
    let mut scene = on_a_small_tmpfs();
    let folder = scene.folder.path().to_str().unwrap().to_owned();
    let measured = writing(&scene);
    let before = fs::read(scene.path("pem")).unwrap();
    mount(&["-o", "remount,ro", &folder]);
    let new = scene.credentials.rotate();
    let error = measured.sidecar.wait_for("app file not written");
    assert!(error["error"].as_str().unwrap().contains("Read-only file system"), "{error}");
    are_as_before(&scene, &before);
    let check = Command::new(crate::support::sidecar::VESTIBULE)
        .args([
            "check",
            "--listen",
            "127.0.0.1:0",
            "--app-ready",
            "off",
            "--credential-file",
            &scene.file("pem", "pem"),
        ])
        .env("CF_INSTANCE_CERT", scene.credentials.cert())
        .env("CF_INSTANCE_KEY", scene.credentials.key())
        .output()
        .unwrap();
    let report = String::from_utf8(check.stdout).unwrap();
    assert!(report.contains("problem  files") && report.contains("Read-only file system"), "{report}");
    mount(&["-o", "remount,rw", &folder]);
    written(&measured.sidecar, 2);
    assert_eq!(leaf(&fs::read(scene.path("pem")).unwrap()), new);
}
