//! `requests-h1.json`: bytes of a client, the answers to them, and what reaches the app.

use std::time::{Duration, Instant};

use super::cases::Case;
use super::front::Front;
use super::judge;
use super::message::{self, Answer};
use super::recorder::{AFTER, AFTERWARDS, Recorded, Script};
use super::wire::{More, Wire};

/// How long an answer or a close may take.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// How long nothing may come where 408 is a good answer, since the limit for it is longer.
const SILENCE: Duration = Duration::from_secs(2);

/// What a client saw.
#[derive(Debug, Default)]
struct ObservedResponse {
    answers: Vec<Answer>,
    /// The answer to the request that followed.
    after: Option<Answer>,
    /// The other side's sending ended.
    closed: bool,
    /// Nothing came where something may be late.
    silent: bool,
    wrong: Vec<String>,
}

/// Runs one case. Gives what is wrong, and what reached the app.
pub(super) fn run(case: &Case, front: &Front) -> (Vec<String>, Vec<Recorded>) {
    front.app.answer(Script::Ok);
    let seen = match front.connect("http/1.1") {
        Ok(wire) => watch(case, wire),
        Err(error) => {
            ObservedResponse { wrong: vec![format!("no connection: {error}")], ..ObservedResponse::default() }
        }
    };
    // The connection is closed: what the app has of it is all of it.
    let (recorded, late) = front.app.take();
    let mut wrong = seen.wrong.clone();
    wrong.extend(late);
    wrong.extend(answers(case, front, &seen));
    wrong.extend(judge::at_app(&case.app(), &case.list("absent"), &recorded));
    (wrong, recorded)
}

/// Writes, and watches what comes.
fn watch(case: &Case, mut wire: Wire) -> ObservedResponse {
    let mut seen = ObservedResponse::default();
    for part in &case.send {
        // Who is refused early need not read it all.
        if wire.send(part).is_err() {
            break;
        }
    }
    let expected = case.list("answers");
    let count = expected.iter().filter(|entry| !entry.ends_with('?')).count();
    let may_be_silent = expected.iter().any(|entry| entry.split('|').any(|one| one == "408"));
    let started = Instant::now();
    let deadline = started + if may_be_silent { SILENCE } else { LIMIT };
    while seen.answers.iter().filter(|answer| answer.status >= 200).count() < count {
        match next(&mut wire, deadline) {
            Ok(Some(answer)) => seen.answers.push(answer),
            Ok(None) => break,
            Err(fault) => return ObservedResponse { wrong: vec![fault], ..seen },
        }
    }
    seen.closed = wire.ended.is_some();
    seen.silent = may_be_silent && !seen.closed && seen.answers.is_empty() && wire.bytes.is_empty();
    if seen.silent {
        return seen;
    }
    match case.get("connection") {
        Some("close") => {
            // What comes before the close is an answer too.
            while !seen.closed {
                match next(&mut wire, Instant::now() + LIMIT) {
                    Ok(Some(answer)) => seen.answers.push(answer),
                    Ok(None) if wire.ended.is_none() => break,
                    Ok(None) => seen.closed = true,
                    Err(fault) => return ObservedResponse { wrong: vec![fault], ..seen },
                }
            }
        }
        Some("open") if !seen.closed => {
            let request = format!("GET {} HTTP/1.1\r\nHost: {AFTERWARDS}\r\n\r\n", open_target(case));
            let _ = wire.send(request.as_bytes());
            loop {
                match next(&mut wire, Instant::now() + LIMIT) {
                    Ok(Some(answer)) if answer.body == AFTER => break seen.after = Some(answer),
                    Ok(Some(answer)) => seen.answers.push(answer),
                    Ok(None) => break,
                    Err(fault) => return ObservedResponse { wrong: vec![fault], ..seen },
                }
            }
            seen.closed = wire.ended.is_some();
        }
        _ => {}
    }
    if !wire.bytes.is_empty() {
        seen.wrong.push(format!("came and is no answer: {:?}", super::cases::latin1(&wire.bytes)));
    }
    seen
}

/// The next answer; `None` if none came in time, or the connection ended.
pub(super) fn next(wire: &mut Wire, deadline: Instant) -> Result<Option<Answer>, String> {
    loop {
        let ended = wire.ended_cleanly();
        let read = message::answer(&wire.bytes, ended).map_err(|fault| format!("no answer can be read: {fault}"))?;
        if let Some((answer, length)) = read {
            wire.bytes.drain(..length);
            return Ok(Some(answer));
        }
        if wire.more(deadline) != More::Bytes && wire.ended_cleanly() == ended {
            return Ok(None);
        }
    }
}

/// A target that anybody may ask for.
fn open_target(case: &Case) -> &str {
    let routes = case.settings["route"].as_array().into_iter().flatten();
    let mut open =
        routes.filter(|route| route["allow"].as_array().is_some_and(|allow| allow.contains(&"anonymous".into())));
    open.next().map_or("/", |route| route["path"].as_str().unwrap())
}

/// The answers and the connection's end, held to the case.
fn answers(case: &Case, front: &Front, seen: &ObservedResponse) -> Vec<String> {
    let mut wrong = Vec::new();
    if seen.silent || !seen.wrong.is_empty() {
        return wrong;
    }
    let expected = case.list("answers");
    let entries: Vec<&str> = expected.iter().map(String::as_str).collect();
    let statuses: Vec<u16> = seen.answers.iter().map(|answer| answer.status).collect();
    if !judge::are_these(&entries, &statuses, seen.closed) {
        let closed = if seen.closed { ", then the close" } else { "" };
        wrong.push(format!("answered {statuses:?}{closed} instead of {expected:?}"));
    }
    match case.get("connection") {
        Some("close") if !seen.closed => wrong.push(format!("still open after {LIMIT:?}")),
        Some("open") if seen.after.is_none() => wrong.push("cannot be used any more".to_owned()),
        Some("open" | "close" | "any") => {}
        other => panic!("{}: connection: {other:?}", case.name),
    }
    for answer in &seen.answers {
        wrong.extend(own_answer(case.get("reason"), front, answer.status, &answer.fields, &answer.body));
    }
    wrong
}

/// An answer in the app's place, held to the form that all of them have, to the reason, and to the access log.
pub(super) fn own_answer(
    reason: Option<&str>,
    front: &Front,
    status: u16,
    fields: &message::Fields,
    body: &str,
) -> Option<String> {
    match status {
        100..200 => None,
        200 => (body != "ok").then(|| format!("the body of the app's answer is {body:?}")),
        _ if !front.is_vestibule() => None,
        _ => match judge::problem(status, fields, body) {
            Err(wrong) => Some(wrong),
            Ok((said, _)) if reason.is_some_and(|reason| reason != said) => {
                Some(format!("the reason is {said} instead of {}", reason.unwrap_or_default()))
            }
            Ok((said, id)) => front.logged(status, &said, &id),
        },
    }
}
