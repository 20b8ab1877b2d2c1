//! Our reading of requests beside hyper's: whatever bytes come, and however they are cut, hyper sees the requests that were judged and no
//! others, with the bodies that were announced.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::head_rules::{HeadRules, HttpRole, MAX_HEAD};
use super::head_scan::{BodyLength, RequestHead, RequestScan};
use super::scanned_stream::{RequestSource, ScannedStream};
use crate::budget::Budgets;

/// How often everybody has their turn until all that can be answered is.
const ROUNDS: usize = 512;

/// How one request was read: by us, and by hyper.
#[derive(Debug)]
struct ReadRequest {
    /// `None`: it was refused.
    head: Option<RequestHead>,
    /// Its method.
    method: String,
    /// What hyper takes for the length of the body.
    length: Option<u64>,
    /// What the body had, if it came to its end.
    body: Option<usize>,
}

impl RequestSource for DuplexStream {
    fn has_peer_closed(&self) -> bool {
        false
    }
}

/// Has hyper serve `bytes` as an app says them to the forward proxy, in pieces of `piece`, and says where the two readings differ; how many
/// requests there were.
///
/// # Panics
/// Where they do.
pub fn agree(bytes: &[u8], piece: usize) -> usize {
    compare(bytes, piece, HeadRules::forward_proxy(MAX_HEAD))
}

/// The same for what clients say to a listener in HTTP mode.
///
/// # Panics
/// Where the readings differ.
pub fn agree_as_server(bytes: &[u8], piece: usize) -> usize {
    compare(bytes, piece, HeadRules { role: HttpRole::Server, ..HeadRules::forward_proxy(MAX_HEAD) })
}

fn compare(bytes: &[u8], piece: usize, rules: HeadRules) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let methods = methods(bytes, &rules);
    let requests = runtime.block_on(serve(bytes, piece.max(1), Arc::new(rules)));
    for (at, ReadRequest { head, method, length, body }) in requests.iter().enumerate() {
        let Some(head) = head else { continue };
        // The first line is where both say that it is.
        assert_eq!(methods.get(at), Some(method), "request {at}");
        match head.body {
            BodyLength::Known(known) => {
                assert_eq!(*length, Some(known), "{head:?}");
                assert!(body.is_none_or(|body| body as u64 == known), "{head:?}: {body:?}");
            }
            BodyLength::Chunked => assert_eq!(*length, None, "{head:?}"),
        }
    }
    requests.len()
}

/// The methods of the requests that we find in `bytes`, if none of them switches.
fn methods(bytes: &[u8], rules: &HeadRules) -> Vec<String> {
    let (mut scan, mut held, mut methods) = (RequestScan::default(), Vec::new(), Vec::new());
    for byte in bytes {
        held.push(*byte);
        let head = String::from_utf8_lossy(&held).into_owned();
        let passed = scan.pass(rules, &held, usize::MAX, |_| {
            methods.push(head.trim_start_matches(['\r', '\n']).split(' ').next().unwrap_or_default().to_owned());
        });
        held.drain(..passed.bytes);
        if let RequestScan::Switching(_) = scan {
            scan = RequestScan::default();
        }
    }
    methods
}

async fn serve(bytes: &[u8], piece: usize, rules: Arc<HeadRules>) -> Vec<ReadRequest> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let stream =
        ScannedStream::new(server, rules, Duration::from_secs(1), Budgets::new(None, None).backlogs.reservation());
    let (heads, seen) = (stream.heads(), Arc::new(Mutex::new(Vec::<ReadRequest>::new())));
    let service = service_fn(|request: Request<Incoming>| {
        let (heads, seen) = (heads.clone(), Arc::clone(&seen));
        async move {
            let (judged, in_flight) = heads.next().expect("hyper has found a request where we have found none");
            if judged.is_ok_and(|head| head.switch.is_some()) {
                heads.resume();
            }
            let (method, length) = (request.method().to_string(), request.body().size_hint().exact());
            let at = {
                let mut seen = seen.lock().unwrap();
                seen.push(ReadRequest { head: judged.ok(), method, length, body: None });
                seen.len() - 1
            };
            let body = request.into_body().collect().await;
            if let Ok(body) = body {
                seen.lock().unwrap()[at].body = Some(body.to_bytes().len());
            }
            drop(in_flight);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let asking = async {
        for piece in bytes.chunks(piece) {
            if client.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        // One that ends its sending before it is answered is taken for gone.
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await;
        let mut answers = Vec::new();
        let _ = client.read_to_end(&mut answers).await;
    };
    let over = tokio::time::timeout(Duration::from_secs(3), async { tokio::join!(serving, asking) }).await;
    assert!(over.is_ok(), "it does not come to an end, though the app is done");
    let mut seen = seen.lock().unwrap();
    std::mem::take(&mut *seen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINES: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "PUT http://a/ HTTP/1.0\r\n",
        "GET\r\n",
    ];

    const FIELDS: &[&str] = &[
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: +5\r\n",
        "content-length : 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding:\tCHUNKED \r\n",
        "Connection: Upgrade\r\nUpgrade: x\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        " folded\r\n",
        "a: b\n",
        "a\0: b\r\n",
    ];

    const BODIES: &[&str] = &[
        "hello",
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "05;a=b\r\nhello\r\n",
        "0\r\n\r\n",
        "5\nhello\n",
        "fffffffffffffffff\r\n",
        "\r\n",
        "\n",
        "",
    ];

    /// A request that may be right.
    fn request() -> impl Strategy<Value = String> {
        let one = |of: &'static [&'static str]| prop::sample::select(of);
        let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n"), 1 => Just("")];
        let parts =
            (one(LINES), prop::collection::vec(one(FIELDS), 0..4), end, prop::collection::vec(one(BODIES), 0..3));
        parts.prop_map(|(line, fields, end, bodies)| [line, &fields.concat(), end, &bodies.concat()].concat())
    }

    #[test]
    fn requests_behind_one_another_and_one_that_is_refused_are_all_seen() {
        let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
            POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
            GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for size in [1, 7, usize::MAX] {
            assert_eq!((agree(bytes, size), agree_as_server(bytes, size)), (3, 3), "{size}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn hyper_sees_the_requests_that_were_judged_and_no_others(
            requests in prop::collection::vec(request(), 1..5),
            size in prop_oneof![Just(1_usize), 2..40_usize, Just(usize::MAX)],
        ) {
            agree(requests.concat().as_bytes(), size);
            agree_as_server(requests.concat().as_bytes(), size);
        }
    }
}
