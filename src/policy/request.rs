//! The verdict on a request, by the routes.

use strum::IntoStaticStr;

use super::decision::Basis;
use super::route::NoRoute;
use super::{AmbiguousPaths, ChangedPaths, Denial, DenialReason, PathHandling, Policy, PolicyMode, Route, Rule};
use crate::http::path::{self, FoldedPath};
use crate::identity::{Client, Identity};

/// Proof that a client may make a request. [`Policy::authorize_request`] is the only place that makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RequestPermit {
    basis: Basis<RequestDenial>,
}

/// The verdict on a request, and what was made of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestVerdict<'p> {
    /// The path as it was judged; `None`: nobody can fold it with certainty, or nobody had to.
    pub folded: Option<FoldedPath>,
    /// The route that is the one for it, if there is one.
    pub route: Option<&'p Route>,
    /// Whether it may be made.
    pub result: Result<RequestPermit, RequestDenial>,
}

/// Why a client may not make a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
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
    #[strum(serialize = "denied")]
    NotAllowed(Denial),
    /// It is one route by the path as it stands, and another by the path as some apps read it.
    #[error("apps that decode %, or know of parameters (;x), read a path of another route")]
    PathAmbiguous,
    /// Nobody can fold it with certainty.
    #[error("the path cannot be judged: {0}")]
    #[strum(serialize = "path_ambiguous")]
    PathUnfoldable(path::PathAmbiguous),
    /// It is not written as it is judged.
    #[error("an app may read another path than {0}, which would be judged")]
    PathChanged(FoldedPath),
}

impl Policy {
    /// Whether requests are judged by their paths, and not by the handshake alone.
    pub fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    /// The verdict on a request for `target`, which is without scheme and authority, of `client`, who has come in. There are routes.
    pub fn evaluate_request(
        &self,
        client: &Client,
        own: Option<&Identity>,
        method: &str,
        target: &str,
        handling: PathHandling,
    ) -> RequestVerdict<'_> {
        let folded = match path::fold(target) {
            Ok(folded) => folded,
            Err(why) => {
                let denial = RequestDenial::PathUnfoldable(why);
                let (route, result) = self.of_every_reading(client, own, method, target, handling, denial);
                return RequestVerdict { folded: None, route, result };
            }
        };
        if let Some(health) = self.health_for(client, own, method, folded.as_str()).filter(|_| !folded.is_changed()) {
            return health;
        }
        let (route, result) = match self.evaluate(client, own, method, &folded) {
            (_, Err(denial @ RequestDenial::PathAmbiguous)) => {
                self.of_every_reading(client, own, method, folded.as_str(), handling, denial)
            }
            (route, result) => (route.or_else(|| self.route_for(method, &folded)), self.concluded(client, result)),
        };
        match folded.is_changed() && handling.changed == ChangedPaths::Reject {
            true => RequestVerdict {
                result: Err(RequestDenial::PathChanged(folded.clone())),
                folded: Some(folded),
                route: None,
            },
            false => RequestVerdict { folded: Some(folded), route, result },
        }
    }

    /// The verdict on any request of `client`, as if there were no routes.
    pub fn evaluate_allowlist(&self, client: &Client, own: Option<&Identity>) -> RequestVerdict<'_> {
        let result = match self.not_denied(client, own) {
            Ok(()) => Self::admitting(&self.allow, client, own).map_err(RequestDenial::of),
            Err(denial) => Err(RequestDenial::Denied(denial)),
        };
        RequestVerdict { folded: None, route: None, result: self.concluded(client, result) }
    }

    /// The verdict on a health check, if that is what a request for `target` is: one of a caller without identity.
    pub fn health_for(
        &self,
        client: &Client,
        own: Option<&Identity>,
        method: &str,
        target: &str,
    ) -> Option<RequestVerdict<'_>> {
        let health = self.routes.health().filter(|_| *client == Client::Anonymous)?;
        let path = target.split('?').next().unwrap_or_default();
        if path != health.path.as_str() || !health.has_method(method) {
            return None;
        }
        let result = match self.not_denied(client, own) {
            Ok(()) => Ok(RequestPermit { basis: Basis::Allowed(Rule::Anonymous) }),
            Err(denial) => Err(RequestDenial::Denied(denial)),
        };
        Some(RequestVerdict { folded: None, route: Some(health), result })
    }

    /// The verdict on a path that apps read differently: `otherwise`, or, if it is to be judged all the same, that of whichever route is the
    /// strictest of those that may be the one for it.
    fn of_every_reading(
        &self,
        client: &Client,
        own: Option<&Identity>,
        method: &str,
        path: &str,
        handling: PathHandling,
        otherwise: RequestDenial,
    ) -> (Option<&Route>, Result<RequestPermit, RequestDenial>) {
        if handling.ambiguous == AmbiguousPaths::Reject {
            return (None, Err(otherwise));
        }
        let (route, result) =
            match (self.not_denied(client, own), self.routes.of_every_reading(method, path.as_bytes())) {
                (Err(denial), _) => (None, Err(RequestDenial::Denied(denial))),
                (Ok(()), Err(why)) => (None, Err(why.into())),
                (Ok(()), Ok(routes)) => Self::admitted_by_all(&routes, client, own),
            };
        (route, self.concluded(client, result))
    }

    /// The first of `routes` that does not admit `client`, or else the first, with the rule by which it does.
    fn admitted_by_all<'p>(
        routes: &[&'p Route],
        client: &Client,
        own: Option<&Identity>,
    ) -> (Option<&'p Route>, Result<&'p Rule, RequestDenial>) {
        let mut first = None;
        for route in routes {
            match Self::admitting(&route.allow, client, own) {
                Ok(rule) => first = first.or(Some((*route, rule))),
                Err(denial) => return (Some(route), Err(RequestDenial::of(denial))),
            }
        }
        match first {
            Some((route, rule)) => (Some(route), Ok(rule)),
            None => (None, Err(RequestDenial::PathNotAllowed)),
        }
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
        let (route, result) = self.evaluate(client, own, method, path);
        Ok((self.concluded(client, result)?, route))
    }

    /// What becomes of what the rules say of a request of `client`.
    fn concluded(&self, client: &Client, result: Result<&Rule, RequestDenial>) -> Result<RequestPermit, RequestDenial> {
        let basis = match result {
            Ok(rule) => Basis::Allowed(rule.clone()),
            Err(denial) if self.mode == PolicyMode::Audit && self.is_audited(client) => Basis::Audited(denial),
            Err(denial) => return Err(denial),
        };
        Ok(RequestPermit { basis })
    }

    /// The route that decides on requests with this method for this path; `None`: there is none, and they are refused.
    pub fn route_for(&self, method: &str, path: &FoldedPath) -> Option<&Route> {
        self.routes.find(method, path).ok()
    }

    /// The route for such a request, if there is one, and the rule that admits the client to it.
    fn evaluate(
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
        self.into()
    }

    /// The status that is answered.
    pub fn status(&self) -> u16 {
        match self {
            Self::CertificateRequired => 401,
            Self::Denied(_) | Self::NotAllowed(_) | Self::PathNotAllowed | Self::MethodNotAllowed => 403,
            Self::PathAmbiguous | Self::PathUnfoldable(_) | Self::PathChanged(_) => 400,
        }
    }

    /// What the rules said about the client, if it was they that decided.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Denied(denial) | Self::NotAllowed(denial) => Some(denial),
            Self::CertificateRequired
            | Self::PathNotAllowed
            | Self::MethodNotAllowed
            | Self::PathAmbiguous
            | Self::PathUnfoldable(_)
            | Self::PathChanged(_) => None,
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
