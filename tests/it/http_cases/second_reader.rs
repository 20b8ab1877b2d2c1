//! The bytes that reached the app, read a second time by a parser of another language: Python's h11.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::message::Request;
use super::recorder::Recorded;
use crate::support::machine::{lacks, python_that};

/// Reads a JSON array of hex texts, one for a connection, and writes what h11 makes of each, byte for byte in Latin-1.
const PROGRAM: &str = r#"
import sys, json, h11

def read(data):
    connection, requests = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20), []
    text = lambda bytes: bytes.decode("latin-1")
    pairs = lambda headers: [[text(name), text(value)] for name, value in headers]
    connection.receive_data(data)
    request = None
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return requests
            if event is h11.PAUSED:
                connection.start_next_cycle()
            elif isinstance(event, h11.Request):
                request = dict(method=text(event.method), target=text(event.target), fields=pairs(event.headers), body="")
            elif isinstance(event, h11.Data):
                request["body"] += text(bytes(event.data))
            elif isinstance(event, h11.ConnectionClosed):
                return requests
            elif isinstance(event, h11.EndOfMessage):
                request["trailers"] = pairs(event.headers)
                requests.append(request)
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return requests
    except h11.RemoteProtocolError as error:
        return str(error)

json.dump([read(bytes.fromhex(data)) for data in json.load(sys.stdin)], sys.stdout)
"#;

/// Connections whose requests, as h11 reads them, are not those that were recorded, by the name of their case.
pub(super) fn disagreements(recorded: &[(String, Recorded)]) -> Vec<String> {
    let Some(python) = python_that("import h11") else {
        lacks("h11");
        return Vec::new();
    };
    // Nothing at all is the end to h11, and raw UTF-8 in a target is none.
    let can_be_read =
        |record: &Recorded| !record.bytes.is_empty() && record.requests.iter().all(|request| request.target.is_ascii());
    let connections: Vec<_> = recorded.iter().filter(|(_, record)| can_be_read(record)).collect();
    let input: Vec<String> = connections.iter().map(|(_, record)| hex(&record.bytes)).collect();
    let mut child =
        Command::new(python).args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(input).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "h11: {}", output.status);
    let read: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let pairs = connections.iter().zip(read);
    let others =
        pairs.filter(|((_, record), read)| *read != Value::Array(record.requests.iter().map(as_json).collect()));
    others.map(|((name, record), read)| format!("{name}: h11 reads {read} of {:?}", record.requests)).collect()
}

fn as_json(request: &Request) -> Value {
    let Request { method, target, fields, body, trailers, .. } = request;
    json!({"method": method, "target": target, "fields": fields, "body": body, "trailers": trailers})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn another_parser_is_asked_and_heard() {
    let same = Recorded::of(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(same.requests.len(), 2);
    let cut = Recorded::of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    let mut unseen = Recorded::of("");
    unseen.bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let names = ["same", "cut", "unseen", "empty"].map(str::to_owned);
    let found = disagreements(&names.into_iter().zip([same, cut, unseen, Recorded::of("")]).collect::<Vec<_>>());
    if python_that("import h11").is_some() {
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("unseen"), "{found:#?}");
    }
}
