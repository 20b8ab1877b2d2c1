//! The verdict on requests.

use super::super::Routes;
use super::super::route::tests::routes;
use super::super::tests::{client, words};
use super::*;
use crate::http::path::fold;

const APP: &str = "cf:app:11111111-1111-4111-8111-111111111111";

/// A policy of routes: `path`, with `exact` and methods, and who may.
fn policy(given: &[(&str, &[&str])]) -> Policy {
    let named = |(route, allow): &(&str, &[&str])| {
        let allow = allow.iter().map(|rule| rule.parse().unwrap()).collect();
        Route { allow, ..routes(&[route]).iter().next().unwrap().clone() }
    };
    let routes = Routes::new(given.iter().map(named).collect());
    Policy { mode: PolicyMode::Enforce, allow: Vec::new(), deny: Vec::new(), routes }
}

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

/// The caller that [`APP`] means.
fn app() -> Client {
    client(&words("ou=app:11111111-1111-4111-8111-111111111111 cn=x"), true)
}

fn other() -> Client {
    client(&words("ou=app:GREEN cn=x"), true)
}

/// What becomes of a request: the rule, or the reason of the refusal.
fn verdict(policy: &Policy, client: &Client, method: &str, path: &str) -> Result<String, &'static str> {
    let result = policy.authorize_request(client, None, method, &fold(path).unwrap());
    result.map(|(permit, _)| permit.rule().unwrap().to_string()).map_err(|denial| denial.reason())
}

#[test]
fn requests_are_answered_as_their_routes_say() {
    let policy = policy(&[
        ("GET,HEAD /metrics", &["anonymous"]),
        ("GET,HEAD exact /health", &["anonymous"]),
        ("/b", &["anonymous"]),
        ("/api", &[APP]),
    ]);
    // What the anonymous are answered: status and reason; as origin-form, without scheme and authority.
    for (name, method, target, expected) in [
        ("the path itself", "GET", "/metrics", None),
        ("a segment below", "GET", "/metrics/x?y=1", None),
        ("other method", "POST", "/metrics", Some((403, "method_not_allowed"))),
        ("lower-case method", "get", "/metrics", Some((403, "method_not_allowed"))),
        ("exact", "GET", "/health", None),
        ("no rule", "GET", "/", Some((403, "path_not_allowed"))),
        ("other caller", "GET", "/api", Some((401, "certificate_required"))),
        ("encoded slash", "GET", "/b%2fc", Some((400, "path_ambiguous"))),
        ("encoded backslash", "GET", "/b%5cc", Some((400, "path_ambiguous"))),
        ("encoded NUL", "GET", "/b%00", Some((400, "path_ambiguous"))),
        ("double encoding", "GET", "/b%252e", Some((400, "path_ambiguous"))),
        ("raw UTF-8", "GET", "/bä", Some((400, "path_ambiguous"))),
        ("above the root", "GET", "/../b", Some((400, "path_ambiguous"))),
        ("encoded above the root", "GET", "/%2e%2e/b", Some((400, "path_ambiguous"))),
        ("encoded dot segments", "GET", "/a/%2e%2e/b", Some((400, "path_changed"))),
        ("half encoded dot segment", "GET", "/a/.%2e/b", Some((400, "path_changed"))),
        ("dot segment with parameter", "GET", "/a/..;/b", Some((400, "path_changed"))),
        ("double slash inside", "GET", "/b//c", Some((400, "path_changed"))),
        ("backslash", "GET", "/b\\c", Some((400, "path_changed"))),
        ("encoded letter", "GET", "/%62", Some((400, "path_changed"))),
        ("absolute-form", "GET", "/b", None),
        ("absolute-form, double slash", "GET", "//b", Some((400, "path_changed"))),
        ("fragment", "GET", "/b#/api", None),
        ("OPTIONS *", "OPTIONS", "*", Some((403, "path_not_allowed"))),
    ] {
        let verdict = policy.evaluate_request(&Client::Anonymous, None, method, target, PathHandling::default());
        let answer = verdict.result.err().map(|denial| (denial.status(), denial.reason()));
        assert_eq!(answer, expected, "{name}");
    }
    assert_eq!(verdict(&policy, &app(), "DELETE", "/api/x"), Ok(APP.to_owned()));
    assert_eq!(verdict(&policy, &other(), "GET", "/api"), Err("denied"));
    assert_eq!(verdict(&policy, &app(), "GET", "/health"), Err("denied"), "anonymous is nobody with a certificate");
}

#[test]
fn the_handshake_admits_whom_some_route_admits_and_those_of_allow() {
    let by_routes = policy(&[("/api", &[APP]), ("/x", &["cf:same:space"])]);
    let rule_of = |policy: &Policy, client: &Client| {
        policy.authorize(client, None).map(|permit| permit.rule().cloned()).map_err(|denial| denial.reason())
    };
    assert_eq!(rule_of(&by_routes, &app()), Ok(Some(rule(APP))));
    assert_eq!(rule_of(&by_routes, &other()), Err(DenialReason::NotAllowed));
    assert_eq!(rule_of(&by_routes, &Client::Anonymous), Err(DenialReason::NoCertificate));
    assert!(by_routes.needs_own_identity());
    let wider = Policy { allow: vec![rule("cf:any")], ..by_routes };
    assert_eq!(rule_of(&wider, &other()), Ok(Some(Rule::CloudFoundry)));
    // Whoever may come in may not ask for everything.
    assert_eq!(verdict(&wider, &other(), "GET", "/api"), Err("denied"));
    assert_eq!(verdict(&wider, &other(), "GET", "/"), Err("path_not_allowed"));
    let open = policy(&[("/", &["anonymous"]), ("/api", &[APP])]);
    assert_eq!(rule_of(&open, &Client::Anonymous), Ok(Some(Rule::Anonymous)));
}

#[test]
fn a_deny_beats_every_route() {
    let routed = policy(&[("/", &["any", "anonymous"])]);
    let denying = Policy { deny: vec![rule(APP)], ..routed };
    assert_eq!(denying.authorize(&app(), None).unwrap_err().reason(), DenialReason::DeniedByRule);
    for path in ["/", "/x"] {
        let denial = denying.authorize_request(&app(), None, "GET", &fold(path).unwrap()).unwrap_err();
        assert_eq!((denial.status(), denial.reason()), (403, "denied"), "{path}");
        assert_eq!(denial.denial().unwrap().rule(), Some(&rule(APP)));
    }
    assert_eq!(verdict(&denying, &other(), "GET", "/"), Ok("any".to_owned()));
    // One whose identity is not sound might be the one that is denied.
    let unsound = client(&words("ou=app:BLUE ou=app:GREEN"), true);
    assert_eq!(verdict(&denying, &unsound, "GET", "/"), Err("denied"));
}

#[test]
fn without_routes_whoever_may_come_in_may_ask_for_everything() {
    let plain = Policy { allow: vec![rule(APP)], ..policy(&[]) };
    assert!(!plain.has_routes());
    let (permit, route) = plain.authorize_request(&app(), None, "BREW", &fold("/any?thing").unwrap()).unwrap();
    assert_eq!((permit.rule(), route, permit.would_deny()), (Some(&rule(APP)), None, None));
    // A rule that was taken out counts for the next request.
    assert_eq!(verdict(&plain, &other(), "GET", "/"), Err("denied"));
    assert_eq!(verdict(&plain, &Client::Anonymous, "GET", "/"), Err("certificate_required"));
}

#[test]
fn audit_lets_pass_what_would_be_refused_and_says_so() {
    let audit = Policy { mode: PolicyMode::Audit, ..policy(&[("GET /api", &[APP]), ("/health", &["anonymous"])]) };
    for (client, method, path, reason) in [
        (app(), "POST", "/api", "method_not_allowed"),
        (other(), "GET", "/api", "denied"),
        (other(), "GET", "/x", "path_not_allowed"),
    ] {
        let (permit, _) = audit.authorize_request(&client, None, method, &fold(path).unwrap()).unwrap();
        assert_eq!(permit.would_deny().unwrap().reason(), reason, "{method} {path}");
        assert_eq!(permit.rule(), None);
    }
    let (permit, route) = audit.authorize_request(&app(), None, "GET", &fold("/api").unwrap()).unwrap();
    assert_eq!((permit.would_deny(), route.unwrap().to_string().as_str()), (None, "GET /api"));
    // The anonymous come in for the sake of /health alone: audit is not about them, unless `allow` names them.
    assert_eq!(verdict(&audit, &Client::Anonymous, "GET", "/health"), Ok("anonymous".to_owned()));
    assert_eq!(verdict(&audit, &Client::Anonymous, "GET", "/api"), Err("certificate_required"));
    assert_eq!(verdict(&audit, &Client::Anonymous, "GET", "/x"), Err("path_not_allowed"));
    let open = Policy { allow: vec![Rule::Anonymous], ..audit };
    let (permit, _) = open.authorize_request(&Client::Anonymous, None, "GET", &fold("/x").unwrap()).unwrap();
    assert_eq!(permit.would_deny(), Some(&RequestDenial::PathNotAllowed));
}

#[test]
fn the_route_is_told_of_requests_that_it_does_not_admit_too() {
    let policy = policy(&[("/api", &[APP])]);
    let route = |path: &str| policy.route_for("GET", &fold(path).unwrap()).map(ToString::to_string);
    assert_eq!((route("/api/x").as_deref(), route("/")), (Some("/api"), None));
}

/// What becomes of a request of `client` by GET whose path may be read differently, where that is judged; the route that was decisive.
fn lenient(policy: &Policy, client: &Client, target: &str) -> Result<String, &'static str> {
    let handling = PathHandling { ambiguous: AmbiguousPaths::JudgeRaw, changed: ChangedPaths::ForwardFolded };
    let verdict = policy.evaluate_request(client, None, "GET", target, handling);
    verdict.result.map(|_| verdict.route.unwrap().to_string()).map_err(|denial| denial.reason())
}

#[test]
fn an_ambiguous_path_is_admitted_by_all_routes_that_it_may_be_for_or_by_none() {
    let everybody: &[&str] = &["any"];
    let policy = policy(&[
        ("/", everybody),
        ("/api", everybody),
        ("/api/admin", &[APP]),
        ("GET /files", everybody),
        ("exact /exact", &[APP]),
        ("/odd/a;x", &[APP]),
    ]);
    for (path, expected) in [
        // Whatever an app makes of what follows, it stays below.
        ("/api/queues/%2f/name", Ok("/api")),
        ("/files/a%2fb", Ok("GET /files")),
        ("/files/a%00b", Ok("GET /files")),
        ("/x/%2f", Ok("/")),
        ("/files/100%25", Err("denied")),
        // What may be closed to the caller is.
        ("/api/%2fadmin", Err("denied")),
        ("/api/x%2f..%2fadmin", Err("denied")),
        ("/files/..%2fapi/admin", Err("denied")),
        ("/files/%252e%252e/api/admin", Err("denied")),
        ("/%61pi/%2fadmin", Err("denied")),
        ("/../api/admin", Err("denied")),
        ("/%2fx", Err("denied")),
        ("/exact/%2f", Err("denied")),
        ("/odd/%2f", Err("denied")),
        // So is what is one route as it stands, and another as some apps read it.
        ("/api/admin;x", Err("denied")),
        ("/api/%40", Ok("/api")),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(lenient(&policy, &other(), path), expected, "{path}");
    }
    // Whoever is admitted everywhere may ask for it.
    assert_eq!(lenient(&policy, &app(), "/files/..%2fapi/admin"), Ok("/".to_owned()));
    let handling = PathHandling { ambiguous: AmbiguousPaths::JudgeRaw, ..PathHandling::default() };
    let posted = policy.evaluate_request(&app(), None, "POST", "/%2f", handling).result;
    assert_eq!(posted.unwrap_err().reason(), "method_not_allowed", "/files is for GET alone");
    let denying = Policy { deny: vec![rule(APP)], ..policy };
    assert_eq!(lenient(&denying, &app(), "/x/%2f"), Err("denied"));
}

#[test]
fn where_no_route_is_for_the_rest_an_ambiguous_path_has_none() {
    let policy = policy(&[("/api", &["any"])]);
    assert_eq!(lenient(&policy, &other(), "/api/%2f"), Ok("/api".to_owned()));
    assert_eq!(lenient(&policy, &other(), "/api/%2e%2e%2f"), Err("path_not_allowed"));
    assert_eq!(lenient(&policy, &other(), "/x%2f"), Err("path_not_allowed"));
}

#[test]
fn an_ambiguous_path_is_audited_by_what_would_become_of_it() {
    let handling = PathHandling { ambiguous: AmbiguousPaths::JudgeRaw, ..PathHandling::default() };
    let audit = Policy { mode: PolicyMode::Audit, ..policy(&[("/", &["any"]), ("/admin", &[APP])]) };
    let would_deny = |client: &Client, path: &str| {
        let permit = audit.evaluate_request(client, None, "GET", path, handling).result.unwrap();
        permit.would_deny().map(RequestDenial::reason)
    };
    assert_eq!(would_deny(&other(), "/x/%2f"), None);
    assert_eq!(would_deny(&other(), "/%2f"), Some("denied"));
    assert_eq!(would_deny(&app(), "/admin;x"), None);
    assert_eq!(would_deny(&other(), "/admin;x"), Some("denied"));
}

#[test]
fn a_path_that_is_forwarded_folded_is_judged_as_it_is_forwarded() {
    let policy = policy(&[("/", &["any"]), ("/admin", &[APP])]);
    assert_eq!(lenient(&policy, &other(), "/x//y"), Ok("/".to_owned()));
    assert_eq!(lenient(&policy, &other(), "/x/../admin"), Err("denied"));
    let handling = PathHandling { changed: ChangedPaths::ForwardFolded, ..PathHandling::default() };
    let verdict = policy.evaluate_request(&app(), None, "GET", "/x/..;y/%61dmin?z=//", handling);
    assert_eq!(verdict.folded.map(|path| path.to_string()).as_deref(), Some("/admin"));
    assert!(verdict.result.is_ok());
    assert_eq!(
        policy.evaluate_request(&app(), None, "GET", "/admin%2f", handling).result.unwrap_err().reason(),
        "path_ambiguous"
    );
}

#[test]
fn health_is_for_callers_without_identity_and_they_come_in_for_it() {
    let of = |policy: Policy| {
        let routes = policy.routes.with_health(Some("/health".parse().unwrap()));
        Policy { routes, ..policy }
    };
    let asked = |policy: &Policy, method: &str, target: &str| {
        let verdict = policy.health_for(&Client::Anonymous, None, method, target);
        verdict.map(|verdict| verdict.result.map(drop).map_err(|denial| denial.reason()))
    };
    let plain = of(Policy { allow: vec![rule(APP)], ..policy(&[]) });
    assert!(!plain.has_routes());
    assert_eq!(plain.authorize(&Client::Anonymous, None).unwrap().rule(), Some(&Rule::Anonymous));
    for (method, target, expected) in [
        ("GET", "/health", Some(Ok(()))),
        ("HEAD", "/health?x=1", Some(Ok(()))),
        ("POST", "/health", None),
        ("GET", "/health/", None),
        ("GET", "/health/x", None),
        ("GET", "//health", None),
        ("GET", "/", None),
    ] {
        assert_eq!(asked(&plain, method, target), expected, "{method} {target}");
    }
    assert!(plain.health_for(&app(), None, "GET", "/health").is_none());
    assert_eq!(plain.evaluate_allowlist(&Client::Anonymous, None).result.unwrap_err().reason(), "certificate_required");
    assert!(plain.evaluate_allowlist(&app(), None).result.is_ok());

    // Routes decide on all else, and on whoever has an identity.
    let routed = of(policy(&[("/", &[APP])]));
    let result = |client: &Client, target: &str| {
        let verdict = routed.evaluate_request(client, None, "GET", target, PathHandling::default());
        verdict.result.map(drop).map_err(|denial| denial.reason())
    };
    assert_eq!(result(&Client::Anonymous, "/health"), Ok(()));
    assert_eq!(result(&Client::Anonymous, "/health;x"), Err("certificate_required"));
    assert_eq!(result(&Client::Anonymous, "//health"), Err("path_changed"));
    assert_eq!(result(&other(), "/health"), Err("denied"));
    assert_eq!(result(&app(), "/health"), Ok(()));
    let denying = Policy { deny: vec![Rule::Anonymous], ..routed.clone() };
    assert_eq!(asked(&denying, "GET", "/health"), Some(Err("denied")));
}
