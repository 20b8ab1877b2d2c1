//! All that the files say, as it was when it was last good, and what is new of it for whom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::served::{ListenerAuth, PairUse, ServedConfig, ServedOutbound};
use crate::config::PairSource;
use crate::credentials::client_policy_source::ClientPolicySource;
use crate::credentials::load_failure::{REPORT_AGAIN_AFTER, RETRY_INTERVAL};
use crate::credentials::outbound::OwnPair;
use crate::credentials::server_trust::ServerTrustSource;
use crate::credentials::source::{LastGood, ReloadSource};
use crate::credentials::{FileKind, OutboundSnapshot, Pair, ReloadFailure};
use crate::identity::Identity;
use crate::trust::{ClientAuth, ClientAuthenticator, TrustAnchors};

/// Every source as it was when it was last good, in the order of the rotation's.
pub(super) struct LastGoodSources {
    pub(super) pairs: Vec<LastGood<PairSource>>,
    pub(super) client_policies: Vec<LastGood<ClientPolicySource>>,
    pub(super) server_trusts: Vec<LastGood<ServerTrustSource>>,
    /// What outbounds show of each pair.
    pub(super) own_pairs: Vec<OwnPair>,
    pub(super) generation: u64,
}

impl LastGoodSources {
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let pairs = self.pairs.iter().flat_map(|last_good| last_good.source.paths());
        let trusts = self.server_trusts.iter().flat_map(|last_good| last_good.source.paths());
        pairs.chain(self.client_policies.iter().flat_map(|last_good| last_good.source.paths())).chain(trusts).collect()
    }

    /// When to look at the files again, whatever the events say. Long after `now`, if nothing is wrong with them.
    pub(super) fn next_reload(&self, now: Instant) -> Instant {
        let is_unsettled = self.pairs.iter().any(LastGood::is_unsettled)
            || self.client_policies.iter().any(LastGood::is_unsettled)
            || self.server_trusts.iter().any(LastGood::is_unsettled);
        let of_pairs = self.pairs.iter().filter_map(LastGood::next_report);
        let of_trusts = self.server_trusts.iter().filter_map(LastGood::next_report);
        let reports = of_pairs.chain(self.client_policies.iter().filter_map(LastGood::next_report)).chain(of_trusts);
        let longest = if is_unsettled { RETRY_INTERVAL } else { REPORT_AGAIN_AFTER };
        reports.chain([now + longest]).min().unwrap_or(now + longest)
    }

    pub(super) fn failures(&self) -> Vec<ReloadFailure> {
        let of_pairs = self.pairs.iter().flat_map(LastGood::failures);
        let of_trusts = self.server_trusts.iter().flat_map(LastGood::failures);
        of_pairs.chain(self.client_policies.iter().flat_map(LastGood::failures)).chain(of_trusts).cloned().collect()
    }

    /// The trust anchors that count, and what their CAs are.
    pub(super) fn anchors(&self) -> impl Iterator<Item = (FileKind, &TrustAnchors)> {
        self.client_policies
            .iter()
            .filter_map(|last_good| Some((last_good.source.ca_kind(), &last_good.parsed()?.0.anchors)))
    }

    /// What is new for outbounds in `generation`.
    ///
    /// # Errors
    /// rustls does not take our suites.
    pub(super) fn build_outbounds<'a>(
        &mut self,
        outbounds: &'a [ServedOutbound],
        generation: u64,
    ) -> Result<Vec<(&'a ServedOutbound, OutboundSnapshot)>, rustls::Error> {
        let now = SystemTime::now();
        for (own, last_good) in self.own_pairs.iter_mut().zip(&self.pairs) {
            if let Some((pair, since)) = last_good.parsed().filter(|_| !outbounds.is_empty()) {
                own.note(pair, since, now);
            }
        }
        let mut new = Vec::new();
        for served in outbounds {
            let own = &self.own_pairs[served.pair];
            let (Some((pair, shown_since)), Some((trust, since))) =
                (own.pair(), self.server_trusts[served.trust].parsed())
            else {
                continue;
            };
            if served.snapshots.generation() < shown_since.max(since) {
                new.push((served, own.snapshot((pair, shown_since), trust, &served.settings, generation)?));
            }
        }
        Ok(new)
    }

    /// What `served` is to be served with, if it is all there and something of it is new.
    pub(super) fn build(&self, served: &ServedConfig) -> Option<(Option<&Pair>, ClientAuth)> {
        let pair = match &served.pair {
            PairUse::Served(pair_index, _) => Some(self.pairs[*pair_index].parsed()?),
            PairUse::IdentityOnly(source) => {
                self.pairs.iter().find(|last_good| last_good.source == *source).and_then(LastGood::parsed)
            }
        };
        let (pair, mut since) = pair.map_or((None, 0), |(pair, since)| (Some(pair), since));
        let client_auth = match served.auth {
            ListenerAuth::Nothing => ClientAuth::None,
            ListenerAuth::Certificate { client_policy, required } => {
                // While its first client CAs and rules are missing it serves nobody, and the start waits for them.
                let (client_policy, changed) = self.client_policies[client_policy].parsed()?;
                since = since.max(changed);
                let own = pair.and_then(|pair| Identity::from_der(pair.leaf()).ok().flatten()).map(Arc::new);
                ClientAuth::Certificate(ClientAuthenticator::new(Arc::clone(client_policy), required, own))
            }
        };
        served.generation().is_none_or(|generation| generation < since).then_some((pair, client_auth))
    }
}
