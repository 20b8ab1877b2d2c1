//! What is measured. A measure takes one sample of one peer, on a fresh process, and returns its figures.

mod access_log;
mod bulk;
pub(crate) mod callgrind;
mod handshake;
pub(crate) mod http;
mod idle;
mod latency;
mod nagle;
pub(crate) mod outbound;
mod requests;
mod rotation;
pub(crate) mod sign;
mod start;
mod storm;
mod tokens;

use anyhow::Result;

use crate::peers::Peer;
use crate::stage::Bench;

/// One column of a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Figure {
    /// How goals name it.
    pub(crate) id: &'static str,
    /// The heading of its column, with the unit.
    pub(crate) title: &'static str,
    /// Decimals that mean something.
    pub(crate) digits: usize,
    /// Whether less is better.
    pub(crate) lowest_wins: bool,
}

/// Something that is measured.
pub(crate) struct Measure {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// The table that its figures go to.
    pub(crate) family: &'static str,
    /// What a sample yields, in this order.
    pub(crate) figures: &'static [Figure],
    /// Which peers can be asked.
    pub(crate) of: fn(&dyn Peer) -> bool,
    /// Takes one sample.
    pub(crate) sample: fn(&Bench, &dyn Peer) -> Result<Vec<f64>>,
}

/// All measures, in the order in which they are taken and shown.
pub(crate) const ALL: &[&Measure] = &[
    &handshake::RSA_2048,
    &handshake::RSA_3072,
    &handshake::CLIENTS,
    &handshake::RESUMED,
    &requests::FULL,
    &requests::FIXED,
    &bulk::DOWN,
    &bulk::UP,
    &idle::IDLE,
    &idle::SOME,
    &idle::KNOWN,
    &idle::MANY,
    &start::START,
    &nagle::NAGLE,
    &storm::STORM,
    &rotation::ROTATION,
    &tokens::TOKENS,
    &access_log::ACCESS_LOG,
];

/// Every peer that carries anything.
fn everyone(peer: &dyn Peer) -> bool {
    peer.carries()
}

/// Those that speak TLS.
fn with_tls(peer: &dyn Peer) -> bool {
    peer.carries() && peer.speaks_tls()
}

/// Those that are builds of vestibule.
fn ours(peer: &dyn Peer) -> bool {
    peer.carries() && peer.is_vestibule()
}
