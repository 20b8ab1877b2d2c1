//! How messages are framed on both sides, as clients see it.

use std::io::Write;

use super::{Front, GET, asked, fields};
use crate::support::client::Ending;
use crate::support::http_app::{HttpApp, Reply};

fn sending(answer: &'static str) -> HttpApp {
    HttpApp::start(move |_| Reply::Send(answer.as_bytes().to_vec()))
}

#[test]
fn answers_without_a_body_have_none_and_the_next_follows() {
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", vec!["1000"]),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", vec![]),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", vec![]),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", vec![]),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", vec!["1000"]),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", vec!["0"]),
    ] {
        let app = sending(answer);
        let front = Front::open(app.addr(), "");
        let mut talk = front.talk();
        for _ in 0..3 {
            let got = talk.ask(&GET.replace("GET", method));
            assert_eq!(got.status().to_string(), answer[9..12], "{answer}");
            assert_eq!((got.fields("content-length"), got.body.len()), (length.clone(), 0), "{answer}");
        }
        assert!(app.asked().iter().all(|asked| asked.connection == 0), "{answer}");
    }
}

#[test]
fn http10_clients_are_answered_and_their_connection_ends_unless_they_ask_to_keep_it() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    let answer = talk.ask("GET /old HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "ok");
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    let mut talk = front.talk();
    for _ in 0..3 {
        let answer = talk.ask("GET /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((answer.text(), answer.fields("connection")), ("ok", vec!["keep-alive"]));
    }
    let heads: Vec<_> = app.asked().into_iter().map(|asked| asked.head).collect();
    assert!(heads.iter().all(|head| head.starts_with("GET /old HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads.iter().all(|head| fields(head, "connection").is_empty()), "{heads:?}");
    assert_eq!(front.requests(4)[0]["http_version"], "1.0");
    // Whoever does not say whom it asks is given the address at which it asks.
    assert_eq!(front.talk().ask("GET / HTTP/1.0\r\n\r\n").text(), "ok");
    assert_eq!(fields(&app.asked()[4].head, "host"), [front.sidecar.addr().to_string()]);
}

#[test]
fn http10_clients_get_chunked_answers_up_to_the_end_of_the_connection() {
    let app = sending("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    let head = talk.head();
    assert!(fields(&head, "transfer-encoding").is_empty(), "{head}");
    assert_eq!(talk.rest(), (b"ok".to_vec(), Ending::CloseNotify));
}

#[test]
fn requests_that_come_at_once_are_answered_in_their_order() {
    let app = HttpApp::start(|asked| {
        let path = asked.head.split(' ').nth(1).unwrap();
        Reply::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).into_bytes())
    });
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    let all: String = (0..200)
        .map(|n| match n % 2 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
            _ => format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"),
        })
        .collect();
    talk.send(&all);
    for n in 0..200 {
        assert_eq!(talk.answer().text(), format!("/{n}"));
    }
    assert!(app.asked().iter().all(|asked| asked.connection == 0));
}

#[test]
fn a_thousand_requests_follow_each_other_on_one_connection() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    for _ in 0..1000 {
        let answer = talk.ask(GET);
        assert_eq!((answer.text(), answer.says_close()), ("ok", false));
    }
    assert!(app.asked().iter().all(|asked| asked.connection == 0));
    drop(talk);
    let entry = front.sidecar.access_log_entry("completed");
    assert!(entry["bytes_up"].as_u64() > Some(30_000), "{entry}");
}

#[test]
fn a_connection_ends_with_the_last_request_that_it_may_carry() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "--max-requests 3");
    let mut talk = front.talk();
    let closes: Vec<_> = (0..3).map(|_| talk.ask(GET).says_close()).collect();
    assert_eq!(closes, [false, false, true]);
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
}

#[test]
fn declared_trailers_pass_both_ways() {
    let app = sending(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let front = Front::open(app.addr(), "");
    let answer = front.talk().ask(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Mine\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Mine: 1\r\n\r\n",
    );
    assert_eq!((answer.text(), answer.trailers.to_ascii_lowercase().as_str()), ("ok", "x-sum: 7\r\n"));
    let asked = &asked(&app, 1)[0];
    let body = String::from_utf8(asked.body.clone()).unwrap().to_ascii_lowercase();
    assert!(body.ends_with("0\r\nx-mine: 1\r\n\r\n"), "{body}");
    assert_eq!(fields(&asked.head, "te"), ["trailers"]);
}

#[test]
fn trailers_that_are_removed_are_not_announced_either_way() {
    let app = sending(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Vestibule-Reason\r\nTrailer: Content-Length\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 7\r\nVestibule-Reason: forged\r\nContent-Length: 9\r\n\r\n",
    );
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    let forged = "X_Forwarded_Client_Cert, client.cert, x_vestibule-app, X-Forwarded-For, Content_Length, Host";
    for (announced, left) in [
        (format!("Trailer: {forged}\r\n"), vec![]),
        (format!("Trailer: X-Mine, {forged}\r\nTrailer: {forged},ETag\r\n"), vec!["X-Mine, ETag"]),
        ("Trailer: X-Mine,ETag\r\n".to_owned(), vec!["X-Mine,ETag"]),
    ] {
        let seen = app.asked().len();
        let answer = talk.ask(&format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n{announced}\r\n\
             3\r\nabc\r\n0\r\nX-Mine: 1\r\nX_Forwarded_Client_Cert: forged\r\nHost: forged\r\n\r\n"
        ));
        assert_eq!((answer.text(), answer.fields("trailer")), ("ok", vec!["X-Sum"]));
        assert_eq!(answer.trailers.to_ascii_lowercase(), "x-sum: 7\r\n");
        let asked = &asked(&app, seen + 1)[seen];
        assert_eq!(fields(&asked.head, "trailer"), left, "{announced}");
        assert!(!String::from_utf8_lossy(&asked.body).contains("forged"), "{announced}");
    }
}

#[test]
fn a_client_that_ends_its_sending_behind_a_request_that_is_whole_is_answered() {
    let app = HttpApp::saying("ok");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    assert_eq!(talk.ask(GET).text(), "ok");
    talk.client.close_notify();
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
    drop(talk);
    front.sidecar.access_log_entry("completed");
}

#[test]
fn what_is_not_http_is_told_so() {
    let app = HttpApp::saying("never");
    let front = Front::open(app.addr(), "");
    let mut talk = front.talk();
    talk.send("SSH-2.0-OpenSSH_9.2\r\n");
    let answer = talk.answer();
    answer.is_ours(400, "not_http");
    assert!(answer.says_close());
    assert_eq!(talk.rest(), (Vec::new(), Ending::CloseNotify));
}

#[test]
fn an_answer_that_may_have_no_body_has_none_whatever_the_app_sends() {
    for answer in [
        "HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    ] {
        let app = sending(answer);
        let front = Front::open(app.addr(), "");
        let mut talk = front.talk();
        for _ in 0..2 {
            let got = talk.ask(GET);
            assert_eq!((got.status(), got.fields("content-length"), got.text()), (205, vec!["0"], ""), "{answer}");
            assert!(got.fields("transfer-encoding").is_empty(), "{answer}");
        }
        assert!(front.requests(2).iter().all(|entry| entry["reason"].is_null()));
    }
}

#[test]
fn the_length_of_an_answer_is_a_number_as_everybody_writes_it() {
    for (length, seen) in [("02", Some("2")), ("", None), ("99999999999999999999", None), ("+2", None)] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let app = HttpApp::start(move |_| Reply::SendAndClose(answer.clone().into_bytes()));
        let front = Front::open(app.addr(), "");
        let got = front.talk().ask(&GET.replace("GET", "HEAD"));
        match seen {
            Some(seen) => assert_eq!((got.status(), got.fields("content-length")), (200, vec![seen])),
            None => {
                assert_eq!((got.status(), got.fields("vestibule-reason")), (502, vec!["app_bad_answer"]), "{length:?}")
            }
        }
    }
}

#[test]
fn the_head_of_an_answer_has_a_limit() {
    for (length, status) in [(200, 200), (300, 502)] {
        let lines = format!("x-some: {}\r\n", "x".repeat(1000)).repeat(length);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n");
        let app = HttpApp::start(move |_| Reply::Send(answer.clone().into_bytes()));
        let front = Front::open(app.addr(), "");
        assert_eq!(front.talk().ask(GET).status(), status, "{length}");
    }
}

#[test]
fn how_a_client_has_broken_tls_is_said_in_words_and_by_the_alert_that_it_was_sent() {
    let app = HttpApp::saying("ok");
    let post = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\na";
    // In silence, in the middle of a request, and over HTTP/2.
    for (protocol, request) in [("http/1.1", ""), ("http/1.1", post), ("h2", "")] {
        let front = Front::open(app.addr(), "");
        let mut client = front.connector().alpn(&[protocol]).connect(front.sidecar.addr()).unwrap();
        client.send(request.as_bytes()).unwrap();
        client.tcp.write_all(&[23, 3, 3, 0, 32]).unwrap();
        client.tcp.write_all(&[0xaa; 32]).unwrap();
        let detail = front.sidecar.access_log_entry("client_violation")["detail"].to_string();
        assert!(detail.contains("a record cannot be decrypted") && detail.contains("BadRecordMac"), "{detail}");
    }
}
