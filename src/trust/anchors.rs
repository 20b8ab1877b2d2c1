//! Trust anchors: the CAs that vouch for clients or for servers, and the certificates that they have taken back.

pub(super) mod ca;
mod path;
mod texts;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::DistinguishedName;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::crl::Crl;
use super::revocation;
use super::verified_chains::VerifiedChainCache;
use crate::crypto::provider;
use crate::identity::{Client, Role};
use crate::policy::Denial;

pub use ca::Ca;
pub(super) use path::{Dates, Purpose};
pub use texts::{AnchorLabels, Text, TrustAnchorsError};
use texts::{read_cas, read_crls};

/// Names of CAs are sent to clients, so that they can choose among their certificates, as long as all of them together
/// are not longer than this, in bytes: they travel in every handshake. Beyond it a client is left to choose freely.
const LONGEST_HINTS: usize = 4096;

/// The CAs that vouch for clients, or for servers. Empty only where [`TrustAnchors::none`] says so. Cheap to clone.
///
/// A CA may be an intermediate one: whatever is listed vouches by itself, and needs no root above it.
#[derive(Debug, Clone)]
pub struct TrustAnchors(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For whom the CAs vouch.
    role: Role,
    /// SHA-256 of everything that was read.
    digest: [u8; 32],
    cas: Vec<Ca>,
    /// Those of `cas`, where webpki wants them.
    anchors: Vec<TrustAnchor<'static>>,
    crls: Vec<Crl>,
    /// What is odd about the CRLs, and which CAs they take back.
    crl_notes: Vec<String>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    known: VerifiedChainCache,
    /// Chains of tokens, which may be for other purposes than those of a handshake.
    known_of_tokens: VerifiedChainCache,
}

/// The issuer of CRLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlIssuer<'a> {
    /// Its name, as RFC 4514 writes it.
    pub issuer: &'a str,
    /// When its latest CRL was issued.
    pub this_update: SystemTime,
    /// By when there is to be another: the latest day, if it has several; `None` if one of them does not say.
    pub next_update: Option<SystemTime>,
}

impl TrustAnchors {
    /// The CAs in `cas`, which vouch for those in `role`, and the CRLs in `crls`, with a note on each file and certificate that was left out.
    ///
    /// A certificate that occurs several times counts once. One that is not a CA is left out with a note: whoever holds
    /// its key could otherwise vouch for anybody. A file of a folder that holds none is left out with a note.
    ///
    /// # Errors
    /// [`TrustAnchorsError`]: something in the files cannot be read, or there is no CA.
    pub fn parse(cas: &[Text], crls: &[Text], role: Role) -> Result<(Self, Vec<String>), TrustAnchorsError> {
        let mut notes = Vec::new();
        let mut found = Vec::new();
        for text in cas {
            read_cas(text, role, &mut found, &mut notes)?;
        }
        if found.is_empty() {
            return Err(TrustAnchorsError::empty(role, cas.iter().map(|text| &text.path), &notes));
        }
        let mut lists = Vec::new();
        for text in crls {
            read_crls(text, &mut lists, &mut notes)?;
        }
        let algorithms = provider().signature_verification_algorithms;
        let crl_notes = revocation::apply(&mut found, &lists, &algorithms);
        let inner = Inner {
            role,
            digest: digest(cas.iter().chain(crls)),
            anchors: found.iter().map(|ca| ca.anchor.clone()).collect(),
            hints: hints(&found),
            cas: found,
            crls: lists,
            crl_notes,
            algorithms,
            known: VerifiedChainCache::default(),
            known_of_tokens: VerifiedChainCache::default(),
        };
        Ok((Self(Arc::new(inner)), notes))
    }

    /// Why there is no CA in `text` that [`Self::parse`] would take; `None` if there is.
    pub(crate) fn lacks_cas(text: &Text, role: Role) -> Result<Option<String>, TrustAnchorsError> {
        let (mut found, mut notes) = (Vec::new(), Vec::new());
        read_cas(text, role, &mut found, &mut notes)?;
        Ok(found.is_empty().then(|| notes.join("; ")))
    }

    /// Why there is no CRL in `text` that [`Self::parse`] would take; `None` if there is. Each of them has to be signed by the one of `cas` whose list
    /// it claims to be, if there is such a one: damaged, it would let in whom it revokes.
    pub(crate) fn lacks_crls(text: &Text, cas: &[Ca]) -> Result<Option<String>, TrustAnchorsError> {
        let (mut found, mut notes) = (Vec::new(), Vec::new());
        read_crls(text, &mut found, &mut notes)?;
        let algorithms = provider().signature_verification_algorithms;
        match (1..).zip(&found).find(|(_, crl)| crl.lacks_signature_of(cas, &algorithms)) {
            Some((position, crl)) => {
                let (path, issuer) = (text.path.clone(), crl.issuer.clone());
                Err(TrustAnchorsError::CrlSignature { path, position, issuer })
            }
            None => Ok(found.is_empty().then(|| notes.join("; "))),
        }
    }

    /// No CA at all, which vouches for nobody: what Envoy's documents mean by an empty list, never a failed load.
    pub fn none(role: Role) -> Self {
        Self(Arc::new(Inner {
            role,
            digest: digest(std::iter::empty()),
            anchors: Vec::new(),
            hints: Vec::new(),
            cas: Vec::new(),
            crls: Vec::new(),
            crl_notes: Vec::new(),
            algorithms: provider().signature_verification_algorithms,
            known: VerifiedChainCache::default(),
            known_of_tokens: VerifiedChainCache::default(),
        }))
    }

    /// Each of the CAs, in the order in which they were found.
    pub fn cas(&self) -> &[Ca] {
        &self.0.cas
    }

    /// Each of the CRLs, in the order in which they were found.
    pub fn crls(&self) -> &[Crl] {
        &self.0.crls
    }

    /// Whose CRLs there are, in the order in which they were found.
    pub fn crl_issuers(&self) -> Vec<CrlIssuer<'_>> {
        let mut issuers: Vec<CrlIssuer<'_>> = Vec::new();
        for crl in self.crls() {
            match issuers.iter_mut().find(|known| known.issuer == crl.issuer) {
                Some(known) => {
                    known.this_update = known.this_update.max(crl.this_update);
                    known.next_update = known.next_update.zip(crl.next_update).map(|(one, other)| one.max(other));
                }
                None => issuers.push(CrlIssuer {
                    issuer: &crl.issuer,
                    this_update: crl.this_update,
                    next_update: crl.next_update,
                }),
            }
        }
        issuers
    }

    /// Whether `ca` is listed with later dates as well: it was renewed with its name and its key.
    pub fn has_renewed(&self, ca: &Ca) -> bool {
        self.cas().iter().any(|other| other.anchor == ca.anchor && other.not_after > ca.not_after)
    }

    /// The last second in which any of the CAs is valid.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.cas().iter().map(|ca| ca.not_after).max()
    }

    /// A note on each CRL that none of the CAs has signed, and on each CA that a CRL takes back.
    pub fn crl_notes(&self) -> &[String] {
        &self.0.crl_notes
    }

    /// Whether something that is listed in `before`, a CA or what a CRL names, is not listed here.
    pub(crate) fn lack_some_of(&self, before: &Self) -> bool {
        !before.cas().iter().all(|ca| self.cas().iter().any(|other| other.is_same(ca)))
            || !before.crls().iter().all(|crl| crl.is_covered_by(self.crls()))
    }

    /// Whether both came from the same bytes.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }

    /// Who it is that shows `chain`, if one of the CAs vouches at the time `now` for its first certificate, by way of the others:
    /// the question of every handshake, to be asked again of resumed sessions and living connections.
    ///
    /// Checked are signatures, dates (those of the CA itself as well), the purpose where the extended key usage is
    /// limited, the limits of CAs, and that no CRL names any of them.
    ///
    /// # Errors
    /// [`Denial`], with the reason why not.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Client, Denial> {
        if let Some((client, _)) = self.0.known.find(chain, now) {
            return Ok(client);
        }
        let dates = self.verify_path(chain, Dates::At(now), Purpose::Own)?;
        let client = Client::from_chain(chain)?;
        self.0.known.keep(client.clone(), dates);
        Ok(client)
    }

    /// The chains of tokens that were vouched for before.
    pub(super) fn known_token_chains(&self) -> &VerifiedChainCache {
        &self.0.known_of_tokens
    }

    /// The CAs' names, for clients that have several certificates to choose from; none if they are too long together.
    pub fn hints(&self) -> &[DistinguishedName] {
        &self.0.hints
    }

    /// The signature algorithms that certificates may be signed with.
    pub fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.0.algorithms
    }
}

fn digest<'a>(texts: impl Iterator<Item = &'a Text>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for text in texts {
        // The length in front, so that two texts cannot be taken for two others.
        context.update(&text.bytes.len().to_be_bytes());
        context.update(&text.bytes);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn hints(cas: &[Ca]) -> Vec<DistinguishedName> {
    let mut seen = HashSet::new();
    let subjects = cas.iter().map(|ca| ca.anchor.subject.as_ref()).filter(|subject| seen.insert(*subject));
    let hints: Vec<_> = subjects.map(DistinguishedName::in_sequence).collect();
    let length: usize = hints.iter().map(|hint| hint.as_ref().len()).sum();
    if length > LONGEST_HINTS { Vec::new() } else { hints }
}

#[cfg(test)]
mod kinds;
#[cfg(test)]
mod tests;
