//! The verdict on a request, by the routes.

use super::decision::Basis;
use super::route::NoRoute;
use super::{Denial, DenialReason, Policy, PolicyMode, Route, Rule};
use crate::http::path::FoldedPath;
use crate::identity::{Client, Identity};

/// Proof that a client may make a request. [`Policy::authorize_request`] is the only place that makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RequestPermit {
    basis: Basis<RequestDenial>,
}

/// Why a client may not make a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestDenial {
    /// The client has shown no certificate, and the route is not one for the anonymous.
    #[error("the request needs a client certificate")]
    CertificateRequired,
    /// A rule denies the client, or it cannot be said that none does.
    #[error(transparent)]
    Denied(Denial),
    /// No route has its path.
    #[error("no route has this path")]
    PathNotAllowed,
    /// The route of its path has other methods.
    #[error("the route of this path has other methods")]
    MethodNotAllowed,
    /// The route is for others.
    #[error(transparent)]
    NotAllowed(Denial),
    /// It is one route by the path as it stands, and another by the path as some apps read it.
    #[error("apps that decode %, or know of parameters (;x), read a path of another route")]
    PathAmbiguous,
}

impl Policy {
    /// Whether requests are judged by their paths, and not by the handshake alone.
    pub fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Whether `client`, who has come in, may make a request with this method for this path; and the route that decided. Without routes
    /// whoever may come in may ask for everything.
    ///
    /// Audit mode lets pass what those ask for who could come in if there were no routes: the holders of a certificate, and the
    /// anonymous if `allow` names them.
    ///
    /// # Errors
    /// [`RequestDenial`]: a rule denies the client, no route is about such a request, or the one that is does not admit the client.
    pub fn authorize_request(
        &self,
        client: &Client,
        own: Option<&Identity>,
        method: &str,
        path: &FoldedPath,
    ) -> Result<(RequestPermit, Option<&Route>), RequestDenial> {
        let (route, judged) = self.judge(client, own, method, path);
        let permit = |basis| Ok((RequestPermit { basis }, route));
        match judged {
            Ok(rule) => permit(Basis::Allowed(rule.clone())),
            Err(denial) if self.mode == PolicyMode::Audit && self.is_audited(client) => permit(Basis::Audited(denial)),
            Err(denial) => Err(denial),
        }
    }

    /// The route that decides on requests with this method for this path; `None`: there is none, and they are refused.
    pub fn route_for(&self, method: &str, path: &FoldedPath) -> Option<&Route> {
        self.routes.find(method, path).ok()
    }

    /// The route for such a request, if there is one, and the rule that admits the client to it.
    fn judge(
        &self,
        client: &Client,
        own: Option<&Identity>,
        method: &str,
        path: &FoldedPath,
    ) -> (Option<&Route>, Result<&Rule, RequestDenial>) {
        if let Err(denial) = self.not_denied(client, own) {
            return (None, Err(RequestDenial::Denied(denial)));
        }
        let (route, allow) = match self.routes.find(method, path) {
            _ if !self.has_routes() => (None, &self.allow),
            Ok(route) => (Some(route), &route.allow),
            Err(why) => return (None, Err(why.into())),
        };
        (route, Self::admitting(allow, client, own).map_err(RequestDenial::of))
    }

    /// Whether audit mode is about the requests of `client`.
    fn is_audited(&self, client: &Client) -> bool {
        match client {
            Client::Authenticated(_) => true,
            Client::Anonymous => self.allow.contains(&Rule::Anonymous) && !self.deny.contains(&Rule::Anonymous),
        }
    }
}

impl RequestPermit {
    /// The rule that decided; `None` if none did and audit mode let the request pass.
    pub fn rule(&self) -> Option<&Rule> {
        match &self.basis {
            Basis::Allowed(rule) => Some(rule),
            Basis::Audited(denial) => denial.denial().and_then(Denial::rule),
        }
    }

    /// What would have been answered if audit mode had not let the request pass.
    pub fn would_deny(&self) -> Option<&RequestDenial> {
        match &self.basis {
            Basis::Allowed(_) => None,
            Basis::Audited(denial) => Some(denial),
        }
    }
}

impl RequestDenial {
    /// What becomes of it that no rule admits a client to a route.
    fn of(denial: Denial) -> Self {
        match denial.reason() {
            DenialReason::NoCertificate => Self::CertificateRequired,
            DenialReason::NotAllowed => Self::NotAllowed(denial),
            _ => Self::Denied(denial),
        }
    }

    /// The reason that is answered and logged, from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CertificateRequired => "certificate_required",
            Self::Denied(_) | Self::NotAllowed(_) => "denied",
            Self::PathNotAllowed => "path_not_allowed",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PathAmbiguous => "path_ambiguous",
        }
    }

    /// The status that is answered.
    pub fn status(&self) -> u16 {
        match self {
            Self::CertificateRequired => 401,
            Self::Denied(_) | Self::NotAllowed(_) | Self::PathNotAllowed | Self::MethodNotAllowed => 403,
            Self::PathAmbiguous => 400,
        }
    }

    /// What the rules said about the client, if it was they that decided.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Denied(denial) | Self::NotAllowed(denial) => Some(denial),
            Self::CertificateRequired | Self::PathNotAllowed | Self::MethodNotAllowed | Self::PathAmbiguous => None,
        }
    }
}

impl From<NoRoute> for RequestDenial {
    fn from(why: NoRoute) -> Self {
        match why {
            NoRoute::Path => Self::PathNotAllowed,
            NoRoute::Method => Self::MethodNotAllowed,
            NoRoute::Ambiguous => Self::PathAmbiguous,
        }
    }
}

#[cfg(test)]
mod tests;
