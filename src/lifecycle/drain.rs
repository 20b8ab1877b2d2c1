//! Knows when the last connection is gone.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// Held by everything that must finish before the process may end. Dropping it is "I am done".
#[derive(Debug, Clone)]
pub struct DrainGuard {
    // Never sent to: the channel closes when the last sender is dropped, so there is no counter to get wrong.
    _held: mpsc::Sender<Infallible>,
}

/// Hands out guards, and waits until all of them have been dropped.
#[derive(Debug)]
pub struct DrainGuards {
    guard: DrainGuard,
    gone: mpsc::Receiver<Infallible>,
}

impl Default for DrainGuards {
    fn default() -> Self {
        let (held, gone) = mpsc::channel(1);
        Self { guard: DrainGuard { _held: held }, gone }
    }
}

impl DrainGuards {
    /// A guard for one more holder.
    pub fn guard(&self) -> DrainGuard {
        self.guard.clone()
    }

    /// No more guards are handed out from here.
    pub fn close(self) -> OpenGuards {
        OpenGuards(self.gone)
    }
}

/// The guards that are still held.
#[derive(Debug)]
pub struct OpenGuards(mpsc::Receiver<Infallible>);

impl OpenGuards {
    /// Waits until the last guard has been dropped. Cancel safe.
    pub async fn gone(&mut self) {
        let _ = self.0.recv().await;
    }
}
