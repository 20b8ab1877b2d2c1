use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::head_rules::MAX_HEAD;
use super::super::head_scan::RequestHead;
use super::*;
use crate::budget::{Budgets, MemoryBudget};

fn rules() -> Arc<HeadRules> {
    Arc::new(HeadRules::forward_proxy(MAX_HEAD))
}

fn backlogs(limit: Option<u64>) -> Arc<MemoryBudget> {
    Budgets::new(None, limit).backlogs
}

/// What the reader of `pieces`, sent one by one, gets to see until the end, and what is judged.
async fn read(pieces: &[&[u8]]) -> (String, Vec<Result<RequestHead, HeadRejection>>) {
    let (mut sender, receiver) = tokio::io::duplex(8);
    let mut scanned = ScannedStream::new(receiver, rules(), Duration::from_millis(50), backlogs(None).reservation());
    let heads = scanned.heads();
    let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
    let sending = tokio::spawn(async move {
        for piece in pieces {
            // One that is refused is not read on.
            if tokio::time::timeout(Duration::from_secs(1), sender.write_all(&piece)).await.is_err() {
                break;
            }
        }
        sender
    });
    let (mut text, mut judged) = (Vec::new(), Vec::new());
    while !text.ends_with(STAND_IN) && !text.ends_with(b"END") {
        let mut space = [0; 100];
        let read = scanned.read(&mut space).await.unwrap();
        assert!(read > 0, "an end after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&space[..read]);
        // Each is answered at once.
        judged.extend(std::iter::from_fn(|| heads.next()).map(|(head, _)| head));
    }
    sending.abort();
    (String::from_utf8(text).unwrap(), judged)
}

#[tokio::test]
async fn the_reader_sees_what_was_sent_and_a_stand_in_for_the_head_that_is_refused() {
    let (text, heads) = read(&[b"POST / HTTP/1.1\r\nContent-", b"Length: 3\r\n\r\nEND"]).await;
    assert_eq!(text, "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nEND");
    assert_eq!(heads.len(), 1);
    let good = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let (text, heads) = read(&[good.as_bytes(), b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", b"more"]).await;
    assert_eq!(text, format!("{good}{}", std::str::from_utf8(STAND_IN).unwrap()));
    assert_eq!(heads[1..], [Err(HeadRejection::BareLf)]);
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_refused_in_time() {
    let (text, heads) = read(&[b"GET / HTTP/1.1\r\nA:"]).await;
    assert_eq!(text.as_bytes(), STAND_IN);
    assert_eq!(heads, [Err(HeadRejection::HeadTimeout)]);
}
/// Reads until `text` has come, and says that what was asked is answered.
async fn read_until(scanned: &mut ScannedStream<DuplexStream>, text: &str) -> Vec<Result<RequestHead, HeadRejection>> {
    let heads = scanned.heads();
    let (mut seen, mut judged) = (Vec::new(), Vec::new());
    while !seen.ends_with(text.as_bytes()) {
        let read = scanned.read_buf(&mut seen).await.unwrap();
        assert!(read > 0, "an end after {:?}", String::from_utf8_lossy(&seen));
        judged.extend(std::iter::from_fn(|| heads.next()).map(|(head, _)| head));
    }
    judged
}

#[tokio::test(start_paused = true)]
async fn a_head_that_was_waited_for_before_has_the_rest_of_its_time() {
    const LIMIT: Duration = Duration::from_secs(10);
    let (_sender, receiver) = tokio::io::duplex(8);
    let began = Instant::now();
    tokio::time::advance(LIMIT - Duration::from_secs(1)).await;
    let mut scanned = ScannedStream::new(receiver, rules(), LIMIT, backlogs(None).reservation())
        .with_buffered(b"PRI * HT".to_vec())
        .with_begun(Some(began));
    let judged = read_until(&mut scanned, std::str::from_utf8(STAND_IN).unwrap()).await;
    assert_eq!(judged, [Err(HeadRejection::HeadTimeout)]);
    assert_eq!(began.elapsed().as_secs(), 10);
}

/// Sends half a head, then `behind` with the rest of it, and then half a head again.
async fn ask_late(behind: &str, next: &str, rest: &str) {
    const LIMIT: Duration = Duration::from_secs(1);
    let (mut sender, receiver) = tokio::io::duplex(4096);
    let mut scanned = ScannedStream::new(receiver, rules(), LIMIT, backlogs(None).reservation());
    sender.write_all(b"GET /a HT").await.unwrap();
    let half = tokio::time::timeout(LIMIT * 6 / 10, scanned.read_u8()).await;
    assert!(half.is_err(), "half a head was handed on");
    sender.write_all(format!("TP/1.1\r\n\r\n{behind}").as_bytes()).await.unwrap();
    let whole = if behind.ends_with('\n') { behind } else { "/a HTTP/1.1\r\n\r\n" };
    let judged = read_until(&mut scanned, whole).await;
    assert!(judged.iter().all(Result::is_ok), "{judged:?}");
    // Beyond what the first one may have taken, and within the time of the next.
    let silent = tokio::time::timeout(LIMIT * 6 / 10, scanned.read_u8()).await;
    assert!(silent.is_err(), "{behind:?}");
    sender.write_all(next.as_bytes()).await.unwrap();
    let begun = tokio::time::timeout(LIMIT / 50, scanned.read_u8()).await;
    assert!(begun.is_err(), "{behind:?}: {:?}", scanned.heads().next());
    sender.write_all(rest.as_bytes()).await.unwrap();
    assert!(read_until(&mut scanned, "\r\n\r\n").await[0].is_ok(), "{behind:?}");
}

#[tokio::test]
async fn each_head_has_a_time_of_its_own_whatever_lies_behind_the_one_before() {
    tokio::join!(
        ask_late("", "GET /b", " HTTP/1.1\r\n\r\n"),
        ask_late("GET /b HTTP/1.1\r\n\r\n", "GET /c", " HTTP/1.1\r\n\r\n"),
        ask_late("GET /b", " HTTP/1.1", "\r\n\r\n"),
    );
}

#[tokio::test]
async fn heads_that_come_in_part_are_held_to_the_budget_and_the_last_of_it_is_for_small_ones() {
    let budget = backlogs(Some(64 * 1024));
    let connect = || {
        let (sender, receiver) = tokio::io::duplex(1 << 20);
        (sender, ScannedStream::new(receiver, rules(), Duration::from_secs(60), budget.reservation()))
    };
    let begin = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(2000));
    let (mut large, mut small) = (connect(), connect());
    let mut space = vec![0; 16_384];
    for part in [&begin[..], &"a".repeat(4000), &"a".repeat(30_000)] {
        large.0.write_all(part.as_bytes()).await.unwrap();
        tokio::select! {
            biased;
            read = large.1.read(&mut space) => assert_eq!(&space[..read.unwrap()], STAND_IN),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(large.1.heads().next().map(|(head, _)| head), Some(Err(HeadRejection::Overloaded)));
    assert_eq!(budget.held(), 0, "it has got its answer");
    small.0.write_all(&begin.as_bytes()[..500]).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(10), small.1.read(&mut space)).await;
    assert!(waiting.is_err());
    assert!((500..2000).contains(&budget.held()), "{}", budget.held());
    small.0.write_all(b"\r\n\r\n").await.unwrap();
    assert!(read_until(&mut small.1, "\r\n\r\n").await[0].is_ok());
    assert_eq!((budget.held(), small.1.held.capacity()), (0, 0), "a connection that waits keeps nothing");
}

#[tokio::test]
async fn a_long_head_counts_for_what_becomes_of_it_as_long_as_requests_are_read() {
    let budget = backlogs(Some(4 << 20));
    let (mut sender, receiver) = tokio::io::duplex(1 << 20);
    let mut scanned = ScannedStream::new(receiver, rules(), Duration::from_secs(60), budget.reservation());
    let ask = |value: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(value));
    for (value, counts) in [(1_000, 0..1), (30_000, 80_000..100_000), (1_000, 80_000..100_000)] {
        sender.write_all(ask(value).as_bytes()).await.unwrap();
        assert!(read_until(&mut scanned, "\r\n\r\n").await[0].is_ok());
        assert!(counts.contains(&budget.held()), "{value}: {}", budget.held());
    }
    drop(scanned);
    assert_eq!(budget.held(), 0);
}

#[tokio::test]
async fn strangers_leave_half_of_the_budget_to_the_long_heads_of_others_and_those_leave_what_is_beyond_it() {
    let budget = backlogs(Some(1 << 20));
    let ask = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(30_000));
    let mut asked = Vec::new();
    for (is_stranger, most) in [(true, 512 * 1024), (false, 1 << 20)] {
        loop {
            let (mut sender, receiver) = tokio::io::duplex(1 << 20);
            let scanned = ScannedStream::new(receiver, rules(), Duration::from_secs(60), budget.reservation());
            let mut scanned = scanned.of_stranger(is_stranger);
            sender.write_all(ask.as_bytes()).await.unwrap();
            let is_admitted = read_until(&mut scanned, "\r\n\r\n").await[0].is_ok();
            asked.push((sender, scanned));
            if !is_admitted {
                break;
            }
        }
        let held = budget.held();
        assert!(held <= most && held > most - 128 * 1024, "{held} of {most}");
    }
}
