//! What DNS servers answer: only addresses of the name that was asked for, and few questions for them.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use vestibule::outbound::fuzzing::answers;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

pub fn fuzz(bytes: &[u8]) {
    let _ = RUNTIME.block_on(answers(bytes));
}
