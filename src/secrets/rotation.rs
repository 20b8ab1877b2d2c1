//! A rotation in the middle of a question: who was refused with the pair before asks again with the one that has come.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::credentials::ServedCertificate;

/// New files are in service within milliseconds; the server may have learnt of them first, and the machine may be busy.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Whether another pair than the one of `generation` is in service, or is so within a moment.
pub(super) async fn has_successor(served: &watch::Receiver<Vec<ServedCertificate>>, generation: u64) -> bool {
    let mut served = served.clone();
    let is_successor =
        |served: &Vec<ServedCertificate>| served.first().is_some_and(|first| first.generation != generation);
    matches!(timeout(ON_ITS_WAY, served.wait_for(is_successor)).await, Ok(Ok(_)))
}
