//! The verdict on a client.

use strum::{EnumString, IntoStaticStr, VariantArray};

use super::doubtful_name::DoubtfulName;
use super::{Denial, DenialReason, Routes, Rule};
use crate::identity::{Client, Identity};

/// Who may come in. No rule matched means no, so a policy without rules admits nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of those who may not.
    pub mode: PolicyMode,
    /// Who may.
    pub allow: Vec<Rule>,
    /// Who may not, whatever `allow` says.
    pub deny: Vec<Rule>,
    /// Who may ask for what. Where there are routes, whoever one of them admits may come in as well, and they decide on each request.
    pub routes: Routes,
}

/// What becomes of a client that may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, VariantArray, IntoStaticStr, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum PolicyMode {
    /// A client that no rule admits is refused.
    #[default]
    Enforce,
    /// It comes in all the same if it has a certificate under the trust anchors, and its access log entry says what would have been.
    Audit,
}

/// Proof that a client may reach the app. [`Policy::authorize`] is the only place that makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    basis: Basis<Denial>,
}

/// Why somebody gets what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Basis<D> {
    Allowed(Rule),
    Audited(D),
}

impl Policy {
    /// The policy of a listener that asks for no certificate: it admits the anonymous, and there are no others.
    pub fn anonymous() -> Self {
        Self { mode: PolicyMode::Enforce, allow: vec![Rule::Anonymous], deny: Vec::new(), routes: Routes::default() }
    }

    /// Whether `client`, for whose certificate the trust anchors have vouched, may come in. `own` is our own identity.
    ///
    /// Of a deny rule that speaks of names, a holder is refused also for a name that might be the one that is denied.
    /// The anonymous come in by the rule `anonymous` alone, in audit mode as well. Nothing is allocated for a client that
    /// may come in.
    ///
    /// # Errors
    /// [`Denial`]: a rule denies it, none admits it, or its identity is not sound.
    pub fn authorize(&self, client: &Client, own: Option<&Identity>) -> Result<Permit, Denial> {
        match (self.rule_for(client, own), self.mode, client) {
            (Ok(rule), _, _) => Ok(Permit { basis: Basis::Allowed(rule.clone()) }),
            (Err(denial), PolicyMode::Audit, Client::Authenticated(_)) => Ok(Permit { basis: Basis::Audited(denial) }),
            (Err(denial), _, _) => Err(denial),
        }
    }

    /// Whether some rule compares a client with ourselves.
    pub fn needs_own_identity(&self) -> bool {
        self.admitting_rules().chain(&self.deny).any(Rule::needs_own_identity)
    }

    /// Every rule by which somebody may come in.
    pub fn admitting_rules(&self) -> impl Iterator<Item = &Rule> {
        self.allow.iter().chain(self.routes.rules())
    }

    /// The rule that admits `client`.
    fn rule_for(&self, client: &Client, own: Option<&Identity>) -> Result<&Rule, Denial> {
        self.not_denied(client, own)?;
        Self::admitting(self.admitting_rules(), client, own)
    }

    /// That no rule denies `client`, and none might.
    pub(super) fn not_denied(&self, client: &Client, own: Option<&Identity>) -> Result<(), Denial> {
        let unsound = client.certificate().and_then(|certificate| certificate.identity.as_ref().err());
        if let Some(error) = unsound.filter(|_| !self.deny.is_empty()) {
            return Err(error.clone().into());
        }
        if let Some(rule) = self.deny.iter().find(|rule| rule.denies(client, own)) {
            return Err(Denial::denied_by(rule));
        }
        let doubt = |certificate| self.deny.iter().find_map(|rule| Some((rule, DoubtfulName::of(rule, certificate)?)));
        match client.certificate().and_then(doubt) {
            Some((rule, doubt)) => Err(Denial::doubtful(rule, &doubt)),
            None => Ok(()),
        }
    }

    /// The first of the rules in `allow` that admits `client`, whom none denies.
    pub(super) fn admitting<'r>(
        allow: impl IntoIterator<Item = &'r Rule>,
        client: &Client,
        own: Option<&Identity>,
    ) -> Result<&'r Rule, Denial> {
        let unsound = client.certificate().and_then(|certificate| certificate.identity.as_ref().err());
        allow.into_iter().find(|rule| rule.matches(client, own)).ok_or_else(|| match (client, unsound) {
            (_, Some(error)) => error.clone().into(),
            (Client::Anonymous, None) => DenialReason::NoCertificate.into(),
            (Client::Authenticated(_), None) => DenialReason::NotAllowed.into(),
        })
    }
}

impl PolicyMode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Permit {
    /// The rule that decided; `None` if none did and audit mode let the client in.
    pub fn rule(&self) -> Option<&Rule> {
        match &self.basis {
            Basis::Allowed(rule) => Some(rule),
            Basis::Audited(denial) => denial.rule(),
        }
    }

    /// What would have been said if audit mode had not let the client in.
    pub fn audited_denial(&self) -> Option<&Denial> {
        match &self.basis {
            Basis::Allowed(_) => None,
            Basis::Audited(denial) => Some(denial),
        }
    }
}
