//! A subjectAltName as the Envoy that Diego starts compares it: one text against names of every kind.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::identity::AltNames;

/// A name that a certificate may hold: what Envoy's lists of names, `match_subject_alt_names` and its successor, mean by
/// `exact`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AltName {
    kind: Option<AltNameKind>,
    text: Arc<str>,
    address: Option<IpAddr>,
}

/// The kinds of names in a certificate (RFC 5280, 4.2.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AltNameKind {
    /// `dNSName`
    Dns,
    /// `rfc822Name`
    Email,
    /// `uniformResourceIdentifier`
    Uri,
    /// `iPAddress`
    Ip,
}

impl AltName {
    /// The name `text` of this kind; `None`: of any.
    pub fn new(kind: Option<AltNameKind>, text: &str) -> Self {
        Self { kind, text: text.into(), address: text.parse().ok() }
    }

    /// Whether one of `names` is this one. DNS names are compared without regard to case, and a certificate for `*.NAME`
    /// holds every name with one label more; URIs and e-mail addresses are compared byte for byte.
    pub(super) fn is_among(&self, names: &AltNames) -> bool {
        let may_be = |kind| self.kind.is_none_or(|of| of == kind);
        let is_text = |name: &String| **name == *self.text && !name.is_empty();
        (may_be(AltNameKind::Dns) && names.dns.iter().any(|name| self.is_dns(name)))
            || (may_be(AltNameKind::Uri) && names.uris.iter().any(is_text))
            || (may_be(AltNameKind::Email) && names.emails.iter().any(is_text))
            || (may_be(AltNameKind::Ip) && names.ips.iter().any(|address| self.address == Some(*address)))
    }

    fn is_dns(&self, name: &str) -> bool {
        if name.is_empty() {
            return false;
        }
        let by_wildcard = || {
            let (below, (label, rest)) = name.strip_prefix("*.").zip(self.text.split_once('.'))?;
            Some(!label.is_empty() && !rest.is_empty() && rest.eq_ignore_ascii_case(below))
        };
        name.eq_ignore_ascii_case(&self.text) || by_wildcard().unwrap_or(false)
    }
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(kind: &str, name: &str) -> AltNames {
        let mut names = AltNames::default();
        match kind {
            "dns" => names.dns.push(name.to_owned()),
            "uri" => names.uris.push(name.to_owned()),
            "email" => names.emails.push(name.to_owned()),
            _ => names.ips.push(name.parse().unwrap()),
        }
        names
    }

    #[test]
    fn a_name_is_found_whatever_kind_it_is_of_and_no_other_is() {
        for (text, kind, name, is) in [
            ("gorouter.service.cf.internal", "dns", "gorouter.service.cf.internal", true),
            ("gorouter.service.cf.internal", "dns", "GoRouter.Service.CF.internal", true),
            ("gorouter.service.cf.internal", "dns", "*.service.cf.internal", true),
            ("gorouter.service.cf.internal", "dns", "*.cf.internal", false),
            ("gorouter.service.cf.internal", "dns", "gorouter.service.cf.internal.", false),
            ("gorouter.service.cf.internal", "dns", "xgorouter.service.cf.internal", false),
            ("gorouter.service.cf.internal", "dns", "go*.service.cf.internal", false),
            ("internal", "dns", "*", false),
            (".internal", "dns", "*.internal", false),
            ("gorouter.", "dns", "*.", false),
            ("", "dns", "", false),
            ("spiffe://a/b", "uri", "spiffe://a/b", true),
            ("spiffe://a/b", "uri", "spiffe://A/b", false),
            ("a@b.c", "email", "a@b.c", true),
            ("a@b.c", "email", "A@b.c", false),
            ("10.0.0.1", "ip", "10.0.0.1", true),
            ("10.0.0.1", "ip", "10.0.0.10", false),
            ("fd00::1", "ip", "fd00:0::1", true),
        ] {
            assert_eq!(AltName::new(None, text).is_among(&holding(kind, name)), is, "{text} in {kind}:{name}");
        }
        let uri = holding("uri", "a.b");
        assert!(AltName::new(Some(AltNameKind::Uri), "a.b").is_among(&uri));
        assert!(!AltName::new(Some(AltNameKind::Dns), "a.b").is_among(&uri));
        assert!(!AltName::new(None, "").is_among(&AltNames::default()));
    }
}
