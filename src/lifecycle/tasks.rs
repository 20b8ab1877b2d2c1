//! Long-lived tasks, each with a name and an owner.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

use crate::exit::{Exit, Fault};

/// Tasks that run for as long as the process does. One that ends early, or panics, is a fault that names it.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts `task` under `name`.
    pub fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.running.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits for a task to end, which none should. Cancel safe; for ever if there is none.
    pub async fn ended_early(&mut self) -> Fault {
        let (id, how) = match self.running.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => (id, "ended"),
            Some(Err(error)) => (error.id(), if error.is_panic() { "panicked" } else { "was cancelled" }),
        };
        let name = self.names.get(&id).copied().unwrap_or("unnamed");
        Fault::new(Exit::Internal, format!("the task `{name}` {how}; this is a fault of vestibule, please report it"))
    }
}
