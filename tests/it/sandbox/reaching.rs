//! What the proxy can still reach, and what it cannot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::Scene;
use crate::support::client::connector;
use crate::support::credentials::{Credentials, leaf};
use crate::support::sidecar::{Setup, Sidecar};
use crate::support::{app, eventually};

#[track_caller]
fn shows(sidecar: &Sidecar, credentials: &Credentials, wanted: &CertificateDer<'_>) {
    eventually("the pair", || {
        (connector(credentials.instance()).connect(sidecar.addr()).ok()?.leaf() == *wanted).then_some(())
    });
}

/// A pair in `folder`, which is made.
fn write_pair(credentials: &mut Credentials, folder: &Path) -> CertificateDer<'static> {
    let pair = credentials.issue();
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("tls.crt"), &pair.cert_pem).unwrap();
    fs::write(folder.join("tls.key"), &pair.key_pem).unwrap();
    leaf(pair.cert_pem.as_bytes())
}

/// Points `link` at `target` as Kubernetes does, in one step.
fn point(link: &Path, target: &Path) {
    let temporary = link.with_file_name("next");
    symlink(target, &temporary).unwrap();
    fs::rename(&temporary, link).unwrap();
}

/// `vestibule proxy` in a strict sandbox, with the pair in `folder`.
fn proxy(folder: &Path) -> Setup {
    Setup::command(&["proxy", "--sandbox", "strict", "--listen", "127.0.0.1:0", "--app", &app::echo().to_string()])
        .env("CF_INSTANCE_CERT", folder.join("tls.crt").to_str().unwrap())
        .env("CF_INSTANCE_KEY", folder.join("tls.key").to_str().unwrap())
}

#[test]
fn a_rotation_as_kubernetes_does_it_reaches_the_proxy() {
    let Some(mut scene) = Scene::new() else { return };
    let root = scene.path("mounted");
    fs::create_dir(&root).unwrap();
    let first = write_pair(&mut scene.credentials, &root.join("..2026_1"));
    symlink("..2026_1", root.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), root.join(name)).unwrap();
    }
    let sidecar = proxy(&root).ready();
    shows(&sidecar, &scene.credentials, &first);
    // Made after the start: the folder above it was open then.
    let second = write_pair(&mut scene.credentials, &root.join("..2026_2"));
    point(&root.join("..data"), Path::new("..2026_2"));
    shows(&sidecar, &scene.credentials, &second);
}

/// A folder that a symlink leads to may be another one later, beside it.
#[test]
fn a_symlink_to_a_folder_may_be_pointed_at_a_folder_beside_it() {
    let Some(mut scene) = Scene::new() else { return };
    fs::create_dir(scene.path("releases")).unwrap();
    let first = write_pair(&mut scene.credentials, &scene.folder.path().join("releases/1"));
    symlink(scene.path("releases/1"), scene.path("current")).unwrap();
    let sidecar = proxy(&scene.path("current")).ready();
    shows(&sidecar, &scene.credentials, &first);
    let second = write_pair(&mut scene.credentials, &scene.folder.path().join("releases/2"));
    point(&scene.path("current"), &scene.path("releases/2"));
    shows(&sidecar, &scene.credentials, &second);
}

#[test]
fn a_path_that_leads_out_of_what_was_open_is_refused_and_the_last_pair_stays() {
    let Some(mut scene) = Scene::new() else { return };
    let inside = scene.path("inside");
    let first = write_pair(&mut scene.credentials, &inside);
    let outside = scene.path("outside");
    write_pair(&mut scene.credentials, &outside);
    let sidecar = proxy(&inside).ready();
    for name in ["tls.key", "tls.crt"] {
        point(&inside.join(name), &outside.join(name));
    }
    let failed = sidecar.wait_for("credential reload failed; keeping the last good generation");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("not readable by this user") && error.contains("--sandbox"), "{error}");
    shows(&sidecar, &scene.credentials, &first);
    // Whoever puts it back needs no restart.
    let third = scene.credentials.issue();
    for (name, text) in [("tls.key", &third.key_pem), ("tls.crt", &third.cert_pem)] {
        fs::write(inside.join("new"), text).unwrap();
        fs::rename(inside.join("new"), inside.join(name)).unwrap();
    }
    shows(&sidecar, &scene.credentials, &leaf(third.cert_pem.as_bytes()));
}

#[test]
fn a_folder_that_is_made_anew_is_refused_and_said_to_be() {
    let Some(mut scene) = Scene::new() else { return };
    let folder = scene.path("inside");
    let first = write_pair(&mut scene.credentials, &folder);
    let sidecar = proxy(&folder).ready();
    // The old one stays, so that the new one cannot get its inode.
    fs::rename(&folder, scene.path("aside")).unwrap();
    write_pair(&mut scene.credentials, &folder);
    let failed = sidecar.wait_for("credential reload failed; keeping the last good generation");
    assert!(failed["error"].as_str().unwrap().contains("--sandbox"), "{failed}");
    shows(&sidecar, &scene.credentials, &first);
}

#[test]
fn a_folder_that_is_not_there_at_the_start_may_come_and_what_that_leaves_open_is_said() {
    let Some(mut scene) = Scene::new() else { return };
    let folder = scene.path("late");
    let sidecar = proxy(&folder).start();
    sidecar.wait_until("the sandbox", |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("sandbox entered"))
    });
    // The nearest folder that is there is open, which is not the root.
    assert!(sidecar.lines().iter().all(|line| !line.to_string().contains("whole file system")));
    let pair = write_pair(&mut scene.credentials, &folder);
    shows(&sidecar, &scene.credentials, &pair);

    let sidecar = proxy(Path::new("/nowhere-at-all")).arg("--credential-timeout=0s").start();
    sidecar.wait_until("a word about it", |line| line.to_string().contains("leaves the whole file system open"));
}

#[test]
fn files_for_the_app_are_written_and_replaced() {
    let Some(mut scene) = Scene::new() else { return };
    fs::create_dir(scene.path("files")).unwrap();
    let file = |form: &str, name: &str| format!("{form}={}", scene.path("files").join(name).display());
    let sidecar = Setup::proxy(&scene.credentials, app::echo())
        .arg("--sandbox=strict")
        .arg("--credential-file")
        .arg(&file("chain", "chain"))
        .arg("--identity-file")
        .arg(&file("someone", "token"))
        .ready();
    let written = scene.path("files");
    let chain = || fs::read(written.join("chain")).ok().filter(|text| !text.is_empty());
    let first = eventually("the chain", chain);
    let token = eventually("the token", || fs::read(scene.path("files/token")).ok());
    let second = scene.credentials.rotate();
    eventually("the next chain", || chain().filter(|text| *text != first && leaf(text) == second));
    eventually("the next token", || fs::read(scene.path("files/token")).ok().filter(|text| *text != token));
    assert!(sidecar.lines_of("file for the app cannot be written").is_empty());
}
