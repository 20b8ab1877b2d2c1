//! Who is served with what, as the parts of the program say before the rotation begins.

use std::sync::Arc;

use super::Rotator;
use super::served::{ListenerAuth, PairUse, ServedConfig, ServedOutbound, ServedTokenTrust};
use crate::config::{
    ClientAuthConfig, ClientAuthSettings, OutboundSettings, PairSource, TlsSettings, ValidationContextConfig,
};
use crate::credentials::client_policy_source::ClientPolicySource;
use crate::credentials::server_trust::ServerTrustSource;
use crate::credentials::snapshot::SnapshotPublisher;
use crate::credentials::{OutboundSnapshot, SnapshotReceiver};
use crate::trust::ClientPolicy;

impl Rotator {
    /// Registers a listener that shows the pair of `pair`, and gives the receiver of its snapshots. Listeners with equal settings share one.
    pub fn add_listener(
        &mut self,
        pair: &PairSource,
        settings: &TlsSettings,
        clients: &ClientAuthConfig,
    ) -> SnapshotReceiver {
        let pair = intern(&mut self.pairs, pair.clone());
        self.add_served(PairUse::Served(pair, settings.clone()), clients)
    }

    /// Registers a listener without TLS, and gives the receiver of its snapshots. Rules that compare with ourselves are kept by the pair of
    /// `pair`, which `is_there` or may be registered by others; without it nobody is like us.
    pub fn add_plaintext_listener(
        &mut self,
        pair: &PairSource,
        is_there: bool,
        clients: &ClientAuthConfig,
    ) -> SnapshotReceiver {
        if is_there {
            intern(&mut self.pairs, pair.clone());
        }
        self.add_served(PairUse::IdentityOnly(pair.clone()), clients)
    }

    fn add_served(&mut self, pair: PairUse, clients: &ClientAuthConfig) -> SnapshotReceiver {
        let auth = match clients {
            ClientAuthConfig::None => ListenerAuth::Nothing,
            ClientAuthConfig::Files(certified) => {
                let source = ClientPolicySource::Files(certified.clone());
                ListenerAuth::Certificate {
                    client_policy: intern(&mut self.client_policies, source),
                    required: certified.required,
                }
            }
            ClientAuthConfig::ValidationContext(ValidationContextConfig { required, secret }) => {
                let source = ClientPolicySource::Secret(secret.clone());
                ListenerAuth::Certificate {
                    client_policy: intern(&mut self.client_policies, source),
                    required: *required,
                }
            }
        };
        let same = |known: &&ServedConfig| known.pair == pair && known.auth == auth;
        if let Some(known) = self.configs.iter().find(same) {
            return known.snapshots.subscribe();
        }
        let snapshots = SnapshotPublisher::new();
        let receiver = snapshots.subscribe();
        self.configs.push(ServedConfig { pair, auth, snapshots });
        receiver
    }

    /// Registers an outbound listener, which shows the pair of `pair`, and gives the receiver of its snapshots.
    pub fn add_outbound(
        &mut self,
        pair: &PairSource,
        settings: &OutboundSettings,
    ) -> SnapshotReceiver<OutboundSnapshot> {
        let pair = intern(&mut self.pairs, pair.clone());
        let source = ServerTrustSource { ca: settings.ca.clone(), platform_cas: settings.platform_cas.clone() };
        let trust = intern(&mut self.server_trusts, source);
        let snapshots = SnapshotPublisher::new();
        let receiver = snapshots.subscribe();
        self.outbounds.push(ServedOutbound { pair, trust, settings: settings.clone(), snapshots });
        receiver
    }

    /// Registers the CAs and CRLs of `files`, by which tokens are judged, and gives the receiver of what they say.
    pub fn add_token_trust(&mut self, files: ClientAuthSettings) -> SnapshotReceiver<Arc<ClientPolicy>> {
        let client_policy = intern(&mut self.client_policies, ClientPolicySource::Tokens(files));
        let snapshots = SnapshotPublisher::new();
        let receiver = snapshots.subscribe();
        self.token_trusts.push(ServedTokenTrust { client_policy, snapshots });
        receiver
    }

    /// Registers a pair that no listener need show to be told of.
    pub fn add_pair(&mut self, pair: &PairSource) {
        let pair = intern(&mut self.pairs, pair.clone());
        self.unlistened_pairs.push(pair);
    }
}

/// The place of `one` among `all`, where it is put if it is new.
fn intern<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|known| *known == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}
