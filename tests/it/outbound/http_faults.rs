//! What apps and servers do to each other when they misbehave, and what HTTP mode makes of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::http::{AppClient, GET, through};
use super::outbound;
use crate::support::client::read_to_end;
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};

/// Waits until the other side has gone; whether it said more before.
fn until_gone(mut stream: TcpStream) {
    let mut more = [0; 64];
    while let Ok(1..) = stream.read(&mut more) {}
}

#[test]
fn after_an_upgrade_that_was_declined_the_connection_goes_on() {
    let app = HttpApp::start(|asked| match asked.head.contains("/ws") {
        true => Reply::Send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno".to_vec()),
        false => Reply::ok("next"),
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(app_client.ask(upgrade).1, "no");
        assert_eq!(app_client.ask(GET).1, "next");
    }
    // What was sent before the answer is the next request.
    assert_eq!(app_client.ask(&format!("{upgrade}{GET}")).1, "no");
    assert_eq!(app_client.answer().1, "next");
}

#[test]
fn an_app_that_goes_away_while_it_waits_is_noticed_and_its_place_is_free() {
    static GONE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let app = HttpApp::start(|asked| match asked.head.contains("/hang") {
        true => Reply::HandOver(|stream| {
            until_gone(stream);
            GONE.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }),
        false => Reply::ok("ok"),
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "max-connections = 1");
    let addr = outbound(&sidecar);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    // Another request may be there already.
    for (nth, (head, next)) in [("", ""), (upgrade, ""), ("", GET)].into_iter().enumerate() {
        let mut app_client = AppClient::at(addr);
        app_client.0.write_all(format!("GET /hang HTTP/1.1\r\nHost: a\r\n{head}\r\n{next}").as_bytes()).unwrap();
        eventually("the request", || (app.asked().len() == 2 * nth + 1).then_some(()));
        drop(app_client);
        eventually("the end at the server", || {
            (GONE.load(std::sync::atomic::Ordering::SeqCst) == nth + 1).then_some(())
        });
        assert_eq!(AppClient::at(addr).ask(GET).1, "ok");
    }
    let gone =
        || sidecar.lines_of("request completed").iter().filter(|line| line["close_reason"] == "app_reset").count();
    eventually("the entries", || (gone() == 3).then_some(()));
    for line in sidecar.lines_of("request completed").iter().filter(|line| line["close_reason"] == "app_reset") {
        assert!(line["bytes_up"].as_u64() > Some(20), "what was sent before the app had gone is counted: {line}");
    }
}

#[test]
fn an_answer_to_a_question_before_a_body_arrives_whole_though_the_body_is_never_sent() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\n").unwrap();
        // The head is to arrive without the body.
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(b"large").unwrap();
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    let question = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let (head, body) = app_client.ask(question);
    assert!(head.starts_with("HTTP/1.1 413 ") && body == "large", "{head}{body}");
    assert!(!format!("{:?}", sidecar.lines()).contains("panicked"));
}

#[test]
fn what_a_server_says_of_its_progress_is_not_taken_for_its_answer_to_the_question() {
    let app = HttpApp::handing_over(|mut stream| {
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 3];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    app_client.0.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").unwrap();
    assert!(app_client.head().starts_with("HTTP/1.1 100 "));
    app_client.0.write_all(b"abc").unwrap();
    assert_eq!(app_client.answer().1, "abc");
}

#[test]
fn progress_without_end_is_no_response() {
    let app = HttpApp::start(|_| {
        Reply::HandOver(|mut stream| while stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").is_ok() {})
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let (head, body) = AppClient::at(outbound(&sidecar)).ask(GET);
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: bad_response\r\n"), "{head}");
    assert!(body.contains("too much before its response"), "{body}");
}

/// hyper reads in growing steps, so that more than what it may hold can come at once.
#[test]
fn a_head_of_64_kib_is_passed_on_and_a_longer_one_is_no_response() {
    const MAX: usize = 64 * 1024;
    const ENDS: [&str; 2] = ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: ", "\r\n\r\n"];
    let app = HttpApp::start(|asked| {
        let length: usize = asked.head.split([' ', '/']).nth(2).unwrap().parse().unwrap();
        let filling = "a".repeat(length - ENDS.concat().len());
        Reply::SendAndClose([ENDS[0], &filling, ENDS[1], "ok"].concat().into_bytes())
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let ask = |length| AppClient::at(outbound(&sidecar)).ask(&format!("GET /{length} HTTP/1.1\r\nHost: a\r\n\r\n"));
    for length in [MAX - 1, MAX] {
        let (head, body) = ask(length);
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok", "{length}: {} bytes", head.len());
    }
    for length in [MAX + 1, MAX + 10_000, 2 * MAX - 1000] {
        let (head, body) = ask(length);
        assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: bad_response\r\n"), "{head}");
        assert!(body.contains("longer than 64 KiB") || body.contains("malformed"), "{body}");
    }
}

#[test]
fn trailers_say_nothing_that_a_head_may_not_say_either_way() {
    let app = HttpApp::start(|_| {
        Reply::Send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Vestibule-Reason: forged\r\nTrailer: x-sum, x-vestibule-reason\r\n\r\n\
              0\r\nx-sum: 7\r\nX-Vestibule-Reason: forged\r\nConnection: close\r\n\r\n"
                .to_vec(),
        )
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
        Trailer: X-Forwarded-Client-Cert, X_Forwarded_Client_Cert, Proxy-Authorization, X-End\r\n\r\n0\r\n\
        X-Forwarded-Client-Cert: evil\r\nX_Forwarded_Client_Cert: evil\r\nProxy-Authorization: evil\r\nX-End: 1\r\n\r\n";
    app_client.0.write_all(request.as_bytes()).unwrap();
    let head = app_client.head();
    assert!(!head.contains("forged"), "{head}");
    let mut body = Vec::new();
    while !body.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        app_client.0.read_exact(&mut byte).unwrap();
        body.push(byte[0]);
    }
    assert_eq!(std::str::from_utf8(&body).unwrap(), "0\r\nx-sum: 7\r\n\r\n");
    let sent = String::from_utf8(app.asked()[0].body.clone()).unwrap();
    assert!(sent.contains("x-end: 1") && !sent.contains("evil"), "{sent}");
}

#[test]
fn no_other_way_to_send_requests_is_asked_for_and_none_but_the_one_that_was_is_taken() {
    let app = HttpApp::start(|asked| match asked.head.contains("upgrade: websocket") {
        true => {
            Reply::Send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".to_vec())
        }
        false => Reply::ok("ok"),
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let addr = outbound(&sidecar);
    for upgrade in [
        "Upgrade: h2c",
        "Upgrade: websocket, h2c",
        "Upgrade: foo/1,h2c",
        "Upgrade: HTTP/2.0",
        "Upgrade: h2c\r\nUpgrade: websocket",
        "Upgrade: websocket\r\nUpgrade: h2c",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n{upgrade}\r\n\r\n");
        assert_eq!(AppClient::at(addr).ask(&text).1, "ok", "{upgrade}");
    }
    assert!(app.asked().iter().all(|asked| !asked.head.to_ascii_lowercase().contains("upgrade")), "{:?}", app.asked());
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (head, _) = AppClient::at(addr).ask(text);
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-vestibule-reason: bad_response\r\n"), "{head}");
}

#[test]
fn targets_and_hosts_that_name_nothing_or_a_user_are_refused_and_not_logged() {
    let app = HttpApp::saying("ok");
    let (_caller, _backend, _serving, sidecar) = through(&app, "preserve-host = true");
    let addr = outbound(&sidecar);
    for (line, host, reason) in [
        ("GET http://a#x", "a", "bad_target"),
        ("GET /x#y", "a", "bad_target"),
        ("GET a:80", "a", "bad_target"),
        ("GET http://user:hidden@a/", "a", "user_in_target"),
        ("GET /", "a b\t@#", "bad_host"),
        ("GET /", "user:hidden@a", "bad_host"),
    ] {
        let (head, _) = AppClient::at(addr).ask(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 400 "), "{line} {host}: {head}");
        assert!(head.contains(&format!("x-vestibule-reason: {reason}\r\n")), "{line} {host}: {head}");
    }
    assert!(app.asked().is_empty());
    for (line, target) in [
        ("GET http://a", "GET / "),
        ("OPTIONS http://a", "OPTIONS * "),
        ("OPTIONS http://a/", "OPTIONS / "),
        ("OPTIONS http://a?q", "OPTIONS /?q "),
        ("OPTIONS *", "OPTIONS * "),
        ("GET http://a?q", "GET /?q "),
    ] {
        assert_eq!(AppClient::at(addr).ask(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).1, "ok");
        let asked = app.asked().last().unwrap().head.clone();
        assert!(asked.starts_with(target), "{line}: {asked}");
    }
    assert!(!format!("{:?}", sidecar.lines()).contains("hidden"));
}

#[test]
fn a_body_that_breaks_its_own_rules_is_the_apps_fault_and_is_logged_as_such() {
    let app = HttpApp::saying("never");
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let addr = outbound(&sidecar);
    let chunks = ["3\r\nabcXX", "ZZ\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "00000000000000000000003\r\nabc\r\n", "3 \nabc"];
    for chunk in chunks {
        let mut app_client = AppClient::at(addr);
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
        app_client.0.write_all(text.as_bytes()).unwrap();
        let answer = String::from_utf8(read_to_end(&app_client.0).0).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{chunk:?}: {answer}");
    }
    let entries = eventually("the entries", || {
        let lines = sidecar.lines_of("request completed");
        (lines.len() == chunks.len()).then_some(lines)
    });
    for entry in entries {
        assert_eq!(entry["close_reason"], "bad_request", "{entry}");
    }
}

#[test]
fn connections_that_wait_for_a_request_are_closed_properly_at_the_end() {
    let app = HttpApp::saying("ok");
    let (_caller, _backend, serving, mut sidecar) = through(&app, "");
    assert_eq!(AppClient::at(outbound(&sidecar)).ask(GET).1, "ok");
    sidecar.signal("TERM");
    assert_eq!(sidecar.exited().code(), Some(0));
    let entry = serving.wait_until("the end", |line| line["message"] == "connection closed");
    assert_eq!(entry["close_reason"], "completed", "{entry}");
}

#[test]
fn a_response_and_a_request_with_trailers_are_whole_and_their_connection_is_kept() {
    let app = HttpApp::start(|_| {
        Reply::Send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
                .to_vec(),
        )
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    for _ in 0..3 {
        let request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-r\r\n\r\n\
            3\r\nabc\r\n0\r\nX-R: 1\r\n\r\n";
        app_client.0.write_all(request.as_bytes()).unwrap();
        app_client.head();
        let mut body = [0; b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n".len()];
        app_client.0.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n");
    }
    assert_eq!(app.asked().iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 0, 0]);
    let entries = eventually("the entries", || {
        let lines = sidecar.lines_of("request completed");
        (lines.len() == 3).then_some(lines)
    });
    assert!(entries.iter().all(|entry| entry["close_reason"] == "completed"), "{entries:?}");
}

#[test]
fn malformed_chunks_of_a_server_are_its_response_that_is_bad() {
    let app = HttpApp::start(|_| {
        Reply::SendAndClose(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n".to_vec())
    });
    let (_caller, _backend, _serving, sidecar) = through(&app, "");
    let mut app_client = AppClient::at(outbound(&sidecar));
    app_client.0.write_all(GET.as_bytes()).unwrap();
    let _ = read_to_end(&app_client.0);
    let entry = eventually("the entry", || sidecar.lines_of("request completed").into_iter().next());
    assert_eq!(entry["close_reason"], "bad_response", "{entry}");
}
