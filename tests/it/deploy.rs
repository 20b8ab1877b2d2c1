//! What is in `deploy`, held to the program: each file is read, each command line is judged by it, and what can be run is run.

pub(crate) mod yaml;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::credentials::{Credentials, roots_pem};
use crate::support::machine::{can, lacks};
use crate::support::sidecar::VESTIBULE;

/// What `check` finds out about the machine, and not about the command line.
const OF_THE_MACHINE: [&str; 8] = ["admin", "app", "descriptors", "inotify", "listen", "memory", "metrics", "threads"];

/// An app of somebody's.
const CALLER: &str = "1a12b29a-90c2-481b-b197-bc154f741e5d";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn documents(file: &str) -> Vec<Value> {
    yaml::documents(&fs::read_to_string(folder().join(file)).unwrap())
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// What `value` and all that is in it give to `look`.
fn walk(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| walk(value, look)),
        Value::Object(map) => {
            look(map);
            map.values().for_each(|value| walk(value, look));
        }
        _ => {}
    }
}

/// The command lines of Vestibule in one file, without the name of the program.
fn command_lines(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    let split = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let is_ours = |word: &String| word.ends_with("/vestibule");
    let mut found = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yml" | "yaml") => {
            for document in yaml::documents(&text) {
                walk(&document, &mut |map| {
                    let image = map.get("image").and_then(Value::as_str).unwrap_or_default();
                    let arguments =
                        map.get("args").or_else(|| map.get("command").filter(|_| image.contains("vestibule")));
                    if image.contains("vestibule") {
                        found.push(words(arguments.unwrap()));
                    }
                    let tests = [map.get("test"), map.get("exec").map(|exec| &exec["command"])];
                    found.extend(tests.into_iter().flatten().map(|test| {
                        let test = words(test);
                        let at = test.iter().position(is_ours).unwrap();
                        test[at + 1..].to_vec()
                    }));
                    if let Some(line) = map.get("command").and_then(Value::as_str) {
                        let line = split(line);
                        found.extend(
                            line.split_first().filter(|(program, _)| is_ours(program)).map(|(_, rest)| rest.to_vec()),
                        );
                    }
                });
            }
        }
        _ => found.extend(text.lines().filter_map(|line| line.strip_prefix("ExecStart=")).filter_map(|line| {
            let line = split(line);
            line.split_first().filter(|(program, _)| is_ours(program)).map(|(_, rest)| rest.to_vec())
        })),
    }
    found
}

/// A folder with what these files expect to find in the folder of a pair.
fn pair(credentials: &Credentials) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::copy(credentials.cert(), folder.path().join("tls.crt")).unwrap();
    fs::copy(credentials.key(), folder.path().join("tls.key")).unwrap();
    fs::write(folder.path().join("ca.crt"), roots_pem()).unwrap();
    folder
}

/// What `check` says of the options of `line`, which begins with `run` or `proxy`.
fn checked(line: &[String], credentials: &Credentials, pair: &Path) -> Output {
    let options = line[1..].split(|word| word == "--").next().unwrap().iter().map(|word| {
        let here = pair.to_str().unwrap();
        ["${CREDENTIALS_DIRECTORY}", "/etc/vestibule/tls", "/tls"]
            .into_iter()
            .find(|place| word.contains(&format!("{place}/")))
            .map_or_else(|| word.clone(), |place| word.replacen(place, here, 1))
            .replace("((caller))", CALLER)
    });
    let mut command = Command::new(VESTIBULE);
    command.arg("check").args(options).env_clear().env("PORT", "8080");
    command.env("CF_INSTANCE_CERT", credentials.cert()).env("CF_INSTANCE_KEY", credentials.key());
    command.env("CF_SYSTEM_CERT_PATH", pair.join("ca.crt")).output().unwrap()
}

#[test]
fn every_command_line_is_one_and_means_something() {
    let credentials = Credentials::new();
    let pair = pair(&credentials);
    let mut seen = BTreeSet::new();
    for path in files(&folder()) {
        for line in command_lines(&path) {
            seen.insert(line[0].clone());
            let place = format!("{}: {}", path.display(), line.join(" "));
            match line[0].as_str() {
                "run" | "proxy" => {
                    let output = checked(&line, &credentials, pair.path());
                    let said = String::from_utf8_lossy(&output.stdout);
                    assert!(
                        said.contains("ok       configuration"),
                        "{place}: {}",
                        String::from_utf8_lossy(&output.stderr)
                    );
                    // Whether a port is free, or how many connections fit, is a matter of this machine.
                    let problems = said.lines().filter(|line| line.starts_with("problem "));
                    let of_the_file = |line: &&str| !OF_THE_MACHINE.contains(&line.split_whitespace().nth(1).unwrap());
                    assert_eq!(problems.filter(of_the_file).collect::<Vec<_>>(), [""; 0], "{place}");
                    assert_eq!(
                        line[0] == "run",
                        line.iter().any(|word| word == "--"),
                        "{place}: an app for `run` alone"
                    );
                }
                "health" => {
                    // Nobody answers at that address: 1, where an error would be 2.
                    let status = Command::new(VESTIBULE).args(&line).args(["--admin", "127.0.0.1:1"]).status().unwrap();
                    assert_eq!(status.code(), Some(1), "{place}");
                }
                _ => panic!("{place}: is there such a command?"),
            }
        }
    }
    assert_eq!(seen, ["health", "proxy", "run"].map(str::to_owned).into());
}

#[test]
fn an_error_in_one_of_these_command_lines_would_be_found() {
    let credentials = Credentials::new();
    let pair = pair(&credentials);
    let line = ["proxy", "--cert", "/tls/tls.crt", "--key", "/tls/tls.key", "--allow-apps", "x"].map(str::to_owned);
    let output = checked(&line, &credentials, pair.path());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ok       configuration"));
    assert_ne!(output.status.code(), Some(0));
}

#[test]
fn every_file_is_read_by_a_test_or_run_by_a_script() {
    let known = ["yml", "yaml", "service", "path", "conf", "md"];
    let scripts =
        ["smoke", "image/build", "image/Dockerfile", "bosh/packages/proxy/spec", "bosh/packages/proxy/packaging"];
    for path in files(&folder()) {
        let name = path.strip_prefix(folder()).unwrap().to_str().unwrap();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        assert!(known.contains(&extension) || scripts.contains(&name), "{name}: nothing holds it to the program");
        if ["yml", "yaml"].contains(&extension) {
            assert!(!documents(name).is_empty(), "{name} says nothing");
        }
    }
}

#[test]
fn images_are_of_the_version_that_is_released_next() {
    let mut seen = 0;
    for path in files(&folder()).into_iter().filter(|path| path.extension().is_some_and(|it| it == "yaml")) {
        for document in yaml::documents(&fs::read_to_string(&path).unwrap()) {
            walk(&document, &mut |map| {
                let image = map.get("image").and_then(Value::as_str).filter(|image| image.contains("vestibule"));
                if let Some(image) = image {
                    assert!(
                        image.ends_with(concat!("vestibule:", env!("CARGO_PKG_VERSION"))),
                        "{}: {image}",
                        path.display()
                    );
                    seen += 1;
                }
            });
        }
    }
    assert!(seen > 1, "only {seen} images");
}

#[test]
fn the_native_sidecar_has_the_pair_to_itself_and_may_do_nothing_else() {
    let documents = documents("kubernetes/native-sidecar.yaml");
    let [service, deployment] = documents.as_slice() else { panic!("{documents:?}") };
    let pod = &deployment["spec"]["template"]["spec"];
    let (sidecar, app) = (&pod["initContainers"][0], &pod["containers"][0]);
    assert_eq!(sidecar["restartPolicy"], "Always", "without it the app would wait for its end");
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]["metadata"]["labels"]);
    assert_eq!(service["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"]);
    let port = service["spec"]["ports"][0]["targetPort"].as_str().unwrap();
    assert!(sidecar["ports"].as_array().unwrap().iter().any(|it| it["name"] == port && it["containerPort"] == 8443));
    let volume = &pod["volumes"][0];
    assert_eq!(sidecar["volumeMounts"][0]["name"], volume["name"]);
    assert_eq!(app.get("volumeMounts"), None, "the app has no business with the key");
    assert_eq!(volume["csi"]["driver"], "csi.cert-manager.io");
    // The kubelet takes this kind of volume for reading alone, and takes text alone for its attributes.
    assert_eq!(volume["csi"]["readOnly"], true);
    let attributes = volume["csi"]["volumeAttributes"].as_object().unwrap();
    assert!(attributes.values().all(Value::is_string), "{attributes:?}");
    assert_eq!(attributes["csi.cert-manager.io/fs-group"], sidecar["securityContext"]["runAsGroup"].to_string());
    let security = &sidecar["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
}

#[test]
fn systemd_finds_nothing_wrong_with_its_units() {
    if !can(&["systemd-analyze", "--version"]) {
        return lacks("systemd-analyze");
    }
    let here = TempDir::new().unwrap();
    let units = here.path();
    for name in ["vestibule.service", "vestibule-restart.service", "vestibule-restart.path"] {
        let text = fs::read_to_string(folder().join("systemd").join(name)).unwrap();
        fs::write(units.join(name), text.replace("/usr/local/bin/vestibule", VESTIBULE)).unwrap();
    }
    let verified = |what: &str| {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()));
        let units = ["vestibule.service", "vestibule-restart.service", "vestibule-restart.path"];
        let output = command.args(units.map(|unit| here.path().join(unit))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // What the distribution's own units say of themselves is theirs.
        let ours: Vec<_> = said.lines().filter(|line| line.contains("vestibule")).collect();
        assert_eq!(ours, [""; 0], "{what}");
        assert!(output.status.success(), "{what}: {said}");
    };
    verified("the pair is handed over");
    let drop_in = fs::read_to_string(folder().join("systemd/vestibule.service.d/folder.conf")).unwrap();
    fs::create_dir(units.join("vestibule.service.d")).unwrap();
    let drop_in = drop_in.replace("/usr/local/bin/vestibule", VESTIBULE);
    fs::write(units.join("vestibule.service.d/folder.conf"), drop_in).unwrap();
    verified("the pair is in a folder");
}

#[test]
fn a_pair_in_a_folder_changes_nothing_but_where_the_pair_is() {
    let command = |name: &str| {
        let text = fs::read_to_string(folder().join("systemd").join(name)).unwrap();
        let line = text.lines().rfind(|line| line.starts_with("ExecStart=")).unwrap().to_owned();
        line.replace("/etc/vestibule/tls/", "PAIR/").replace("${CREDENTIALS_DIRECTORY}/", "PAIR/")
    };
    assert_eq!(command("vestibule.service.d/folder.conf"), command("vestibule.service"));
}

#[test]
fn the_sandbox_may_be_entered_under_systemds_filter() {
    if !can(&["systemd-analyze", "--version"]) {
        return lacks("systemd-analyze");
    }
    let unit = fs::read_to_string(folder().join("systemd/vestibule.service")).unwrap();
    let filter = unit.lines().find_map(|line| line.strip_prefix("SystemCallFilter=")).unwrap();
    let (mut allowed, mut left) = (BTreeSet::new(), filter.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    while let Some(name) = left.pop() {
        if !allowed.insert(name.clone()) || !name.starts_with('@') {
            continue;
        }
        let output = Command::new("systemd-analyze").args(["syscall-filter", &name]).output().unwrap();
        assert!(output.status.success(), "{name}");
        let of_group = String::from_utf8(output.stdout).unwrap();
        let members = of_group.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#') && !line.is_empty());
        left.extend(members.map(str::to_owned));
    }
    assert!(allowed.len() > 200, "{allowed:?}");
    for call in [
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
        "prctl",
        "seccomp",
        "capget",
        "capset",
    ] {
        assert!(allowed.contains(call), "{call} is not allowed, and --sandbox would do without");
    }
}

#[test]
fn the_bosh_package_makes_the_program_that_diego_starts() {
    let folder = folder().join("bosh/packages/proxy");
    let spec = documents("bosh/packages/proxy/spec");
    let blob = spec[0]["files"][0].as_str().unwrap();
    assert_eq!(spec[0]["name"], "proxy");
    let here = TempDir::new().unwrap();
    let (sources, target) = (here.path().join("sources"), here.path().join("target"));
    for folder in [sources.join("proxy"), target.clone(), here.path().join("made")] {
        fs::create_dir_all(folder).unwrap();
    }
    // In the place of a large file that would have to be packed.
    let program = here.path().join("made/vestibule");
    fs::write(&program, format!("#!/bin/bash\nexec -a \"$0\" {VESTIBULE} \"$@\"\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
    let packed = Command::new("tar")
        .args(["--create", "--gzip", "--file"])
        .arg(sources.join(blob))
        .args(["--directory", "made", "vestibule"])
        .current_dir(here.path())
        .status()
        .unwrap();
    assert!(packed.success());
    let status = Command::new("bash")
        .arg(folder.join("packaging"))
        .current_dir(&sources)
        .env("BOSH_INSTALL_TARGET", &target)
        .status()
        .unwrap();
    assert!(status.success());
    let program = target.join("envoy");
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
    // By that name it is Envoy.
    let output = Command::new(program).args(["-c", "/nowhere/envoy.yaml", "--mode", "validate"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/envoy.yaml"), "{output:?}");
    assert_ne!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn the_operations_files_are_lists_of_replacements() {
    for file in ["bosh/operations/canary.yml", "bosh/operations/all-cells.yml"] {
        let documents = documents(file);
        let [Value::Array(operations)] = documents.as_slice() else { panic!("{file}: {documents:?}") };
        for operation in operations {
            let keys: Vec<_> = operation.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["path", "type", "value"], "{file}");
            assert_eq!(operation["type"], "replace", "{file}");
            assert!(operation["path"].as_str().unwrap().starts_with('/'), "{file}");
        }
        // The page for operators shows the same.
        let page = fs::read_to_string(folder().join("../docs/diego.md")).unwrap();
        let told: Vec<_> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(told.iter().any(|block| yaml::documents(block) == documents), "docs/diego.md shows another {file}");
    }
}
