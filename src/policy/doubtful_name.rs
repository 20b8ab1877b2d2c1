//! Names that might be a name that a rule denies, written in another way.
//!
//! An allow rule means a name exactly as it is written, so whatever is written in another way stays outside. For a deny rule
//! that would be the wrong way round: who is denied as `evil.example` would come in as `evil.example.`. So where a deny rule speaks of
//! names of a kind, a certificate's names of that kind have to be written so plainly that they can be compared, and none may
//! differ from the denied one only in what some reader overlooks. Nothing here admits anybody, and nothing is allocated.

use std::fmt;

use super::Rule;
use super::pattern::{DnsPattern, UriPattern, is_dns_name, is_plain_segment, is_scheme};
use crate::diagnostics::SafeText;
use crate::identity::PeerCertificate;

/// Why it cannot be said that a name is another than the one that is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DoubtfulName<'a> {
    kind: &'static str,
    name: Option<&'a str>,
    why: &'static str,
}

const NOT_PLAIN: &str = "is not written plainly";
const CASE: &str = "differs from it in case, blanks or a last slash only";

impl<'a> DoubtfulName<'a> {
    /// Whether `rule`, which does not mean the holder, might mean it if a name were written in another way.
    pub(super) fn of(rule: &Rule, certificate: &'a PeerCertificate) -> Option<Self> {
        match rule {
            Rule::Dns(_) if certificate.names.dns_is_untold => Some(untold("DNS names")),
            Rule::Dns(pattern) => dns(pattern, certificate),
            Rule::Uri(_) if certificate.names.uris_are_untold => Some(untold("URIs")),
            Rule::Uri(pattern) => certificate.names.uris.iter().find_map(|name| {
                let why = uri(pattern, name)?;
                Some(Self { kind: "URI", name: Some(name), why })
            }),
            Rule::CommonName(denied) => common_name(denied, certificate),
            // The others speak of no name, or stand in lists of Envoy's, which only allow.
            _ => None,
        }
    }
}

/// Of names that nobody tells us any may be the one that is denied.
fn untold(kind: &'static str) -> DoubtfulName<'static> {
    DoubtfulName { kind, name: None, why: "are not told by whoever names the client" }
}

/// The name is shown short, and with nothing in it that a terminal would obey.
impl fmt::Display for DoubtfulName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            None => write!(f, "the {} {}", self.kind, self.why),
            Some(name) => write!(f, "the {} {} {}", self.kind, SafeText::quoted(name), self.why),
        }
    }
}

fn dns<'a>(pattern: &DnsPattern, certificate: &'a PeerCertificate) -> Option<DoubtfulName<'a>> {
    if certificate.names.dns.is_empty() {
        return instead_of_dns(pattern, certificate);
    }
    // A name of no length is the platform's sign of a retirement.
    let is_sign = |name: &str| name.is_empty() && matches!(certificate.identity, Ok(Some(_)));
    certificate.names.dns.iter().filter(|name| !is_sign(name)).find_map(|name| {
        let why = match name.strip_prefix("*.") {
            _ if !is_dns_name(name.strip_prefix("*.").unwrap_or(name)) => NOT_PLAIN,
            Some(parent) if pattern.is_in_wildcard(parent) => "is a wildcard that stands for it too",
            _ => return None,
        };
        Some(DoubtfulName { kind: "DNS name", name: Some(name), why })
    })
}

/// A CN stands for a DNS name with some readers where there is none (RFC 6125, 6.4.4).
fn instead_of_dns<'a>(pattern: &DnsPattern, certificate: &'a PeerCertificate) -> Option<DoubtfulName<'a>> {
    if certificate.common_name_is_unclear {
        return Some(UNCLEAR);
    }
    let name = certificate.common_name.as_deref()?;
    let why = match name {
        _ if name.chars().any(char::is_control) || (!name.is_ascii() && name.contains('.')) => NOT_PLAIN,
        _ if pattern.resembles(seen(name)) => "stands in the place of a DNS name, of which there is none",
        _ => return None,
    };
    Some(DoubtfulName { kind: "CN", name: Some(name), why })
}

/// A CN that is not one text: several, or one of a string type that is read in several ways.
const UNCLEAR: DoubtfulName<'static> = DoubtfulName {
    kind: "CN",
    name: None,
    why: "occurs several times, or is neither a PrintableString nor a UTF8String",
};

/// X.520 compares CNs without regard to case and to how many blanks there are; beyond ASCII one text has several spellings.
fn common_name<'a>(denied: &str, certificate: &'a PeerCertificate) -> Option<DoubtfulName<'a>> {
    if certificate.common_name_is_unclear {
        return Some(UNCLEAR);
    }
    let name = certificate.common_name.as_deref()?;
    let is_plain = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && name.trim() == name;
    let why = match () {
        () if !is_plain || name.is_empty() => NOT_PLAIN,
        () if seen(name).eq(seen(denied)) => CASE,
        () => return None,
    };
    Some(DoubtfulName { kind: "CN", name: Some(name), why })
}

/// What a careless reader sees of a name.
fn seen(name: &str) -> impl Iterator<Item = u8> + Clone {
    name.bytes().filter(u8::is_ascii_graphic).map(|byte| byte.to_ascii_lowercase())
}

/// Whether `name` might be one that `pattern` means, in the words of RFC 3986, 6.2.2: case, percent-encoding, dot segments;
/// and in those of other readers.
fn uri(pattern: &UriPattern, name: &str) -> Option<&'static str> {
    let (denied, name) = (Uri::read(pattern.without_last_slash()), Uri::read(name));
    match (&denied, &name) {
        (Some(denied), Some(name)) if !denied.scheme.eq_ignore_ascii_case(name.scheme) => None,
        // Nothing plain can be compared with what is not.
        (Some(denied), Some(name)) if denied.is_plain() && name.is_plain() => {
            let differ = (denied.authority.is_some() != name.authority.is_some()) || (name.port && !denied.port);
            if differ { Some(NOT_PLAIN) } else { pattern.means_regardless_of_case(name.text).then_some(CASE) }
        }
        (Some(denied), Some(name)) if !denied.is_plain() && name.is_plain() => {
            Some("cannot be compared with it, which is not written plainly")
        }
        _ => Some(NOT_PLAIN),
    }
}

/// The parts of a URI, not decoded.
struct Uri<'a> {
    text: &'a str,
    scheme: &'a str,
    /// What stands behind `//`, without the port.
    authority: Option<&'a str>,
    port: bool,
    /// The port may as well be left out, or has other spellings.
    odd_port: bool,
    /// Without its first slash, if there is an authority.
    path: &'a str,
}

impl<'a> Uri<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme))?;
        let Some(rest) = rest.strip_prefix("//") else {
            return Some(Self { text, scheme, authority: None, port: false, path: rest, odd_port: false });
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (authority, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let odd_port = port.is_some_and(|port| {
            let has_other_spellings = port.starts_with('0') || ["80", "443"].contains(&port);
            has_other_spellings || port.parse::<u16>().is_err() || port.starts_with('+')
        });
        Some(Self { text, scheme, authority: Some(authority), port: port.is_some(), path, odd_port })
    }

    /// Whether there is one way to write it, and this is it.
    fn is_plain(&self) -> bool {
        let is_lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let host = self.authority.is_none_or(|host| is_dns_name(host) && is_lower(host));
        let path = match self.authority {
            Some(_) => self.path.is_empty() || self.path.split('/').all(is_plain_segment),
            None => self.path.split('/').all(is_plain_segment),
        };
        is_lower(self.scheme) && host && !self.odd_port && path
    }
}
