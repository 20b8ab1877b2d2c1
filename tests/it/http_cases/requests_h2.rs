//! `requests-h2.json`: frames of a client, the answer on stream 1 or to the connection, and what reaches the app.

use std::time::{Duration, Instant};

use super::cases::Case;
use super::front::Front;
use super::judge;
use super::recorder::{Recorded, Script};
use super::requests::{LIMIT, own_answer};
use super::streams::{Stream, Streams, get};
use super::wire::{More, Wire};

/// How long abuse may go on, and what it may cost.
const ABUSE: (Duration, u64) = (Duration::from_secs(1), 1024);

/// What a client saw.
#[derive(Debug, Default)]
struct ObservedResponse {
    stream: Stream,
    goaway: Vec<u32>,
    closed: bool,
    /// From the first byte that was written to the answer.
    after: Duration,
    wrong: Option<String>,
}

/// Runs one case. Gives what is wrong, and what reached the app.
pub(super) fn run(case: &Case, front: &Front) -> (Vec<String>, Vec<Recorded>) {
    front.app.answer(Script::Ok);
    let before = (case.group == "abuse").then(|| {
        // What the first requests cost is not the abuse's.
        (0..2).for_each(|_| drop(front.connect("h2").map(|wire| watch(&[&get(1, "a", false)], &["200"], wire))));
        drop(front.app.take());
        front.memory()
    });
    let alternatives: Vec<&str> = case.get("answer").unwrap().split('|').collect();
    let parts: Vec<&[u8]> = case.send.iter().map(Vec::as_slice).collect();
    let (seen, kept) = match front.connect("h2") {
        Ok(wire) => watch(&parts, &alternatives, wire),
        Err(error) => {
            (ObservedResponse { wrong: Some(format!("no connection: {error}")), ..ObservedResponse::default() }, None)
        }
    };
    let memory = front.memory();
    drop(kept);
    let (recorded, late) = front.app.take();
    let mut wrong: Vec<String> = seen.wrong.clone().into_iter().chain(late).collect();
    if let Some(before) = before {
        let grown = memory.saturating_sub(before);
        if grown >= ABUSE.1 {
            wrong.push(format!("{grown} KiB more memory"));
        }
        if seen.after > ABUSE.0 {
            wrong.push(format!("answered after {:?}", seen.after));
        }
    }
    if seen.wrong.is_none() {
        wrong.extend(answer(case, front, &seen, &alternatives));
    }
    wrong.extend(judge::at_app(&case.app(), &case.list("absent"), &recorded));
    (wrong, recorded)
}

/// Writes, and watches what comes. The connection is given back, open.
fn watch(parts: &[&[u8]], alternatives: &[&str], mut wire: Wire) -> (ObservedResponse, Option<Wire>) {
    let (mut seen, mut streams) = (ObservedResponse::default(), Streams::default());
    let started = Instant::now();
    for part in parts {
        // Whoever is sent away need not be listened to.
        if wire.send(part).is_err() {
            break;
        }
    }
    // Where only the whole connection may be ended, answers on the stream do not end the wait.
    let waits_for_goaway = alternatives.iter().all(|one| one.starts_with("goaway"));
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Err(fault) = streams.take_in(&mut wire.bytes) {
            seen.wrong = Some(format!("no client can read what comes: {fault}"));
        }
        let is_closed = streams.stream(1).is_closed() && !waits_for_goaway;
        if seen.wrong.is_some() || is_closed || streams.goaway.iter().any(|code| *code != 0) {
            break;
        }
        if wire.more(deadline) != More::Bytes {
            break;
        }
    }
    seen.after = started.elapsed();
    (seen.stream, seen.goaway, seen.closed) = (streams.stream(1), streams.goaway, wire.ended.is_some());
    (seen, Some(wire))
}

/// The answer, held to the case.
fn answer(case: &Case, front: &Front, seen: &ObservedResponse, alternatives: &[&str]) -> Option<String> {
    let answer = seen.stream.answer();
    if alternatives.iter().any(|one| is_seen(one, seen)) {
        let answer = answer.filter(|_| seen.stream.ended)?;
        return own_answer(case.get("reason"), front, answer.status, &answer.fields, &answer.body);
    }
    let status = answer.map(|answer| answer.status);
    let (reset, goaway) = (seen.stream.reset, &seen.goaway);
    let end = if seen.closed { ", then the close" } else { "" };
    Some(format!("status {status:?}, RST_STREAM {reset:?}, GOAWAY {goaway:?}{end} instead of {alternatives:?}"))
}

/// Whether this alternative came: a status, `rst(N)` or `goaway(N)`.
fn is_seen(alternative: &str, seen: &ObservedResponse) -> bool {
    let code = |kind: &str| -> Option<u32> {
        let code = alternative.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')')?;
        Some(code.parse().unwrap())
    };
    if let Some(code) = code("rst") {
        return seen.stream.reset == Some(code);
    }
    if let Some(code) = code("goaway") {
        return seen.goaway.contains(&code);
    }
    let status: u16 = alternative.parse().unwrap_or_else(|_| panic!("no answer is called {alternative}"));
    seen.stream.ended && seen.stream.answer().is_some_and(|answer| answer.status == status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_over_http2_is_a_status_a_reset_or_a_goaway() {
        let mut reset = ObservedResponse::default();
        reset.stream.reset = Some(1);
        let goaway = ObservedResponse { goaway: vec![0, 11], ..ObservedResponse::default() };
        assert!(is_seen("rst(1)", &reset) && !is_seen("rst(2)", &reset) && !is_seen("goaway(1)", &reset));
        assert!(is_seen("goaway(11)", &goaway) && !is_seen("goaway(1)", &goaway) && !is_seen("rst(11)", &goaway));
        assert!(!is_seen("200", &reset));
        let mut streams = Streams::default();
        streams.take_in(&mut b"\0\0\x01\x01\x04\0\0\0\x01\x88".to_vec()).unwrap();
        let mut answered = ObservedResponse { stream: streams.stream(1), ..ObservedResponse::default() };
        assert!(!is_seen("200", &answered));
        answered.stream.ended = true;
        assert!(is_seen("200", &answered) && !is_seen("400", &answered));
    }
}
