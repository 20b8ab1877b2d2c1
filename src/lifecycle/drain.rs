//! Knows when the last connection is gone.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// Held by everything that must finish before the process may end. Dropping it is "I am done".
#[derive(Debug, Clone)]
pub struct Guard {
    // Never sent to: the channel closes when the last sender is dropped, so there is no counter to get wrong.
    _held: mpsc::Sender<Infallible>,
}

/// Hands out guards, and waits until all of them have been dropped.
#[derive(Debug)]
pub struct Guards {
    guard: Guard,
    gone: mpsc::Receiver<Infallible>,
}

impl Default for Guards {
    fn default() -> Self {
        let (held, gone) = mpsc::channel(1);
        Self { guard: Guard { _held: held }, gone }
    }
}

impl Guards {
    /// A guard for one more holder.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// No more guards are handed out from here.
    pub fn close(self) -> Remaining {
        Remaining(self.gone)
    }
}

/// The guards that are still held.
#[derive(Debug)]
pub struct Remaining(mpsc::Receiver<Infallible>);

impl Remaining {
    /// Waits until the last guard has been dropped. Cancel safe.
    pub async fn gone(&mut self) {
        let _ = self.0.recv().await;
    }
}
