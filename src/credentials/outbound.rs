//! What outbound connections are made with: one snapshot of the pair that we show and of whom we believe.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use super::server_remedies::{remedies, remedy_for_other_anchors};
use super::server_trust::{ServerTrust, ServerTrustSource};
use super::source::ReloadSource;
use super::{InitialLoadError, Pair};
use crate::config::{ExpectedName, IdentityUse, OutboundSettings, PairSource, SettingsPlace};
use crate::diagnostics::{LONGEST_FIELD, SafeText};
use crate::identity::{Certificate, Identity, Role};
use crate::pem::Pem;
use crate::policy::{Policy, PolicyMode, Routes};
use crate::tls;
use crate::trust::{NameCheck, OtherAnchors, ServerAuthenticator, ServerPolicy, Text, TrustAnchors, has_issued};

/// What one outbound connection is made with. Replaced whole, never edited.
#[derive(Debug)]
pub struct OutboundSnapshot {
    /// The pair that is shown, with sessions of its own.
    pub client_config: Arc<ClientConfig>,
    /// Who may answer. The configuration asks the same.
    pub authenticator: ServerAuthenticator,
    /// Counts from 1, over all that is loaded.
    pub generation: u64,
    /// The generation of the pair that is shown: in every connection's access log entry.
    pub pair_generation: u64,
    /// When the pair that is shown is valid; `None` where none is.
    pub validity: Option<PairValidity>,
}

/// The first and the last second of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairValidity {
    /// The first second.
    pub not_before: SystemTime,
    /// The last second.
    pub not_after: SystemTime,
}

/// The pair that we show servers, and who has issued it and those before it.
#[derive(Debug, Default)]
pub(super) struct OwnPair {
    /// The last one that names an instance: servers may look at it, and the pair that announces a retirement has no name.
    pair: Option<(Pair, u64)>,
    /// The pair of this generation was looked at.
    seen: u64,
    issuers: Vec<Issuer>,
}

/// Who has issued a pair of ours.
#[derive(Debug)]
struct Issuer {
    subject: String,
    /// Its certificate, where it stands behind ours and has signed that.
    certificate: Option<CertificateDer<'static>>,
    /// The last second of the pair.
    until: SystemTime,
}

impl OutboundSnapshot {
    /// What an outbound of `settings` would be served with that shows the pair of `pair`, read once.
    ///
    /// # Errors
    /// The pair, or the CAs of servers, cannot be used.
    pub fn load(pair: &PairSource, settings: &OutboundSettings) -> Result<Self, Box<InitialLoadError>> {
        Self::read(pair, settings).map_err(Box::new)
    }

    #[expect(clippy::result_large_err, reason = "it is boxed before it goes anywhere")]
    fn read(pair: &PairSource, settings: &OutboundSettings) -> Result<Self, InitialLoadError> {
        let pair = pair.parse(&pair.read(None)?)?;
        let source = ServerTrustSource { ca: settings.ca.clone(), platform_cas: settings.platform_cas.clone() };
        let trust = source.parse(&source.read(None)?)?;
        let mut own = OwnPair::default();
        own.note(&pair, 1, SystemTime::now());
        Ok(own.snapshot((&pair, 1), &trust, settings, 1)?)
    }
}

/// What `anchors` are called, which vouch for the servers of an outbound of `settings`.
fn asked(anchors: &TrustAnchors, settings: &OutboundSettings) -> String {
    let sources: Vec<_> = settings.ca.iter().map(ToString::to_string).collect();
    let cas = match anchors.cas() {
        [ca] => SafeText::up_to(LONGEST_FIELD / 4, &ca.subject).to_string(),
        all => all.len().to_string(),
    };
    format!("CAs of --outbound-ca ({}: {cas})", sources.join(", "))
}

impl OwnPair {
    /// Takes note of the pair that is good since the generation `since`.
    pub(super) fn note(&mut self, pair: &Pair, since: u64, now: SystemTime) {
        if self.seen == since {
            return;
        }
        self.seen = since;
        self.issuers.retain(|issuer| issuer.until >= now);
        let Ok(leaf) = Certificate::from_der(pair.leaf()) else { return };
        if !leaf.is_retirement() || self.pair.is_none() {
            self.pair = Some((pair.clone(), since));
        }
        // Another CA of that name may stand behind it, which has no say in who we are.
        let is_issuer = |der: &&CertificateDer<'_>| {
            Certificate::from_der(der).is_ok_and(|ca| ca.is_ca()) && has_issued(der, pair.leaf())
        };
        let found: Vec<_> = pair.chain()[1..].iter().filter(is_issuer).cloned().map(Some).collect();
        let certificates = if found.is_empty() { vec![None] } else { found };
        for certificate in certificates {
            let (subject, until) = (leaf.issuer(), leaf.not_after());
            self.issuers.retain(|known| (&known.subject, &known.certificate) != (&subject, &certificate));
            self.issuers.push(Issuer { subject, certificate, until });
        }
    }

    /// The certificates of those who have issued our pairs, as far as they are known.
    fn issuer_certificates<'a>(&'a self) -> impl Iterator<Item = &'a CertificateDer<'a>> {
        self.issuers.iter().filter_map(|issuer| issuer.certificate.as_ref())
    }

    /// The pair that is shown, and since which generation.
    pub(super) fn pair(&self) -> Option<(&Pair, u64)> {
        self.pair.as_ref().map(|(pair, since)| (pair, *since))
    }

    /// Whatever of `platform` is called like one of the issuers: that one itself, where our file has only our own certificate, and their
    /// successors.
    fn successors(&self, platform: &[Text]) -> Vec<CertificateDer<'static>> {
        let pems = platform.iter().filter_map(|text| Pem::read(&text.bytes).ok());
        let all: Vec<_> = pems.flat_map(|pem| pem.chain()).collect();
        let is_called_alike = |der: &CertificateDer<'_>| {
            let subject = Certificate::from_der(der).map(|ca| ca.subject());
            subject.is_ok_and(|subject| self.issuers.iter().any(|issuer| issuer.subject == subject))
        };
        all.into_iter().filter(is_called_alike).collect()
    }

    /// CAs of which somebody may think that they vouch as well.
    fn others(&self, trust: &ServerTrust, place: &SettingsPlace) -> Option<OtherAnchors> {
        let own_issuers = || Text::of_certificates(Path::new("own-issuer"), self.issuer_certificates());
        let parse = |texts: &[Text]| Some(TrustAnchors::parse(texts, &[], Role::Server).ok()?.0);
        match trust.own_issuer {
            true => Some(OtherAnchors {
                anchors: parse(&trust.platform)?,
                detail: "a CA in $CF_SYSTEM_CERT_PATH vouches for it, and not the issuer of our own certificate",
                remedy: remedy_for_other_anchors(place, true),
            }),
            false => Some(OtherAnchors {
                anchors: parse(&[own_issuers()])?,
                detail: "the issuer of our own certificate vouches for it, and is not among the CAs that are asked",
                remedy: remedy_for_other_anchors(place, false),
            }),
        }
    }

    /// What an outbound of `settings` is served with, if `trust` is in force from the generation `generation` on.
    ///
    /// # Errors
    /// rustls does not take our suites.
    pub(super) fn snapshot(
        &self,
        (pair, pair_generation): (&Pair, u64),
        trust: &ServerTrust,
        settings: &OutboundSettings,
        generation: u64,
    ) -> Result<OutboundSnapshot, rustls::Error> {
        let mut texts = trust.cas.clone();
        if trust.own_issuer {
            let successors = self.successors(&trust.platform);
            let issuers = self.issuer_certificates().chain(&successors);
            texts.push(Text::of_certificates(Path::new("own-issuer"), issuers));
        }
        // Read before; where nothing vouches, nobody is believed.
        let anchors = TrustAnchors::parse(&texts, &[], Role::Server)
            .map_or_else(|_| TrustAnchors::none(Role::Server), |(anchors, _)| anchors);
        let asked = asked(&anchors, settings);
        let others = self.others(trust, &settings.place);
        let expected = (!settings.expect.is_empty()).then(|| Policy {
            mode: PolicyMode::Enforce,
            allow: settings.expect.clone(),
            deny: Vec::new(),
            routes: Routes::default(),
        });
        let authenticator = ServerAuthenticator::new(ServerPolicy {
            anchors,
            others,
            expected,
            own: Identity::from_der(pair.leaf()).ok().flatten().map(Arc::new),
            name_check: match settings.server_name {
                ExpectedName::Target => NameCheck::Names,
                ExpectedName::Given(_) => NameCheck::All,
                ExpectedName::Unchecked => NameCheck::Nothing,
            },
            asked,
            help: None,
            remedies: remedies(&settings.place),
        });
        let shown = (settings.identity == IdentityUse::Always).then_some(pair);
        let validity = shown
            .and_then(|pair| Certificate::from_der(pair.leaf()).ok())
            .map(|leaf| PairValidity { not_before: leaf.not_before(), not_after: leaf.not_after() });
        let client_config = tls::client_config(shown.map(Pair::certified_key), authenticator.clone())?;
        Ok(OutboundSnapshot { client_config, authenticator, generation, pair_generation, validity })
    }
}
