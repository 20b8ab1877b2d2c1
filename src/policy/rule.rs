//! One rule: whom it means.

mod text;

use std::sync::Arc;

use super::alt_name::AltName;
use super::pattern::{DnsPattern, UriPattern};
use crate::identity::{AppInstanceId, Client, Guid, Identity, PeerCertificate};
pub(crate) use text::guid_of;

/// Whom a rule means. Written and read as `cf:app:GUID` and the like; cloning one allocates nothing.
///
/// A rule means the same whether it stands under allow or deny. Those on DNS names, URIs and CNs mean certificates that
/// are not Cloud Foundry's: an app chooses the internal routes in its own certificate, so a name there is nobody's word
/// but the app's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `cf:app:GUID`
    App(Guid),
    /// `cf:space:GUID`
    Space(Guid),
    /// `cf:org:GUID`
    Organization(Guid),
    /// `cf:instance:ID`
    Instance(AppInstanceId),
    /// `cf:any`: every sound Cloud Foundry identity.
    CloudFoundry,
    /// `cf:same:app`, `cf:same:space`, `cf:same:org`: whoever shares ours.
    Same(SameScope),
    /// `dns:NAME`, `dns:*.NAME`: a dNSName, without regard to case.
    Dns(DnsPattern),
    /// `uri:URI`, `uri:URI/*`: a uniformResourceIdentifier, byte for byte.
    Uri(UriPattern),
    /// `cn:NAME`: the subject's only CN, byte for byte.
    CommonName(Arc<str>),
    /// `any`: every certificate under the trust anchors.
    Any,
    /// `anonymous`: clients without a certificate.
    Anonymous,
    /// A subjectAltName of any certificate under the trust anchors, whatever else it says. Shown as `san:NAME`, and not to be typed:
    /// in a Cloud Foundry certificate names are the app's own word. Only Envoy's documents name one.
    AltName(AltName),
    /// Every certificate under the trust anchors, sound or not. Shown as `trusted`, and not to be typed: what Envoy's documents mean
    /// when they list no name.
    Trusted,
}

/// What a client may share with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SameScope {
    /// The app.
    App,
    /// The space.
    Space,
    /// The organization.
    Organization,
}

impl Rule {
    /// Whether the rule means `client`. `own` is our own identity, which `cf:same` compares with.
    ///
    /// A certificate whose identity is not sound is meant by no rule that can be typed: what it lacks might be what a deny
    /// names.
    pub fn matches(&self, client: &Client, own: Option<&Identity>) -> bool {
        let Some(certificate) = client.certificate() else {
            return *self == Self::Anonymous;
        };
        match (self, &certificate.identity) {
            (Self::AltName(name), _) => name.is_among(&certificate.names),
            (Self::Trusted, _) => true,
            (_, Ok(Some(identity))) => self.matches_identity(identity, own),
            (_, Ok(None)) => self.matches_names(certificate),
            (_, Err(_)) => false,
        }
    }

    /// Whether the rule, as one that denies, means `client`. Whoever has a Cloud Foundry identity is admitted by that alone, and denied
    /// by the certificate's names as well: a mark of the platform's in it does not make another name of one that is denied.
    pub fn denies(&self, client: &Client, own: Option<&Identity>) -> bool {
        self.matches(client, own) || client.certificate().is_some_and(|certificate| self.matches_names(certificate))
    }

    /// Whether everybody whom `other` means is meant by this rule too, as far as the two rules alone tell.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, other) => *other != Self::Anonymous,
            (Self::CloudFoundry, other) => other.is_on_identity(),
            (rule, other) => rule == other,
        }
    }

    /// Whether it means nobody but those with a Cloud Foundry identity.
    fn is_on_identity(&self) -> bool {
        match self {
            Self::App(_) | Self::Space(_) | Self::Organization(_) | Self::Instance(_) => true,
            Self::CloudFoundry | Self::Same(_) => true,
            Self::Dns(_) | Self::Uri(_) | Self::CommonName(_) | Self::Any | Self::Anonymous => false,
            Self::AltName(_) | Self::Trusted => false,
        }
    }

    /// The GUID that it takes for a name, by mistake: Cloud Foundry's certificates are not meant by names.
    pub fn guid_for_a_name(&self) -> Option<Guid> {
        let text = self.to_string();
        let name = text.strip_prefix("dns:").or_else(|| text.strip_prefix("cn:"))?;
        name.trim_start_matches("*.").split('.').next()?.parse().ok()
    }

    /// Whether it speaks of Cloud Foundry identities.
    pub fn is_cloud_foundry(&self) -> bool {
        match self {
            Self::App(_)
            | Self::Space(_)
            | Self::Organization(_)
            | Self::Instance(_)
            | Self::CloudFoundry
            | Self::Same(_) => true,
            Self::Dns(_)
            | Self::Uri(_)
            | Self::CommonName(_)
            | Self::Any
            | Self::Anonymous
            | Self::AltName(_)
            | Self::Trusted => false,
        }
    }

    /// Whether our own identity plays a part in it.
    pub fn needs_own_identity(&self) -> bool {
        matches!(self, Self::Same(_))
    }

    /// Whether the rule means a client with this Cloud Foundry identity.
    fn matches_identity(&self, client: &Identity, own: Option<&Identity>) -> bool {
        match self {
            Self::App(guid) => client.app == Some(*guid),
            Self::Space(guid) => client.space == Some(*guid),
            Self::Organization(guid) => client.organization == Some(*guid),
            Self::Instance(id) => client.instance.as_ref() == Some(id),
            Self::Same(kin) => own.is_some_and(|own| kin.of(own).is_some() && kin.of(own) == kin.of(client)),
            Self::CloudFoundry | Self::Any | Self::Trusted => true,
            Self::Dns(_) | Self::Uri(_) | Self::CommonName(_) | Self::AltName(_) | Self::Anonymous => false,
        }
    }

    /// Whether the rule means the holder of a certificate that is not Cloud Foundry's.
    fn matches_names(&self, certificate: &PeerCertificate) -> bool {
        match self {
            Self::Dns(pattern) => certificate.names.dns.iter().any(|name| pattern.matches(name)),
            Self::Uri(pattern) => certificate.names.uris.iter().any(|uri| pattern.matches(uri)),
            Self::CommonName(name) => certificate.common_name.as_deref() == Some(name),
            Self::AltName(name) => name.is_among(&certificate.names),
            Self::Any | Self::Trusted => true,
            Self::App(_) | Self::Space(_) | Self::Organization(_) | Self::Instance(_) => false,
            Self::CloudFoundry | Self::Same(_) | Self::Anonymous => false,
        }
    }
}

impl SameScope {
    /// What of `identity` is compared.
    pub fn of(self, identity: &Identity) -> Option<Guid> {
        match self {
            Self::App => identity.app,
            Self::Space => identity.space,
            Self::Organization => identity.organization,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";

    #[test]
    fn any_covers_every_certificate_and_cf_any_every_identity() {
        let rule = |text: &str| text.parse::<Rule>().unwrap();
        let app = format!("cf:app:{GUID}");
        for (wide, narrow, covers) in [
            ("any", app.as_str(), true),
            ("any", "cn:x", true),
            ("any", "anonymous", false),
            ("cf:any", &app, true),
            ("cf:any", "cf:same:org", true),
            ("cf:any", "dns:a.b", false),
            ("cf:any", "any", false),
            (&app, &app, true),
            (&app, "cf:any", false),
        ] {
            assert_eq!(rule(wide).covers(&rule(narrow)), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn a_guid_that_stands_for_a_name_is_noticed() {
        for (text, found) in [
            (format!("dns:{GUID}"), true),
            (format!("dns:*.{GUID}.apps.internal"), true),
            (format!("cn:{GUID}"), true),
            (format!("cf:app:{GUID}"), false),
            ("dns:router.example".to_owned(), false),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().guid_for_a_name().is_some(), found, "{text}");
        }
    }
}
