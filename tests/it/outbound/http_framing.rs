//! What of a request and its response passes, and what never does.

use std::io::{Read, Write};

use super::http::{AppClient, GET, before, sending, through};
use super::{Caller, app_guid, entry, outbound};
use crate::support::client::{Ending, read_to_end};
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};

#[test]
fn bodies_of_either_kind_pass_both_ways_with_their_trailers() {
    let app = HttpApp::start(|asked| {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n";
        match asked.head.split(' ').next() {
            Some("PUT") => Reply::Send(chunked.as_bytes().to_vec()),
            Some("HEAD") => Reply::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec()),
            Some("DELETE") => Reply::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            _ => Reply::ok("ok"),
        }
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    let known = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(app_client.ask(known).1, "ok");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n";
    assert_eq!(app_client.ask(chunked).1, "ok");
    app_client.0.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(app_client.head().contains("content-length: 1000"));
    app_client.0.write_all(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(app_client.head().starts_with("HTTP/1.1 204 "));
    app_client.0.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n").unwrap();
    let head = app_client.head();
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
    let mut body = [0; 23];
    app_client.0.read_exact(&mut body).unwrap();
    assert_eq!(std::str::from_utf8(&body).unwrap(), "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
    let asked = app.asked();
    assert_eq!((asked[0].body.as_slice(), asked.len()), (&b"hello"[..], 5));
    let sent = String::from_utf8(asked[1].body.clone()).unwrap();
    assert!(sent.contains("hello") && sent.contains("x-end: 1"), "{sent}");
}

#[test]
fn pipelined_requests_are_answered_one_after_the_other() {
    let app = HttpApp::start(|asked| Reply::ok(asked.head.split(' ').nth(1).unwrap()));
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    app_client.0.write_all((get("/1") + &get("/2") + &get("/3")).as_bytes()).unwrap();
    let bodies: Vec<_> = (0..3).map(|_| app_client.answer().1).collect();
    assert_eq!(bodies, ["/1", "/2", "/3"]);
}

#[test]
fn an_old_client_and_one_that_wants_no_more_are_answered() {
    let app = HttpApp::saying("ok");
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"] {
        let mut app_client = AppClient::at(outbound(&sidecar));
        app_client.0.write_all(request.as_bytes()).unwrap();
        let (answer, ending) = read_to_end(&app_client.0);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(" 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
        assert_eq!(ending, Ending::Fin);
    }
    assert_eq!(app.asked().len(), 2);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_with_its_reason_and_nothing_of_it_is_sent_on() {
    let app = HttpApp::saying("ok");
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let addr = outbound(&sidecar);
    for (head, status, reason) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "length_and_coding",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400, "bad_coding"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400, "bad_length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", 400, "bad_length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551614\r\n\r\n", 400, "bad_length"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "two_hosts"),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, "bare_lf"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400, "bad_field"),
        ("hello\r\n\r\n", 400, "not_http"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
        ("OPTIONS * HTTP/1.1\r\n\r\n", 400, "bad_host"),
        ("GET http://a/ HTTP/1.1\r\n\r\n", 400, "bad_host"),
        ("GET http://a/ HTTP/1.1\r\nHost: \r\n\r\n", 400, "bad_host"),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "two_hosts"),
        ("GET /\u{ff} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
        ("trace / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "unknown_method"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
    ] {
        let mut app_client = AppClient::at(addr);
        // Behind a request that is well, whose answer comes first.
        let (_, body) = app_client.ask(GET);
        assert_eq!(body, "ok");
        let before = app.asked().len();
        let smuggled = format!("{head}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        app_client.0.write_all(smuggled.as_bytes()).unwrap();
        let (answer, ending) = read_to_end(&app_client.0);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains(&format!("x-vestibule-reason: {reason}\r\n")), "{head}: {answer}");
        assert_eq!((answer.matches("x-vestibule-reason: ").count(), ending), (1, Ending::Fin), "{answer}");
        assert_eq!(app.asked().len(), before, "{head}");
    }
    let entry = entry(&sidecar, "bad_request");
    assert!(entry["detail"].as_str().unwrap().starts_with("length_and_coding: "), "{entry}");
}

#[test]
fn what_is_for_this_connection_alone_and_what_only_proxies_say_is_not_passed_on() {
    let app = HttpApp::start(|_| {
        Reply::Send(b"HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nX-Yours: 2\r\nContent-Length: 0\r\n\r\n".to_vec())
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine, Host\r\nX-Mine: 1\r\nX-Yours: 2\r\n\
        X-Forwarded-Client-Cert: forged\r\nX_Forwarded_Client_Cert: forged\r\nProxy-Authorization: Basic x\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n";
    let (head, _) = AppClient::at(outbound(&sidecar)).ask(request);
    let head = head.to_ascii_lowercase();
    assert!(head.contains("x-yours: 2") && !head.contains("x-mine") && !head.contains("keep-alive"), "{head}");
    let asked = app.asked()[0].head.to_ascii_lowercase();
    for gone in ["x-mine", "forged", "proxy-", "upgrade", "http2-settings", "connection"] {
        assert!(!asked.contains(gone), "{gone} in {asked}");
    }
    assert!(asked.contains("host: ") && asked.contains("x-yours: 2"), "{asked}");
}

#[test]
fn another_protocol_begins_where_the_server_agrees_and_bytes_right_behind_its_word_arrive() {
    let app = HttpApp::start(|_| {
        Reply::HandOver(|mut stream| {
            stream
                .write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst",
                )
                .unwrap();
            let mut space = [0; 6];
            stream.read_exact(&mut space).unwrap();
            stream.write_all(&space[..5]).unwrap();
        })
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    let request =
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    app_client.0.write_all(request.as_bytes()).unwrap();
    let head = app_client.head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    let mut first = [0; 5];
    app_client.0.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first");
    // What looks like a request there is none.
    app_client.0.write_all(b"GET /\n").unwrap();
    let (rest, ending) = read_to_end(&app_client.0);
    assert_eq!((rest.as_slice(), ending), (&b"GET /"[..], Ending::Fin));
    drop(app_client);
    let entry = entry(&sidecar, "completed");
    assert_eq!((&entry["status"], &entry["bytes_up"], &entry["bytes_down"]), (&101.into(), &6.into(), &10.into()));
    assert!(app.asked()[0].head.to_ascii_lowercase().contains("connection: upgrade"));
}

#[test]
fn a_server_that_does_not_switch_answers_as_ever_and_one_that_was_not_asked_may_not() {
    let app = HttpApp::start(|asked| match asked.head.contains("/refuse") {
        true => Reply::ok("no"),
        false => Reply::Send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n".to_vec()),
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let addr = outbound(&sidecar);
    let request = "GET /refuse HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(AppClient::at(addr).ask(request).1, "no");
    let (head, _) = AppClient::at(addr).ask(GET);
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: bad_response\r\n"), "{head}");
}

#[test]
fn a_body_that_the_server_has_to_ask_for_is_not_sent_before() {
    let app = HttpApp::start(|_| Reply::ok("ok"));
    let early = HttpApp::start(|_| Reply::HandOver(|_| ()));
    drop(early);
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    app_client.0.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").unwrap();
    // The server says nothing of it, so it is asked for in the end.
    assert_eq!(app_client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    app_client.0.write_all(b"abc").unwrap();
    assert_eq!(app_client.answer().1, "ok");
    assert_eq!(app.asked()[0].body, b"abc");
}

#[test]
fn a_response_that_does_not_come_to_its_end_is_not_given_one() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let app = HttpApp::start(|_| Reply::SendAndClose(response.as_bytes().to_vec()));
        let (_caller, _backend, _serving, sidecar) = through(&app, "");
        let mut app_client = AppClient::at(outbound(&sidecar));
        app_client.0.write_all(GET.as_bytes()).unwrap();
        let (answer, ending) = read_to_end(&app_client.0);
        let answer = String::from_utf8(answer).unwrap();
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        assert_eq!(ending, Ending::Reset, "{answer}");
        eventually("the entry", || {
            sidecar.lines_of("request completed").iter().any(|line| line["close_reason"] == "no_response").then_some(())
        });
    }
}

#[test]
fn a_malformed_response_becomes_a_502_with_its_reason() {
    for response in [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
    ] {
        let app = HttpApp::start(|_| Reply::SendAndClose(response.as_bytes().to_vec()));
        let caller = Caller::new();
        let (backend, serving) = before(&app);
        let sidecar = sending(&caller, &[serving.addr()], &app_guid(&backend), "");
        let (head, _) = AppClient::at(outbound(&sidecar)).ask(GET);
        assert!(
            head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: bad_response\r\n"),
            "{response}: {head}"
        );
    }
}

/// hyper speaks as its server does, and loses a body whose length it cannot say in HTTP/1.0.
#[test]
fn a_body_in_chunks_reaches_a_server_that_has_answered_in_the_old_way() {
    let app = HttpApp::start(|_| {
        Reply::Send(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok".to_vec())
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    for _ in 0..2 {
        assert_eq!(app_client.ask(GET).1, "ok");
        let post = "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        assert_eq!(app_client.ask(post).1, "ok");
    }
    let asked = app.asked();
    let bodies: Vec<_> = asked.iter().map(|asked| String::from_utf8_lossy(&asked.body).into_owned()).collect();
    let sent = "5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(bodies, ["", sent, "", sent]);
}
