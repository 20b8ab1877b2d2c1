use super::super::chunk_scan::{MAX_EXTENSION, MAX_TRAILERS};
use super::super::head_rules::{MAX_HEAD, USUAL_FIELDS};
use super::*;

type ScannedHeads = Vec<Result<RequestHead, HeadRejection>>;

/// The heads that are found in `bytes` if they come in pieces of `size`, how many bytes were passed, and whether they were broken.
fn scan(bytes: &[u8], size: usize) -> (ScannedHeads, usize, bool) {
    let (mut scan, mut heads, mut passed) = (RequestScan::default(), Vec::new(), 0);
    let mut end = 0;
    while end < bytes.len() {
        end = (end + size).min(bytes.len());
        let step =
            scan.pass(&HeadRules::forward_proxy(MAX_HEAD), &bytes[passed..end], usize::MAX, |head| heads.push(head));
        passed += step.bytes;
        if step.is_broken {
            return (heads, passed, true);
        }
    }
    (heads, passed, false)
}

/// The one head in `bytes`, which is the same however it is cut into pieces.
#[track_caller]
fn scan_one(bytes: &str) -> Result<RequestHead, HeadRejection> {
    let whole = scan(bytes.as_bytes(), usize::MAX);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(scan(bytes.as_bytes(), size), whole, "in pieces of {size}");
    }
    assert_eq!(whole.0.len(), 1, "{whole:?}");
    whole.0[0]
}

#[track_caller]
fn refused(head: &str, why: HeadRejection) {
    assert_eq!(scan_one(head), Err(why), "{head:?}");
}

#[test]
fn a_plain_request_has_no_body_and_all_of_it_is_passed() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        scan_one(request),
        Ok(RequestHead { body: BodyLength::Known(0), switch: None, is_for_server: false, has_fragment: false })
    );
    assert_eq!(scan(request.as_bytes(), 5).1, request.len());
}

#[test]
fn requests_behind_one_another_are_found_across_bodies_of_either_kind() {
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /\
        POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n0\r\nA: b\r\n\r\n\
        GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for size in [1, 2, 3, 10, 50, 1000] {
        let (heads, passed, is_broken) = scan(bytes, size);
        let bodies: Vec<_> = heads.into_iter().map(|head| head.unwrap().body).collect();
        assert_eq!(bodies, [BodyLength::Known(5), BodyLength::Chunked, BodyLength::Known(0)], "in pieces of {size}");
        assert_eq!((passed, is_broken), (bytes.len(), false));
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_passed() {
    for (field, why) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", HeadRejection::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", HeadRejection::LengthAndCoding),
        ("Content-Length: 3\r\nContent-Length: 3", HeadRejection::BadLength),
        ("Content-Length: 3, 3", HeadRejection::BadLength),
        ("Content-Length: +3", HeadRejection::BadLength),
        ("Content-Length: 0x3", HeadRejection::BadLength),
        ("Content-Length:", HeadRejection::BadLength),
        ("Content-Length: 18446744073709551614", HeadRejection::BadLength),
        ("Content-Length: 18446744073709551615", HeadRejection::BadLength),
        ("Content-Length: 18446744073709551616", HeadRejection::BadLength),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", HeadRejection::BadCoding),
        ("Transfer-Encoding: gzip, chunked", HeadRejection::BadCoding),
        ("Transfer-Encoding: identity", HeadRejection::BadCoding),
        ("Transfer-Encoding: \"chunked\"", HeadRejection::BadCoding),
        ("Transfer-Encoding: chunked;q=1", HeadRejection::BadCoding),
        ("Transfer-Encoding:", HeadRejection::BadCoding),
        ("host: b", HeadRejection::TwoHosts),
        ("A: b\nC: d", HeadRejection::BareLf),
        ("A : b", HeadRejection::BadField),
        ("A: b\r\n folded", HeadRejection::BadField),
        ("A: b\0c", HeadRejection::BadField),
        (": b", HeadRejection::BadField),
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\nabcGET /second HTTP/1.1\r\nHost: a\r\n\r\n");
        refused(&request, why);
        assert_eq!(scan(request.as_bytes(), 9).1, 0, "{field}");
    }
    refused("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HeadRejection::BadCoding);
    refused("GET / HTTP/1.1\nHost: a\n\n", HeadRejection::BareLf);
    refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", HeadRejection::NotHttp);
    refused("\x16\x03\x01\x02\x00\r\n\r\n", HeadRejection::NotHttp);
}

#[test]
fn a_head_is_bounded_in_bytes_and_in_fields_and_the_largest_that_fits_is_taken() {
    let with = |fields: usize, padding: usize| {
        let fields: String = (0..fields).map(|i| format!("A{i}: b\r\n")).collect();
        format!("GET / HTTP/1.1\r\n{fields}P: {}\r\n\r\n", "p".repeat(padding))
    };
    assert!(scan_one(&with(USUAL_FIELDS - 1, 0)).is_ok());
    refused(&with(USUAL_FIELDS, 0), HeadRejection::TooManyFields);
    let most = MAX_HEAD - with(0, 0).len();
    assert!(scan(with(0, most).as_bytes(), 4096).0[0].is_ok());
    for bytes in [with(0, most + 1), with(0, 2 * MAX_HEAD), "x".repeat(MAX_HEAD + 1)] {
        for size in [4096, usize::MAX >> 1] {
            assert_eq!(scan(bytes.as_bytes(), size).0, [Err(HeadRejection::HeadTooLong)]);
        }
    }
}

#[test]
fn a_body_of_chunks_that_breaks_its_own_rules_is_broken() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("1;{}\r\n", "x".repeat(MAX_EXTENSION));
    let trailer = format!("0\r\nA: {}\r\n\r\n", "x".repeat(MAX_TRAILERS));
    for chunks in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "1\r\nabc",
        "11111111111111111\r\n",
        "1\na\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\r\n",
        "1;a\0\r\na\r\n",
        "1;\x7f\r\na\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA\rb\r\n\r\n",
        &extension,
        &trailer,
    ] {
        let bytes = format!("{head}{chunks}");
        assert!(scan(bytes.as_bytes(), 3).2, "{chunks:?}");
    }
}

#[test]
fn behind_what_may_be_another_protocol_nothing_is_passed() {
    let websocket = "GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for head in [websocket, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "CONNECT a:1 HTTP/1.0\r\n\r\n"] {
        assert!(scan_one(head).unwrap().switch.is_some(), "{head}");
        let (heads, passed, _) = scan(format!("{head}GET / HTTP/1.1\r\n\r\n").as_bytes(), 11);
        assert_eq!((heads.len(), passed), (1, head.len()));
    }
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3",
    ] {
        let head = scan_one(&format!("GET / HTTP/1.1\r\n{fields}\r\n\r\nabc")[..]);
        assert_eq!(head.unwrap().switch, None, "{fields}");
    }
}

#[test]
fn what_cannot_begin_a_method_is_refused_with_its_first_byte_and_empty_lines_are_none() {
    for bytes in ["\x16\x03\x01\x02\0\x01", "\r\n\x16", " GET", "(", "\u{80}", "\0"] {
        assert_eq!(scan_one(bytes), Err(HeadRejection::NotHttp), "{bytes:?}");
    }
    for begun in ["", "\r\n", "\r\n\r\nG", "m-search", "!"] {
        assert_eq!(scan(begun.as_bytes(), 1).0, [], "{begun:?}");
    }
}

#[test]
fn the_longest_body_that_hyper_reads_may_be_announced() {
    let head = "POST / HTTP/1.1\r\nContent-Length: 18446744073709551613\r\n\r\n";
    assert_eq!(scan_one(head).map(|head| head.body), Ok(BodyLength::Known(u64::MAX - 2)));
}

#[test]
fn a_url_without_path_and_query_is_for_the_server_itself() {
    for (target, expected) in [
        ("http://a", true),
        ("http://a:1", true),
        ("http://a/", false),
        ("http://a?q", false),
        ("*", false),
        ("/x://a", false),
    ] {
        assert_eq!(
            scan_one(&format!("OPTIONS {target} HTTP/1.1\r\n\r\n")).unwrap().is_for_server,
            expected,
            "{target}"
        );
    }
}
