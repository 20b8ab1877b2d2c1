//! References in variables, secrets as files, and bindings as files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Instance;
use crate::support::credhub::CredHub;
use crate::support::eventually;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// The folder that the instance has made, once it is there.
fn folder(instance: &Instance) -> PathBuf {
    eventually("the folder", || Some(fs::read_dir(instance.path("secrets")).unwrap().next()?.unwrap().path()))
}

#[test]
fn variables_refer_to_credentials_of_credhub_and_to_files() {
    let instance = Instance::new();
    let credhub = CredHub::knowing(&[
        ("/password", json!("S3cret of é")),
        ("/user", json!({ "username": "u", "password": "S3cret-user", "n": 1 })),
        ("/document", json!({ "a": [1] })),
    ]);
    let file = instance.path("file");
    fs::write(&file, "S3cret of a file\n\n").unwrap();
    let (ca, of_file) = (credhub.ca(), format!("file:{}", file.display()));
    let options = ["--credhub-url", &credhub.url(), "--credhub-ca", ca.to_str().unwrap()];
    let setup = instance
        .resolving("credhub,file", &options)
        .env("PASSWORD", "credhub:/password")
        .env("AGAIN", "credhub:/password?optional")
        .env("USER_NAME", "credhub:/user#username")
        .env("NUMBER", "credhub:/user#n")
        .env("WHOLE", "credhub:/document")
        .env("MISSING", "credhub:/nowhere?optional")
        .env("MISSING_PART", "credhub:/document#b?file&optional")
        .env("OF_FILE", &of_file)
        .env("MISSING_FILE", "file:/nowhere/at/all?optional")
        .env("OTHERS", "vault:secret/data/x#y and transit:x")
        .env("VESTIBULE_LOG_LEVEL", "trace");
    let outcome = instance.outcome(setup);
    assert_eq!(outcome.value("PASSWORD"), Some("S3cret of é"));
    assert_eq!(outcome.value("AGAIN"), Some("S3cret of é"));
    assert_eq!(outcome.value("USER_NAME"), Some("u"));
    assert_eq!(outcome.value("NUMBER"), Some("1"));
    assert_eq!(outcome.value("WHOLE"), Some("{\"a\":[1]}"));
    assert_eq!(outcome.value("OF_FILE"), Some("S3cret of a file\n"));
    assert_eq!(outcome.value("OTHERS"), Some("vault:secret/data/x#y and transit:x"));
    for name in ["MISSING", "MISSING_PART", "MISSING_FILE"] {
        assert_eq!(outcome.value(name), None, "{name}");
    }
    assert!(!outcome.log.contains("S3cret"), "{}", outcome.log);
    let mut lines: Vec<_> = credhub.asked().iter().map(|asked| asked.line().to_owned()).collect();
    lines.sort();
    let line = |name: &str| format!("GET /api/v1/data?name={name}&current=true HTTP/1.1");
    assert_eq!(lines, ["/document", "/nowhere", "/password", "/user"].map(line), "each is asked for once");
}

#[test]
fn what_is_missing_or_unfit_is_said_for_every_variable() {
    let instance = Instance::new();
    let credhub =
        CredHub::knowing(&[("/user", json!({ "username": "u", "password": "p" })), ("/nul", json!("S3cret\0"))]);
    let big = instance.path("big");
    fs::write(&big, "S3cret".repeat(30_000)).unwrap();
    let (ca, of_file) = (credhub.ca(), format!("file:{}", big.display()));
    let options = ["--credhub-url", &credhub.url(), "--credhub-ca", ca.to_str().unwrap()];
    let setup = instance
        .resolving("credhub,file", &options)
        .env("A", "credhub:/nowhere")
        .env("B", "credhub:/user")
        .env("C", "credhub:/user#x")
        .env("D", "credhub:/nul")
        .env("E", &of_file)
        .env("F", "file:/nowhere/at/all");
    let outcome = instance.outcome(setup);
    assert_eq!((outcome.status.code(), outcome.environment.is_none()), (Some(69), true));
    for (name, what) in [
        ("A", "credhub:/nowhere: https://"),
        ("B", "credhub:/user: it has several parts; write #KEY"),
        ("C", "credhub:/user: it has no part \"x\""),
        ("D", "has a NUL byte in it, which no variable can have; add ?file"),
        ("E", "is longer than a variable can be, which is 128 KiB; add ?file"),
        ("F", "file:/nowhere/at/all: the file does not exist"),
    ] {
        let begins = format!("cannot resolve {name}: ");
        let error = outcome.errors.iter().find(|error| error.starts_with(&begins));
        assert!(error.is_some_and(|error| error.contains(what)), "{name}: {:?}", outcome.errors);
    }
    assert!(!outcome.log.contains("S3cret"));
    assert_eq!(fs::read_dir(instance.path("secrets")).unwrap().count(), 0);
}

#[test]
fn a_secret_as_a_file_is_for_our_user_alone_and_goes_with_the_app() {
    let instance = Instance::new();
    let file = instance.path("file");
    fs::write(&file, "S3cret").unwrap();
    let of_file = format!("file:{}?file", file.display());
    let out = instance.out();
    let script = format!("cat /proc/self/environ > {}; exec sleep 60", out.display());
    let sidecar = instance
        .running("file", &[], &["sh", "-c", &script])
        .env("DB_PASSWORD", &of_file)
        .env("SAME", &of_file)
        .start();
    sidecar.wait_for("app started");
    let folder = folder(&instance);
    let path = folder.join("DB_PASSWORD");
    assert_eq!((mode(&folder), mode(&path), fs::read_to_string(&path).unwrap().as_str()), (0o700, 0o400, "S3cret"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "what several refer to is there once");
    let environment =
        eventually("the app's environment", || fs::read_to_string(&out).ok().filter(|text| text.contains("SAME=")));
    for name in ["DB_PASSWORD", "SAME"] {
        assert!(environment.split('\0').any(|line| line == format!("{name}={}", path.display())), "{environment}");
    }
    sidecar.signal("TERM");
    let outcome = instance.ended(sidecar);
    assert_eq!(outcome.status.code(), Some(143), "{}", outcome.log);
    assert!(!folder.exists());
}

#[test]
fn what_a_killed_process_has_left_goes_with_the_next_start() {
    let instance = Instance::new();
    let file = instance.path("file");
    fs::write(&file, "S3cret").unwrap();
    let of_file = format!("file:{}?file", file.display());
    let start = |app: &[&str]| instance.running("file", &[], app).env("X", &of_file);
    let killed = start(&["sleep", "60"]).start();
    let pid = killed.wait_for("app started")["pid"].as_u64().unwrap().to_string();
    let left = folder(&instance);
    killed.signal("KILL");
    // The app has our stderr, too.
    assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
    instance.ended(killed);
    assert!(left.join("X").exists());
    let living = start(&["sleep", "60"]).start();
    living.wait_for("app started");
    assert!(!left.exists());
    let own = folder(&instance);
    // The next one tells the folder of one that lives.
    let outcome = instance.outcome(start(&["true"]));
    assert!(outcome.status.success() && own.join("X").exists(), "{}", outcome.log);
}

#[test]
fn bindings_as_files_are_copied_with_what_they_refer_to() {
    let instance = Instance::new();
    let credhub = CredHub::knowing(&[(
        "/c/db",
        json!({ "username": "u", "password": "S3cret", "hosts": ["a", "b"], "type": "not this" }),
    )]);
    let root = instance.path("bindings");
    for (name, text) in
        [("db/type", "mysql"), ("db/credhub-ref", "((/c/db))\n"), ("plain/type", "x"), ("plain/uri", "y\n")]
    {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let copy = instance.path("copy");
    let script = format!("cp -r $SERVICE_BINDING_ROOT {}", copy.display());
    let ca = credhub.ca();
    let options = ["--credhub-url", &credhub.url(), "--credhub-ca", ca.to_str().unwrap()];
    let setup = instance
        .running("credhub", &options, &["sh", "-c", &script])
        .env("SERVICE_BINDING_ROOT", root.to_str().unwrap());
    let outcome = instance.outcome(setup);
    assert!(outcome.status.success(), "{}", outcome.log);
    let read = |name: &str| fs::read_to_string(copy.join(name)).unwrap();
    for (name, text) in [
        ("db/type", "mysql"),
        ("db/username", "u"),
        ("db/password", "S3cret"),
        ("db/hosts", "[\"a\",\"b\"]"),
        ("plain/type", "x"),
        ("plain/uri", "y\n"),
    ] {
        assert_eq!(read(name), text, "{name}");
        assert_eq!(mode(&copy.join(name)), 0o400, "{name}");
    }
    assert!(!copy.join("db/credhub-ref").exists() && root.join("db/credhub-ref").exists());
    assert!(!outcome.log.contains("S3cret"));
    let [asked] = &credhub.asked()[..] else { panic!() };
    assert_eq!(asked.body, br#"{"name":[{"credentials":{"credhub-ref":"((/c/db))"}}]}"#);

    let none = CredHub::knowing(&[]);
    let ca = none.ca();
    let options = ["--credhub-url", &none.url(), "--credhub-ca", ca.to_str().unwrap()];
    let outcome =
        instance.outcome(instance.resolving("credhub", &options).env("SERVICE_BINDING_ROOT", root.to_str().unwrap()));
    assert!(outcome.failure().contains("service \"db\" refers to /c/db"), "{}", outcome.failure());
    assert_eq!(none.asked().len(), 1);
}

#[test]
fn bindings_as_files_are_left_alone_with_a_warning_where_nobody_says_where_credhub_is() {
    let instance = Instance::new();
    let (root, file) = (instance.path("bindings"), instance.path("vcap.json"));
    fs::create_dir_all(root.join("db")).unwrap();
    fs::write(root.join("db/credhub-ref"), "((/c/db))").unwrap();
    fs::write(&file, r#"{"a":[{"credentials":{"credhub-ref":"/c/db"}}]}"#).unwrap();
    for (name, path) in [("SERVICE_BINDING_ROOT", &root), ("VCAP_SERVICES_FILE_PATH", &file)] {
        let path = path.to_str().unwrap();
        let outcome = instance.outcome(instance.resolving("credhub", &[]).env(name, path));
        assert_eq!(outcome.value(name), Some(path));
        assert!(outcome.log.contains("references to CredHub are left alone"), "{name}: {}", outcome.log);
    }
    // A name that is no text is no name.
    fs::write(root.join("db/credhub-ref"), b"\xff\xfe").unwrap();
    let none = CredHub::knowing(&[]);
    let ca = none.ca();
    let options = ["--credhub-url", &none.url(), "--credhub-ca", ca.to_str().unwrap()];
    let outcome =
        instance.outcome(instance.resolving("credhub", &options).env("SERVICE_BINDING_ROOT", root.to_str().unwrap()));
    assert_eq!(outcome.status.code(), Some(78), "{}", outcome.log);
    assert!(outcome.log.contains("db/credhub-ref is no text"), "{}", outcome.log);
}

#[test]
fn the_document_in_a_file_is_resolved_into_another() {
    let instance = Instance::new();
    let credhub = CredHub::knowing(&[("/c/db", json!({ "password": "S3cret" }))]);
    let file = instance.path("vcap.json");
    fs::write(&file, r#"{ "a":[{"credentials":{"credhub-ref":"/c/db"}}] }"#).unwrap();
    let copy = instance.path("copy");
    let script = format!("cp $VCAP_SERVICES_FILE_PATH {}", copy.display());
    let ca = credhub.ca();
    let options = ["--credhub-url", &credhub.url(), "--credhub-ca", ca.to_str().unwrap()];
    let setup = instance
        .running("credhub", &options, &["sh", "-c", &script])
        .env("VCAP_SERVICES_FILE_PATH", file.to_str().unwrap());
    let outcome = instance.outcome(setup);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert_eq!(fs::read_to_string(copy).unwrap(), r#"{ "a":[{"credentials":{"password":"S3cret"}}] }"#);
}

#[test]
fn a_thousand_references_are_resolved() {
    let instance = Instance::new();
    let mut setup = instance.resolving("file", &[]);
    for i in 0..1000 {
        let file = instance.path(&format!("file-{i}"));
        fs::write(&file, format!("value {i}")).unwrap();
        setup = setup.env(&format!("V{i}"), &format!("file:{}", file.display()));
    }
    let outcome = instance.outcome(setup);
    for i in 0..1000 {
        assert_eq!(outcome.value(&format!("V{i}")), Some(format!("value {i}").as_str()));
    }
}
