//! What a request for a token says, and which token that means.

use std::time::Duration;

use serde::Deserialize;

use super::body::{BodyMember, MemberKind};
use super::rejection::EndpointRejection;
use crate::config::IdentityEndpoint;
use crate::config::values;
use crate::config::values::Range;
use crate::telemetry::TokenRequestResult;
use crate::token::{TokenForm, TokenRequest};

/// Bytes of a body, at most.
pub(super) const MAX_BODY: usize = 4096;

/// What a body may have.
pub(super) const MEMBERS: [BodyMember; 6] = [
    BodyMember::needed("audience", MemberKind::Text),
    BodyMember::optional("ttl", MemberKind::Text),
    BodyMember::optional("form", MemberKind::Text),
    BodyMember::optional("policies", MemberKind::Texts),
    BodyMember::optional("bind", MemberKind::Flag),
    BodyMember::optional("fresh", MemberKind::Flag),
];

/// A token lives for so long at least.
const SHORTEST_TTL: Duration = Duration::from_secs(10);

/// `POST /token`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    audience: String,
    ttl: Option<String>,
    form: Option<String>,
    policies: Option<Vec<String>>,
    bind: Option<bool>,
    fresh: Option<bool>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EndpointTokenRequest {
    pub(super) request: TokenRequest,
    /// One that was there does not do.
    pub(super) fresh: bool,
}

impl TokenBody {
    /// Reads the query of `GET /token?audience=AUD`.
    ///
    /// # Errors
    /// There is another name in it, or that one twice or not at all.
    pub(super) fn of_query(query: &str) -> Result<Self, EndpointRejection> {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        match (pairs.next(), pairs.next()) {
            (Some((name, audience)), None) if name == "audience" => Ok(Self {
                audience: audience.into_owned(),
                ttl: None,
                form: None,
                policies: None,
                bind: None,
                fresh: None,
            }),
            _ => Err(EndpointRejection::bad_request("write GET /token?audience=AUD; all else needs POST /token")),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// It is not one.
    #[cfg(test)]
    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self, EndpointRejection> {
        super::body::parse(bytes, &MEMBERS)
    }

    /// The token that is meant, of those that `endpoint` gives.
    ///
    /// # Errors
    /// It gives no such token.
    pub(super) fn meaning(self, endpoint: &IdentityEndpoint) -> Result<EndpointTokenRequest, EndpointRejection> {
        let Self { audience, ttl, form, policies, bind, fresh } = self;
        let form = match (form.as_deref().unwrap_or("standard"), policies) {
            ("standard", None) => TokenForm::Standard,
            ("comcast", Some(policies)) if policies.iter().any(|name| values::name(name).is_err()) => {
                return Err(EndpointRejection::bad_request("a policy is empty, or holds a control character"));
            }
            ("comcast", Some(policies)) if !policies.is_empty() => TokenForm::Comcast { policies },
            ("standard", Some(_)) => {
                return Err(EndpointRejection::bad_request("policies are of the form comcast; leave them out"));
            }
            ("comcast", _) => {
                return Err(EndpointRejection::bad_request("the form comcast needs policies: [\"NAME\"]"));
            }
            _ => return Err(EndpointRejection::bad_request("form is standard or comcast")),
        };
        if !endpoint.audiences.contains(&audience) {
            let detail = "no tokens are given for this audience; list it by --identity-audience";
            return Err(EndpointRejection::new(TokenRequestResult::AudienceNotAllowed, detail));
        }
        let ttl = ttl.map_or(Ok(endpoint.ttl), |text| lifetime(&text, endpoint.ttl))?;
        let request = TokenRequest { form, bind: bind.unwrap_or(false), ..TokenRequest::new(audience, ttl) };
        Ok(EndpointTokenRequest { request, fresh: fresh.unwrap_or(false) })
    }
}

/// `60s`, in whole seconds: tokens know no parts of them.
fn lifetime(text: &str, most: Duration) -> Result<Duration, EndpointRejection> {
    let range = || {
        let detail = format!("write a ttl from {SHORTEST_TTL:?} to {most:?}, such as \"60s\"");
        EndpointRejection::new(TokenRequestResult::TtlOutOfRange, detail)
    };
    let asked = values::duration(text, &Range::ZERO_TO_A_DAY).map_err(|_| range())?;
    let asked = Duration::from_secs(asked.as_secs());
    if (SHORTEST_TTL..=most).contains(&asked) { Ok(asked) } else { Err(range()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::OutboundListen;

    fn endpoint() -> IdentityEndpoint {
        IdentityEndpoint {
            listen: OutboundListen::Loopback(0),
            audiences: vec!["vault".to_owned(), "https://b.example/?x=1&y=2".to_owned()],
            ttl: Duration::from_secs(300),
            peer_uids: Vec::new(),
            rate: 10,
            token_file: None,
            verification: None,
        }
    }

    fn asked(body: &str) -> Result<EndpointTokenRequest, TokenRequestResult> {
        let asked = TokenBody::of_bytes(body.as_bytes()).and_then(|body| body.meaning(&endpoint()));
        asked.map_err(|refusal| refusal.error)
    }

    #[test]
    fn an_audience_is_enough_and_all_else_is_said() {
        let plain = asked(r#" {"audience":"vault"}"#).unwrap();
        let expected = TokenRequest::new("vault", Duration::from_secs(300));
        assert_eq!(plain, EndpointTokenRequest { request: expected.clone(), fresh: false });
        let all = r#"{"audience":"vault","ttl":"1m","form":"comcast","policies":["p","q"],"bind":true,"fresh":true}"#;
        let form = TokenForm::Comcast { policies: vec!["p".to_owned(), "q".to_owned()] };
        let request = TokenRequest { form, bind: true, ttl: Duration::from_secs(60), ..expected };
        assert_eq!(asked(all).unwrap(), EndpointTokenRequest { request, fresh: true });
    }

    #[test]
    fn a_member_too_many_or_twice_or_of_another_kind_is_refused() {
        for body in [
            "",
            "[]",
            r#"["vault"]"#,
            "null",
            "{}",
            r#"{"audience":"vault"}x"#,
            r#"{"audience":"vault","audience":"vault"}"#,
            r#"{"audience":"vault","audiences":"vault"}"#,
            r#"{"audience":["vault"]}"#,
            r#"{"audience":"vault","ttl":60}"#,
            r#"{"audience":"vault","form":"uaa"}"#,
            r#"{"audience":"vault","policies":["p"]}"#,
            r#"{"audience":"vault","form":"comcast"}"#,
            r#"{"audience":"vault","form":"comcast","policies":[]}"#,
            r#"{"audience":"vault","bind":"true"}"#,
            r#"{"audience":"vault","\u0061udience":"vault"}"#,
        ] {
            assert_eq!(asked(body), Err(TokenRequestResult::BadRequest), "{body}");
        }
    }

    #[test]
    fn nothing_of_a_body_is_said_about_it() {
        for body in [r#"{"audience":"vault","sEcReT":1}"#, r#"{"audience":{"sEcReT":1}}"#, r#"{"form":"sEcReT"}"#] {
            let refusal = format!("{:?}", TokenBody::of_bytes(body.as_bytes()).unwrap_err());
            assert!(!refusal.contains("sEcReT"), "{refusal}");
        }
    }

    #[test]
    fn audiences_are_compared_byte_for_byte_and_lifetimes_have_bounds() {
        for audience in ["Vault", "vault ", "vault/", "", "*"] {
            let body = format!(r#"{{"audience":"{audience}"}}"#);
            assert_eq!(asked(&body), Err(TokenRequestResult::AudienceNotAllowed), "{audience}");
        }
        for (ttl, right) in
            [("10s", true), ("5m", true), ("9s", false), ("301s", false), ("0s", false), ("10", false), ("x", false)]
        {
            let found = asked(&format!(r#"{{"audience":"vault","ttl":"{ttl}"}}"#));
            assert_eq!(found.err(), (!right).then_some(TokenRequestResult::TtlOutOfRange), "{ttl}");
        }
    }

    #[test]
    fn a_query_has_an_audience_and_nothing_else() {
        let of = |query: &str| TokenBody::of_query(query).and_then(|body| body.meaning(&endpoint()));
        assert_eq!(of("audience=vault").unwrap().request.audience, ["vault"]);
        let encoded = of("audience=https%3A%2F%2Fb.example%2F%3Fx%3D1%26y%3D2").unwrap();
        assert_eq!(encoded.request.audience, ["https://b.example/?x=1&y=2"]);
        for query in ["", "audience", "audience=vault&audience=vault", "audience=vault&ttl=60s", "aud=vault"] {
            let refused = of(query).unwrap_err().error;
            let is_empty = query == "audience";
            let expected =
                if is_empty { TokenRequestResult::AudienceNotAllowed } else { TokenRequestResult::BadRequest };
            assert_eq!(refused, expected, "{query}");
        }
    }
}
