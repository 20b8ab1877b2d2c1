//! One rule: whom it means, and how it is written.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::alt_name::AltName;
use super::pattern::{DnsPattern, LONGEST_TEXT, UriPattern};
use crate::diagnostics::redact::{may_be_secret_in_name, quote};
use crate::diagnostics::{Problem, nearest};
use crate::identity::{AppInstanceId, Client, Guid, Identity, PeerCertificate};

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

/// How a rule begins, with what stands for the rest of it.
const FORMS: [(&str, &str); 13] = [
    ("cf:app:", "GUID"),
    ("cf:space:", "GUID"),
    ("cf:org:", "GUID"),
    ("cf:instance:", "ID"),
    ("cf:any", ""),
    ("cf:same:app", ""),
    ("cf:same:space", ""),
    ("cf:same:org", ""),
    ("dns:", "NAME"),
    ("uri:", "URI"),
    ("cn:", "NAME"),
    ("any", ""),
    ("anonymous", ""),
];

/// What is written by mistake, and how the rule that is meant begins.
const SLIPS: [(&str, &str); 21] = [
    ("app:", "cf:app:"),
    ("space:", "cf:space:"),
    ("org:", "cf:org:"),
    ("organization:", "cf:org:"),
    ("organisation:", "cf:org:"),
    ("cf:organization:", "cf:org:"),
    ("cf:organisation:", "cf:org:"),
    ("instance:", "cf:instance:"),
    ("ou=app:", "cf:app:"),
    ("ou=space:", "cf:space:"),
    ("ou=organization:", "cf:org:"),
    ("cn=", "cn:"),
    ("san:", "dns:"),
    ("spiffe:", "uri:"),
    ("same:app", "cf:same:app"),
    ("same:space", "cf:same:space"),
    ("same:org", "cf:same:org"),
    ("cf:same:organization", "cf:same:org"),
    ("cf:*", "cf:any"),
    ("*", "any"),
    ("all", "any"),
];

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

impl FromStr for Rule {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let within = |wrong: Problem| Problem::new(format!("{}: {}", quote(text), wrong.what), wrong.help);
        match text {
            "cf:any" => return Ok(Self::CloudFoundry),
            "cf:same:app" => return Ok(Self::Same(SameScope::App)),
            "cf:same:space" => return Ok(Self::Same(SameScope::Space)),
            "cf:same:org" => return Ok(Self::Same(SameScope::Organization)),
            "any" => return Ok(Self::Any),
            "anonymous" => return Ok(Self::Anonymous),
            _ => {}
        }
        if may_be_secret_in_name(text) {
            return Err(Problem::new("looks like a key itself", help_for("")));
        }
        let form = FORMS.iter().find_map(|(form, _)| Some((*form, text.strip_prefix(form)?)));
        match form {
            Some(("cf:app:", guid)) => guid_of("app", guid).map(Self::App),
            Some(("cf:space:", guid)) => guid_of("space", guid).map(Self::Space),
            Some(("cf:org:", guid)) => guid_of("org", guid).map(Self::Organization),
            Some(("cf:instance:", id)) => instance(id).map(Self::Instance),
            Some(("dns:", name)) => DnsPattern::parse(name).map(Self::Dns),
            Some(("uri:", uri)) => UriPattern::parse(uri).map(Self::Uri),
            Some(("cn:", name)) => common_name(name).map(Self::CommonName),
            _ => Err(Problem::new("no such rule", help_for(text))),
        }
        .map_err(within)
    }
}

/// A GUID on its own, as `--allow-app` and its like take it; `kind` is what the cf command line calls it.
pub(crate) fn guid_of(kind: &str, text: &str) -> Result<Guid, Problem> {
    let help = || format!("write the GUID that cf {kind} NAME --guid prints");
    text.parse().map_err(|_| Problem::new(format!("{} is not a GUID", quote(text)), help()))
}

fn instance(id: &str) -> Result<AppInstanceId, Problem> {
    let help = "write the CN of the instance's certificate, letters, digits and dashes";
    id.parse().map_err(|_| Problem::new(format!("{} is not an instance's id", quote(id)), help))
}

fn common_name(name: &str) -> Result<Arc<str>, Problem> {
    if name.starts_with(['"', '\'']) || name.ends_with(['"', '\'']) {
        return Err(Problem::new("the quotes would be part of the name", "leave them out"));
    }
    if name.contains('*') {
        return Err(Problem::new("a CN has no wildcard", "write the whole name, or dns:*.NAME"));
    }
    let plain =
        !name.is_empty() && name.trim() == name && name.len() <= LONGEST_TEXT && !name.chars().any(char::is_control);
    if plain { Ok(name.into()) } else { Err(Problem::new("it is no CN", "write cn:NAME such as cn:gorouter")) }
}

/// What was probably meant.
fn help_for(text: &str) -> String {
    let complete = |form: &str| {
        let rest = FORMS.iter().find(|(known, _)| *known == form).map_or("", |(_, rest)| rest);
        format!("the nearest is {form}{rest}")
    };
    if text.parse::<Guid>().is_ok() {
        return format!("write cf:app:{text}, cf:space:{text} or cf:org:{text}");
    }
    if text.contains("://") && UriPattern::parse(text).is_ok() {
        return "the nearest is uri:URI".to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let begins = |(slip, form): &(&str, &'static str)| lower.starts_with(slip).then_some(*form);
    let whole = |(slip, _): &&(&str, &str)| slip.ends_with([':', '=']) || lower == *slip;
    if let Some(form) = SLIPS.iter().filter(whole).find_map(begins) {
        return complete(form);
    }
    // With the name or GUID taken off, so that it is the beginning alone that is compared.
    let head = lower.rfind(':').map_or(lower.as_str(), |colon| &lower[..=colon]);
    let known = || FORMS.iter().map(|(form, _)| *form);
    if let Some(form) = nearest(&lower, known()).or_else(|| nearest(head, known())) {
        return complete(form);
    }
    if text.contains('.') && DnsPattern::parse(text).is_ok() {
        return "the nearest is dns:NAME".to_owned();
    }
    "write cf:app:GUID, cf:space:GUID, cf:org:GUID, cf:same:org, dns:NAME or any".to_owned()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(guid) => write!(f, "cf:app:{guid}"),
            Self::Space(guid) => write!(f, "cf:space:{guid}"),
            Self::Organization(guid) => write!(f, "cf:org:{guid}"),
            Self::Instance(id) => write!(f, "cf:instance:{id}"),
            Self::CloudFoundry => f.write_str("cf:any"),
            Self::Same(SameScope::App) => f.write_str("cf:same:app"),
            Self::Same(SameScope::Space) => f.write_str("cf:same:space"),
            Self::Same(SameScope::Organization) => f.write_str("cf:same:org"),
            Self::Dns(pattern) => write!(f, "dns:{pattern}"),
            Self::Uri(pattern) => write!(f, "uri:{pattern}"),
            Self::CommonName(name) => write!(f, "cn:{name}"),
            Self::Any => f.write_str("any"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::AltName(name) => write!(f, "san:{name}"),
            Self::Trusted => f.write_str("trusted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GUID: &str = "7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11";

    #[test]
    fn every_form_is_written_as_it_was_read_in_its_canonical_case() {
        for (text, written) in [
            (format!("cf:app:{GUID}"), format!("cf:app:{GUID}")),
            (format!("cf:space:{}", GUID.to_uppercase()), format!("cf:space:{GUID}")),
            (format!("cf:org:{GUID}"), format!("cf:org:{GUID}")),
            ("cf:instance:51F0a007-a1b2".to_owned(), "cf:instance:51f0a007-a1b2".to_owned()),
            ("dns:*.Example.COM".to_owned(), "dns:*.example.com".to_owned()),
            ("uri:spiffe://example.org/NS/*".to_owned(), "uri:spiffe://example.org/NS/*".to_owned()),
            ("cn:Mr. Router, II".to_owned(), "cn:Mr. Router, II".to_owned()),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), written);
        }
        for text in ["cf:any", "cf:same:app", "cf:same:space", "cf:same:org", "any", "anonymous"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
    }

    #[test]
    #[rustfmt::skip] // What is typed, and what is said, in one column each.
    fn a_rule_that_cannot_be_read_is_shown_with_what_is_wrong_and_the_help() {
        for (text, said) in [
            ("", "\"\": no such rule; write cf:app:GUID, cf:space:GUID, cf:org:GUID, cf:same:org, dns:NAME or any"),
            ("cf:ap:x", "\"cf:ap:x\": no such rule; the nearest is cf:app:GUID"),
            ("cf:app", "\"cf:app\": no such rule; the nearest is cf:app:GUID"),
            ("CF:APP:x", "\"CF:APP:x\": no such rule; the nearest is cf:app:GUID"),
            ("app:x", "\"app:x\": no such rule; the nearest is cf:app:GUID"),
            ("cf:organization:x", "\"cf:organization:x\": no such rule; the nearest is cf:org:GUID"),
            ("OU=app:x", "\"OU=app:x\": no such rule; the nearest is cf:app:GUID"),
            ("cf:same:spaces", "\"cf:same:spaces\": no such rule; the nearest is cf:same:space"),
            ("cf:all", "\"cf:all\": no such rule; the nearest is cf:any"),
            ("anonymus", "\"anonymus\": no such rule; the nearest is anonymous"),
            ("Any", "\"Any\": no such rule; the nearest is any"),
            ("*", "\"*\": no such rule; the nearest is any"),
            (" any", "\" any\": no such rule; the nearest is any"),
            (GUID, &format!("\"{GUID}\": no such rule; write cf:app:{GUID}, cf:space:{GUID} or cf:org:{GUID}")),
            ("gorouter.service.cf.internal", "\"gorouter.service.cf.internal\": no such rule; the nearest is dns:NAME"),
            ("spiffe://example.org/a", "\"spiffe://example.org/a\": no such rule; the nearest is uri:URI"),
            ("cf:app:web", "\"cf:app:web\": \"web\" is not a GUID; write the GUID that cf app NAME --guid prints"),
            ("cf:org:", "\"cf:org:\": \"\" is not a GUID; write the GUID that cf org NAME --guid prints"),
            ("cf:instance:*", "\"cf:instance:*\": \"*\" is not an instance's id; write the CN of the instance's certificate, letters, digits and dashes"),
            ("dns:a.*.b", "\"dns:a.*.b\": a * stands only for the whole first label; write dns:*.NAME"),
            ("cn:*", "\"cn:*\": a CN has no wildcard; write the whole name, or dns:*.NAME"),
            ("cn:", "\"cn:\": it is no CN; write cn:NAME such as cn:gorouter"),
            ("cn: x", "\"cn: x\": it is no CN; write cn:NAME such as cn:gorouter"),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap_err().to_string(), said);
        }
    }

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

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_reads_it_writes(text in "(cf:|app:|same:|dns:|uri:|cn:|any|anonymous|\\*|\\.|/|:|[a-z0-9-]{1,9}|(?s).){0,9}") {
            match text.parse::<Rule>() {
                Ok(rule) => prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule)),
                Err(wrong) => prop_assert!(!wrong.to_string().contains('\n')),
            }
        }
    }
}
