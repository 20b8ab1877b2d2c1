//! What comes of a body that nobody reads any more, until its stream is let go: HTTP/2 resets it then.

use std::future::pending;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long whoever has sent a whole body may take to say that nothing follows it, and whoever may send all of it may send nothing.
const END_WAIT: Duration = Duration::from_secs(5);

/// So much of the rest is dropped, and for so long, before its stream is let go: many clients do not see an answer that ends in the moment in which
/// they are told to send no more.
const DISCARDED: usize = 64 * 1024;
const DISCARD_WAIT: Duration = Duration::from_secs(1);

/// Lets go of `body`, of which all has come, once that was said.
pub(super) fn wait_for_end(mut body: Incoming) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        // Whoever does not say it has its stream reset after all.
        let _ = timeout(END_WAIT, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    });
}

/// Lets go of `rest` in a moment, and of `held` then.
pub(super) fn discard_for_a_moment(mut rest: Incoming, held: impl Send + 'static) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        // Whoever goes on has its stream reset after all.
        let _ = timeout(DISCARD_WAIT, async {
            let mut left = DISCARDED;
            while let Some(Ok(frame)) = rest.frame().await {
                left = left.saturating_sub(length(&frame));
                if left == 0 {
                    pending::<()>().await;
                }
            }
        })
        .await;
        drop((rest, held));
    });
}

/// Lets go of `rest` once it has come to its end, or was longer than `most` bytes, or whoever sends it was silent, and of `held` then.
pub(super) fn discard_to_end(mut rest: Incoming, most: u64, held: impl Send + 'static) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let mut left = most;
        while let Ok(Some(Ok(frame))) = timeout(END_WAIT, rest.frame()).await {
            let Some(less) = left.checked_sub(length(&frame) as u64) else { break };
            left = less;
        }
        drop((rest, held));
    });
}

fn length(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}
