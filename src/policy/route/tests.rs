//! Which route is the one for a request.

use super::*;

/// Routes in words: `GET,HEAD exact /path`, as they are shown.
pub(in crate::policy) fn routes(words: &[&str]) -> Routes {
    let route = |text: &&str| {
        let mut words: Vec<&str> = text.split(' ').collect();
        let path = words.pop().unwrap().parse().unwrap();
        let exact = words.contains(&"exact");
        let methods = words.first().filter(|word| **word != "exact");
        let methods = methods.map(|methods| methods.split(',').map(str::to_owned).collect());
        Route { path, exact, methods, allow: vec![Rule::Anonymous] }
    };
    Routes::new(words.iter().map(route).collect())
}

/// The route for a request, in words, or why there is none.
fn found(routes: &Routes, method: &str, path: &str) -> String {
    match routes.find(method, &path::fold(path).unwrap()) {
        Ok(route) => route.to_string(),
        Err(why) => format!("{why:?}"),
    }
}

#[test]
fn the_longest_path_wins_by_whole_segments() {
    let routes = routes(&["/", "/a", "/a/b", "exact /a/b/c", "/z/y"]);
    for (path, expected) in [
        ("/", "/"),
        ("/x", "/"),
        ("/ab", "/"),
        ("/A", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/bc", "/a"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("/a/b/c", "exact /a/b/c"),
        ("/a/b/c/", "/a/b"),
        ("/a/b/c/d", "/a/b"),
        ("/z", "/"),
        ("/z/y?a=b", "/z/y"),
    ] {
        assert_eq!(found(&routes, "GET", path), expected, "{path}");
    }
    assert_eq!(found(&routes, "OPTIONS", "*"), "Path", "everything is below /, but not *");
}

#[test]
fn without_a_route_for_its_path_or_its_method_a_request_has_none() {
    let routes = routes(&["GET,HEAD /metrics", "exact /health", "OPTIONS *"]);
    for (method, path, expected) in [
        ("GET", "/metrics", "GET,HEAD /metrics"),
        ("HEAD", "/metrics/x", "GET,HEAD /metrics"),
        ("POST", "/metrics", "Method"),
        ("get", "/metrics", "Method"),
        ("GET", "/metricsx", "Path"),
        ("GET", "/", "Path"),
        ("PATCH", "/health", "exact /health"),
        ("GET", "/health/x", "Path"),
        ("OPTIONS", "*", "OPTIONS *"),
        ("GET", "*", "Method"),
    ] {
        assert_eq!(found(&routes, method, path), expected, "{method} {path}");
    }
}

#[test]
fn of_one_path_exact_comes_first_and_then_methods_and_then_the_order() {
    let routes = routes(&["/a", "GET /a", "GET,PUT /a", "POST exact /a", "exact /b", "/b"]);
    for (method, path, expected) in [
        ("POST", "/a", "POST exact /a"),
        ("GET", "/a", "Method"),
        ("GET", "/a/b", "GET /a"),
        ("PUT", "/a/b", "GET,PUT /a"),
        ("POST", "/a/b", "/a"),
        ("GET", "/b", "exact /b"),
        ("GET", "/b/c", "/b"),
    ] {
        assert_eq!(found(&routes, method, path), expected, "{method} {path}");
    }
    // A shorter path is no way around the methods of a longer one.
    let routes = self::routes(&["/", "GET /a"]);
    assert_eq!(found(&routes, "POST", "/a"), "Method");
}

#[test]
fn no_spelling_leads_past_a_closer_route() {
    let routes = routes(&["/", "/admin", "/a@b", "/caf%C3%A9", "/v;1/x"]);
    for (path, expected) in [
        ("/admin;x=1", "Ambiguous"),
        ("/admin;x=1/users", "Ambiguous"),
        ("/;x/admin", "Ambiguous"),
        ("/a%40b", "Ambiguous"),
        ("/admin%3bx", "Ambiguous"),
        ("/admin/;x", "/admin"),
        ("/admin/u;x=%40", "/admin"),
        ("/other;x=1", "/"),
        ("/other%20name", "/"),
        ("/a@b", "/a@b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/v;1/x", "/v;1/x"),
        ("/v/x", "Ambiguous"),
        ("/v;2/x", "Ambiguous"),
    ] {
        assert_eq!(found(&routes, "GET", path), expected, "{path}");
    }
    // Closer is what is closer as it is read.
    let routes = self::routes(&["/%40%40", "/@@/b"]);
    assert_eq!(found(&routes, "GET", "/%40%40/b"), "Ambiguous");
    // What no route admits stays so.
    assert_eq!(found(&self::routes(&["/admin"]), "GET", "/admin;x"), "Path");
}

#[test]
fn a_route_whose_methods_others_of_its_path_have_is_shadowed() {
    let shadowed = |words: &[&str]| -> Vec<String> {
        routes(words).shadowed().map(|(route, by)| format!("{route} by {by}")).collect()
    };
    assert_eq!(shadowed(&["GET /a", "PUT /a", "GET,PUT /a"]), ["GET,PUT /a by GET /a"]);
    assert_eq!(shadowed(&["/a", "/a"]), ["/a by /a"]);
    let fine: [&[&str]; 5] =
        [&["/a", "GET /a"], &["GET /a", "GET,PUT /a"], &["GET /a", "GET exact /a"], &["/a", "/b"], &["GET /a", "/a"]];
    for words in fine {
        assert_eq!(shadowed(words), Vec::<String>::new(), "{words:?}");
    }
}

#[test]
fn a_path_is_read_as_requests_have_it() {
    let read = |text: &str| text.parse::<RoutePath>().map(|path| path.to_string());
    for text in ["/", "*", "/a", "/a/", "/a;x", "/caf%C3%A9", "/v1/x:cancel", "/a%2A", "/odata(1)"] {
        assert_eq!(read(text).unwrap(), text);
    }
    assert_eq!(read("/caf%c3%a9").unwrap(), "/caf%C3%A9");
    let slash = "does not begin with /; write a path such as /metrics, or * for OPTIONS *";
    let plainly = "write the path plainly, and characters beyond ASCII and blanks encoded, as in /caf%C3%A9";
    for (text, what) in [
        ("a", slash.to_owned()),
        ("", slash.to_owned()),
        ("http://h/a", slash.to_owned()),
        ("/a?b", "has a query, which is not judged; leave out ? and what follows".to_owned()),
        ("/a#b", "has a fragment, which is not judged; leave out # and what follows".to_owned()),
        ("/a/../b", "is the path of no request; write \"/b\", to which it folds".to_owned()),
        ("//a", "is the path of no request; write \"/a\", to which it folds".to_owned()),
        ("/%61", "is the path of no request; write \"/a\", to which it folds".to_owned()),
        ("/a%2fb", format!("is the path of no request: it has a / that is encoded, %2f; {plainly}")),
        ("/é", format!("is the path of no request: it has characters beyond ASCII that are not encoded; {plainly}")),
    ] {
        assert_eq!(read(text).unwrap_err().to_string(), format!("\"{text}\" {what}"), "{text}");
    }
    for (text, before) in [
        ("/admin/**", "/admin"),
        ("/admin/*", "/admin"),
        ("/a/b/*.jpg", "/a/b"),
        ("/a/{id}/b", "/a"),
        ("/a/:id", "/a"),
        ("/*", "/"),
        ("/**/x", "/"),
        ("/(.*)", "/"),
    ] {
        let error = read(text).unwrap_err().to_string();
        let meant = format!("write \"{before}\", which means everything below it too, or a route for each path");
        assert_eq!(error, format!("\"{text}\" looks like a pattern, and routes have none; {meant}"));
    }
    let long = format!("/{}", "a".repeat(LONGEST_PATH));
    assert!(read(&long).unwrap_err().to_string().starts_with("longer than 2048 bytes"));
}
