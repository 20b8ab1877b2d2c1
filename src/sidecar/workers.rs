//! The runtimes: the one in which everything begins, and the threads that relay.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::exit::{Exit, Fault};

/// A runtime with `threads` threads. One thread needs no scheduler that shares work between threads.
///
/// # Errors
/// The kernel grants no more descriptors or threads.
pub fn runtime(threads: usize) -> Result<Runtime, Fault> {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    let internal = |error: io::Error| Fault::new(Exit::Internal, format!("cannot start the runtime: {error}"));
    builder.enable_all().thread_name("vestibule").build().map_err(internal)
}

/// The threads that relay, where there are several. They are not there before the app was started: whatever fences the proxy in by then is
/// taken over by them, and never by the app.
#[derive(Debug)]
pub struct Workers {
    threads: usize,
    runtime: Option<Runtime>,
}

impl Workers {
    /// `threads` of them, once they are asked for; none where one thread does everything.
    pub fn new(threads: usize) -> Self {
        Self { threads, runtime: None }
    }

    /// Starts them; `None`: the thread that is there does everything.
    ///
    /// # Errors
    /// The kernel grants no more descriptors or threads.
    pub(super) fn start(&mut self) -> Result<Option<Handle>, Fault> {
        if self.threads == 1 {
            return Ok(None);
        }
        let runtime = self.runtime.insert(runtime(self.threads)?);
        Ok(Some(runtime.handle().clone()))
    }

    /// Ends them, and gives what they carry so much time to be dropped. To be called outside of any runtime.
    pub fn shut_down(self, limit: Duration) {
        if let Some(runtime) = self.runtime {
            runtime.shutdown_timeout(limit);
        }
    }
}
