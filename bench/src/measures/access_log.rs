//! What vestibule's access log costs a connection. On resumptions, where it weighs most; the lines go to a file.

use anyhow::Result;

use super::{Figure, Measure, handshake};
use crate::peers::Peer;
use crate::stage::{Bench, Setup};

/// Each of its three settings.
pub(super) const ACCESS_LOG: Measure = Measure {
    name: "access-log",
    family: "Vestibule's access log: CPU µs per resumed connection",
    figures: &[
        Figure { id: "log-off", title: "off", digits: 0, lowest_wins: true },
        Figure { id: "log-denied", title: "denied (default)", digits: 0, lowest_wins: true },
        Figure { id: "log-all", title: "all", digits: 0, lowest_wins: true },
    ],
    of: super::ours,
    sample,
};

fn sample(bench: &Bench, peer: &dyn Peer) -> Result<Vec<f64>> {
    let cost = |which| {
        let stage = bench.serving(peer, Setup { access_log: Some(which), ..Setup::default() })?;
        handshake::cost(&stage, true)
    };
    ["off", "denied", "all"].into_iter().map(cost).collect()
}
