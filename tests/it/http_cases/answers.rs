//! `answers-h1.json`: bytes of an app, and what a client is told of them.

use std::time::Instant;

use super::cases::Case;
use super::front::Front;
use super::judge;
use super::message::{self, Answer, Fields};
use super::recorder::{AFTER, AFTERWARDS, Recorded, Script};
use super::requests::{LIMIT, next, own_answer};
use super::streams::{Streams, get};
use super::wire::{More, Wire};

/// What a client saw.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) interim: Vec<u16>,
    /// The answer, whole or as far as it came.
    pub(super) answer: Option<Answer>,
    pub(super) is_whole: bool,
    pub(super) wrong: Option<String>,
}

/// Runs one case; the client speaks `http/1.1` or `h2`.
pub(super) fn run(case: &Case, front: &Front, alpn: &str) -> Vec<String> {
    let bytes = case.send.concat();
    // Where its connection is to be used again the app must not be the one that ends it.
    front.app.answer(Script::Bytes { bytes, closes: case.is("reuse") != Some(true) });
    let told = match (front.connect(alpn), alpn) {
        (Ok(wire), "h2") => over_h2(wire),
        (Ok(wire), _) => over_h1(wire),
        (Err(error), _) => Told { wrong: Some(format!("no connection: {error}")), ..Told::default() },
    };
    let (recorded, late) = front.app.take();
    let mut wrong: Vec<String> = told.wrong.clone().into_iter().chain(late).collect();
    wrong.extend(judged(case, front, &told, alpn));
    wrong.extend(reuse(case, &recorded));
    let asked = judge::of_the_case(&recorded).len();
    if asked != 1 && told.answer.is_some() {
        wrong.push(format!("the app was asked {asked} times"));
    }
    wrong
}

fn over_h1(mut wire: Wire) -> Told {
    let mut told = Told::default();
    let _ = wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    loop {
        match next(&mut wire, Instant::now() + LIMIT) {
            Ok(Some(answer)) if answer.status < 200 && answer.status != 101 => told.interim.push(answer.status),
            Ok(Some(answer)) => {
                (told.answer, told.is_whole) = (Some(answer), true);
                break;
            }
            Ok(None) => break,
            Err(fault) => {
                told.wrong = Some(fault);
                return told;
            }
        }
    }
    if !told.is_whole {
        if wire.ended.is_none() {
            told.wrong = Some(format!("neither whole nor cut off within {LIMIT:?}"));
        }
        told.answer = message::beginning(&wire.bytes);
        return told;
    }
    // On the same connection, if it still is one: what is behind the answer, and which connection to the app is used?
    let _ = wire.send(format!("GET / HTTP/1.1\r\nHost: {AFTERWARDS}\r\n\r\n").as_bytes());
    match next(&mut wire, Instant::now() + LIMIT) {
        Ok(Some(answer)) if answer.body == AFTER => {}
        Ok(None) if wire.ended.is_some() && wire.bytes.is_empty() => {}
        other => told.wrong = Some(format!("what follows is {other:?}")),
    }
    told
}

fn over_h2(mut wire: Wire) -> Told {
    let mut told = Told::default();
    let mut streams = Streams::default();
    let _ = wire.send(&get(1, "a", true));
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Err(fault) = streams.take_in(&mut wire.bytes) {
            told.wrong = Some(fault);
            return told;
        }
        let stream = streams.stream(1);
        if stream.ended || stream.reset.is_some() || streams.goaway.iter().any(|code| *code != 0) {
            break;
        }
        match wire.more(deadline) {
            More::Bytes => {}
            More::Ended => break,
            More::Nothing => {
                told.wrong = Some(format!("neither whole nor cut off within {LIMIT:?}"));
                break;
            }
        }
    }
    let stream = streams.stream(1);
    told.is_whole = stream.ended;
    told.interim = stream.interim.clone();
    told.answer = stream.answer();
    if told.is_whole && wire.ended.is_none() {
        let _ = wire.send(&get(3, AFTERWARDS, false));
        while !streams.stream(3).is_closed() && wire.more(Instant::now() + LIMIT) == More::Bytes {
            told.wrong = streams.take_in(&mut wire.bytes).err();
        }
        let after = streams.stream(3).answer();
        if after.as_ref().is_none_or(|answer| answer.body != AFTER) {
            told.wrong = Some(format!("what follows is {after:?}"));
        }
    }
    told
}

/// What the client was told, held to the case.
fn judged(case: &Case, front: &Front, told: &Told, alpn: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let statuses: Vec<u16> =
        told.interim.iter().copied().chain(told.answer.as_ref().map(|answer| answer.status)).collect();
    let expected: Vec<&str> = case.get("client").unwrap().split(' ').collect();
    if !judge::are_these(&expected, &statuses, false) {
        wrong.push(format!("the client is answered {statuses:?} instead of {expected:?}"));
        return wrong;
    }
    match case.get("end") {
        Some("complete") if !told.is_whole => wrong.push("the answer is cut off".to_owned()),
        Some("cut") if told.is_whole => wrong.push("nobody can see that the answer is not whole".to_owned()),
        Some("complete" | "cut") => {}
        other => panic!("{}: end: {other:?}", case.name),
    }
    let Some(answer) = &told.answer else { return wrong };
    if answer.status == 502 {
        wrong.extend(own_answer(None, front, answer.status, &answer.fields, &answer.body));
    } else {
        if case.get("body").is_some_and(|body| told.is_whole && body != answer.body) {
            wrong.push(format!("the body is {:?}", answer.body));
        }
        let mut present = case.list("present");
        // Over HTTP/2 no version is written.
        present.retain(|entry| alpn != "h2" || !entry.starts_with("HTTP/"));
        wrong.extend(judge::contents(&present, &case.list("absent"), answer));
        wrong.extend(hop_by_hop(&answer.fields, alpn));
    }
    wrong
}

/// Fields that are of one connection alone, or must not come twice.
fn hop_by_hop(fields: &Fields, alpn: &str) -> Option<String> {
    let mut none = vec!["keep-alive", "proxy-connection", "upgrade", "te"];
    if alpn == "h2" {
        none.extend(["connection", "transfer-encoding"]);
    }
    let found = fields.iter().find(|(name, _)| none.contains(&name.as_str()));
    let dates = message::values(fields, "date").len();
    found
        .map(|(name, _)| format!("{name} is passed on"))
        .or_else(|| (dates != 1).then(|| format!("{dates} Date fields")))
}

/// Which connection to the app carried what followed, held to the case.
fn reuse(case: &Case, recorded: &[Recorded]) -> Option<String> {
    let is_first = |connection: &&Recorded| !judge::of_the_case(std::slice::from_ref(*connection)).is_empty();
    let reused = recorded.iter().filter(is_first).any(|first| first.requests.iter().any(judge::is_afterwards));
    match case.is("reuse") {
        Some(wanted) if wanted != reused => Some(format!("the connection to the app carried what followed: {reused}")),
        _ => None,
    }
}
