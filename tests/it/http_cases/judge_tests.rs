//! The judges, judged.

use super::cases::{AtApp, Wanted};
use super::judge::{are_these, at_app, contents, problem, request, without};
use super::message::{self, Request};
use super::recorder::Recorded;

fn got(text: &str) -> Request {
    message::request(text.as_bytes()).unwrap().unwrap().0
}

fn wanted(fields: &[(&str, &str)]) -> Wanted {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (method, target) = ("GET".to_owned(), "/".to_owned());
    Wanted { method, target, fields, trailers: Some(Vec::new()), ..Wanted::default() }
}

#[test]
fn answers_are_held_to_alternatives_to_what_may_be_missing_and_to_a_close() {
    assert!(are_these(&["200"], &[200], false));
    assert!(!are_these(&["200"], &[200, 200], false));
    assert!(!are_these(&["200", "200"], &[200], true));
    assert!(are_these(&["400|501"], &[501], true));
    assert!(are_these(&["100?", "200"], &[100, 200], false));
    assert!(are_these(&["100?", "200"], &[200], false));
    assert!(!are_these(&["100?", "200"], &[100], false));
    assert!(are_these(&["400|505|-"], &[], true));
    assert!(!are_these(&["400|505|-"], &[], false));
    assert!(!are_these(&["400|505|-"], &[200], true));
}

#[test]
fn an_answer_of_ours_says_the_same_in_its_field_and_in_its_body() {
    let body = r#"{"type":"about:blank","title":"Forbidden","status":403,"reason":"denied","id":"01J"}"#;
    let fields = |reason: &str, kind: &str| {
        vec![("vestibule-reason".to_owned(), reason.to_owned()), ("content-type".to_owned(), kind.to_owned())]
    };
    let json = "application/problem+json";
    assert_eq!(problem(403, &fields("denied", json), body), Ok(("denied".to_owned(), "01J".to_owned())));
    assert!(problem(403, &fields("path_not_allowed", json), body).is_err());
    assert!(problem(403, &fields("denied", "text/plain"), body).is_err());
    assert!(problem(403, &Vec::new(), body).is_err());
    assert!(problem(403, &fields("denied", json), "").is_err());
    assert!(problem(400, &fields("denied", json), &body.replace("403", "400")).is_err());
    assert!(problem(403, &fields("denied", json), &body.replace("01J", "")).is_err());
    assert!(problem(403, &fields("denied", json), &body.replace("\"id\"", "\"path\":\"/\",\"id\"")).is_err());
}

#[test]
fn a_request_is_judged_by_all_but_what_frames_it_and_what_the_proxy_adds() {
    let text =
        "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 10.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(request(&wanted(&[("host", "a")]), &got(text)), Vec::<String>::new());
    assert_eq!(request(&wanted(&[("host", "b")]), &got(text)).len(), 1);
    assert_eq!(request(&wanted(&[("host", "a"), ("content-length", "3")]), &got(text)).len(), 1);
    assert_eq!(request(&wanted(&[("host", "a")]), &got(&text.replace("host", "X: 1\r\nhost"))).len(), 1);
    assert_eq!(request(&wanted(&[("host", "a")]), &got(&text.replace("GET /", "get /x"))).len(), 2);
    let trailers = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n";
    assert_eq!(request(&wanted(&[("host", "a")]), &got(trailers)).len(), 1);
    let any = Wanted { trailers: None, ..wanted(&[("host", "a")]) };
    assert_eq!(request(&any, &got(trailers)), Vec::<String>::new());
}

#[test]
fn what_must_be_absent_is_found_in_every_spelling() {
    let fields =
        vec![("x_forwarded.client-cert".to_owned(), "evil".to_owned()), ("te".to_owned(), "trailers".to_owned())];
    let absent = |entry: &str| without(&[entry.to_owned()], &fields).is_empty();
    assert!(!absent("x-forwarded-client-cert"));
    assert!(!absent("X_Forwarded_Client_Cert"));
    assert!(absent("x-forwarded-client-cert=good"));
    assert!(absent("te=gzip"));
    assert!(!absent("te"));
}

#[test]
fn what_reaches_the_app_is_nothing_a_part_or_the_requests_of_the_case() {
    let connection = |text: &str| vec![Recorded::of(text)];
    let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let part = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab";
    let afterwards = "GET / HTTP/1.1\r\nHost: afterwards.test\r\n\r\n";
    let count = |app: &AtApp, text: &str| at_app(app, &[], &connection(text)).len();

    assert_eq!([count(&AtApp::Nothing, ""), count(&AtApp::Nothing, afterwards)], [0, 0]);
    assert_eq!([count(&AtApp::Nothing, whole), count(&AtApp::Nothing, part)], [1, 1]);
    assert_eq!([count(&AtApp::Nothing, &format!("{afterwards}{part}"))], [1]);
    assert_eq!([count(&AtApp::Incomplete, part), count(&AtApp::Incomplete, "")], [0, 0]);
    assert_eq!(count(&AtApp::Incomplete, whole), 1);
    let wanted = AtApp::Requests(vec![wanted(&[("host", "a")])]);
    assert_eq!([count(&wanted, whole), count(&wanted, &format!("{whole}{afterwards}"))], [0, 0]);
    assert_eq!([count(&wanted, &format!("{whole}{whole}")), count(&wanted, "")], [1, 1]);
    assert_eq!(count(&wanted, &format!("{whole}{part}")), 1);
    assert_eq!(count(&wanted, &whole.replace("Host", "X_Client_Cert: e\r\nHost")), 1);
    assert_eq!(count(&AtApp::Any, &whole.replace("Host", "Client_Cert: evil\r\nHost")), 1);
    assert_eq!(count(&AtApp::Any, &whole.replace("Host", "x-vestibule-app: evil\r\nHost")), 1);
    assert_eq!(count(&AtApp::Any, &whole.replace("Host: a", "Host: a\r\nhost: b")), 1);
    assert_eq!(count(&AtApp::Any, &whole.replace("Host", "X-Hop: 1\r\nConnection: x-hop\r\nHost")), 1);
    assert_eq!(count(&AtApp::Any, &whole.replace("Host", "Host :")), 1);
}

#[test]
fn an_answer_is_searched_for_what_must_be_in_it_and_what_must_not() {
    let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n";
    let answer = message::answer(text, false).unwrap().unwrap().0;
    let present = |entry: &str| contents(&[entry.to_owned()], &[], &answer).is_empty();
    assert!(present("HTTP/1.1") && present("trailer x-t=1") && present("transfer-encoding"));
    assert!(!present("x-t=1") && !present("HTTP/1.0") && !present("trailer x-t=2"));
    let absent = |entry: &str| contents(&[], &[entry.to_owned()], &answer).is_empty();
    assert!(absent("identity") && absent("content-length") && absent("evil"));
    assert!(!absent("chunked") && !absent("ok") && !absent("x-t"));
}
