//! Bodies that are too large or too slow, and more requests than there is time for.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::{ASKED, Answer, Endpoint, parts, post, verify_by_own_certificate};
use crate::metrics::Measured;
use crate::support::credentials::Credentials;
use crate::support::{app, eventually};

const POST: &str = "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

#[test]
fn a_body_has_bounds_and_a_type() {
    let endpoint = Endpoint::new();
    let padded = |length: usize| {
        let body = r#"{"audience":"vault"}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    assert!(!endpoint.token(&padded(4096)).token().is_empty());
    assert_eq!(endpoint.token(&padded(4097)).error(), (413, "body_too_large".to_owned()));
    // One that says it will be large is refused before it comes, and one that does not say is cut off.
    let announced = endpoint.ask(&format!("{POST}{ASKED}\r\nContent-Length: 4097\r\n\r\n"));
    assert_eq!(announced.error(), (413, "body_too_large".to_owned()));
    let chunked =
        format!("{POST}{ASKED}\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x2000));
    assert_eq!(endpoint.ask(&chunked).error(), (413, "body_too_large".to_owned()));
    for other in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let text = post("/token", r#"{"audience":"vault"}"#).replace("application/json", other);
        assert_eq!(endpoint.ask(&text).error(), (415, "media_type".to_owned()), "{other}");
    }
    let charset =
        post("/token", r#"{"audience":"vault"}"#).replace("application/json", "Application/JSON; charset=utf-8");
    assert!(!endpoint.ask(&charset).token().is_empty());
}

#[test]
fn who_does_not_send_what_it_began_is_answered_in_time() {
    let endpoint = Endpoint::new();
    let mut slow = endpoint.connect();
    write!(slow, "{POST}{ASKED}\r\nContent-Length: 20\r\n\r\n{{").unwrap();
    assert_eq!(Answer::read(slow).error(), (408, "body_timeout".to_owned()));
    let mut slow = endpoint.connect();
    write!(slow, "{POST}").unwrap();
    assert_eq!(Answer::read(slow).error(), (408, "head_timeout".to_owned()));
    // Whoever says nothing is not answered.
    let mut silent = endpoint.connect();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut silent, &mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn more_connections_than_there_is_room_for_wait_and_are_answered() {
    let endpoint = Endpoint::new();
    let silent: Vec<_> = (0..64).map(|_| endpoint.connect()).collect();
    let answer = endpoint.get("/identity");
    assert_eq!(answer.status, 200, "{answer:?}");
    drop(silent);
}

#[test]
fn connections_that_say_nothing_hold_nobody_up_however_many_they_are() {
    let endpoint = Endpoint::new();
    let began = Instant::now();
    let silent: Vec<_> = (0..6 * 64).map(|_| endpoint.connect()).collect();
    assert_eq!(endpoint.get("/identity").status, 200);
    // If each of the 64 places were kept for the two seconds of somebody who is alone, it would be 12.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn heads_that_do_not_end_hold_nobody_up_however_many_they_are() {
    let endpoint = Endpoint::new();
    let began = Instant::now();
    let begun = || {
        let mut stream = endpoint.connect();
        let _ = stream.write_all(b"GET /identity HTTP/1.1\r\nHost: localhost\r\n");
        stream
    };
    let unfinished: Vec<_> = (0..20 * 64).map(|_| begun()).collect();
    assert_eq!(endpoint.get("/identity").status, 200);
    // If each of the 64 places were kept for the second of somebody who is alone, it would be 20.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(unfinished);
}

#[test]
fn whoever_has_said_all_may_end_its_sending_and_is_answered() {
    let endpoint = Endpoint::new();
    let ask = |text: &str| {
        let mut stream = endpoint.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        Answer::read(stream)
    };
    for _ in 0..20 {
        // Each is signed first, which takes a while.
        verify_by_own_certificate(&ask(&post("/token", r#"{"audience":"vault","fresh":true}"#)).token());
    }
    assert_eq!(ask(&format!("GET /identity HTTP/1.0\r\n{ASKED}\r\n\r\n")).status, 200);
    let whole = post("/token", r#"{"audience":"vault"}"#);
    let answer = ask(&whole[..whole.len() - 1]);
    assert_eq!(answer.error(), (400, "bad_request".to_owned()));
    assert!(answer.body.contains("the body ends too soon"), "{answer:?}");
}

#[test]
fn ten_thousand_requests_are_a_bounded_number_of_signatures() {
    let credentials = Credentials::new();
    let socket = credentials.dir().join("identity.sock");
    let setup = crate::support::sidecar::Setup::proxy(&credentials, app::nobody())
        .arg(&format!("--identity-listen=unix:{}", socket.display()))
        .arg("--identity-audience=vault")
        .arg("--identity-rate=1/s");
    let measured = Measured::new(setup);
    let ask = |text: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(crate::support::TEST_TIMEOUT)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        Answer::read(stream)
    };
    let began = std::time::Instant::now();
    let fresh = post("/token", r#"{"audience":"vault","fresh":true}"#);
    let mut jtis = Vec::new();
    let mut limited = 0;
    for _ in 0..10_000 {
        let answer = ask(&fresh);
        match answer.status {
            200 => {
                let token = answer.token();
                verify_by_own_certificate(&token);
                jtis.push(parts(&token).1["jti"].as_str().unwrap().to_owned());
            }
            _ => {
                assert_eq!(answer.error(), (429, "rate_limited".to_owned()));
                assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
                limited += 1;
            }
        }
    }
    // Five at once, and one more a second.
    let most = 5 + began.elapsed().as_secs() + 1;
    let signed = jtis.len() as u64;
    assert!((5..=most).contains(&signed), "{signed} of {most}");
    jtis.sort();
    jtis.dedup();
    assert_eq!(jtis.len() as u64, signed, "no jti twice");
    let series = eventually("all to be counted", || {
        let series = measured.series();
        let counted = series["vestibule_token_requests_total{result=\"rate_limited\"}"];
        (counted as u64 == limited).then_some(series)
    });
    assert_eq!(series["vestibule_token_requests_total{result=\"signed\"}"] as u64, signed);
    assert_eq!(series["vestibule_tokens_issued_total{form=\"standard\"}"] as u64, signed);
    assert_eq!(series["vestibule_token_signature_seconds_count"] as u64, signed);
    let refused = measured.sidecar.lines_of("token request refused").len();
    assert!(refused as u64 <= 20 * (began.elapsed().as_secs() + 2), "{refused} lines");

    let plain = post("/token", r#"{"audience":"vault"}"#);
    let in_turn = || eventually("a turn", || Some(ask(&plain)).filter(|answer| answer.status == 200)).token();
    let first = in_turn();
    assert!((0..50).all(|_| in_turn() == first), "one of the cache costs no signature");
}

#[test]
fn what_a_head_may_not_be_is_answered_as_all_else_is() {
    let endpoint = Endpoint::new();
    let host = "Host: localhost\r\n";
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"audience":"vault"}"#;
    let length = body.len();
    let post = |fields: &str, body: &str| format!("POST /token HTTP/1.1\r\n{ASKED}\r\n{json}{fields}\r\n{body}");
    for (text, expected) in [
        ("\x16\x03\x01\x02\x00".to_owned(), (400, "bad_request")),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), (400, "bad_request")),
        (format!("GET /identity HTTP/1.1\n{host}\n"), (400, "bad_request")),
        (format!("GET /identity HTTP/1.1\r\n{host}{ASKED}\r\n bad\r\n\r\n"), (400, "bad_request")),
        (format!("GET /identity HTTP/1.1\r\n{host}{host}{ASKED}\r\n\r\n"), (400, "bad_request")),
        (post(&format!("{host}Content-Length: {length}\r\nContent-Length: {length}\r\n"), body), (400, "bad_request")),
        (
            post(&format!("{host}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), "0\r\n\r\n"),
            (400, "bad_request"),
        ),
        (post(&format!("{host}Transfer-Encoding: chunked\r\n"), "zz\r\n"), (400, "bad_request")),
        (
            format!("GET /identity HTTP/1.1\r\n{host}{ASKED}\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
            (431, "head_too_large"),
        ),
        (format!("GET /identity HTTP/1.1\r\n{host}{ASKED}\r\n{}\r\n", "x: y\r\n".repeat(200)), (431, "head_too_large")),
    ] {
        let answer = endpoint.ask(&text);
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{text}");
        for field in ["cache-control: no-store", "content-type: application/problem+json"] {
            assert!(answer.head.contains(field), "{field}: {answer:?}");
        }
    }
}

#[test]
fn an_error_in_a_body_is_named_by_its_member_and_nothing_of_the_body_is_said() {
    let endpoint = Endpoint::new();
    for (body, detail) in [
        ("", "not one JSON object of audience, ttl, form, policies, bind, fresh"),
        ("[1]", "not one JSON object"),
        ("{}", "the body has no audience"),
        (r#"{"audience":null}"#, "the body has no audience"),
        (r#"{"audience":["sEcReT"]}"#, "audience is not a string"),
        (r#"{"audience":"vault","ttl":60}"#, "ttl is not a string"),
        (r#"{"audience":"vault","bind":"sEcReT"}"#, "bind is not true or false"),
        (r#"{"audience":"vault","form":"sEcReT"}"#, "form is standard or comcast"),
        (r#"{"audience":"vault","form":"comcast","policies":"sEcReT"}"#, "policies is not an array of strings"),
        (r#"{"audience":"vault","form":"comcast","policies":["sEcReT\n"]}"#, "a policy is empty, or holds"),
        (r#"{"audience":"vault","form":"comcast","policies":[""]}"#, "a policy is empty, or holds"),
        (r#"{"audience":"vault","sEcReT":1}"#, "a member that is none of audience, ttl"),
        (r#"{"audience":"vault","audience":"sEcReT"}"#, "a member of the body occurs twice"),
    ] {
        let answer = endpoint.token(body);
        assert_eq!(answer.error(), (400, "bad_request".to_owned()), "{body}");
        assert!(answer.body.contains(detail) && !answer.body.contains("sEcReT"), "{body}: {answer:?}");
    }
    let none = endpoint.token(r#"{"audience":"vault","ttl":null}"#);
    assert!(!none.token().is_empty(), "null is as good as nothing");
}

#[test]
fn requests_that_are_refused_for_their_bodies_count_against_the_limit_too() {
    let endpoint = Endpoint::new();
    let answers: Vec<_> = (0..600).map(|_| endpoint.token("{}").error()).collect();
    assert!(answers.contains(&(429, "rate_limited".to_owned())), "{:?}", answers.last());
}

#[test]
fn a_head_near_the_limit_is_answered_or_refused_and_is_never_taken_for_another() {
    let endpoint = Endpoint::new();
    let (mut answered, mut refused) = (0, 0);
    for length in (7_000..26_000).step_by(500) {
        let answer = endpoint
            .ask(&format!("GET /identity HTTP/1.1\r\nHost: localhost\r\n{ASKED}\r\nX: {}\r\n\r\n", "x".repeat(length)));
        match answer.status {
            200 => answered += 1,
            _ => {
                assert_eq!(answer.error(), (431, "head_too_large".to_owned()), "{length}");
                refused += 1;
            }
        }
    }
    assert!(answered > 0 && refused > 10, "{answered} {refused}");
}
