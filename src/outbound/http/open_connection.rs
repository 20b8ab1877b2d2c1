//! What a connection to an endpoint holds for as long as it is open.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::lifecycle::DrainGuard;

/// Held as long as a connection is open: the end of the process waits for it, and one that waits for a request gives its place away at once
/// when it is closed.
#[derive(Debug)]
pub(super) struct OpenConnection {
    changed: Arc<Notify>,
    _guard: Option<DrainGuard>,
}

impl OpenConnection {
    /// The process waits for its end where there is a `guard`; `changed` is told of it.
    pub(super) fn new(changed: Arc<Notify>, guard: Option<DrainGuard>) -> Self {
        Self { changed, _guard: guard }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}
