//! What CredHub and Vault answer as HTTP, or whoever stands in their place: a whole answer in bounded memory, or a short reason why there is none.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use vestibule::outbound::fuzzing::exchange;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

pub fn fuzz(input: &[u8]) {
    if let Some((piece, bytes)) = input.split_first() {
        let _ = RUNTIME.block_on(exchange(bytes, usize::from(*piece)));
    }
}
