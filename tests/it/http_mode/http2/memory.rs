//! What strangers may have the program hold over HTTP/2 before anybody has judged them, and of answers that they do not take.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use super::super::talk::Talk;
use super::super::unread::growth;
use super::super::{Front, GET};
use super::frames::{Frames, HEADERS, PUSH_PROMISE};
use crate::clients::Backend;
use crate::metrics::Measured;
use crate::relay::anonymous_kib;
use crate::support::client::connector;
use crate::support::eventually;
use crate::support::http_app::{HttpApp, Reply};

/// ENHANCE_YOUR_CALM (RFC 9113, 7).
const CALM_DOWN: u32 = 11;

/// Fields that take a quarter of a mebibyte in a map, and one byte each on the wire.
const MANY: usize = 3_500;

struct Limited {
    backend: Backend,
    measured: Measured,
}

impl Limited {
    /// The program in front of `app`, with so much memory.
    fn to(memory: &str, app: &HttpApp) -> Self {
        Self::to_addr(memory, app.addr())
    }

    fn to_addr(memory: &str, app: SocketAddr) -> Self {
        let backend = Backend::new();
        let options = format!("--client-auth request --allow any,anonymous --memory-limit {memory}");
        let measured = Measured::new(Front::setup(&backend, app, &options));
        Self { backend, measured }
    }

    fn frames(&self) -> Frames {
        let connector = connector(self.backend.credentials.instance()).alpn(&["h2"]);
        Frames::begin(connector.connect(self.measured.sidecar.addr()).unwrap())
    }

    fn held(&self, budget: &str) -> f64 {
        self.measured.series()[&format!("vestibule_held_memory_bytes{{budget=\"{budget}\"}}")]
    }

    fn limit(&self, budget: &str) -> f64 {
        self.measured.series()[&format!("vestibule_held_memory_limit_bytes{{budget=\"{budget}\"}}")]
    }

    fn goaways(&self) -> f64 {
        let series = self.measured.series();
        let (_, count) = series.iter().find(|(name, _)| name.contains("_goaway_") && name.contains("memory")).unwrap();
        *count
    }
}

#[test]
fn heads_that_do_not_end_count_for_what_they_may_take_and_clients_for_which_there_is_no_memory_wait_and_are_turned_away()
 {
    const CLIENTS: usize = 60;
    let app = HttpApp::saying("ok");
    let limited = Limited::to("16M --http-head-timeout 2s", &app);
    let pid = limited.measured.sidecar.pid();
    let mut early = limited.frames();
    let mut honest = limited.frames();
    honest.ask(1);
    assert_eq!(honest.answer(1), b"ok");
    let before = anonymous_kib(pid);
    early.begin_fields(HEADERS, 1, MANY);
    eventually("a head that counts", || (limited.held("backlogs") > 100_000.0).then_some(()));
    let clients: Vec<Frames> = (0..CLIENTS)
        .map(|nth| {
            let mut frames = limited.frames();
            frames.begin_fields(if nth % 2 == 0 { HEADERS } else { PUSH_PROMISE }, 1, MANY);
            frames
        })
        .collect();
    // Meanwhile others are served.
    honest.ask(3);
    assert_eq!(honest.answer(3), b"ok");
    assert!(limited.held("backlogs") < limited.limit("backlogs"));
    let grown = growth(pid, before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    let turned_away = limited.measured.sidecar.wait_until("a client that was turned away", |line| {
        line["close_reason"] == "overloaded"
            && line["detail"].as_str().is_some_and(|detail| detail.contains("a head that is not whole"))
    });
    assert!(turned_away["detail"].as_str().unwrap().contains("raise the container's memory limit"), "{turned_away}");
    eventually("most of them gone", || (limited.goaways() > 20.0).then_some(()));
    drop((clients, early));
    eventually("all of it given back", || (limited.held("backlogs") == 0.0).then_some(()));
}

#[test]
fn a_head_that_comes_in_parts_is_served_where_there_is_little_memory() {
    let app = HttpApp::saying("ok");
    let limited = Limited::to("16M", &app);
    let mut frames = limited.frames();
    frames.acknowledge();
    // 54 kilobytes in four frames, each of which is read before the next comes.
    frames.ask_in_parts(1, 54);
    assert_eq!(frames.answer(1), b"ok");
    eventually("all of it given back", || (limited.held("backlogs") == 0.0).then_some(()));
    assert_eq!(limited.goaways(), 0.0);
}

#[test]
fn heads_with_thousands_of_fields_are_refused_one_after_the_other_however_many_come_at_once() {
    const CLIENTS: usize = 25;
    let app = HttpApp::saying("ok");
    let limited = Limited::to("16M", &app);
    let pid = limited.measured.sidecar.pid();
    let before = anonymous_kib(pid);
    let mut clients: Vec<Frames> = (0..CLIENTS)
        .map(|_| {
            let mut frames = limited.frames();
            (0..4).for_each(|nth| frames.ask_with_fields(2 * nth + 1, 1_500));
            frames
        })
        .collect();
    for client in &mut clients {
        for stream in [1, 3, 5, 7] {
            assert!(String::from_utf8_lossy(&client.answer(stream)).contains("\"reason\":\"head_too_large\""));
        }
    }
    // All of them at once were 25 megabytes.
    assert!(growth(pid, before) < 8 * 1024);
    let refused = limited.measured.sidecar.wait_until("a refusal", |line| line["reason"] == "head_too_large");
    assert!(refused["detail"].as_str().unwrap().contains("128 fields"), "{refused}");
    assert!(app.asked().is_empty());
}

#[test]
fn long_trailers_of_a_body_that_nobody_reads_count_and_short_ones_do_not() {
    // It reads the head and no more.
    let app = HttpApp::handing_over(std::mem::forget);
    let limited = Limited::to("64M", &app);
    let [mut short, mut long] = [limited.frames(), limited.frames()];
    for (frames, fields) in [(&mut short, 10), (&mut long, 2_000)] {
        frames.fill(1, 1000);
        frames.end_with_fields(1, fields);
        frames.ping(1);
        frames.pinged();
    }
    let held = limited.held("backlogs");
    drop(short);
    eventually("less than before", || (limited.held("backlogs") < held).then_some(()));
    let (left, freed) = (limited.held("backlogs"), held - limited.held("backlogs"));
    assert!(left > freed + 100_000.0, "{left} is of the long ones, and was {freed} of the short ones");
    drop(long);
    eventually("all of it given back", || (limited.held("backlogs") == 0.0).then_some(()));
}

#[test]
fn heads_of_answers_count_until_their_client_takes_them_and_are_whole_then() {
    let value = "v".repeat(50_000);
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {value}\r\nContent-Length: 0\r\n\r\n");
    let app = HttpApp::start(move |_| Reply::Send(head.clone().into_bytes()));
    let limited = Limited::to("256M", &app);
    let mut frames = limited.frames();
    let last = frames.ask_for_all("/");
    assert_eq!(last, 199);
    // More than the kernel takes for somebody who reads nothing.
    eventually("heads that wait", || (app.asked().len() == 100).then_some(()));
    eventually("heads that count", || (limited.held("backlogs") > 1_000_000.0).then_some(()));
    for stream in (1..=last).step_by(2) {
        assert!(frames.answer_head(stream).len() >= 16_384);
    }
    eventually("all of it given back", || (limited.held("backlogs") == 0.0).then_some(()));
}

#[test]
fn trailers_of_answers_that_nobody_takes_count_where_they_are_long_and_are_whole_once_they_are_taken() {
    const STREAMS: u32 = 10;
    let app = HttpApp::start(|asked| {
        let fields: usize = asked.head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let trailers: String = (0..fields).map(|nth| format!("x-{nth}: {}\r\n", "v".repeat(20))).collect();
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n");
        Reply::Send(answer.into_bytes())
    });
    let limited = Limited::to("256M", &app);
    let connector = connector(limited.backend.credentials.instance()).alpn(&["h2"]);
    let mut clients = ["/5", "/400"].map(|path| {
        let client = connector.connect(limited.measured.sidecar.addr()).unwrap();
        let mut frames = Frames::begin_with_window(client, 4);
        for nth in 0..STREAMS {
            frames.ask_for(2 * nth + 1, path);
            assert_eq!(frames.part(2 * nth + 1), b"hell");
        }
        frames
    });
    // Of each twice the text, and a place in a map.
    let long = f64::from(STREAMS) * 400.0 * (2.0 * 26.0 + 192.0);
    let all = eventually("trailers that count", || Some(limited.held("backlogs")).filter(|held| *held > long));
    let mut taken = |nth: usize| {
        for stream in (1..2 * STREAMS).step_by(2) {
            clients[nth].give_room(stream, 1000);
            assert_eq!(clients[nth].answer(stream), b"o");
        }
    };
    taken(1);
    let left = eventually("long ones given back", || Some(limited.held("backlogs")).filter(|held| all - held > long));
    taken(0);
    eventually("all of it given back", || (limited.held("backlogs") == 0.0).then_some(()));
    assert!(left < f64::from(STREAMS) * 40.0 * 1024.0, "{left} bytes of the short ones");
}

#[test]
fn trailers_that_were_taken_hold_no_room_while_the_connections_wait_for_the_next_request() {
    let value = "v".repeat(1_000);
    let trailers = format!("0\r\nX-Mine: {value}\r\n\r\n");
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{trailers}");
    let http1 = HttpApp::start(move |_| Reply::Send(answer.clone().into_bytes()));
    for (options, app) in [("--app-protocol h2c", super::h2c::echo()), ("", http1.addr())] {
        let limited = Limited::to_addr(&format!("256M --app-idle-timeout 2m {options}"), app);
        let connector = connector(limited.backend.credentials.instance()).alpn(&["http/1.1"]);
        let mut talk = Talk::by(&connector, limited.measured.sidecar.addr());
        for _ in 0..2 {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Mine\r\n\r\n";
            let answer = talk.ask(&format!("{head}5\r\nhello\r\n{trailers}"));
            assert_eq!(answer.text(), "hello");
            eventually("all of it given back", || (limited.held("backlogs") == 0.0).then_some(()));
        }
        let request = &limited.measured.sidecar.lines_eventually("request completed", 2)[1];
        assert_eq!(request["reused"], true, "{request}");
    }
}

#[test]
fn a_long_head_that_was_sent_holds_less_room_while_its_body_follows() {
    let app = HttpApp::handing_over(|mut stream: TcpStream| {
        let value = "v".repeat(60_000);
        let head = format!("HTTP/1.1 200 OK\r\nX-Long: {value}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all((head + "5\r\nhello\r\n").as_bytes()).unwrap();
        std::mem::forget(stream);
    });
    let limited = Limited::to("256M", &app);
    // As it was read, some times beyond what everybody has; five times until it was sent.
    let is_within = |some: Range<f64>| some.contains(&limited.held("backlogs")).then_some(());
    let mut frames = limited.frames();
    frames.ask(1);
    assert!(frames.answer_head(1).len() >= 16_384);
    eventually("less room over HTTP/2", || is_within(150_000.0..210_000.0));
    drop(frames);
    eventually("all of it given back", || (limited.held("backlogs") == 0.0).then_some(()));
    let connector = connector(limited.backend.credentials.instance()).alpn(&["http/1.1"]);
    let mut talk = Talk::by(&connector, limited.measured.sidecar.addr());
    talk.send(GET);
    assert!(talk.head().len() > 60_000);
    assert_eq!(talk.take(10), b"5\r\nhello\r\n");
    eventually("less room over HTTP/1.1", || is_within(80_000.0..150_000.0));
}

#[test]
fn where_there_is_no_room_for_one_more_connection_it_is_told_so_and_no_more_idle_ones_leave_than_have_to() {
    let app = HttpApp::handing_over(std::mem::forget);
    let limited = Limited::to("8M", &app);
    let mut busy = limited.frames();
    busy.ask(1);
    eventually("a request under way", || (app.asked().len() == 1).then_some(()));
    let mut idle: Vec<Frames> = Vec::new();
    let mut turned_away = loop {
        assert!(idle.len() < 40, "an eighth of 8 MiB has no room for more");
        let mut frames = limited.frames();
        if !frames.is_let_in() {
            break frames;
        }
        idle.push(frames);
    };
    assert!(idle.len() > 15, "{}", idle.len());
    assert_eq!(turned_away.goaway(), (0, CALM_DOWN), "nothing was acted on");
    assert!(turned_away.ends_cleanly());
    let entry = limited.measured.sidecar.access_log_entry("overloaded");
    assert!(entry["detail"].as_str().unwrap().contains("connections that speak HTTP/2"), "{entry}");
    // Whoever has a request under way stays, and so does most of the others.
    let left = limited.measured.sidecar.access_log_entry("idle_timeout");
    assert!(left["duration_ms"].as_f64().unwrap() >= 10_000.0, "{left}");
    assert!(left["detail"].as_str().unwrap().contains("memory for connections that speak HTTP/2 was short"), "{left}");
    eventually("room for others", || (limited.held("streams") <= limited.limit("streams") * 0.75).then_some(()));
    assert!(limited.held("streams") > limited.limit("streams") / 2.0);
    let gone = limited.measured.sidecar.reasons().iter().filter(|reason| *reason == "idle_timeout").count();
    assert!(gone < idle.len() / 2, "{gone} of {}", idle.len());
    // NO_ERROR, in order.
    let told = idle.iter_mut().find(|frames| frames.client_addr() == left["client_addr"].as_str().unwrap());
    assert_eq!(told.unwrap().goaway().1, 0);
    drop(idle);
    busy.ping(1);
    busy.pinged();
    let mut next = limited.frames();
    next.ping(1);
    next.pinged();
    assert!(limited.held("streams") > 0.0);
}

#[test]
fn a_client_that_does_not_know_our_settings_after_all_that_a_connection_begins_with_is_turned_away() {
    let app = HttpApp::saying("ok");
    let limited = Limited::to("64M", &app);
    let mut frames = limited.frames();
    // Requests are no reason, however many.
    for stream in (1..400).step_by(2) {
        frames.ask(stream);
        assert_eq!(frames.answer(stream), b"ok");
    }
    (0..20).for_each(|nth| frames.ask_in_a_long_head(401 + 2 * nth));
    assert_eq!(frames.goaway().1, CALM_DOWN);
    let entry = limited.measured.sidecar.access_log_entry("client_violation");
    assert!(entry["detail"].as_str().unwrap().contains("settings"), "{entry}");
}

#[test]
fn where_there_is_no_room_for_http2_a_client_that_speaks_http1_too_is_served_in_that() {
    let app = HttpApp::handing_over(std::mem::forget);
    let limited = Limited::to("8M", &app);
    let mut all = Vec::new();
    loop {
        let mut frames = limited.frames();
        if !frames.is_let_in() {
            break;
        }
        all.push(frames);
    }
    let connector = connector(limited.backend.credentials.instance());
    let both = connector.clone().alpn(&["h2", "http/1.1"]).connect(limited.measured.sidecar.addr()).unwrap();
    assert_eq!(both.tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    // Who asks for nothing else is not counted.
    connector.clone().alpn(&["http/1.1"]).connect(limited.measured.sidecar.addr()).unwrap();
    let series = limited.measured.series();
    let downgrades = series.iter().find(|(name, _)| name.starts_with("vestibule_http_downgrades_total"));
    assert_eq!(downgrades.map(|(_, count)| *count), Some(1.0));
    drop(all);
    eventually("room for HTTP/2", || {
        let both = connector.clone().alpn(&["h2", "http/1.1"]).connect(limited.measured.sidecar.addr()).unwrap();
        (both.tls.alpn_protocol() == Some(&b"h2"[..])).then_some(())
    });
}
