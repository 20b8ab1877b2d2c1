//! `vestibule check`, the status page, metrics and readiness, as they speak of outbounds.

use std::io::Write;
use std::process::Command;

use serde_json::Value;

use super::{Caller, app_guid, entry, outbound, say, server};
use crate::health::get;
use crate::support::client::Ending;
use crate::support::credentials::Credentials;
use crate::support::sidecar::VESTIBULE;
use crate::support::{app, eventually};

/// The findings about outbounds, and the status.
fn check(caller: &Caller, args: &[&str]) -> (Vec<(String, String)>, i32) {
    let output = Command::new(VESTIBULE)
        .args(["check", "--json", "--listen", "127.0.0.1:0", "--admin", "off"])
        .args(args)
        .env_clear()
        .env("CF_INSTANCE_CERT", caller.credentials.cert())
        .env("CF_INSTANCE_KEY", caller.credentials.key())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let about = report["findings"].as_array().unwrap().iter().filter(|finding| finding["subject"] == "outbound");
    // It is so in all of these tests.
    let about = about.filter(|finding| !text(&finding["message"]).contains("the kernel chooses the port"));
    let found = about.map(|finding| (text(&finding["severity"]), text(&finding["message"]))).collect();
    (found, output.status.code().unwrap())
}

#[test]
fn a_check_judges_the_settings_and_dials_nobody_unless_it_is_asked_to_and_then_names_who_answers() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let pair = format!("0={}", serving.addr());
    let expected = app_guid(&backend);
    let args = ["--outbound", &pair, "--outbound-expect", &expected];
    let (found, _) = check(&caller, &args);
    let settings = format!("127.0.0.1:0 to {}: {expected} may answer, under 1 CA", serving.addr());
    assert_eq!(found, [("ok".to_owned(), format!("{settings}; --connect asks who does"))]);
    assert_eq!(serving.reasons(), [] as [String; 0], "nobody was dialled");

    let (found, _) = check(&caller, &[&args[..], &["--connect"]].concat());
    let answered = format!("{0} is {expected}, who may answer by {expected}", serving.addr());
    assert_eq!(found, [("ok".to_owned(), settings), ("ok".to_owned(), answered)]);
    // It says goodbye.
    serving.access_log_entry("completed");
    assert_eq!(serving.reasons(), ["completed"]);

    let another = format!("cf:app:{}", Credentials::new().spec.app);
    let (found, status) = check(&caller, &["--outbound", &pair, "--outbound-expect", &another, "--connect"]);
    let said = format!("{0}: {expected} has answered, and {another} is expected", serving.addr());
    assert_eq!((&found[1], status), (&("problem".to_owned(), said), 1));
}

#[test]
fn a_check_says_where_the_rule_stands_that_somebody_else_has_not_met() {
    let caller = Caller::new();
    let (_backend, serving) = server("cf:any");
    let another = format!("cf:app:{}", Credentials::new().spec.app);
    let file = caller.credentials.dir().join("table.toml");
    let table = format!("[[outbound]]\nlisten = 0\nto = \"{}\"\nexpect = \"{another}\"\n", serving.addr());
    std::fs::write(&file, table).unwrap();
    let (pair, pattern) = (format!("0={}", serving.addr()), format!("{}={another}", serving.addr()));
    let allow = "--forward-proxy-allow-address=127.0.0.0/8";
    for (args, place) in [
        (&["--outbound", &pair, "--outbound-expect", &another][..], "--outbound-expect".to_owned()),
        (&["--config", file.to_str().unwrap()], "the key expect of its [[outbound]] table".to_owned()),
        (
            &["--forward-proxy", "on", allow, "--forward-proxy-to", &pattern],
            format!("--forward-proxy-to {}=RULE", serving.addr()),
        ),
    ] {
        let mut command = Command::new(VESTIBULE);
        command.args(["check", "--connect", "--listen", "127.0.0.1:0", "--admin", "off"]).args(args).env_clear();
        command.env("CF_INSTANCE_CERT", caller.credentials.cert()).env("CF_INSTANCE_KEY", caller.credentials.key());
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let help = format!("see where the route leads, or expect this app by {place}");
        assert!(text.lines().any(|line| line.trim_end().ends_with(&help)), "{help}: {text}");
    }
}

#[test]
fn a_server_without_tls_is_found_by_the_check() {
    let caller = Caller::new();
    let greeting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = greeting.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in greeting.incoming() {
            let _ = stream.unwrap().write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        }
    });
    let pair = format!("0={addr}");
    let (found, status) = check(&caller, &["--outbound", &pair, "--outbound-expect", "cf:any", "--connect"]);
    assert!(found[1].1.contains("the server does not speak TLS there"), "{found:?}");
    assert_eq!((found[1].0.as_str(), status), ("problem", 1));
}

#[test]
fn a_socket_path_where_there_is_something_else_is_found_by_the_check() {
    let caller = Caller::new();
    for path in [caller.credentials.cert(), caller.credentials.dir().to_owned()] {
        let pair = format!("unix:{}=backend:1", path.display());
        let (found, status) = check(&caller, &["--outbound", &pair, "--outbound-expect", "cf:any"]);
        assert!(found[0].0 == "problem" && found[0].1.contains("that is no socket"), "{found:?}");
        assert_eq!(status, 1);
    }
}

#[test]
fn a_server_that_does_not_want_us_is_found_by_the_check() {
    let caller = Caller::new();
    let (backend, serving) = server(&format!("cf:app:{}", Credentials::new().spec.app));
    let pair = format!("0={}", serving.addr());
    let (found, status) = check(&caller, &["--outbound", &pair, "--outbound-expect", &app_guid(&backend), "--connect"]);
    assert!(found[1].1.contains("the server does not accept our certificate"), "{found:?}");
    assert_eq!((found[1].0.as_str(), status), ("problem", 1));
}

/// The findings of `args` with a forward proxy for `to`.
fn check_proxy(caller: &Caller, to: &str, args: &[&str]) -> Vec<(String, String)> {
    check(caller, &[&["--forward-proxy", "on", "--forward-proxy-to", to], args].concat()).0
}

#[test]
fn patterns_that_name_no_single_server_say_why_nobody_was_asked_and_how_to_ask_one() {
    let caller = Caller::new();
    let to = "*.apps.internal:1=cf:any,10.0.0.0/8:1=cf:any";
    for (args, expected) in [
        (&["--connect"][..], "nobody was asked, as it names no single server: add --forward-proxy-to NAME:PORT"),
        (&[], "it names no single server, so --connect does not ask who does"),
    ] {
        let found = check_proxy(&caller, to, args);
        let said = found.iter().filter(|(severity, what)| severity == "ok" && what.contains(expected)).count();
        assert_eq!(said, 2, "{found:?}");
    }
    // One that is named is asked, beside the pattern that it is of.
    let (backend, serving) = server("cf:any");
    let to = format!("*.localhost:1=cf:any,localhost:{}={}", serving.addr().port(), app_guid(&backend));
    let more = ["--connect", "--outbound-server-name", "off", "--forward-proxy-allow-address", "127.0.0.0/8"];
    let found = check_proxy(&caller, &to, &more);
    assert!(found.iter().any(|(_, what)| what.contains("who may answer by")), "{found:?}");
}

#[test]
fn a_mapping_to_a_port_that_is_not_listed_is_a_finding() {
    let caller = Caller::new();
    let map = ["--forward-proxy-map", "backend:80=:1,other:80=:1"];
    let found = check_proxy(&caller, "backend:1=cf:any", &map);
    let about: Vec<_> = found.iter().filter(|(_, what)| what.contains("leads to a port that is not listed")).collect();
    assert_eq!(about.len(), 1, "{found:?}");
    assert!(about[0].0 == "warning" && about[0].1.contains("other:80=:1") && about[0].1.contains("403"), "{about:?}");
    let found = check_proxy(&caller, "backend:1=cf:any", &[&map[..], &["--forward-proxy-unlisted", "tunnel"]].concat());
    assert!(found.iter().any(|(_, what)| what.contains("passed on without our certificate") && what.contains("other")));
}

#[test]
fn addresses_that_are_never_dialled_and_networks_with_a_metadata_service_are_findings() {
    let caller = Caller::new();
    let warned = |to: &str, args: &[&str]| {
        let found = check_proxy(&caller, to, args);
        found.into_iter().filter(|(severity, _)| severity == "warning").map(|(_, what)| what).collect::<Vec<_>>()
    };
    for (to, why) in [
        ("127.0.0.1:1=cf:any", "every request is refused (403), as it is a loopback address"),
        ("169.254.169.254:80=cf:any", "every request is refused (403), as it is a link-local address"),
    ] {
        let said = warned(to, &[]);
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
    }
    let allow = |network: &str| warned("127.0.0.1:1=cf:any", &["--forward-proxy-allow-address", network]);
    for network in ["0.0.0.0/0", "169.254.0.0/16,127.0.0.0/8"] {
        let said = allow(network);
        assert!(said.len() == 1 && said[0].contains("reach 169.254.169.254, where clouds give out"), "{said:?}");
    }
    assert_eq!(allow("127.0.0.0/8"), [] as [String; 0]);
    assert_eq!(warned("10.0.0.1:1=cf:any", &[]), [] as [String; 0]);
}

#[test]
fn a_port_of_the_kernels_choice_and_a_folder_without_cas_are_named() {
    let caller = Caller::new();
    let folder = caller.credentials.dir().join("empty");
    std::fs::create_dir(&folder).unwrap();
    let mut command = Command::new(VESTIBULE);
    command.args(["check", "--listen", "127.0.0.1:0", "--admin", "off", "--outbound", "0=backend:1"]);
    command.args(["--outbound-ca", folder.to_str().unwrap()]).env_clear();
    command.env("CF_INSTANCE_CERT", caller.credentials.cert()).env("CF_INSTANCE_KEY", caller.credentials.key());
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(text.contains("the kernel chooses the port anew at every start"), "{text}");
    assert!(text.contains(&format!("no server CA in {}; without one", folder.display())), "{text}");
}

#[test]
fn each_finding_says_once_what_helps() {
    let caller = Caller::new();
    let greeting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = greeting.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in greeting.incoming() {
            let _ = stream.unwrap().write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        }
    });
    let refused = app::nobody();
    for (to, proxy) in [
        (addr.to_string(), None),
        (refused.to_string(), None),
        ("nowhere.invalid.:1".to_owned(), None),
        ("backend:1".to_owned(), Some(format!("http://{refused}"))),
        ("backend:1".to_owned(), Some(format!("http://{addr}"))),
    ] {
        let mut command = Command::new(VESTIBULE);
        command.args([
            "check",
            "--connect",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "off",
            "--outbound-expect",
            "cf:any",
        ]);
        command.env_clear().env("CF_INSTANCE_CERT", caller.credentials.cert());
        command.env("CF_INSTANCE_KEY", caller.credentials.key()).arg("--outbound").arg(format!("0={to}"));
        if let Some(proxy) = &proxy {
            command.env("VESTIBULE_OUTBOUND_PROXY", proxy);
        }
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line =
            text.lines().find(|line| line.starts_with("problem") && line.contains("outbound")).unwrap_or_default();
        assert_eq!(line.matches("; ").count(), 1, "{text}");
    }
}

#[test]
fn a_rule_that_is_missing_is_advised_by_the_kind_of_our_own_certificate() {
    let caller = Caller::new();
    let ca = caller.credentials.dir().join("ca.crt");
    std::fs::write(&ca, crate::support::credentials::roots_pem()).unwrap();
    let text = |args: &[&str]| {
        let mut command = Command::new(VESTIBULE);
        command.args(["check", "--listen", "127.0.0.1:0", "--admin", "off", "--outbound-ca", ca.to_str().unwrap()]);
        command.args(args).env_clear().env("CF_INSTANCE_CERT", caller.credentials.cert());
        String::from_utf8(command.env("CF_INSTANCE_KEY", caller.credentials.key()).output().unwrap().stdout).unwrap()
    };
    let (listener, proxy) =
        (["--outbound", "0=backend:1"], ["--forward-proxy", "on", "--forward-proxy-to", "*.backend:1"]);
    assert!(text(&listener).contains("add --outbound-expect cf:app:GUID"), "{}", text(&listener));
    assert!(text(&proxy).contains("write --forward-proxy-to *.backend:1=cf:app:GUID"), "{}", text(&proxy));

    let plain = rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap();
    std::fs::write(caller.credentials.cert(), plain.cert.pem()).unwrap();
    std::fs::write(caller.credentials.key(), plain.signing_key.serialize_pem()).unwrap();
    for (args, advised) in [
        (&listener[..], "add --outbound-expect dns:NAME, or uri:URI"),
        (&proxy, "write --forward-proxy-to *.backend:1=dns:NAME, or uri:URI"),
    ] {
        let said = text(args);
        assert!(said.contains(advised) && !said.contains("cf:app:GUID"), "{said}");
    }
}

#[test]
fn what_cannot_be_believed_is_a_finding() {
    let caller = Caller::new();
    let (found, status) = check(&caller, &["--outbound", "0=backend:1", "--outbound-ca", "/nowhere.crt"]);
    assert!(found[0].1.contains("/nowhere.crt") && found[0].0 == "problem" && status == 1, "{found:?}");
    let ca = caller.credentials.dir().join("ca.crt");
    std::fs::write(&ca, crate::support::credentials::roots_pem()).unwrap();
    let (found, _) = check(&caller, &["--outbound", "0=backend:1", "--outbound-ca", ca.to_str().unwrap()]);
    assert_eq!(found[0].0, "warning");
    assert!(found[0].1.contains("whoever has the name is believed, under 2 CAs"), "{found:?}");
    // A certificate without its CA behind it: nobody knows who has issued it.
    let leaf = std::fs::read_to_string(caller.credentials.cert()).unwrap();
    let end = leaf.find("-----END CERTIFICATE-----").unwrap() + "-----END CERTIFICATE-----\n".len();
    std::fs::write(caller.credentials.cert(), &leaf[..end]).unwrap();
    let (found, status) = check(&caller, &["--outbound", "0=backend:1", "--outbound-expect", "cf:any"]);
    assert!(found[0].1.contains("no CA vouches for servers") && status == 1, "{found:?}");
}

#[test]
fn status_metrics_and_readiness_know_the_endpoints() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let refused = app::nobody();
    let sidecar = caller
        .dialling(&[serving.addr(), refused], &app_guid(&backend))
        .arg("--outbound-balance")
        .arg("first")
        .env("VESTIBULE_ADMIN", "127.0.0.1:0")
        .ready();
    assert_eq!(say(outbound(&sidecar), b"hello"), (b"hello".to_vec(), Ending::Fin));
    entry(&sidecar, "completed");
    let admin = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let ask = |path: &str| get(admin, path).1;
    let status: Value = serde_json::from_str(&ask("/status.json")).unwrap();
    let seen = &status["outbounds"][0];
    let to = format!("{},{refused}", serving.addr());
    assert_eq!(
        (&seen["to"], &seen["opened"], &seen["expect"]["rules"][0]),
        (&to.clone().into(), &1.into(), &app_guid(&backend).into())
    );
    assert_eq!(
        seen["endpoints"][0],
        serde_json::json!({
            "addr": serving.addr().to_string(),
            "state": "ready",
            "connections": 0,
            "ejected_seconds": null,
            "last_failure": null
        })
    );
    assert!(ask("/readyz?verbose").contains(&format!("[+]outbound: {to} has 2 endpoints")));
    assert!(ask("/").contains(&to));
    let metrics = ask("/metrics");
    for line in [
        format!("vestibule_outbound_connections_closed_total{{outbound=\"{to}\",reason=\"completed\"}} 1"),
        format!("vestibule_outbound_endpoints{{outbound=\"{to}\",state=\"ready\"}} 2"),
        format!("vestibule_outbound_attempts_total{{outbound=\"{to}\",result=\"success\"}} 1"),
        format!("vestibule_outbound_relayed_bytes_total{{outbound=\"{to}\",direction=\"down\"}} 5"),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

#[test]
fn an_instance_that_requires_an_outbound_is_not_ready_without_an_endpoint() {
    let caller = Caller::new();
    let start = |required: &str| {
        let sidecar = crate::support::sidecar::Setup::proxy(&caller.credentials, app::echo())
            .arg("--outbound")
            .arg("0=nowhere.invalid.:1")
            .arg("--outbound-expect")
            .arg("cf:any")
            .env("VESTIBULE_OUTBOUND_REQUIRED", required)
            .env("VESTIBULE_ADMIN", "127.0.0.1:0")
            .ready();
        let addr = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
        (sidecar, addr)
    };
    let (_sidecar, addr) = start("true");
    let (status, body) =
        eventually("the check", || Some(get(addr, "/readyz?verbose")).filter(|(_, body)| body.contains("]outbound: ")));
    assert!(status == 503 && body.contains("[-]outbound: nowhere.invalid.:1 "), "{body}");
    let (_sidecar, addr) = start("false");
    let (status, body) =
        eventually("the check", || Some(get(addr, "/readyz?verbose")).filter(|(_, body)| body.contains("]outbound: ")));
    assert!(status == 200 && body.contains("[+]outbound: "), "{body}");
}

#[test]
fn a_certificate_can_be_judged_as_that_of_a_server_by_rule_and_name() {
    let caller = Caller::new();
    let other = Credentials::new();
    let expect = format!("cf:app:{}", other.spec.app);
    let test = |args: &[&str]| {
        let output = Command::new(VESTIBULE)
            .args(["policy", "test", "--json", "--peer", other.cert().to_str().unwrap()])
            .args(args)
            .env_clear()
            .env("CF_INSTANCE_CERT", caller.credentials.cert())
            .env("CF_INSTANCE_KEY", caller.credentials.key())
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.code().unwrap(), said)
    };
    let (status, said) = test(&["--outbound", "0=10.0.0.1:1", "--outbound-expect", &expect]);
    assert_eq!((status, &said["verdict"], &said["rule"]), (0, &"permit".into(), &expect.as_str().into()), "{said}");
    assert_eq!((&said["to"], &said["identity"]["app"]), (&"10.0.0.1:1".into(), &other.spec.app.to_string().into()));
    let (status, said) = test(&["--outbound", "0=backend.example:1", "--outbound-expect", &expect]);
    assert_eq!(
        (status, &said["verdict"], &said["denial_reason"]),
        (1, &"denial".into(), &"name_mismatch".into()),
        "{said}"
    );
    let own = format!("*.apps.internal:1=cf:app:{}", caller.guid());
    let listed = format!("*.example:1={expect}");
    let both = ["--forward-proxy", "on", "--forward-proxy-to", &own, "--forward-proxy-to", &listed];
    let (status, said) = test(&both);
    assert_eq!(
        (status, &said[1]["verdict"], &said[1]["denial_reason"]),
        (1, &"denial".into(), &"name_mismatch".into()),
        "none of its names is below the domain: {said}"
    );
    let (status, said) = test(&[&both[..], &["--outbound-server-name", "off"]].concat());
    let verdicts: Vec<_> = said.as_array().unwrap().iter().map(|one| (&one["to"], &one["verdict"])).collect();
    // The longer domain is the narrower one.
    assert_eq!(verdicts[0], (&"*.apps.internal:1".into(), &"denial".into()), "{said}");
    assert_eq!((verdicts[1], status), ((&"*.example:1".into(), &"permit".into()), 1));
}

#[test]
fn readiness_says_how_many_endpoints_are_ejected() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let sidecar = caller
        .dialling(&[serving.addr(), app::nobody()], &app_guid(&backend))
        .arg("--outbound-balance")
        .arg("round-robin")
        .arg("--outbound-eject")
        .arg("1")
        .env("VESTIBULE_ADMIN", "127.0.0.1:0")
        .ready();
    let admin = sidecar.wait_for("admin listening")["admin"].as_str().unwrap().parse().unwrap();
    let said = || get(admin, "/readyz?verbose").1;
    assert!(said().contains(" has 2 endpoints\n"), "{}", said());
    for _ in 0..2 {
        assert_eq!(say(outbound(&sidecar), b"x"), (b"x".to_vec(), Ending::Fin));
    }
    eventually("the ejection", || said().contains(" has 2 endpoints, of which 1 is ejected for now").then_some(()));
    assert!(said().contains("[+]outbound: "), "{}", said());
}

#[test]
fn settings_that_have_no_effect_are_warned_of_by_the_check_and_by_the_start() {
    let caller = Caller::new();
    let (backend, serving) = server("cf:any");
    let (pair, expected) = (format!("0={}", serving.addr()), app_guid(&backend));
    let args = ["--outbound", &pair, "--outbound-expect", &expected];
    let in_vain =
        ["--outbound-connect-timeout", "10s", "--outbound-no-proxy", ".example", "--outbound-eject-on", "5xx"];
    let (found, status) = check(&caller, &[&args[..], &in_vain].concat());
    let warned: Vec<_> =
        found.iter().filter(|(severity, _)| severity == "warning").map(|(_, said)| said.as_str()).collect();
    let said = [
        "--outbound-connect-timeout: an endpoint has 10s to accept, and all attempts together have 5s",
        "--outbound-no-proxy: no proxy is on the way to anybody",
        "--outbound-eject-on: the listener carries bytes, and sees neither status nor Host",
    ];
    assert_eq!((&warned[..], status), (&said[..], 0));
    let setup = caller.dialling_by_flags("0", &serving.addr().to_string(), &expected);
    let sidecar = in_vain.iter().fold(setup, |setup, arg| setup.arg(arg)).ready();
    let said = sidecar.wait_until("the warning", |line| line["option"] == "--outbound-no-proxy");
    assert_eq!(said["message"], "outbound setting has no effect");
    assert_eq!(
        (&said["detail"], &said["help"]),
        (&"no proxy is on the way to anybody".into(), &"add --outbound-proxy, or leave it out".into())
    );

    for wrong in [["--outbound", "9000=localhost:9000"], ["--outbound-proxy", "http://127.0.0.1:9000"]] {
        let output = Command::new(VESTIBULE)
            .args(["check", "--listen", "127.0.0.1:0", "--admin", "off", "--outbound", "9000=a.example:1"])
            .args(wrong)
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains("ourselves"), "{said}");
    }
}
