//! The end of a short body, seen before the body is handed on.
//!
//! hyper sends what it has as soon as there is nothing more to be had at that moment, and what follows a chunk is read from the other side a
//! moment later: so the end of a short answer would go out in a write of its own, and with TLS in a record of its own. Clients that are about
//! to close a connection lose such an answer, and it costs more.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Buf, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::unsent_bytes::BodyPace;

/// What is worth looking behind, in bytes.
const SHORT: usize = 16 * 1024;

/// How long HTTP/2 is given to send what it has of an answer that breaks off: whoever resets a stream forgets that, and others send it.
const SEND_WAIT: Duration = Duration::from_millis(50);

/// What comes of a body; `None`: its end.
type NextFrame<D, E> = Option<Result<Frame<D>, E>>;

/// `B`, and what is known already of its beginning.
#[derive(Debug)]
pub(crate) struct BodyLookahead<B: Body> {
    body: B,
    /// What has come of it.
    first: Option<Frame<B::Data>>,
    /// What comes then.
    next: Option<NextFrame<B::Data, B::Error>>,
    /// Something was handed on.
    has_begun: bool,
    pause: FailurePause,
    /// How it goes on, over HTTP/1.1.
    pace: Option<BodyPace>,
}

/// What whoever reads is given before a failure: what it has not sent yet it drops then, the head of the message among it.
#[derive(Debug)]
enum FailurePause {
    /// One turn, in which it sends that itself.
    Turn,
    /// So much time, in which others send it.
    Time(Option<Pin<Box<Sleep>>>),
    /// That has been.
    Over,
}

impl FailurePause {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Turn => {
                *self = Self::Over;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Time(timer) => {
                ready!(timer.get_or_insert_with(|| Box::pin(sleep(SEND_WAIT))).as_mut().poll(cx));
                *self = Self::Over;
                Poll::Ready(())
            }
            Self::Over => Poll::Ready(()),
        }
    }
}

impl<B: Body<Data: Unpin, Error: Unpin> + Unpin> BodyLookahead<B> {
    /// `body`, of which nothing is known ahead, over HTTP/2.
    pub(crate) fn unseen(body: B) -> Self {
        Self::begin(body, FailurePause::Time(None))
    }

    fn begin(body: B, pause: FailurePause) -> Self {
        Self { body, first: None, next: None, has_begun: false, pause, pace: None }
    }

    /// Looks at what has come of `body`, over HTTP/1.1. If that is short, whoever reads it has one turn to see whether that is all.
    pub(crate) async fn of(body: B) -> Self {
        let mut this = Self::begin(body, FailurePause::Turn);
        // With a length it is known where the end is.
        if this.body.size_hint().exact().is_some() {
            return this;
        }
        match this.poll_once().await {
            Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| data.remaining() <= SHORT) => {
                this.first = Some(frame);
            }
            Poll::Ready(next) => {
                this.next = Some(next);
                return this;
            }
            Poll::Pending => return this,
        }
        let mut next = this.poll_once().await;
        if next.is_pending() {
            one_turn().await;
            next = this.poll_once().await;
        }
        if let Poll::Ready(next) = next {
            this.next = Some(next);
        }
        this
    }

    /// The next part of it waits until whoever reads has sent what it has, as `pace` says.
    pub(crate) fn paced(mut self, pace: Option<BodyPace>) -> Self {
        self.pace = pace;
        self
    }

    /// What has come, without waiting for more.
    async fn poll_once(&mut self) -> Poll<NextFrame<B::Data, B::Error>> {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut self.body).poll_frame(cx))).await
    }
}

/// Lets all others do what they have to do now.
async fn one_turn() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<B: Body<Data: Unpin, Error: Unpin> + Unpin> Body for BodyLookahead<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let known = self.first.take().map(|first| Some(Ok(first))).or_else(|| self.next.take());
        let polled = match known {
            Some(known) => Poll::Ready(known),
            None => {
                if let Some(pace) = &self.pace {
                    ready!(pace.poll_room(cx));
                }
                Pin::new(&mut self.body).poll_frame(cx)
            }
        };
        if let Poll::Ready(Some(Err(error))) = polled {
            if self.pause.poll_over(cx).is_pending() {
                self.next = Some(Some(Err(error)));
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(error)));
        }
        if let (Some(pace), Poll::Ready(Some(Ok(frame)))) = (&self.pace, &polled) {
            pace.add(frame.data_ref().map_or(0, Buf::remaining));
        }
        self.has_begun |= polled.is_ready();
        polled
    }

    fn is_end_stream(&self) -> bool {
        match (&self.first, &self.next) {
            (None, None) => self.body.is_end_stream(),
            // One that turns out to be empty is announced as it was.
            (None, Some(next)) => next.is_none() && self.has_begun,
            (Some(_), _) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.first, &self.next) {
            (None, None) => self.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use hyper::HeaderMap;
    use hyper::body::Bytes;

    use super::*;

    /// A body that breaks off.
    #[derive(Debug)]
    struct Broken;

    type FramePoll = Poll<Option<Result<Frame<Bytes>, Broken>>>;

    /// What is polled of it, one after the other.
    struct ScriptedBody(VecDeque<FramePoll>, SizeHint);

    impl Body for ScriptedBody {
        type Data = Bytes;
        type Error = Broken;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> FramePoll {
            self.0.pop_front().expect("nothing is polled behind the end")
        }

        fn size_hint(&self) -> SizeHint {
            self.1
        }
    }

    fn data(text: &str) -> FramePoll {
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))))
    }

    fn nothing() -> FramePoll {
        Poll::Pending
    }

    fn end() -> FramePoll {
        Poll::Ready(None)
    }

    fn failure() -> FramePoll {
        Poll::Ready(Some(Err(Broken)))
    }

    /// What is read, with `|` wherever nothing is there, `!` where it breaks off, and `.` where the end is known with what was read.
    fn read(script: Vec<FramePoll>, hint: SizeHint) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut body = runtime.block_on(BodyLookahead::of(ScriptedBody(script.into(), hint)));
        let mut read = String::new();
        loop {
            if body.is_end_stream() {
                return read + ".";
            }
            match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => read.push('|'),
                Poll::Ready(None) => return read + "$",
                Poll::Ready(Some(Err(Broken))) => return read + "!",
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => read.push_str(std::str::from_utf8(&data).unwrap()),
                    Err(_) => return read + "+trailers",
                },
            }
        }
    }

    #[test]
    fn the_end_of_a_short_body_is_known_with_its_data() {
        assert_eq!(read(vec![data("a"), end()], SizeHint::default()), "a.");
        assert_eq!(read(vec![data("a"), nothing(), end()], SizeHint::default()), "a.");
        let trailers = Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new()))));
        assert_eq!(read(vec![data("a"), nothing(), trailers], SizeHint::default()), "a+trailers");
    }

    #[test]
    fn data_waits_for_one_turn_alone_and_what_is_not_there_for_none() {
        let script = vec![data("a"), nothing(), nothing(), nothing(), data("b"), nothing(), end()];
        assert_eq!(read(script, SizeHint::default()), "a|b|$", "an event is not kept until the next one");
        assert_eq!(read(vec![nothing(), nothing(), data("a"), nothing(), end()], SizeHint::default()), "|a|$");
        assert_eq!(read(vec![data("a"), data("b"), data("c"), end()], SizeHint::default()), "abc$");
    }

    #[test]
    fn a_body_that_is_long_or_says_how_long_it_is_is_not_looked_into() {
        assert_eq!(read(vec![data("a"), nothing(), end()], SizeHint::with_exact(1)), "a|$");
        let long = "x".repeat(SHORT + 1);
        assert_eq!(read(vec![data(&long), nothing(), end()], SizeHint::default()), format!("{long}|$"));
    }

    #[test]
    fn a_body_that_turns_out_to_be_empty_is_announced_as_one_of_unknown_length() {
        assert_eq!(read(vec![end()], SizeHint::default()), "$");
    }

    #[test]
    fn whoever_reads_has_a_turn_for_what_came_before_a_body_breaks_off_be_it_the_head_alone() {
        for hint in [SizeHint::default(), SizeHint::with_exact(20)] {
            assert_eq!(read(vec![failure()], hint), "|!");
            assert_eq!(read(vec![data("a"), failure()], hint), "a|!");
            assert_eq!(read(vec![nothing(), nothing(), failure()], hint).trim_matches('|'), "!");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_others_have_time_to_send_it() {
        let mut body = BodyLookahead::unseen(ScriptedBody([failure()].into(), SizeHint::default()));
        let begun = tokio::time::Instant::now();
        let failed = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(matches!(failed, Some(Err(Broken))));
        assert!(begun.elapsed() >= SEND_WAIT);
    }
}
