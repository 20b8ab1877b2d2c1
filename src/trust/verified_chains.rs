//! Clients that the trust anchors have vouched for before.
//!
//! A router shows the same certificate on each of its hundreds of connections. Whether given trust anchors vouch for a chain depends on its bytes
//! and the time, and on nothing else; between the dates of all certificates that were looked at the answer stays what it was. So
//! it is remembered: to verify and to read the chain costs more than all else that a client's certificate costs, and what
//! was read is kept once and not for each connection. That the client holds the key is proved anew in each handshake, and the rules are asked
//! anew each time.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use crate::identity::Client;

/// More than there are routers; of other clients those that come often.
const MAX_CHAINS: usize = 64;

/// A cache of the chains that one set of trust anchors has verified. New trust anchors begin with an empty one.
#[derive(Debug, Default)]
pub(super) struct VerifiedChainCache(Mutex<Vec<VerifiedChain>>);

#[derive(Debug)]
struct VerifiedChain {
    client: Client,
    /// When every certificate that was looked at is valid.
    dates: RangeInclusive<SystemTime>,
}

impl VerifiedChainCache {
    /// Who it is that shows exactly `chain`, if it was vouched for and the time `now` makes no difference to that; and from when to when it does
    /// not.
    pub(super) fn find(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Option<(Client, RangeInclusive<SystemTime>)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shows_it = |one: &VerifiedChain| one.client.chain() == Some(chain) && one.dates.contains(&now);
        let at = known.iter().position(shows_it)?;
        // Those that come often stay.
        known[..=at].rotate_right(1);
        Some((known[0].client.clone(), known[0].dates.clone()))
    }

    /// Remembers `client`, in the place of whoever has not come for the longest time.
    pub(super) fn keep(&self, client: Client, dates: RangeInclusive<SystemTime>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.truncate(MAX_CHAINS - 1);
        known.insert(0, VerifiedChain { client, dates });
    }
}
