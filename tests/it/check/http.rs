//! Findings about listeners that speak HTTP.

use std::fs;

use super::{Checked, check};
use crate::support::credentials::{Credentials, roots_pem};

/// What is found about a listener in HTTP mode that asks for certificates.
fn checked(more: &[&str]) -> Checked {
    let credentials = Credentials::new();
    let ca = credentials.dir().join("ca.crt");
    fs::write(&ca, roots_pem()).unwrap();
    let args = ["--listen", "127.0.0.1:0", "--app", "127.0.0.1:1", "--client-ca", ca.to_str().unwrap()];
    check(&credentials, &[&args[..], &["--allow", "any", "--mode", "http"], more].concat())
}

const SPOKEN: &str = "ok       http          127.0.0.1:0: clients may speak HTTP/2 and HTTP/1.1, and HTTP/1.1 goes to the app, \
                      which is told who calls by X-Forwarded-Client-Cert (raw)";

#[test]
fn what_is_spoken_and_what_the_app_is_told_of_whom_is_said() {
    let sound = checked(&[]);
    assert_eq!((sound.about("http"), sound.problems(), sound.status), (vec![SPOKEN], vec![], Some(0)), "{}", sound.out);

    let other = checked(&["--app-protocol", "h2c", "--alpn", "h2,http/1.1", "--xfcc-form", "envoy,rfc9440"]);
    assert_eq!(
        other.about("http"),
        [
            "ok       http          127.0.0.1:0: clients may speak HTTP/2 and HTTP/1.1, and HTTP/2 without TLS goes to the app, \
          which is told who calls by X-Forwarded-Client-Cert (envoy) and Client-Cert (rfc9440)"
        ]
    );

    let credentials = Credentials::new();
    let carried = check(&credentials, &["--listen", "127.0.0.1:0", "--app", "127.0.0.1:1"]);
    assert_eq!(carried.about("http"), [] as [&str; 0]);
    let anybody = check(&credentials, &["--listen", "127.0.0.1:0", "--app", "127.0.0.1:1", "--mode", "http"]);
    let said = anybody.about("http");
    assert!(said[0].ends_with("which is not told who calls: no certificate is asked for (--client-auth)"), "{said:?}");
}

#[test]
fn who_may_say_who_calls_is_named_with_what_is_said_of_the_router() {
    let from = ["--xfcc-forward-from", "dns:router.example"];
    let known = checked(&[&from[..], &["--router-xfcc", "sanitize-set"]].concat());
    assert_eq!(
        known.about("http"),
        [
            SPOKEN,
            "ok       http          127.0.0.1:0: dns:router.example may say who has called it, by --router-xfcc sanitize-set"
        ]
    );
    let unknown = checked(&[&from[..], &["--policy-mode", "audit"]].concat());
    assert!(unknown.about("http")[1].starts_with("warning "), "{}", unknown.out);
    let absent = checked(&[&from[..], &["--router-xfcc", "forward", "--xfcc-absent", "client"]].concat());
    assert_eq!(
        absent.about("http")[2],
        "warning  http          127.0.0.1:0: --xfcc-absent client judges dns:router.example itself where it forwards nobody, \
         which is anybody's choice who leaves the field out; leave it out: such callers are anonymous"
    );
}

#[test]
fn what_lets_others_forge_or_loses_requests_is_a_warning() {
    for (args, subject, begin) in [
        (&["--xfcc", "always-forward-only"][..], "http", "127.0.0.1:0: --xfcc always-forward-only lets anybody tell"),
        (
            &["--xfcc", "append-forward"],
            "http",
            "127.0.0.1:0: --xfcc append-forward lets whoever has a certificate tell",
        ),
        (&["--xfcc", "forward-only"], "http", "127.0.0.1:0: --xfcc forward-only lets whoever has a certificate tell"),
        (&["--alpn", "h2"], "http", "127.0.0.1:0: --alpn has no http/1.1: "),
        (&["--idle-timeout", "90s"], "timeouts", "--idle-timeout 1m 30s ends connections that routers keep"),
        (
            &["--app-protocol", "h2c", "--app-ready", "http:/up"],
            "http",
            "127.0.0.1:1: --app-ready http:/up asks the app in HTTP/1.1, and --app-protocol says h2c",
        ),
    ] {
        let checked = checked(args);
        let warnings: Vec<_> =
            checked.about(subject).into_iter().filter_map(|line| line.strip_prefix("warning  ")).collect();
        assert_eq!(warnings.len(), 1, "{args:?}: {}", checked.out);
        assert!(warnings[0].starts_with(&format!("{subject:<13} {begin}")), "{args:?}: {warnings:?}");
        assert_eq!(checked.status, Some(0), "a warning is no problem");
    }
    for quiet in [&["--idle-timeout", "2m"][..], &["--app-protocol", "h2c", "--app-ready", "tcp"]] {
        assert!(!checked(quiet).out.contains("warning  http") && !checked(quiet).out.contains("warning  timeouts"));
    }
}

#[test]
fn what_health_checks_get_is_said() {
    let rules = |more: &[&str]| {
        let checked = checked(more);
        checked.about("rules").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let open = "ok       rules         /health may be asked for by GET and HEAD without an identity".to_owned();
    assert!(rules(&["--health-path", "/health"]).contains(&open));
    let useless = rules(&["--allow", "anonymous", "--health-path", "/health"]);
    let expected = "ok       rules         --health-path /health adds nothing: the anonymous may ask for it".to_owned();
    assert!(useless.contains(&expected), "{useless:?}");
    assert!(!rules(&[]).iter().any(|line| line.contains("/health")));

    let credentials = Credentials::new();
    let plain = |more: &[&str]| {
        let args = [
            "--listen",
            "127.0.0.1:0",
            "--app",
            "127.0.0.1:1",
            "--tls",
            "off",
            "--mode",
            "http",
            "--router-xfcc",
            "forward",
        ];
        check(&credentials, &[&args[..], &["--allow", "cf:any"], more].concat()).out
    };
    assert!(plain(&[]).contains("no --health-path admits anonymous: it would be answered with 401"));
    let named = plain(&["--health-path", "/health"]);
    assert!(named.contains(&open) && !named.contains("would be answered with 401"), "{named}");
}
