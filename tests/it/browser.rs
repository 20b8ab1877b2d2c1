//! The status page in a real browser: Chromium, by its DevTools protocol over two pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::issuer::Credential;

use crate::clients::{BOTH, Backend, alert};
use crate::metrics::Measured;
use crate::support::app;
use crate::support::credentials::roots_pem;
use crate::support::machine::lacks;

struct Browser {
    process: Child,
    commands: File,
    events: BufReader<File>,
    session: String,
    last_id: u64,
    /// What the page did that it should not have.
    complaints: Vec<String>,
    /// Its profile and the pipes.
    _dir: TempDir,
}

impl Browser {
    fn start() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let pipe = |name: &str| {
            let path = dir.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (commands, events) = (pipe("commands"), pipe("events"));
        // Chromium reads commands from descriptor 3 and writes events to 4.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
            --remote-debugging-pipe --user-data-dir=\"$1/profile\" about:blank 3<\"$1/commands\" 4>\"$1/events\"";
        let mut process = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if Command::new("sh").args(["-c", "command -v chromium"]).output().is_ok_and(|found| !found.status.success()) {
            let _ = process.kill();
            let _ = process.wait();
            return None;
        }
        let (commands, events) = (File::options().write(true).open(commands).unwrap(), File::open(events).unwrap());
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser =
            Self { process, commands, events: BufReader::new(events), session, last_id: 0, complaints, _dir: dir };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Log", "Runtime", "Audits"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Sends one command, and gives its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        let id = self.last_id;
        let answer = self.until(|message| message["id"] == id);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Reads messages until one is `wanted`, and notes what is complained of on the way.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut message = Vec::new();
            self.events.read_until(0, &mut message).unwrap();
            assert_eq!(message.pop(), Some(0), "Chromium has gone");
            let message: Value = serde_json::from_slice(&message).unwrap();
            let method = message["method"].as_str().unwrap_or_default();
            if matches!(
                method,
                "Log.entryAdded" | "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Audits.issueAdded"
            ) {
                self.complaints.push(message["params"].to_string());
            }
            if wanted(&message) {
                return message;
            }
        }
    }

    fn open(&mut self, url: &str, width: u32, scheme: &str) {
        let metrics = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
        self.call("Page.navigate", json!({ "url": url }));
        self.until(|message| message["method"] == "Page.loadEventFired");
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let result = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        result["result"]["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_status_page_is_shown_by_a_browser_without_a_complaint_at_any_width_in_both_colour_schemes() {
    let Some(mut browser) = Browser::start() else { return lacks("chromium") };
    let backend = Backend::new();
    std::fs::write(backend.ca(), roots_pem()).unwrap();
    let measured = Measured::new(backend.before(app::echo()).arg("--allow").arg("cf:same:app"));
    // Somebody whose certificate nobody vouches for says what it likes.
    let hostile =
        "<script>document.title='taken'</script>\"'><img src=x onerror=document.title='taken'>\u{202e}".repeat(3);
    let mut params = CertificateParams::new(vec!["hostile.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, &hostile);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let (cert_pem, key_pem) = (cert.pem(), key.serialize_pem());
    let stranger = Credential { cert_pem, key_pem, leaf: cert.der().to_vec() };
    alert(&backend.connector_as(&stranger, &BOTH), &measured.sidecar);
    measured.wait_for("vestibule_denials_total{reason=\"untrusted\"}", 1.0);
    for width in [360, 1280] {
        let mut backgrounds = Vec::new();
        for scheme in ["light", "dark"] {
            browser.open(&format!("http://{}/", measured.admin()), width, scheme);
            let scrolls =
                browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(scrolls, 0, "sideways at {width} px, {scheme}");
            let broken = browser.evaluate(
                "[...document.querySelectorAll('dt')].filter(label => {
                    label.style.overflowWrap = 'normal';
                    return label.scrollWidth > label.clientWidth;
                }).map(label => label.textContent)",
            );
            assert_eq!(broken, json!([]), "labels that are broken within a word at {width} px, {scheme}");
            let title = browser.evaluate("document.title");
            assert!(title.as_str().unwrap().ends_with("Vestibule"), "{title}");
            let text = browser.evaluate("document.body.innerText");
            assert!(text.as_str().unwrap().contains("untrusted"), "{text}");
            backgrounds.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
        }
        assert_ne!(backgrounds[0], backgrounds[1], "dark is another colour");
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.evaluate("console.error('a complaint would be seen')");
    assert_eq!(browser.complaints.len(), 1);
}
