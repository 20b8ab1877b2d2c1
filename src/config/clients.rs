//! Which clients may come in: the options on client certificates, and what cannot be meant together.

use std::path::PathBuf;

use strum::{IntoStaticStr, VariantArray};

use super::reader::{Located, OptionReader, Reported};
use super::sources::ALLOWING;
use super::{ClientAuthConfig, ClientAuthSettings, values};
use crate::diagnostics::{Problem, Source};
use crate::policy::route_file::{LocatedRoute, where_requests_are_read};
use crate::policy::{PolicyMode, Rule, guid_of};

/// `--client-auth`
#[derive(Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
enum ClientAuthMode {
    Off,
    Request,
    Require,
}

/// What clients are asked for in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CertificateDemand {
    Certificate {
        required: bool,
    },
    /// There is no handshake.
    Nothing,
}

/// Everything that was typed about clients.
struct RawClientOptions {
    auth: Option<Located<ClientAuthMode>>,
    allow: Vec<Located<Rule>>,
    deny: Vec<Located<Rule>>,
    policy: Option<Located<PathBuf>>,
    mode: Option<Located<PolicyMode>>,
    ca: Vec<Located<PathBuf>>,
    crl: Vec<Located<PathBuf>>,
    routes: Vec<LocatedRoute>,
}

impl OptionReader {
    /// Which clients may come in by a listener that reads requests, or only carries bytes.
    pub(super) fn clients(&mut self, reads_requests: bool) -> Result<ClientAuthConfig, Reported> {
        let typed = self.client_options()?;
        match typed.auth() {
            ClientAuthMode::Off => self.anonymous(&typed),
            auth => {
                // Where requests are read and nobody has said that a certificate is required, it is for those whom no rule and no
                // route for the anonymous admits.
                let is_lenient = reads_requests && typed.auth.is_none();
                let required = auth == ClientAuthMode::Require && !is_lenient;
                self.certified(typed, CertificateDemand::Certificate { required }, reads_requests)
            }
        }
    }

    /// Who may call by a listener without TLS, where others say who does.
    pub(super) fn callers(&mut self) -> Result<ClientAuthConfig, Reported> {
        let typed = self.client_options()?;
        if typed.first_rule().is_none() {
            let what = "no rule and no route says who may call";
            let help = "add --allow RULE or a [[route]]; --allow any,anonymous serves everybody";
            let place = self.sources.values("tls").first().map(|tls| tls.place.clone());
            return Err(self.report(Problem::new(what, help).at(place.unwrap_or(Source::Default("tls")))));
        }
        let mut callers = self.certified(typed, CertificateDemand::Nothing, true)?;
        if let ClientAuthConfig::Files(files) = &mut callers
            && files.ca.is_empty()
        {
            let cert = self.sources.values("cert").first();
            // At the usual place there may be none.
            let cert = cert.filter(|cert| !matches!(cert.place, Source::Default(_)));
            files.issuer_of = cert.map(|cert| PathBuf::from(&cert.value));
        }
        Ok(callers)
    }

    fn client_options(&mut self) -> Result<RawClientOptions, Reported> {
        let auth = self.all("client-auth", values::one_of);
        let allow = self.allow();
        let deny = self.all("deny", str::parse);
        let policy = self.paths("policy");
        let mode = self.all("policy-mode", values::one_of);
        let (ca, crl) = (self.paths("client-ca"), self.paths("client-crl"));
        Ok(RawClientOptions {
            auth: auth?.pop(),
            allow: allow?,
            deny: deny?,
            policy: policy?.pop(),
            mode: mode?.pop(),
            ca: ca?,
            crl: crl?,
            routes: self.sources.routes().to_vec(),
        })
    }

    /// `--allow` and its shorthands, which are one list: the highest source that has any of them counts.
    fn allow(&mut self) -> Result<Vec<Located<Rule>>, Reported> {
        let lists = [
            self.all("allow", str::parse),
            self.all("allow-app", |text| guid_of("app", text).map(Rule::App)),
            self.all("allow-space", |text| guid_of("space", text).map(Rule::Space)),
            self.all("allow-org", |text| guid_of("org", text).map(Rule::Organization)),
        ];
        let mut rules = Vec::new();
        for list in lists {
            rules.extend(list?);
        }
        let rank = |place: &Source| match place {
            Source::Flag(_) => 0,
            Source::Variable(_) => 1,
            Source::File { .. } | Source::Platform(_) | Source::Default(_) => 2,
        };
        let highest = rules.iter().map(|(place, _)| rank(place)).min();
        rules.retain(|(place, _)| Some(rank(place)) == highest);
        // An empty list reads like "nobody", and would otherwise count like none at all, which is everybody.
        let empty = ALLOWING.iter().find(|name| self.sources.is_given(name) && self.sources.values(name).is_empty());
        match empty {
            Some(name) if rules.is_empty() => {
                let problem = Problem::new("lists nobody", "write a rule, any for every certificate, or leave it out");
                Err(self.report(problem.at(Source::File { path: self.file(), line: None, key: (*name).to_owned() })))
            }
            _ => Ok(rules),
        }
    }

    /// The file that `--config` names, as an empty list can stand nowhere else.
    fn file(&self) -> PathBuf {
        self.sources.values("config").first().map(|given| PathBuf::from(&given.value)).unwrap_or_default()
    }

    /// No certificate is asked for: then nothing may have been said about who shows which.
    fn anonymous(&mut self, typed: &RawClientOptions) -> Result<ClientAuthConfig, Reported> {
        let problem = match (&typed.auth, typed.first_rule(), typed.first_detail()) {
            (Some((off, _)), Some(rule), _) => {
                let (place, other) = (rule.min(off), rule.max(off));
                let what = format!("given beside {other}: without client certificates no rule can be kept");
                Problem::new(what, "write --client-auth require, or take the rules out").at(place.clone())
            }
            (None, None, Some(detail)) => {
                let what = "no certificate is asked for, so everybody comes in";
                let help = "add --client-auth require or --allow RULE, or say --client-auth off";
                Problem::new(what, help).at(detail.clone())
            }
            _ => return Ok(ClientAuthConfig::None),
        };
        Err(self.report(problem))
    }

    fn certified(
        &mut self,
        typed: RawClientOptions,
        asked: CertificateDemand,
        reads_requests: bool,
    ) -> Result<ClientAuthConfig, Reported> {
        let required = asked == CertificateDemand::Certificate { required: true };
        let cause = typed.auth.as_ref().map(|(place, _)| place).or(typed.first_rule()).cloned();
        let cause = cause.unwrap_or(Source::Default("client-auth"));
        let mut problems = Vec::new();
        if typed.ca.is_empty() && asked != CertificateDemand::Nothing {
            let help = "give --client-ca PATH; where Cloud Foundry says so it is $CF_SYSTEM_CERT_PATH";
            problems
                .push(Problem::new("client certificates are asked for, but no CA is known", help).at(cause.clone()));
        }
        let anonymous = typed.allow.iter().find(|(_, rule)| *rule == Rule::Anonymous).map(|(place, _)| place);
        // Where no request is read it is the route that is wrong, and not whom it is for.
        let mut routed = typed.routes.iter().filter(|_| reads_requests);
        let routed = routed.find(|(_, route)| route.allow.contains(&Rule::Anonymous));
        if let Some(place) = anonymous.or(routed.map(|(place, _)| place)).filter(|_| required) {
            let what = "nobody is anonymous where a certificate is required";
            problems.push(Problem::new(what, "add --client-auth request, or take the rule out").at(place.clone()));
        }
        let unruled = typed.allow.is_empty() && typed.policy.is_none() && typed.routes.is_empty();
        match typed.deny.first() {
            Some((place, _)) if unruled => {
                let problem = Problem::new("nobody is allowed in who could be denied", "add --allow any");
                problems.push(problem.at(place.clone()));
            }
            None if unruled && !required => {
                let problem = Problem::new("no rule says who may come in", "add --allow any, or --allow any,anonymous");
                problems.push(problem.at(cause));
            }
            _ => {}
        }
        let routes =
            where_requests_are_read(typed.routes, reads_requests).map_err(|diagnostic| problems.push(diagnostic));
        if let Some(noted) = problems.into_iter().map(|problem| self.report(problem)).last() {
            return Err(noted);
        }
        let plain = |rules: Vec<Located<Rule>>| rules.into_iter().map(|(_, rule)| rule).collect();
        let paths = |paths: Vec<Located<PathBuf>>| paths.into_iter().map(|(_, path)| path).collect();
        Ok(ClientAuthConfig::Files(ClientAuthSettings {
            required,
            ca: paths(typed.ca),
            issuer_of: None,
            crl: paths(typed.crl),
            allow: if unruled { vec![Rule::Any] } else { plain(typed.allow) },
            deny: plain(typed.deny),
            forward_from: Vec::new(),
            any_implied: unruled,
            policy: typed.policy.map(|(_, path)| path),
            mode: typed.mode.map(|(_, mode)| mode),
            routes: routes.ok().filter(|_| reads_requests),
            health: None,
        }))
    }
}

impl RawClientOptions {
    fn auth(&self) -> ClientAuthMode {
        match (&self.auth, self.first_rule()) {
            (Some((_, auth)), _) => *auth,
            (None, Some(_)) => ClientAuthMode::Require,
            (None, None) => ClientAuthMode::Off,
        }
    }

    /// Where the first rule was given, or the file of rules, or a route.
    fn first_rule(&self) -> Option<&Source> {
        let rules = self.allow.iter().chain(&self.deny).map(|(place, _)| place);
        let routes = self.routes.iter().map(|(place, _)| place);
        rules.chain(self.policy.iter().map(|(place, _)| place)).chain(routes).next()
    }

    /// Where somebody said something that has no meaning without client certificates.
    fn first_detail(&self) -> Option<&Source> {
        let paths = self.ca.iter().chain(&self.crl).map(|(place, _)| place);
        let mut places = paths.chain(self.mode.iter().map(|(place, _)| place));
        places.find(|place| matches!(place, Source::Flag(_) | Source::Variable(_) | Source::File { .. }))
    }
}

#[cfg(test)]
mod tests;
