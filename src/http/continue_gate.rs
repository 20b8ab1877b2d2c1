//! A body of which its sender has asked whether it is wanted (RFC 9110, 10.1.1): it is not read before that was said.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::{Request, StatusCode};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// A server that does not say whether it wants the body is sent it after so long.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What stands in front of a body.
#[derive(Debug)]
pub(super) enum ContinueGate {
    /// It is sent.
    Open,
    /// It waits for the answer, or for so long.
    Waiting { opened: oneshot::Receiver<()>, timer: Pin<Box<Sleep>> },
    /// Something else was answered: it is not wanted.
    Closed,
}

/// Opens the gate once whoever answers says that it wants the body. Dropped without that, the gate stays closed.
#[derive(Debug)]
pub(crate) struct ContinueOpener(oneshot::Sender<()>);

impl ContinueGate {
    /// One that waits, and what opens it.
    pub(super) fn closed_for_now() -> (Self, ContinueOpener) {
        let (open, opened) = oneshot::channel();
        (Self::Waiting { opened, timer: Box::pin(sleep(CONTINUE_WAIT)) }, ContinueOpener(open))
    }

    /// Ready once the body may be read; never where it is not wanted.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Open => return Poll::Ready(()),
            Self::Closed => return Poll::Pending,
            Self::Waiting { opened, timer } => match Pin::new(opened).poll(cx) {
                Poll::Ready(Ok(())) => {}
                // The opener is dropped with the question.
                Poll::Ready(Err(_)) => {
                    *self = Self::Closed;
                    return Poll::Pending;
                }
                Poll::Pending => ready!(timer.as_mut().poll(cx)),
            },
        }
        *self = Self::Open;
        Poll::Ready(())
    }
}

impl ContinueOpener {
    /// Opens it as soon as `request` is answered with 100.
    pub(crate) fn open_on_continue<B>(self, request: &mut Request<B>) {
        let opener = Mutex::new(Some(self.0));
        hyper::ext::on_informational(request, move |informed| {
            // Others say nothing of the body.
            let is_wanted = informed.status() == StatusCode::CONTINUE;
            if let Some(opener) = opener.lock().ok().filter(|_| is_wanted).and_then(|mut opener| opener.take()) {
                // A body that is gone is not waited for.
                let _ = opener.send(());
            }
        });
    }
}
