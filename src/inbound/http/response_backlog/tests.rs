//! Which streams wait for room, and how long.

use std::collections::VecDeque;
use std::task::Wake;

use hyper::body::Buf;
use hyper::rt::Executor;
use tokio::time::sleep;

use super::executor::CHECK_INTERVAL;
use super::*;
use crate::budget::Budgets;
use crate::http::stream_memory::STREAM_OVER_HTTP1;

fn backlog(limit: Option<u64>) -> Arc<ResponseBacklog> {
    Arc::new(ResponseBacklog::new(&Budgets::new(None, limit).backlogs))
}

#[test]
fn what_is_kept_of_answers_counts_until_it_is_sent() {
    let backlog = backlog(Some(1 << 20));
    let stream_backlog = Arc::new(StreamBacklog::new(&backlog, Admission::Only));
    let (one, other) =
        (stream_backlog.fill(Bytes::from(vec![0; 8 * 1024])), stream_backlog.fill(Bytes::from_static(b"x")));
    assert!(backlog.is_large() && !stream_backlog.holds_end_back());
    assert_eq!((backlog.budget.held(), one.remaining()), (8 * 1024 + 1 + 2 * PART_SLOT, 8 * 1024));
    drop(one);
    assert_eq!((backlog.is_large(), backlog.budget.held()), (false, 1 + PART_SLOT));
    drop(other);
    let large = stream_backlog.fill(Bytes::from(vec![0; ENDED_EARLY + 1]));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(stream_backlog.holds_end_back() && stream_backlog.poll_end(&mut cx).is_pending());
    let other = Arc::new(StreamBacklog::new(&backlog, Admission::Only));
    assert!(other.poll_end(&mut cx).is_ready(), "all of that was sent");
    drop(large);
    assert!(stream_backlog.poll_end(&mut cx).is_ready());
    assert_eq!((backlog.budget.held(), backlog.kept.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn no_more_parts_of_an_answer_are_kept_than_their_memory_allows_however_small_they_are() {
    for limit in [None, Some(1 << 20)] {
        let backlog = backlog(limit);
        let stream_backlog = Arc::new(StreamBacklog::new(&backlog, Admission::Only));
        let (woken, mut parts) = (Arc::new(WakeCount::default()), VecDeque::new());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        while stream_backlog.poll_room(&mut cx).is_ready() {
            parts.push_back(stream_backlog.fill(Bytes::from_static(b"x")));
        }
        assert!((32..=128).contains(&parts.len()), "{}", parts.len());
        assert!(stream_backlog.waits.load(Ordering::Relaxed));
        let all = parts.len();
        while woken.0.load(Ordering::Relaxed) == 0 {
            parts.pop_front().expect("it is never woken");
        }
        assert_eq!(parts.len(), all / 2);
        assert!(stream_backlog.poll_room(&mut cx).is_ready());
        drop(parts);
        assert_eq!((backlog.budget.held(), woken.0.load(Ordering::Relaxed)), (0, 1));
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct WakeCount(AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says that a future was dropped.
struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Whether a stream is given up within `watched` whose client gives it room for a part every `pause`.
async fn is_given_up(limit: Option<Duration>, budget: Option<u64>, pause: Duration, watched: Duration) -> bool {
    let backlog = backlog(budget);
    let executor = StreamExecutor::new(limit, STREAM_OVER_HTTP1);
    let stream_backlog = executor.begin(&backlog);
    let answering = Arc::clone(&stream_backlog);
    let is_ended = is_ended(&executor, watched, async move {
        answering.begin();
        for _ in 0..10_000 {
            let _part = answering.fill(Bytes::from_static(b"part"));
            sleep(pause).await;
        }
    });
    let is_ended = is_ended.await;
    assert_eq!(stream_backlog.is_stalled(), is_ended);
    is_ended
}

/// Whether `answering`, by which `executor` answers the request that has begun last, is over within `watched`.
async fn is_ended(
    executor: &StreamExecutor,
    watched: Duration,
    answering: impl Future<Output = ()> + Send + 'static,
) -> bool {
    let ended = Arc::new(Notify::new());
    let end = NotifyOnDrop(Arc::clone(&ended));
    executor.execute(async move {
        let _end = end;
        answering.await;
    });
    tokio::time::timeout(watched, ended.notified()).await.is_ok()
}

#[tokio::test]
async fn a_stream_whose_head_waits_for_those_before_it_is_given_up_as_one_that_waits_for_room_is() {
    let limit = Duration::from_millis(100);
    for (is_long, is_sent, is_read) in [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (true, true, false),
        (false, false, true),
        (true, false, true),
    ] {
        let backlog = backlog(Some(1 << 20));
        backlog.unsent_heads.add_short(ENOUGH);
        let executor = StreamExecutor::new(Some(limit), STREAM_OVER_HTTP1);
        let stream_backlog = executor.begin(&backlog);
        let (answering, sending) = (Arc::clone(&stream_backlog), Arc::clone(&backlog));
        let watched = if is_sent || is_read { 8 * limit } else { LONG };
        let is_ended = is_ended(&executor, watched, async move {
            let mut turn = Turn::default();
            match is_long {
                true => poll_fn(|cx| answering.poll_turn(&mut turn, cx)).await,
                false => answering.wait_for_turn(&HeaderMap::new()).await,
            }
            // The app has the word.
            sleep(LONG).await;
        });
        let (is_ended, ()) = tokio::join!(is_ended, async move {
            if is_sent {
                sleep(limit / 4).await;
                sending.note_sent();
            }
            // A client that reads slowly comes to its answer in the end.
            for _ in 0..if is_read { 40 } else { 0 } {
                sleep(limit / 4).await;
                sending.note_written();
            }
        });
        let expected = !is_sent && !is_read;
        assert_eq!((is_ended, stream_backlog.is_stalled()), (expected, expected), "{is_long} {is_sent} {is_read}");
    }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_stream_whose_client_leaves_no_room_is_given_up() {
    let limit = Some(Duration::from_millis(100));
    assert!(is_given_up(limit, Some(1 << 20), LONG, LONG).await);
    assert!(is_given_up(limit, None, LONG, LONG).await);
}

#[tokio::test]
async fn a_stream_whose_client_is_slow_is_not_given_up() {
    // Each pause is far from the limit, and they are longer than it together.
    let (limit, pause) = (Duration::from_secs(2), Duration::from_millis(100));
    assert!(!is_given_up(Some(limit), Some(1 << 20), pause, limit * 2).await);
}

#[tokio::test]
async fn where_memory_is_short_a_stream_has_five_seconds() {
    // One part alone is more than half of the budget.
    let began = Instant::now();
    assert!(is_given_up(None, Some(6), LONG, LONG).await);
    assert!(began.elapsed() >= CHECK_INTERVAL);
}

#[tokio::test]
async fn a_stream_that_waits_for_its_app_is_left_alone() {
    let (backlog, executor) = (backlog(None), StreamExecutor::new(Some(Duration::from_millis(10)), STREAM_OVER_HTTP1));
    let stream_backlog = executor.begin(&backlog);
    let (done, waited) = tokio::sync::oneshot::channel();
    executor.execute({
        let stream_backlog = Arc::clone(&stream_backlog);
        async move {
            stream_backlog.begin();
            stream_backlog.wait_for_app();
            sleep(Duration::from_millis(200)).await;
            done.send(()).unwrap();
        }
    });
    waited.await.unwrap();
    assert!(!stream_backlog.is_stalled());
}

#[test]
fn an_answer_is_being_taken_as_long_as_something_of_it_is_now_and_then() {
    let backlog = backlog(None);
    let later = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the machine has been up");
    let minute = Some(Duration::from_secs(60));
    assert!(!backlog.is_being_taken(1, minute), "there is nothing left to take");
    let stream_backlog = Arc::new(StreamBacklog::new(&backlog, Admission::Only));
    let part = stream_backlog.fill(Bytes::from_static(b"x"));
    assert!(backlog.is_being_taken(1, minute));
    *backlog.progress.lock().unwrap() = LastProgress { delivered: 1, at: later(70) };
    assert!(!backlog.is_being_taken(1, minute) && backlog.is_being_taken(1, None));
    assert!(backlog.is_being_taken(2, minute) && backlog.is_being_taken(2, minute));
    drop(part);
    assert!(!backlog.is_being_taken(2, minute));
}
