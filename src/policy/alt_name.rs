//! A subjectAltName as the Envoy that Diego starts compares it: one text against names of every kind.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::identity::AltNames;

/// A name that a certificate may hold as a dNSName, a URI, an e-mail address or an IP address: Envoy's
/// `match_subject_alt_names` with `exact`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AltName {
    text: Arc<str>,
    address: Option<IpAddr>,
}

impl AltName {
    /// The name `text`.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), address: text.parse().ok() }
    }

    /// Whether one of `names` is this one. DNS names are compared without regard to case, and a certificate for `*.NAME`
    /// holds every name with one label more; the others are compared byte for byte.
    pub(super) fn is_among(&self, names: &AltNames) -> bool {
        names.dns.iter().any(|name| self.is_dns(name))
            || names.uris.iter().chain(&names.emails).any(|name| **name == *self.text)
            || names.ips.iter().any(|address| self.address == Some(*address))
    }

    fn is_dns(&self, name: &str) -> bool {
        if name.is_empty() {
            return false;
        }
        match (name.strip_prefix("*."), self.text.split_once('.')) {
            (Some(below), Some((label, rest))) if !label.is_empty() && !rest.is_empty() => {
                rest.eq_ignore_ascii_case(below) || name.eq_ignore_ascii_case(&self.text)
            }
            _ => name.eq_ignore_ascii_case(&self.text),
        }
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
            assert_eq!(AltName::new(text).is_among(&holding(kind, name)), is, "{text} in {kind}:{name}");
        }
        assert!(!AltName::new("").is_among(&AltNames::default()));
    }
}
