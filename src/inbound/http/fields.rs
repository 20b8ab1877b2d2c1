//! The fields of a request on their way to the app: what only a proxy may say is taken out in every spelling, and what we know is said.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{CONTENT_LENGTH, COOKIE, FORWARDED, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, VIA};

use super::local_reply::REASON;
use crate::config::{ForwardedFor, HttpConfig, XfccMode};
use crate::http::{framing_lookalike, may_be_trailer, remove_hop_by_hop, retain_trailer_names, retain_trailers};
use crate::xfcc;

/// What says how a message goes from one hop to the next.
const WRITTEN_ANEW: [HeaderName; 3] = [TE, TRANSFER_ENCODING, CONTENT_LENGTH];

const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What the fields of requests are rewritten by.
#[derive(Debug)]
pub(super) struct FieldRewrite<'a> {
    /// How the listener speaks HTTP.
    pub(super) config: &'a HttpConfig,
    /// Whether the client may forward who has called it, and whence.
    pub(super) is_trusted: bool,
    /// Who the client is, as fields; empty without a certificate.
    pub(super) identity: &'a [(HeaderName, HeaderValue)],
    /// Who calls, in fields of our own.
    pub(super) caller: &'a [(HeaderName, HeaderValue)],
    /// Where the client is.
    pub(super) client_ip: IpAddr,
    /// What the client dialled with: `https`, `http`.
    pub(super) scheme: &'static str,
    /// What the client speaks: `1.1`, `2`.
    pub(super) version: &'static str,
}

impl FieldRewrite<'_> {
    /// Rewrites `fields`. `switches`: the request asks for another protocol, and goes on asking. Gives those that were taken out, which only a proxy may
    /// write.
    ///
    /// In this order: what Connection nominates goes first, so that nobody can have a field of ours removed; what a client may forward of a
    /// caller stays as well, for rules were asked about it.
    pub(super) fn apply(&self, fields: &mut HeaderMap, switches: bool) -> Vec<HeaderName> {
        let takes_trailers = fields.get_all(TE).iter().any(|value| is_in_list(value, b"trailers"));
        remove_hop_by_hop(fields, switches, |name| {
            xfcc::is_identity_name(name.as_str()) || xfcc::is_origin_name(name.as_str())
        });
        // Where the body ends is said anew, by whoever writes it.
        if fields.keys().any(|name| WRITTEN_ANEW.contains(name)) {
            for name in WRITTEN_ANEW {
                fields.remove(name);
            }
        }
        if takes_trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        let stripped = self.strip(fields);
        retain_trailer_names(fields, may_be_request_trailer);
        join_cookies(fields);
        self.set_identity(fields);
        if !self.is_trusted {
            self.set_origin(fields);
        }
        if let Some(via) = &self.config.via
            && let Ok(value) = HeaderValue::try_from(format!("{} {via}", self.version))
        {
            fields.append(VIA, value);
        }
        stripped
    }

    fn strip(&self, fields: &mut HeaderMap) -> Vec<HeaderName> {
        // Of a client that may forward who has called it no other word on that counts: its own clients may have written it.
        let keeps = |name: &HeaderName| *name == XFCC && self.keeps_xfcc();
        let forged: Vec<HeaderName> =
            fields.keys().filter(|name| is_for_proxies(name) && !keeps(name)).cloned().collect();
        for name in &forged {
            fields.remove(name);
        }
        if !self.is_trusted {
            fields.remove(FORWARDED);
        }
        forged
    }

    /// Whether what the client says in X-Forwarded-Client-Cert, in its own spelling, is passed on.
    fn keeps_xfcc(&self) -> bool {
        let has_certificate = !self.identity.is_empty();
        match self.config.xfcc {
            _ if self.is_trusted => true,
            XfccMode::Sanitize | XfccMode::SanitizeSet => false,
            XfccMode::AppendForward | XfccMode::ForwardOnly => has_certificate,
            XfccMode::AlwaysForwardOnly => true,
        }
    }

    fn set_identity(&self, fields: &mut HeaderMap) {
        for (name, value) in self.caller {
            fields.append(name, value.clone());
        }
        if self.is_trusted {
            return;
        }
        match self.config.xfcc {
            XfccMode::SanitizeSet => {
                for (name, value) in self.identity {
                    fields.insert(name, value.clone());
                }
            }
            XfccMode::AppendForward => {
                for (name, value) in self.identity {
                    let joined = joined(fields, name, b",", value);
                    fields.insert(name, joined.unwrap_or_else(|| value.clone()));
                }
            }
            XfccMode::Sanitize | XfccMode::ForwardOnly | XfccMode::AlwaysForwardOnly => {}
        }
    }

    /// Says where the request comes from.
    fn set_origin(&self, fields: &mut HeaderMap) {
        let Ok(client) = HeaderValue::try_from(self.client_ip.to_string()) else { return };
        let value = match self.config.forwarded_for {
            ForwardedFor::Pass => None,
            ForwardedFor::Set => Some(client),
            ForwardedFor::Append => joined(fields, &X_FORWARDED_FOR, b", ", &client).or(Some(client)),
        };
        if let Some(value) = value {
            fields.insert(X_FORWARDED_FOR, value);
        }
        fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        if self.config.forwarded {
            let client = match self.client_ip {
                IpAddr::V4(ip) => format!("for={ip};proto={}", self.scheme),
                IpAddr::V6(ip) => format!("for=\"[{ip}]\";proto={}", self.scheme),
            };
            if let Ok(value) = HeaderValue::try_from(client) {
                fields.insert(FORWARDED, value);
            }
        }
    }
}

/// Leaves in trailers what may stand there (RFC 9110, 6.5.1): nothing that frames a message, and nothing that only a proxy may say.
pub(super) fn filter_request_trailers(trailers: &mut HeaderMap) {
    retain_trailers(trailers, may_be_request_trailer);
}

/// The same in those of the app's answer: what tells our answers from its own is not for it to say.
pub(super) fn filter_response_trailers(trailers: &mut HeaderMap) {
    retain_trailers(trailers, may_be_response_trailer);
}

/// Whether the app may say this in a trailer.
pub(super) fn may_be_response_trailer(name: &HeaderName) -> bool {
    may_be_trailer(name) && *name != REASON
}

/// Whether a client may say this in a trailer.
fn may_be_request_trailer(name: &HeaderName) -> bool {
    may_be_trailer(name) && !is_for_proxies(name) && !xfcc::is_origin_name(name.as_str())
}

/// Whether only a proxy may say this, or many apps would take it for what frames the message.
fn is_for_proxies(name: &HeaderName) -> bool {
    let text = name.as_str();
    // httpoxy: CGI would take it for HTTP_PROXY.
    xfcc::is_identity_name(text)
        || text == "proxy"
        || framing_lookalike(name).is_some()
        || !is_own_spelling(name) && xfcc::is_origin_name(text)
}

/// Whether nothing but letters, digits and `-` is in it: CGI and its like read `_` for `-`, and some any other letter.
fn is_own_spelling(name: &HeaderName) -> bool {
    xfcc::is_exact_spelling(name.as_str())
}

/// HTTP/2 may send a cookie in several fields (RFC 9113, 8.2.3), which HTTP/1.1 may not.
fn join_cookies(fields: &mut HeaderMap) {
    let mut cookies = fields.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let all: Vec<_> = [first, second].into_iter().chain(cookies).map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            fields.insert(COOKIE, joined);
        }
    }
}

/// All values of `name`, and `last` behind them; `None`: there are none.
fn joined(fields: &HeaderMap, name: &HeaderName, separator: &[u8], last: &HeaderValue) -> Option<HeaderValue> {
    let values = fields.get_all(name).iter();
    let values: Vec<_> = values.map(HeaderValue::as_bytes).filter(|value| !value.is_empty()).collect();
    let all = [&values[..], &[last.as_bytes()]].concat();
    (!values.is_empty()).then(|| HeaderValue::from_bytes(&all.join(separator)).ok())?
}

/// Whether a list has this element, in whatever letters.
fn is_in_list(value: &HeaderValue, element: &[u8]) -> bool {
    let parts = value.as_bytes().split(|byte| matches!(byte, b',' | b';'));
    parts.map(<[u8]>::trim_ascii).any(|part| part.eq_ignore_ascii_case(element))
}
