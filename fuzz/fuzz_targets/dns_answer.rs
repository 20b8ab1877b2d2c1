//! What DNS servers answer: only addresses of the name that was asked for, and few questions for them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use vestibule::outbound::fuzzing::answers;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let _ = RUNTIME.block_on(answers(bytes));
});
