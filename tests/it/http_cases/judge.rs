//! What was seen, held to what a case says. Plain functions: each gives a sentence for whatever is wrong.

use serde_json::Value;

use super::cases::{AtApp, Wanted};
use super::message::{self, Answer, Fields, Framing, Request};
use super::recorder::{AFTERWARDS, Recorded};

/// Identity fields: no client without a certificate has the app see one, in whatever spelling.
const IDENTITY: [&str; 6] = [
    "x-forwarded-client-cert",
    "client-cert",
    "client-cert-chain",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "l5d-client-id",
];

/// What our own fields begin with.
const OURS: &str = "x-vestibule-";

/// The reasons of our own answers, by status.
const REASONS: [(u16, &[&str]); 15] = [
    (
        400,
        &["bad_framing", "bad_request", "host_mismatch", "path_ambiguous", "path_changed", "xfcc_invalid", "not_http"],
    ),
    (401, &["certificate_required"]),
    (403, &["denied", "path_not_allowed", "method_not_allowed", "caller_untrusted"]),
    (405, &["trace"]),
    (408, &["timeout"]),
    (413, &["body_too_large"]),
    (414, &["target_too_long"]),
    (417, &["expectation"]),
    (421, &["misdirected"]),
    (431, &["head_too_large"]),
    (501, &["not_implemented"]),
    (502, &["app_closed", "app_bad_answer"]),
    (503, &["app_unreachable", "draining", "overloaded"]),
    (504, &["app_timeout"]),
    (505, &["bad_request", "not_http"]),
];

/// A name as CGI, WSGI and Rack read it.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Whether the answers that came, all of them or until the connection was `closed`, are these: a status, `|` between
/// statuses, `?` behind one that may be missing, `-` for a close without an answer.
pub(super) fn are_these(expected: &[&str], seen: &[u16], closed: bool) -> bool {
    let Some((first, rest)) = expected.split_first() else { return seen.is_empty() };
    let (statuses, optional) = first.strip_suffix('?').map_or((*first, false), |statuses| (statuses, true));
    let is_first = |status: &u16| statuses.split('|').any(|one| one.parse() == Ok(*status));
    (seen.first().is_some_and(is_first) && are_these(rest, &seen[1..], closed))
        || (optional && are_these(rest, seen, closed))
        || (seen.is_empty() && closed && rest.is_empty() && statuses.split('|').any(|one| one == "-"))
}

/// The answer of our own: `application/problem+json` and `Vestibule-Reason`, which agree. Gives the reason and the id.
pub(super) fn problem(status: u16, fields: &Fields, body: &str) -> Result<(String, String), String> {
    let said = message::values(fields, "vestibule-reason");
    let [reason] = said[..] else { return Err(format!("{status} with Vestibule-Reason {said:?}")) };
    let kind = message::values(fields, "content-type");
    if kind != ["application/problem+json"] {
        return Err(format!("{status} with Content-Type {kind:?}"));
    }
    let document: Value =
        serde_json::from_str(body).map_err(|error| format!("{status}: its body is no JSON: {error}: {body:?}"))?;
    let members: Vec<_> = document.as_object().into_iter().flat_map(|object| object.keys()).collect();
    let mut unknown = members.iter().filter(|key| !["type", "title", "status", "reason", "id"].contains(&key.as_str()));
    if let Some(key) = unknown.next() {
        return Err(format!("{status}: its body tells of {key}"));
    }
    if document["type"] != "about:blank" || document["status"] != status || !document["title"].is_string() {
        return Err(format!("{status}: its body says {body}"));
    }
    if document["reason"] != reason {
        return Err(format!("{status}: Vestibule-Reason is {reason}, the body's reason {}", document["reason"]));
    }
    let known = REASONS.iter().find(|(of, _)| *of == status).is_some_and(|(_, known)| known.contains(&reason));
    if !known {
        return Err(format!("{status} for the reason {reason}"));
    }
    match document["id"].as_str() {
        Some(id) if !id.is_empty() => Ok((reason.to_owned(), id.to_owned())),
        _ => Err(format!("{status}: no id in {body}")),
    }
}

/// The requests of a case, without the one that followed it.
pub(super) fn of_the_case(connections: &[Recorded]) -> Vec<&Request> {
    let requests = connections.iter().flat_map(|connection| &connection.requests);
    requests.filter(|request| !is_afterwards(request)).collect()
}

pub(super) fn is_afterwards(request: &Request) -> bool {
    message::values(&request.fields, "host") == [AFTERWARDS]
}

/// What reached the app, held to the case; `absent` must be in none of it.
pub(super) fn at_app(app: &AtApp, absent: &[String], connections: &[Recorded]) -> Vec<String> {
    let mut wrong: Vec<String> = Vec::new();
    let requests = of_the_case(connections);
    let faults = connections.iter().filter_map(|connection| connection.fault.as_ref());
    wrong.extend(faults.map(|fault| format!("the app cannot read what came: {fault}")));
    for request in &requests {
        wrong.extend(always(request));
        wrong.extend(without(absent, &request.fields));
        wrong.extend(without(absent, &request.trailers));
        let announced = message::words(&request.fields, "trailer").into_iter().map(|name| (name, String::new()));
        wrong.extend(without(absent, &announced.collect()));
    }
    match app {
        AtApp::Any => {}
        AtApp::Nothing => {
            // The request that follows a case is not of it.
            let others =
                connections.iter().filter(|one| one.is_cut() || !of_the_case(std::slice::from_ref(one)).is_empty());
            wrong.extend(others.map(|one| format!("reached the app: {:?}", super::cases::latin1(&one.bytes))));
        }
        AtApp::Incomplete => {
            wrong.extend(requests.iter().map(|request| format!("a whole request reached the app: {request:?}")));
        }
        AtApp::Requests(wanted) => {
            let cut = connections.iter().filter(|connection| connection.is_cut());
            wrong.extend(cut.map(|one| format!("cut off at the app: {:?}", super::cases::latin1(&one.bytes))));
            if wanted.len() != requests.len() {
                wrong.push(format!("{} requests at the app instead of {}: {requests:?}", requests.len(), wanted.len()));
            }
            wrong.extend(wanted.iter().zip(&requests).flat_map(|(wanted, got)| request(wanted, got)));
        }
    }
    wrong
}

/// One request, held to the one that is wanted.
pub(super) fn request(wanted: &Wanted, got: &Request) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, wanted, got) in [
        ("method", &wanted.method, &got.method),
        ("target", &wanted.target, &got.target),
        ("body", &wanted.body, &got.body),
    ] {
        if wanted != got {
            wrong.push(format!("{what} at the app: {got:?} instead of {wanted:?}"));
        }
    }
    let is_listed = |name: &str| wanted.fields.iter().any(|(listed, _)| listed == name);
    let is_left_out = |name: &str| {
        ["content-length", "transfer-encoding", "trailer", "connection"].contains(&name)
            || name.starts_with("x-forwarded-")
            || IDENTITY.contains(&name)
    };
    let mut fields = got.fields.clone();
    fields.retain(|(name, _)| is_listed(name) || !is_left_out(name));
    let (mut left, mut right) = (wanted.fields.clone(), fields);
    left.sort();
    right.sort();
    if left != right {
        wrong.push(format!("fields at the app: {right:?} instead of {left:?}"));
    }
    if wanted.trailers.as_ref().is_some_and(|trailers| *trailers != got.trailers) {
        wrong.push(format!("trailers at the app: {:?} instead of {:?}", got.trailers, wanted.trailers));
    }
    wrong
}

/// What holds for every request that reaches the app. (That it is framed once, the reader has seen.)
fn always(request: &Request) -> Vec<String> {
    let mut wrong = Vec::new();
    let hosts = message::values(&request.fields, "host");
    if hosts.len() != 1 {
        wrong.push(format!("Host at the app: {hosts:?}"));
    }
    if request.framing == Framing::NoBody && !request.body.is_empty() {
        wrong.push("a body at the app that nothing frames".to_owned());
    }
    for nominated in message::words(&request.fields, "connection") {
        if request.fields.iter().any(|(name, _)| *name == nominated) {
            wrong.push(format!("Connection at the app names {nominated}, and it is there"));
        }
    }
    for (name, value) in request.fields.iter().chain(&request.trailers) {
        let folded = folded(name);
        if IDENTITY.contains(&folded.as_str()) || folded.starts_with(OURS) {
            wrong.push(format!("the app is told who called by {name}: {value}"));
        }
    }
    wrong
}

/// The names of `absent`, or names with values, that are among `fields` in some spelling.
pub(super) fn without(absent: &[String], fields: &Fields) -> Vec<String> {
    let found = absent.iter().filter(|entry| {
        let (name, value) = entry.split_once('=').map_or((entry.as_str(), None), |(name, value)| (name, Some(value)));
        fields.iter().any(|(is, has)| folded(is) == folded(name) && value.is_none_or(|value| value == has))
    });
    found.map(|entry| format!("arrived all the same: {entry}")).collect()
}

/// An answer, held to what must and must not be in it: `name`, `name=value`, `trailer name`; a word that is absent is in no
/// body and is no transfer coding either.
pub(super) fn contents(present: &[String], absent: &[String], answer: &Answer) -> Vec<String> {
    let mut wrong = without(absent, &answer.fields);
    wrong.extend(without(absent, &answer.trailers));
    let codings = message::words(&answer.fields, "transfer-encoding");
    for word in absent.iter().filter(|entry| !entry.contains('=')) {
        if answer.body.contains(word.as_str()) || codings.contains(word) {
            wrong.push(format!("arrived all the same: {word}"));
        }
    }
    for entry in present {
        let (fields, field) =
            entry.strip_prefix("trailer ").map_or((&answer.fields, entry.as_str()), |field| (&answer.trailers, field));
        let is_there = match field.split_once('=') {
            Some((name, value)) => message::values(fields, name).contains(&value),
            None => answer.version == field || !message::values(fields, field).is_empty(),
        };
        if !is_there {
            wrong.push(format!("missing: {entry}"));
        }
    }
    wrong
}
