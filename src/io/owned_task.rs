//! A task that ends with its owner.

use tokio::task::JoinHandle;

/// A task that is cancelled when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnedTask(Option<JoinHandle<()>>);

impl OwnedTask {
    /// Starts `work`. To be called within a runtime.
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(tokio::spawn(work)))
    }

    /// It goes on until it ends by itself.
    pub(crate) fn detach(mut self) {
        drop(self.0.take());
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
