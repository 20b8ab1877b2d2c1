//! Names as rules write them: DNS names and URIs, whole or with a wildcard.

use std::fmt;
use std::sync::Arc;

use crate::diagnostics::Problem;

/// The longest DNS name (RFC 1035, 2.3.4), without the dot at its end.
const LONGEST_NAME: usize = 253;

/// The longest label of a DNS name.
const LONGEST_LABEL: usize = 63;

/// The longest URI or CN that a rule may name.
pub(super) const LONGEST_TEXT: usize = 2048;

/// `NAME`, or `*.NAME` for every name with exactly one label more. Kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsPattern {
    one_label_more: bool,
    name: Arc<str>,
}

/// `URI`, or `URI/*` for everything below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UriPattern {
    below: bool,
    /// With its last slash if everything below it is meant.
    uri: Arc<str>,
}

impl DnsPattern {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let (one_label_more, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let wrong = |what: &str, help: &str| Err(Problem::new(what, help));
        if text == "*" {
            return wrong("a * alone is no name", "write any for every certificate, or dns:*.NAME");
        }
        if name.contains('*') {
            return wrong("a * stands only for the whole first label", "write dns:*.NAME");
        }
        if name.ends_with('.') {
            return wrong("it ends in a dot", "leave the last dot out");
        }
        if !name.is_ascii() {
            return wrong("it is not ASCII", "write the name as certificates do, in its xn-- form");
        }
        if name.parse::<std::net::Ipv4Addr>().is_ok() || name.contains(':') {
            return wrong("it is no DNS name", "write a name without a port such as dns:router.example.com");
        }
        if !is_dns_name(name) {
            return wrong("it is no DNS name", "write dns:NAME such as dns:router.example.com");
        }
        Ok(Self { one_label_more, name: name.to_ascii_lowercase().into() })
    }

    /// Whether `name`, as a certificate writes it, is meant. A wildcard in the certificate is no name of anybody.
    pub(super) fn matches(&self, name: &str) -> bool {
        let rest = match (self.one_label_more, name.split_once('.')) {
            (false, _) => name,
            (true, Some((label, rest))) if is_label(label) => rest,
            (true, _) => return false,
        };
        rest.eq_ignore_ascii_case(&self.name)
    }

    /// Whether a certificate's wildcard for all names with one label before `parent` stands for a name that is meant.
    pub(super) fn is_in_wildcard(&self, parent: &str) -> bool {
        let own = if self.one_label_more { Some(&*self.name) } else { self.name.split_once('.').map(|(_, own)| own) };
        own.is_some_and(|own| own.eq_ignore_ascii_case(parent))
    }

    /// Whether a text is meant, or a wildcard for it, for one who sees these characters of it, in lower case.
    pub(super) fn resembles(&self, seen: impl Iterator<Item = u8> + Clone) -> bool {
        let below = seen.clone().skip_while(|byte| *byte != b'.').skip(1);
        let parent = match self.one_label_more {
            true => Some(&*self.name),
            false => self.name.split_once('.').map(|(_, parent)| parent).filter(|_| seen.clone().next() == Some(b'*')),
        };
        (!self.one_label_more && is_seen(seen, &self.name)) || parent.is_some_and(|parent| is_seen(below, parent))
    }
}

/// Whether `name` is what is seen, but for dots at the end.
fn is_seen(mut seen: impl Iterator<Item = u8>, name: &str) -> bool {
    seen.by_ref().take(name.len()).eq(name.bytes()) && seen.all(|byte| byte == b'.')
}

/// A DNS name without a wildcard and without a dot at its end.
pub(super) fn is_dns_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}

/// Letters, digits, dashes and underscores, no dash at either end.
fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl UriPattern {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        const EXAMPLE: &str = "write uri:URI such as uri:spiffe://example.org/web, or uri:URI/* for all below it";
        let (below, uri) = match text.strip_suffix('*') {
            Some(uri) if uri.ends_with('/') => (true, uri),
            _ => (false, text),
        };
        if uri.contains('*') {
            return Err(Problem::new("a * stands only at the end, behind a slash", EXAMPLE));
        }
        let Some((scheme, rest)) = uri.split_once(':') else {
            return Err(Problem::new("it has no scheme", EXAMPLE));
        };
        // `spiffe://*` would be everything of every authority.
        let names_something = rest.bytes().any(|byte| byte != b'/') && !(below && rest.ends_with("//"));
        if !is_scheme(scheme)
            || !names_something
            || !rest.bytes().all(|byte| byte.is_ascii_graphic())
            || text.len() > LONGEST_TEXT
        {
            return Err(Problem::new("it is no URI", EXAMPLE));
        }
        Ok(Self { below, uri: uri.into() })
    }

    /// Whether `uri`, as a certificate writes it, is meant: byte for byte, as RFC 3986 (6.2.1) compares simple strings.
    ///
    /// What stands below must be plain segments: a `..`, however it is written, would lead out again.
    pub(super) fn matches(&self, uri: &str) -> bool {
        match (self.below, uri.strip_prefix(&*self.uri)) {
            (false, Some(rest)) => rest.is_empty(),
            (true, Some(rest)) => rest.split('/').all(is_plain_segment),
            (_, None) => false,
        }
    }

    /// As [`UriPattern::matches`], without regard to case and to a last slash.
    pub(super) fn means_regardless_of_case(&self, uri: &str) -> bool {
        let own = if self.below { &*self.uri } else { self.without_last_slash() };
        let (start, rest) = uri.as_bytes().split_at(own.len().min(uri.len()));
        // Without a path or with an empty one, it is the same (RFC 3986, 6.2.3).
        start.eq_ignore_ascii_case(own.as_bytes()) && (self.below || rest.is_empty() || rest == b"/")
    }

    /// What is meant, or what everything that is meant is below.
    pub(super) fn without_last_slash(&self) -> &str {
        self.uri.strip_suffix('/').unwrap_or(&self.uri)
    }
}

/// RFC 3986, 3.1.
pub(super) fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

pub(super) fn is_plain_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|byte| byte.is_ascii_graphic() && !b"%?#\\".contains(&byte))
}

impl fmt::Display for DnsPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.one_label_more { "*." } else { "" }, self.name)
    }
}

impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.uri, if self.below { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::{DnsPattern, UriPattern};

    fn dns(pattern: &str, name: &str) -> bool {
        DnsPattern::parse(pattern).unwrap().matches(name)
    }

    fn uri(pattern: &str, uri: &str) -> bool {
        UriPattern::parse(pattern).unwrap().matches(uri)
    }

    #[test]
    fn a_dns_name_is_compared_whole_and_without_regard_to_case() {
        assert!(dns("gorouter.service.cf.internal", "gorouter.service.cf.internal"));
        assert!(dns("Gorouter.service.CF.internal", "GOROUTER.Service.cf.internal"));
        for name in [
            "",
            "gorouter",
            "gorouter.service.cf.internal.",
            "x.gorouter.service.cf.internal",
            "gorouter.service.cf.internal.evil",
            "gorouter.service.cf.internal\0.evil",
            " gorouter.service.cf.internal",
            "*.service.cf.internal",
            "*",
        ] {
            assert!(!dns("gorouter.service.cf.internal", name), "{name:?}");
        }
    }

    #[test]
    fn a_wildcard_is_exactly_one_whole_label() {
        assert!(dns("*.example.com", "a.example.com") && dns("*.example.com", "A-1_b.EXAMPLE.com"));
        for name in [
            "example.com",
            ".example.com",
            "a.b.example.com",
            "*.example.com",
            "a*.example.com",
            "-a.example.com",
            "a\0.example.com",
            "a b.example.com",
            "a.example.com.",
            "aexample.com",
            "a.example.com.evil",
            &format!("{}.example.com", "x".repeat(64)),
        ] {
            assert!(!dns("*.example.com", name), "{name:?}");
        }
    }

    #[test]
    fn each_wrong_dns_name_has_its_help() {
        for (text, said) in [
            ("*", "a * alone is no name; write any for every certificate, or dns:*.NAME"),
            ("a.*.b", "a * stands only for the whole first label; write dns:*.NAME"),
            ("a*.b", "a * stands only for the whole first label; write dns:*.NAME"),
            ("*.*.b", "a * stands only for the whole first label; write dns:*.NAME"),
            ("a.b.", "it ends in a dot; leave the last dot out"),
            ("bücher.example", "it is not ASCII; write the name as certificates do, in its xn-- form"),
            ("10.0.0.1", "it is no DNS name; write a name without a port such as dns:router.example.com"),
            ("a.b:443", "it is no DNS name; write a name without a port such as dns:router.example.com"),
            ("", "it is no DNS name; write dns:NAME such as dns:router.example.com"),
            ("*.", "it is no DNS name; write dns:NAME such as dns:router.example.com"),
            ("a..b", "it is no DNS name; write dns:NAME such as dns:router.example.com"),
            ("-a.b", "it is no DNS name; write dns:NAME such as dns:router.example.com"),
            ("a b", "it is no DNS name; write dns:NAME such as dns:router.example.com"),
        ] {
            assert_eq!(DnsPattern::parse(text).unwrap_err().to_string(), said, "{text:?}");
        }
        assert!(DnsPattern::parse(&["x".repeat(63).as_str(); 4].join(".")).is_err());
    }

    #[test]
    fn a_uri_is_compared_byte_for_byte() {
        assert!(uri("spiffe://example.org/web", "spiffe://example.org/web"));
        for other in [
            "spiffe://example.org/Web",
            "spiffe://example.org/web/",
            "spiffe://example.org/web?x",
            "SPIFFE://example.org/web",
            "",
        ] {
            assert!(!uri("spiffe://example.org/web", other), "{other:?}");
        }
    }

    #[test]
    fn a_last_star_is_everything_below_and_nothing_beside() {
        let below = "spiffe://example.org/ns/*";
        assert!(uri(below, "spiffe://example.org/ns/a") && uri(below, "spiffe://example.org/ns/a/b"));
        assert!(uri("spiffe://example.org/*", "spiffe://example.org/a"));
        for other in [
            "spiffe://example.org/ns",
            "spiffe://example.org/ns/",
            "spiffe://example.org/ns//a",
            "spiffe://example.org/nsa",
            "spiffe://example.org/ns/../admin",
            "spiffe://example.org/ns/a/..",
            "spiffe://example.org/ns/%2e%2e/admin",
            "spiffe://example.org/ns/a?x=/",
            "spiffe://example.org/ns/a#x",
            "spiffe://example.org/ns/..\\admin",
            "spiffe://example.org/ns/a\0",
            "spiffe://example.org.evil/ns/a",
        ] {
            assert!(!uri(below, other), "{other:?}");
        }
    }

    #[test]
    fn each_wrong_uri_is_refused() {
        for text in [
            "",
            "web",
            "spiffe:",
            "spiffe://",
            "spiffe://*",
            "spiffe:///*",
            "spiffe:*",
            "*",
            "*://x/y",
            "spiffe://*/a",
            "spiffe://x/a*",
            "spiffe://x/*/*",
            "1a:b",
            "a b:c",
            "spiffe://x/a b",
            "spiffe://x/\u{e4}",
            ":x",
        ] {
            assert!(UriPattern::parse(text).is_err(), "{text:?}");
        }
        assert!(UriPattern::parse("urn:uuid:7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11").is_ok());
    }
}
