//! Paths that apps may read differently than routes do.

use super::http2::frames::Frames;
use super::{Front, GET, asked, fields};
use crate::clients::someone;
use crate::support::http_app::HttpApp;

/// A front whose `/` is for everybody, and whose `/admin` and `/shop/admin` for nobody but one app.
fn front(app: &HttpApp, options: &str) -> Front {
    let front = Front::open(app.addr(), "");
    let policy = front.backend.files.path().join("routes.toml");
    let (spec, _) = someone();
    let one = format!("cf:app:{}", spec.app);
    let routes: String = [("/", "any', 'anonymous"), ("/admin", one.as_str()), ("/shop/admin", one.as_str())]
        .iter()
        .map(|(path, allow)| format!("[[route]]\npath = '{path}'\nallow = ['{allow}']\n"))
        .collect();
    std::fs::write(&policy, routes).unwrap();
    Front::with(front.backend, app.addr(), &format!("{options} --policy {}", policy.display()))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn a_changed_path_goes_on_as_it_was_judged_where_that_is_asked_for() {
    let app = HttpApp::saying("ok");
    let front = front(&app, "--path-changed forward-folded");
    let mut talk = front.talk();
    for (path, forwarded) in [
        ("/a//b", "/a/b"),
        ("/a/./b?x=//y&z=%2f", "/a/b?x=//y&z=%2f"),
        ("/x/../%61", "/a"),
        ("/a\\b", "/a/b"),
        ("/c;x/..;y/d?", "/d?"),
        ("http://a//e", "/e"),
        ("/plain?q", "/plain?q"),
    ] {
        assert_eq!(talk.ask(&get(path)).text(), "ok", "{path}");
        let head = app.asked().pop().unwrap().head;
        assert!(head.starts_with(&format!("GET {forwarded} HTTP/1.1\r\n")), "{path}: {head}");
    }
    let served = app.asked().len();
    for path in ["/x/../admin", "//admin", "/%61dmin", "/x/..;/admin"] {
        talk.ask(&get(path)).is_ours(401, "certificate_required");
    }
    talk.ask(&get("/a%2fb")).is_ours(400, "path_ambiguous");
    assert_eq!(app.asked().len(), served);
    let entries = front.requests(12);
    let entry = entries.iter().find(|entry| entry["path"] == "/a//b").unwrap();
    assert_eq!((&entry["path_folded"], &entry["status"]), (&"/a/b".into(), &200.into()));
    let entry = entries.iter().find(|entry| entry["path"] == "//admin").unwrap();
    assert_eq!((&entry["path_folded"], &entry["route"]), (&"/admin".into(), &"/admin".into()));
}

#[test]
fn an_ambiguous_path_goes_on_as_it_came_only_where_no_reading_of_it_is_closed() {
    let app = HttpApp::saying("ok");
    let front = front(&app, "--path-ambiguous judge-raw");
    let mut talk = front.talk();
    for path in ["/queues/%2f/name", "/files/a%252fb", "/files/100%25/"] {
        // Two decodings of % may be anything, and so may what leads up.
        let expected = if path.contains("%25") { 401 } else { 200 };
        assert_eq!(talk.ask(&get(path)).status(), expected, "{path}");
    }
    asked(&app, 1);
    assert!(app.asked()[0].head.starts_with("GET /queues/%2f/name HTTP/1.1\r\n"), "{}", app.asked()[0].head);
    for path in [
        "/x%2f..%2fadmin",
        "/x/..%2fadmin",
        "/%2fadmin",
        "/admin;x",
        "/shop/%2fadmin",
        "/shop/admin%2f",
        "/x/.%00./admin",
    ] {
        talk.ask(&get(path)).is_ours(401, "certificate_required");
    }
    talk.ask(&get("/a//b")).is_ours(400, "path_changed");
    assert_eq!(app.asked().len(), 1);
    assert!(fields(&app.asked()[0].head, "host") == ["a"]);
}

#[test]
fn a_target_that_is_a_fragment_alone_is_the_root_or_malformed_and_never_nothing() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    for target in ["http://app.test#x", "http://app.test", "http://app.test?x#y"] {
        assert_eq!(front.talk().ask(&GET.replace(" / ", &format!(" {target} "))).text(), "ok", "{target}");
    }
    let lines: Vec<_> = app.asked().iter().map(|asked| asked.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["GET / HTTP/1.1", "GET / HTTP/1.1", "GET /?x HTTP/1.1"]);
    let mut frames = Frames::begin(front.connector().alpn(&["h2"]).connect(front.sidecar.addr()).unwrap());
    for (stream, path) in [(1, "#x"), (3, "?x"), (5, "?x#y")] {
        frames.ask_for(stream, path);
        let answer = String::from_utf8(frames.answer(stream)).unwrap();
        assert!(answer.contains("bad_request"), "{path}: {answer}");
    }
    assert_eq!(app.asked().len(), 3);
}
