//! `--health-path`: one path for those who ask without an identity.

use super::{Front, fields};
use crate::clients::someone;
use crate::support::http_app::HttpApp;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn whoever_has_no_certificate_may_ask_for_health_and_for_nothing_else() {
    let (app, (spec, pair)) = (HttpApp::saying("ok"), someone());
    let front = Front::before(app.addr(), &format!("--health-path /health --allow cf:app:{}", spec.app));
    let mut probe = front.talk();
    assert_eq!(probe.ask(&get("/health")).text(), "ok");
    assert_eq!(probe.ask(&get("/health?full=1")).text(), "ok");
    assert_eq!(probe.ask("HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
    for other in ["/", "/health/", "/health/x", "/healthy", "//health", "/x/../health", "/%68ealth"] {
        probe.ask(&get(other)).is_ours(401, "certificate_required");
    }
    probe.ask("POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").is_ours(401, "certificate_required");
    // Whoever has come in with a certificate asks for what it likes, and paths pass as they are.
    let mut caller = front.talk_as(&pair);
    for path in ["/", "/health", "/x/..%2fy"] {
        assert_eq!(caller.ask(&get(path)).text(), "ok");
    }
    let asked = app.asked();
    assert_eq!(asked.len(), 6);
    assert!(fields(&asked[0].head, "x-forwarded-client-cert").is_empty());
    let entries = front.requests(14);
    let health = entries.iter().find(|entry| entry["path"] == "/health").unwrap();
    assert_eq!((&health["rule"], &health["route"]), (&"anonymous".into(), &"/health".into()));
}

#[test]
fn health_has_its_path_beside_routes_too() {
    let (app, (spec, pair)) = (HttpApp::saying("ok"), someone());
    let front = Front::open(app.addr(), "");
    let policy = front.backend.files.path().join("routes.toml");
    std::fs::write(&policy, format!("[[route]]\npath = '/'\nallow = ['cf:app:{}']\n", spec.app)).unwrap();
    let front = Front::before(app.addr(), &format!("--health-path /health --policy {}", policy.display()));
    let mut probe = front.talk();
    assert_eq!(probe.ask(&get("/health")).text(), "ok");
    probe.ask(&get("/other")).is_ours(401, "certificate_required");
    probe.ask(&get("//health")).is_ours(400, "path_changed");
    assert_eq!(front.talk_as(&pair).ask(&get("/health")).text(), "ok");
}
