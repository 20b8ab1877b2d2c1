//! Work that blocks, beside the threads that relay.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The work panicked, which is a fault of ours; its message is on stderr.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Does `work` on a thread of its own. Where the kernel grants none (the app shares our limits, and may have used them up) it
/// is done here and now, and what is relayed waits for some milliseconds: tokio would panic.
///
/// # Errors
/// [`Panicked`].
pub(crate) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    let (done, result) = oneshot::channel();
    // A thread that cannot be started would take the work with it.
    let work = Arc::new(Mutex::new(Some(work)));
    let turn = {
        let work = Arc::clone(&work);
        move || {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            let worked = work.map(|work| catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked));
            // Nobody listens any more when the process ends.
            let _ = done.send(worked.unwrap_or(Err(Panicked)));
        }
    };
    match std::thread::Builder::new().name("vestibule-files".to_owned()).spawn(turn) {
        Ok(_detached) => result.await.unwrap_or(Err(Panicked)),
        Err(_) => {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            work.map_or(Err(Panicked), |work| catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_aside_comes_back_and_a_panic_in_it_ends_nothing() {
        assert_eq!(run_blocking(|| 1 + 1).await.unwrap(), 2);
        assert!(run_blocking(|| panic!("on purpose")).await.is_err());
    }
}
