//! From what was typed about the identity endpoint to what it means.

use super::{IdentityEndpoint, TokenVerification};
use crate::config::outbound::OutboundListen;
use crate::config::reader::{OptionReader, Reported};
use crate::config::values::Range;
use crate::config::{outbound, values};
use crate::diagnostics::{Problem, Source};

/// What means nothing without `--identity-listen`.
const BESIDE_LISTEN: [&str; 10] = [
    "identity-audience",
    "identity-ttl",
    "identity-peer-uid",
    "identity-rate",
    "identity-token-file",
    "token-ca",
    "token-crl",
    "token-roles",
    "token-max-ttl",
    "token-skew",
];

/// What means nothing without `--token-ca`.
const BESIDE_CA: [&str; 4] = ["token-crl", "token-roles", "token-max-ttl", "token-skew"];

impl OptionReader {
    /// The identity endpoint, and where it was asked for; `None`: it was not.
    pub(in crate::config) fn identity_endpoint(
        &mut self,
        starts_app: bool,
    ) -> Result<Option<(Source, IdentityEndpoint)>, Reported> {
        let listen = self.placed("identity-listen", values::outbound_listen_or_off);
        // Read even where there is no endpoint: what is wrong in it would be so with one.
        let audiences = self.all("identity-audience", values::audience);
        let ttl = self.required("identity-ttl", values::token_ttl);
        let peer_uids = self.all("identity-peer-uid", |text| values::number(text, &(0..=u32::MAX - 1)));
        let rate = self.required("identity-rate", values::rate);
        let token_file = self.paths("identity-token-file");
        let verification = self.token_verification();
        let (place, listen) = listen?;
        let Some(listen) = listen else {
            let is_turned_off = self
                .sources
                .values("identity-listen")
                .first()
                .is_some_and(|given| !matches!(given.place, Source::Default(_)));
            if !is_turned_off {
                let help = "add --identity-listen unix:/PATH or 127.0.0.1:PORT, or leave it out";
                // Tokens in files live as long, without an endpoint too.
                let in_files = !self.sources.values("identity-file").is_empty();
                let means_nothing = |option: &&str| !(in_files && *option == "identity-ttl");
                let lonely: Vec<_> = BESIDE_LISTEN.into_iter().filter(means_nothing).collect();
                self.reject_orphan_options(&lonely, "there is no identity endpoint", help)?;
            }
            return Ok(None);
        };
        if let OutboundListen::At(addr) = &listen
            && !addr.ip().is_loopback()
        {
            let what = format!("other hosts may reach {addr}, and would get tokens of this app");
            let problem = Problem::new(what, format!("write 127.0.0.1:{}, or unix:/PATH", addr.port()));
            return Err(self.report(problem.at(place)));
        }
        let is_file = matches!(listen, OutboundListen::Unix(_));
        let (audiences, peer_uids, token_file) = (audiences?, peer_uids?, token_file?);
        let problem = match (audiences.first(), peer_uids.first(), token_file.first()) {
            (None, ..) => Some((
                place.clone(),
                Problem::new(
                    "nobody may be asked for a token for: no audience is listed",
                    "add --identity-audience AUD",
                ),
            )),
            (_, Some((place, _)), _) if !is_file => Some((
                place.clone(),
                Problem::new("over TCP nobody knows the user", "leave it out, or write --identity-listen unix:/PATH"),
            )),
            (_, _, Some((place, _))) if is_file => Some((
                place.clone(),
                Problem::new(
                    "a socket file needs no secret: the kernel says which user asks",
                    "leave it out, or write --identity-listen 127.0.0.1:PORT",
                ),
            )),
            (_, _, None) if !is_file && !starts_app => Some((
                place.clone(),
                Problem::new(
                    "nobody would be told the secret that requests need",
                    "add --identity-token-file PATH, which the app reads, or write --identity-listen unix:/PATH",
                ),
            )),
            _ => None,
        };
        if let Some((place, problem)) = problem {
            return Err(self.report(problem.at(place)));
        }
        let mut listed: Vec<String> = Vec::new();
        for (_, audience) in audiences {
            if !listed.contains(&audience) {
                listed.push(audience);
            }
        }
        let endpoint = IdentityEndpoint {
            listen,
            audiences: listed,
            ttl: ttl?,
            peer_uids: peer_uids.into_iter().map(|(_, uid)| uid).collect(),
            rate: rate?,
            token_file: token_file.into_iter().next_back().map(|(_, path)| path),
            verification: verification?,
        };
        Ok(Some((place, endpoint)))
    }

    fn token_verification(&mut self) -> Result<Option<TokenVerification>, Reported> {
        let ca = self.paths("token-ca");
        let crl = self.paths("token-crl");
        let roles = self.paths("token-roles");
        let max_ttl = self.required("token-max-ttl", |text| values::duration(text, &Range::A_SECOND_TO_A_DAY));
        let skew = self.required("token-skew", |text| values::duration(text, &Range::ZERO_TO_FIVE_MINUTES));
        let (ca, crl, roles) = (ca?, crl?, roles?);
        if ca.is_empty() {
            let help = "add --token-ca PATH, the CAs that vouch for those who show tokens, or leave it out";
            self.reject_orphan_options(&BESIDE_CA, "no token is verified", help)?;
            return Ok(None);
        }
        let paths = |given: Vec<(Source, _)>| given.into_iter().map(|(_, path)| path);
        Ok(Some(TokenVerification {
            ca: paths(ca).collect(),
            crl: paths(crl).collect(),
            roles: paths(roles).next_back(),
            max_ttl: max_ttl?,
            skew: skew?,
        }))
    }

    /// What is said of the first of `options` that somebody has meant, though it means nothing: by a flag, or of what names somebody in the
    /// file. Variables may be there for all apps alike.
    fn reject_orphan_options(&mut self, options: &[&'static str], what: &str, help: &str) -> Result<(), Reported> {
        let names_somebody = |option: &str| matches!(option, "identity-audience" | "token-ca");
        let is_meant = |option: &str, place: &Source| match place {
            Source::Flag(_) => true,
            place => names_somebody(option) && outbound::is_deliberate(place),
        };
        let mut given = options.iter().filter_map(|option| Some((option, &self.sources.values(option).first()?.place)));
        let lonely = given.find(|(option, place)| is_meant(option, place)).map(|(_, place)| place.clone());
        let Some(place) = lonely else { return Ok(()) };
        Err(self.report(Problem::new(what, help).at(place)))
    }
}
