//! The loop that takes new pairs, client CAs and rules into service, and keeps the last good ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::blocking::run_blocking;
use super::client_policy_source::ClientPolicySource;
use super::expiry::Expiry;
use super::outbound::OwnPair;
use super::server_trust::ServerTrustSource;
use super::source::{LastGood, ReloadSource, Update};
use super::watch::FileWatch;
use super::{FileKind, InitialLoadError, RotationStats, ServedCertificate, Snapshot};
use crate::config::PairSource;
use crate::identity::Client;
use crate::tls::ServerConfigs;

mod last_good_sources;
mod registration;
mod served;
#[cfg(test)]
mod simulation;

use last_good_sources::LastGoodSources;
use served::{PairUse, ServedConfig, ServedOutbound, ServedTokenTrust};

/// The rotation of the pairs, and of the client CAs and rules that are served with them.
#[derive(Debug)]
pub struct Rotator {
    pairs: Vec<PairSource>,
    client_policies: Vec<ClientPolicySource>,
    configs: Vec<ServedConfig>,
    server_trusts: Vec<ServerTrustSource>,
    outbounds: Vec<ServedOutbound>,
    token_trusts: Vec<ServedTokenTrust>,
    /// Places of pairs that no listener shows.
    unlistened_pairs: Vec<usize>,
    served_certificates: watch::Sender<Vec<ServedCertificate>>,
    reload: Arc<Notify>,
    stats: Arc<RotationStats>,
}

impl Rotator {
    /// A rotator of nothing yet. `reload` has it load everything anew at any time (SIGHUP).
    pub fn new(reload: Arc<Notify>) -> Self {
        let served_certificates = watch::Sender::default();
        Self {
            pairs: Vec::new(),
            client_policies: Vec::new(),
            configs: Vec::new(),
            server_trusts: Vec::new(),
            outbounds: Vec::new(),
            token_trusts: Vec::new(),
            unlistened_pairs: Vec::new(),
            served_certificates,
            reload,
            stats: Arc::default(),
        }
    }

    /// Tells of each pair as it is taken into service, in the order of the listeners that first show them.
    pub fn served(&self) -> watch::Receiver<Vec<ServedCertificate>> {
        self.served_certificates.subscribe()
    }

    /// How many pairs there are to be shown.
    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// What the files are for that are loaded.
    fn kinds(&self) -> BTreeSet<FileKind> {
        let pairs = self.pairs.iter().map(|_| FileKind::Certificate);
        let server_ca = self.server_trusts.iter().filter(|trust| !trust.paths().is_empty()).map(|_| FileKind::ServerCa);
        pairs.chain(self.client_policies.iter().flat_map(ClientPolicySource::kinds)).chain(server_ca).collect()
    }

    /// What has become of new files so far.
    pub fn stats(&self) -> Arc<RotationStats> {
        Arc::clone(&self.stats)
    }

    /// Waits until every listener has something to serve, for `limit` at most; `None` waits for ever.
    ///
    /// # Errors
    /// The failure that is left when the time is over.
    pub async fn wait_for_initial_load(&self, limit: Option<Duration>) -> Result<(), InitialLoadError> {
        let all = async {
            for served in &self.configs {
                // There will be: we publish it.
                let _ = served.snapshots.subscribe().wait().await;
            }
        };
        match limit {
            None => {
                all.await;
                return Ok(());
            }
            Some(limit) if timeout(limit, all).await.is_ok() => return Ok(()),
            Some(_) => {}
        }
        let good = self.unloaded_sources();
        let is_served = |pair_index: &usize| {
            self.configs.iter().any(|served| matches!(&served.pair, PairUse::Served(index, _) if index == pair_index))
        };
        for pair_index in (0..good.pairs.len()).filter(is_served) {
            let _ = good.pairs[pair_index].load()()?;
        }
        for client_policy in &good.client_policies {
            let _ = client_policy.load()()?;
        }
        Ok(())
    }

    fn unloaded_sources(&self) -> LastGoodSources {
        LastGoodSources {
            pairs: self.pairs.iter().cloned().map(LastGood::new).collect(),
            client_policies: self.client_policies.iter().cloned().map(LastGood::new).collect(),
            server_trusts: self.server_trusts.iter().cloned().map(LastGood::new).collect(),
            own_pairs: self.pairs.iter().map(|_| OwnPair::default()).collect(),
            generation: 0,
        }
    }

    /// Takes everything new into service, for ever.
    pub async fn run(&self) {
        self.stats.update_files(|files| files.kinds = self.kinds());
        let mut good = self.unloaded_sources();
        let mut watch = FileWatch::new(good.paths()).await;
        let mut expiry = Expiry::default();
        loop {
            // The pairs first: client CAs and rules may have to stand still, and a pair need not wait for that.
            let pairs = self.load_all(&mut good.pairs, good.generation + 1).await;
            // At the start nobody has to wait for who vouches for whom, and all is one generation.
            let is_new = if good.generation == 0 {
                let servers = self.load_all(&mut good.server_trusts, 1).await;
                self.load_all(&mut good.client_policies, 1).await || servers || pairs
            } else {
                pairs
            };
            if is_new {
                self.publish(&mut good);
            }
            if self.load_all(&mut good.client_policies, good.generation + 1).await {
                self.publish(&mut good);
            }
            if self.load_all(&mut good.server_trusts, good.generation + 1).await {
                self.publish(&mut good);
            }
            self.stats.update_files(|files| files.failures = good.failures());
            expiry.update(&self.served_certificates.borrow(), good.anchors());
            for (ending, nearness) in expiry.due(SystemTime::now()) {
                ending.log(nearness, self.pairs.len() > 1);
            }
            tokio::select! {
                () = watch.changed() => {}
                () = self.reload.notified() => {}
                () = sleep_until(good.next_reload(Instant::now())) => {}
                () = sleep(expiry.sleep(SystemTime::now())) => {}
            }
        }
    }

    /// Looks at each of the sources; whether something new was found, which will be in service since `generation`.
    ///
    /// Reading may block, and checking an RSA key takes a millisecond: neither happens on a thread that relays.
    async fn load_all<S: ReloadSource>(&self, sources: &mut [LastGood<S>], generation: u64) -> bool {
        if sources.is_empty() {
            return false;
        }
        let loads: Vec<_> = sources.iter().map(LastGood::load).collect();
        let Ok(found) = run_blocking(move || loads.into_iter().map(|load| load()).collect::<Vec<_>>()).await else {
            tracing::error!(
                "credential reload failed (internal error); keeping the last good generation; please report this"
            );
            return false;
        };
        let mut new = false;
        for (last_good, found) in sources.iter_mut().zip(found) {
            let Update { is_new, failures } = last_good.apply(found, generation);
            new |= is_new;
            (0..failures).for_each(|_| self.stats.record_failure());
        }
        new
    }

    /// Publishes one more generation for every listener whose pair, client CAs or rules are new, once it has all of them.
    fn publish(&self, good: &mut LastGoodSources) {
        let generation = good.generation + 1;
        let mut next = Vec::new();
        for served in &self.configs {
            let Some((pair, client_auth)) = good.build(served) else { continue };
            let server_configs = match (&served.pair, pair) {
                (PairUse::Served(_, settings), Some(pair)) => {
                    ServerConfigs::new(pair.certified_key(), settings, &client_auth).map(Some)
                }
                _ => Ok(None),
            };
            match server_configs {
                Ok(server_configs) => {
                    let own = match pair.map(|pair| Client::from_leaf(pair.leaf())) {
                        Some(Ok(Client::Authenticated(own))) => Some(own),
                        Some(Ok(Client::Anonymous) | Err(_)) | None => None,
                    };
                    next.push((served, Snapshot { server_configs, client_auth, own, generation }))
                }
                Err(error) => {
                    // The system's random source failed; what is served stays.
                    tracing::error!(%error, "credential generation could not be published");
                    self.stats.record_failure();
                    return;
                }
            }
        }
        let outbounds = match good.build_outbounds(&self.outbounds, generation) {
            Ok(outbounds) => outbounds,
            Err(error) => {
                tracing::error!(%error, "credential generation could not be published");
                self.stats.record_failure();
                return;
            }
        };
        let token_trusts: Vec<_> = self
            .token_trusts
            .iter()
            .filter_map(|served| {
                let (client_policy, since) = good.client_policies[served.client_policy].parsed()?;
                (served.snapshots.generation() < since).then(|| (served, Arc::clone(client_policy)))
            })
            .collect();
        let mut bare = self.unlistened_pairs.iter().filter_map(|pair_index| good.pairs[*pair_index].parsed());
        let is_bare_new = bare.any(|(_, since)| since == generation);
        if next.is_empty() && outbounds.is_empty() && token_trusts.is_empty() && !is_bare_new {
            return;
        }
        good.generation = generation;
        for (served, snapshot) in next {
            served.snapshots.publish(snapshot, generation);
        }
        for (served, snapshot) in outbounds {
            served.snapshots.publish(snapshot, generation);
        }
        for (served, client_policy) in token_trusts {
            served.snapshots.publish(client_policy, generation);
        }
        self.stats.record_success(generation);
        self.stats.update_files(|files| {
            files.client_ca_not_after = good.anchors().filter_map(|(_, anchors)| anchors.not_after()).min();
            let issuers = good.anchors().flat_map(|(_, anchors)| anchors.crl_issuers());
            files.client_crl_next_update =
                issuers.filter_map(|crls| Some((crls.issuer.to_owned(), crls.next_update?))).collect();
        });
        let served = self.served_certificates(good);
        self.served_certificates.send_if_modified(|before| {
            let same = before.iter().map(|served| served.generation).eq(served.iter().map(|served| served.generation));
            *before = served;
            !same
        });
    }

    /// Every pair that some listener shows.
    fn served_certificates(&self, good: &LastGoodSources) -> Vec<ServedCertificate> {
        let before = self.served_certificates.borrow();
        let since =
            |generation| before.iter().find(|served| served.generation == generation).map(|served| served.since);
        let served = good.pairs.iter().enumerate().filter_map(|(pair_index, last_good)| {
            let in_service =
                |served: &ServedConfig| served.uses(pair_index, &last_good.source) && served.generation().is_some();
            let is_served = self.configs.iter().any(in_service) || self.unlistened_pairs.contains(&pair_index);
            let (pair, generation) = last_good.parsed().filter(|_| is_served)?;
            let since = since(generation).unwrap_or_else(SystemTime::now);
            Some(ServedCertificate { source: last_good.source.clone(), pair: pair.clone(), generation, since })
        });
        served.collect()
    }
}

impl ServedConfig {
    /// Whether it shows the pair of `source`, which is in this place, or knows it.
    fn uses(&self, pair_index: usize, source: &PairSource) -> bool {
        match &self.pair {
            PairUse::Served(index, _) => *index == pair_index,
            PairUse::IdentityOnly(known) => known == source,
        }
    }

    fn generation(&self) -> Option<u64> {
        self.snapshots.subscribe().load().map(|snapshot| snapshot.generation)
    }
}
