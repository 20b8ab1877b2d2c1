//! Whatever is done to a private key, and wherever it is put by mistake: nothing of it is said.

use std::collections::HashSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use base64ct::{Base64, Encoding};
use tempfile::TempDir;
use vestibule::issuer::InstanceSpec;

use crate::support::credentials::{issue_rsa, roots_pem};
use crate::support::sidecar::VESTIBULE;

/// Consecutive bytes of the key that may not occur.
const FORBIDDEN: usize = 8;

/// A pair, and every form in which a part of its key could be said.
struct Secret {
    cert: String,
    key: String,
    base64: String,
    der: Vec<u8>,
    /// Eight bytes in a row of the key, and of its base64.
    windows: HashSet<Window>,
}

/// So many bytes in a row.
type Window = [u8; FORBIDDEN];

impl Secret {
    fn new() -> Self {
        let pair = issue_rsa(&InstanceSpec::generate().unwrap());
        let base64: String = pair.key_pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = Base64::decode_vec(&base64).unwrap();
        // Of zeros and the like anybody may have some.
        let is_varied = |window: &Window| window.iter().collect::<HashSet<_>>().len() > 4;
        let windows = windows(&der).chain(windows(base64.as_bytes())).filter(is_varied).collect();
        Self { cert: pair.cert_pem, key: pair.key_pem, base64, der, windows }
    }

    /// Fails if `said` holds eight bytes in a row of the key: as text, as base64 of any alignment, in hexadecimal, or as decimals.
    fn is_kept_in(&self, said: &str, whence: &str) {
        let plain: Vec<u8> = said.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let digits: Vec<_> =
            plain.iter().map(|byte| char::from(*byte)).filter(|c| *c != ':').map(|c| c.to_digit(16)).collect();
        // Hexadecimal may begin at either digit.
        let hex = |from: usize| -> Vec<Option<u8>> {
            let byte = |pair: &[Option<u32>]| u8::try_from(pair[0]? << 4 | pair[1]?).ok();
            digits.get(from..).unwrap_or_default().chunks_exact(2).map(byte).collect()
        };
        let numbers = said.split(|c: char| !c.is_ascii_digit());
        let decimals: Vec<Option<u8>> = numbers.filter_map(|number| number.parse().ok()).map(Some).collect();
        let bytes: Vec<Option<u8>> = plain.into_iter().map(Some).collect();
        for (form, bytes) in [("text", bytes), ("hexadecimal", hex(0)), ("hexadecimal", hex(1)), ("decimals", decimals)]
        {
            let said_of_it = bytes.windows(FORBIDDEN).find_map(|window| {
                let window: Vec<u8> = window.iter().copied().collect::<Option<_>>()?;
                self.windows.contains(&window[..]).then_some(window)
            });
            assert_eq!(said_of_it, None, "{whence}: of the key, as {form}, in:\n{said}");
        }
    }

    /// The key, damaged in every way that comes to mind.
    fn damaged(&self) -> Vec<(&'static str, String)> {
        let key = &self.key;
        let half = &key[..key.len() / 2];
        let encrypted = key.replacen(
            "KEY-----\n",
            "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n",
            1,
        );
        vec![
            ("one line with blanks", key.replace('\n', " ")),
            ("one line", key.replace('\n', "")),
            ("escaped line breaks", key.replace('\n', "\\n")),
            ("only CR", key.replace('\n', "\r")),
            ("no END mark", key[..key.find("-----END").unwrap()].to_owned()),
            ("no BEGIN mark", key[key.find('\n').unwrap() + 1..].to_owned()),
            ("base64 alone", self.base64.clone()),
            ("base64 in lines", key.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>().join("\n")),
            ("cut off", half.to_owned()),
            ("cut off in its END mark", key[..key.len() - 10].to_owned()),
            ("joined marks", key.trim_end().to_owned() + &self.cert),
            ("a certificate's label", key.replace("RSA PRIVATE KEY", "CERTIFICATE")),
            ("a CRL's label", key.replace("RSA PRIVATE KEY", "X509 CRL")),
            ("the wrong label", key.replace("RSA PRIVATE KEY", "PRIVATE KEY")),
            ("an unknown label", key.replace("RSA PRIVATE KEY", "SECRET")),
            ("different labels", key.replacen("RSA PRIVATE KEY", "PRIVATE KEY", 1)),
            ("its own bytes as the label", key.replace("RSA PRIVATE KEY", &self.base64[..60])),
            ("a mark unclosed", key.replacen("KEY-----", "KEY----", 1)),
            ("noise", key.replacen('a', "!", 3)),
            ("called encrypted", encrypted),
            ("called encrypted PKCS#8", key.replace("RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
            ("indented", key.lines().map(|line| format!("    {line}\n")).collect()),
            ("quoted", key.lines().map(|line| format!("> {line}\n")).collect()),
            ("a TOML value", format!("key = \"{}\"\n", key.replace('\n', "\\n"))),
            ("a TOML value over lines", format!("allow = '''\n{key}'''\ndeny = [\"\"\"{key}\"\"\"]\n")),
            ("TOML rules", format!("allow = [{}]\n", key.lines().map(|line| format!("'{line}',")).collect::<String>())),
            ("TOML keys", key.lines().map(|line| format!("{line} = 1\n")).collect()),
            ("a YAML value", format!("key: {key}")),
            ("a YAML literal too little indented", format!("resources:\n- inline_string: |\n{key}")),
            ("YAML keys", key.lines().map(|line| format!("{line}: 1\n")).collect()),
            (
                "a YAML mapping",
                format!("resources:\n{}", key.lines().map(|line| format!("  {line}: {line}\n")).collect::<String>()),
            ),
            ("DER as text", String::from_utf8_lossy(&self.der).into_owned()),
        ]
    }
}

/// All that are in `bytes`.
fn windows(bytes: &[u8]) -> impl Iterator<Item = Window> {
    bytes.windows(FORBIDDEN).filter_map(|window| window.try_into().ok())
}

/// What `vestibule` says to `args`, on both channels, within a moment.
fn said(args: &[&str], env: &[(&str, &str)]) -> String {
    let mut command = Command::new(VESTIBULE);
    // Whatever is taken for the name of a folder is made there.
    let place = TempDir::new().unwrap();
    command.args(args).current_dir(place.path()).env_clear().env("PATH", "/usr/bin:/bin").envs(env.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (done, ended) = mpsc::channel();
    let out = thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).unwrap();
        text
    });
    let err = thread::spawn(move || {
        let mut text = Vec::new();
        err.read_to_end(&mut text).unwrap();
        let _ = done.send(());
        text
    });
    // Whoever serves does not end by itself.
    if ended.recv_timeout(Duration::from_millis(1500)).is_err() {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    [out, err].map(|said| String::from_utf8_lossy(&said.join().unwrap()).into_owned()).concat()
}

struct Files {
    dir: TempDir,
}

impl Files {
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn nothing_of_a_key_is_said_whatever_is_wrong_with_it_and_wherever_it_stands() {
    let secret = Secret::new();
    let damaged = secret.damaged();
    let next = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        // They wait for time to pass, most of the time.
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some((way, text)) = damaged.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    everywhere(&secret, way, text);
                }
            });
        }
    });
}

/// Puts `text` everywhere, and asks every command.
fn everywhere(secret: &Secret, way: &str, text: &str) {
    let files = Files { dir: TempDir::new().unwrap() };
    let (cert, key) = (files.write("own.crt", &secret.cert), files.write("own.key", &secret.key));
    let ca = files.write("ca.crt", &roots_pem());
    let bad = files.write("bad.file", text);
    files.write("folder/ca.crt", &roots_pem());
    files.write("folder/bad.crt", text);
    let folder = files.dir.path().join("folder");
    let folder = folder.to_str().unwrap();
    let sds = files.write(
        "sds.yaml",
        &format!("resources:\n- name: x\n  tls_certificate:\n    private_key:\n      inline_string: |\n{text}"),
    );
    let base = ["--listen", "127.0.0.1:0", "--app", "1", "--admin", "off"];
    let pair = ["--cert", &cert, "--key", &key];
    let rules = ["--allow", "any"];
    let places: [Vec<&str>; 9] = [
        vec!["--cert", &cert, "--key", &bad],
        vec!["--cert", &bad, "--key", &key],
        vec!["--cert", &bad, "--key", &bad],
        [&pair[..], &rules, &["--client-ca", &bad]].concat(),
        [&pair[..], &rules, &["--client-ca", folder]].concat(),
        [&pair[..], &rules, &["--client-ca", &ca, "--client-crl", &bad]].concat(),
        [&pair[..], &["--client-ca", &ca, "--policy", &bad]].concat(),
        [&pair[..], &["--config", &bad]].concat(),
        vec!["--cert", &cert, "--key", text.split('\0').next().unwrap_or_default()],
    ];
    let hear = |args: &[&str], env: &[(&str, &str)]| {
        let heard = said(args, env);
        secret.is_kept_in(&heard, &format!("{way}: {:?}", args.first()));
    };
    for place in &places {
        hear(&[&["check"], &base[..], place].concat(), &[]);
        hear(&[&["check", "--json"], &base[..], place].concat(), &[]);
    }
    let quick = ["--credential-timeout", "1s"];
    for (place, format) in places.iter().zip(["text", "json", "lager"].iter().cycle()) {
        let loud = ["--log-level", "trace", "--log-format", format];
        hear(&[&["proxy"], &base[..], &quick, &loud, place].concat(), &[]);
    }
    hear(&[&["run"], &base[..], &quick, &places[0], &["--", "true"]].concat(), &[]);
    hear(&["identity", &bad], &[]);
    hear(&["identity", &bad, "--json"], &[]);
    hear(&[&["policy", "test", "--peer", &bad, "--client-ca", &ca], &rules[..]].concat(), &[]);
    hear(&[&["policy", "test", "--peer", &cert, "--client-ca", &bad], &rules[..]].concat(), &[]);
    hear(&["envoy", "-c", &bad], &[]);
    hear(&["envoy", "-c", &sds], &[]);
    let value = text.split('\0').next().unwrap_or_default();
    hear(&[&["check"], &base[..]].concat(), &[("CF_INSTANCE_CERT", &cert), ("CF_INSTANCE_KEY", value)]);
    hear(&["proxy", "--allow", value], &[]);
    for command in [
        &[][..],
        &["proxy"],
        &["run"],
        &["health"],
        &["health", "--admin"],
        &["wait"],
        &["wait", "--timeout"],
        &["identity"],
        &["issuer"],
        &["issuer", "--key"],
        &["issuer", "--inject"],
        &["demo"],
        &["demo", "--listen"],
        &["policy"],
        &["policy", "test", "--peer"],
        &["envoy", "-c"],
        &["envoy"],
        &["envoy", "--log-level"],
        &["envoy", "--id-creds"],
    ] {
        hear(&[command, &[value]].concat(), &[]);
    }
    hear(&[&["run"], &base[..], &quick, &["--cert", &cert, "--key", &key, "--", value]].concat(), &[]);
}

#[test]
fn nothing_of_a_key_is_said_that_is_the_value_of_any_option() {
    let secret = Secret::new();
    let files = Files { dir: TempDir::new().unwrap() };
    let (cert, key) = (files.write("own.crt", &secret.cert), files.write("own.key", &secret.key));
    let ca = files.write("ca.crt", &roots_pem());
    let hex: String = secret.der.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimals = secret.der.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
    let texts = [&secret.key, &secret.base64, &secret.key.replace('\n', " "), &hex, &decimals];
    let options = vestibule::config::options::of("run").chain(vestibule::config::options::of("check"));
    let names: std::collections::BTreeSet<_> = options.map(|option| option.name).collect();
    let names = Vec::from_iter(names);
    let next = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let variable = format!("VESTIBULE_{}", name.to_uppercase().replace('-', "_"));
                    for text in texts {
                        let hear = |args: &[&str]| {
                            let common = [("CF_INSTANCE_CERT", cert.as_str()), ("CF_INSTANCE_KEY", key.as_str())];
                            let heard = said(args, &[&common[..], &[(variable.as_str(), text.as_str())]].concat());
                            secret.is_kept_in(&heard, &format!("{variable}, {args:?}"));
                        };
                        hear(&["check"]);
                        hear(&["check", "--client-ca", &ca, "--allow", "any"]);
                        hear(&["run", "--listen", "127.0.0.1:0", "--admin", "off", "--", "true"]);
                    }
                }
            });
        }
    });
}

#[test]
fn nothing_of_a_key_is_said_when_a_bad_one_takes_the_place_of_a_good_one() {
    use crate::support::app;
    use crate::support::credentials::Credentials;
    use crate::support::sidecar::Setup;

    let secret = Secret::new();
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, app::echo()).env("VESTIBULE_LOG_LEVEL", "trace").ready();
    for (way, text) in [("one line", secret.key.replace('\n', " ")), ("cut off", secret.key[..900].to_owned())] {
        fs::write(credentials.key(), &text).unwrap();
        sidecar.wait_until(way, |line| {
            line["level"] == "warn"
                && line["error"].as_str().is_some_and(|error| error.contains("the key file is torn or not PEM"))
        });
        fs::write(credentials.key(), "").unwrap();
        sidecar
            .wait_until("the empty file", |line| line["error"].as_str().is_some_and(|error| error.contains("empty")));
    }
    let lines: Vec<String> = sidecar.lines().iter().map(ToString::to_string).collect();
    secret.is_kept_in(&lines.join("\n"), "after a rotation");
}

#[test]
fn the_kind_of_fault_is_named() {
    let files = Files { dir: TempDir::new().unwrap() };
    let secret = Secret::new();
    let cert = files.write("own.crt", &secret.cert);
    let flat = secret.key.replace('\n', " ");
    for (text, kind) in [
        (
            flat.clone(),
            format!(
                "line 1: the line breaks are missing: one line of {} characters",
                flat.rfind("-----END").unwrap() - 31
            ),
        ),
        (secret.key.replace('\n', "\\n"), "line 1: the line breaks are written as \\n".to_owned()),
        (secret.key.replace("RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "the key is encrypted".to_owned()),
        (secret.cert.clone(), "the key file holds a certificate and no private key".to_owned()),
    ] {
        let key = files.write("own.key", &text);
        let args = ["proxy", "--listen", "127.0.0.1:0", "--admin", "off", "--credential-timeout", "1s"];
        let heard = said(&[&args[..], &["--cert", &cert, "--key", &key]].concat(), &[]);
        assert!(heard.contains(&kind.replace('\\', "\\\\")) || heard.contains(&kind), "{kind}\n{heard}");
    }
}

/// The test of the test.
#[test]
fn a_key_that_is_said_is_noticed_in_every_form() {
    let secret = Secret::new();
    let at = 300;
    let forms: [String; 4] = [
        secret.base64[at..at + FORBIDDEN].to_owned(),
        secret.der[at..at + FORBIDDEN].iter().map(|byte| format!("{byte:02x}")).collect(),
        format!("{:?}", &secret.der[at..at + FORBIDDEN]),
        format!("{:?}", &secret.base64.as_bytes()[at..at + FORBIDDEN]),
    ];
    for form in forms {
        let noticed = std::panic::catch_unwind(|| secret.is_kept_in(&format!("error: {form}; write it anew"), "here"));
        assert!(noticed.is_err(), "{form}");
    }
}
