//! Reading how a listener speaks HTTP.

use std::sync::Arc;

use strum::{IntoStaticStr, VariantArray};

use super::{HttpConfig, RouterXfcc};
use crate::config::ClientAuthConfig;
use crate::config::options::{Group, OPTIONS};
use crate::config::reader::{Located, OptionReader, Reported};
use crate::config::values;
use crate::config::values::Range;
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;
use crate::http::{MAX_FIELDS, Upgrades};
use crate::policy::{PathHandling, PolicyMode, RoutePath, Rule};
use crate::xfcc::{XfccDetail, XfccForm};

/// `--mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
enum ListenerMode {
    Tcp,
    Http,
}

/// `--sni-host`
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
enum SniHost {
    Off,
    Require,
}

impl OptionReader {
    /// How requests are served; `None`: bytes are carried.
    pub(in crate::config) fn http(&mut self) -> Result<Option<HttpConfig>, Reported> {
        let mode = self.required("mode", values::one_of);
        let app_protocol = self.required("app-protocol", values::one_of);
        let xfcc = self.required("xfcc", values::one_of);
        let details = self.xfcc_details();
        let forms = self.xfcc_forms();
        let forward_from = self.forward_from();
        let router_xfcc = self.required("router-xfcc", values::one_of);
        let xfcc_absent = self.required("xfcc-absent", values::one_of);
        let xfcc_verify = self.required("xfcc-verify", values::one_of);
        let sni_host = self.required("sni-host", values::one_of::<SniHost>);
        let path_ambiguous = self.required("path-ambiguous", values::one_of);
        let path_changed = self.required("path-changed", values::one_of);
        let health_path = self.given("health-path", health_path);
        let caller_headers = self.switch("caller-headers");
        let forwarded_for = self.required("forwarded-for", values::one_of);
        let forwarded = self.required("forwarded", values::on_or_off);
        let via = self.given("via", token);
        let upgrades = self.upgrades();
        let upgrade_drain = self.required("upgrade-drain", values::one_of);
        let max_head = self.required("http-max-head", values::head_size);
        let max_body = self.required("http-max-body", values::body_size_or_off);
        let step = |text: &str| values::duration(text, &Range::A_MILLISECOND_TO_TEN_MINUTES);
        let hours = |text: &str| values::duration_or_off(text, &Range::A_MILLISECOND_TO_A_DAY);
        let head_timeout = self.required("http-head-timeout", step);
        let body_timeout = self.required("http-body-timeout", hours);
        let window_timeout = self.required("h2-window-timeout", hours);
        let app_timeout = self.required("app-timeout", hours);
        let app_idle_timeout = self.required("app-idle-timeout", step);
        let max_requests = self.given("max-requests", |text| values::number(text, &(1..=u64::MAX)));
        let config = HttpConfig {
            app_protocol: app_protocol?,
            xfcc: xfcc?,
            xfcc_forms: forms?,
            xfcc_details: details?,
            forward_from: forward_from?,
            router_xfcc: router_xfcc?,
            xfcc_absent: xfcc_absent?,
            xfcc_verify: xfcc_verify?,
            sni_host: sni_host? == SniHost::Require,
            paths: PathHandling { ambiguous: path_ambiguous?, changed: path_changed? },
            health_path: health_path?,
            caller_headers: caller_headers?,
            forwarded_for: forwarded_for?,
            forwarded: forwarded?,
            via: via?,
            upgrades: upgrades?,
            upgrade_drain: upgrade_drain?,
            max_head: max_head?,
            max_fields: MAX_FIELDS,
            max_target: MAX_TARGET,
            max_body: max_body?,
            head_timeout: head_timeout?,
            body_timeout: body_timeout?,
            window_timeout: window_timeout?,
            app_timeout: app_timeout?,
            app_idle_timeout: app_idle_timeout?,
            max_requests: max_requests?,
        };
        match mode? {
            ListenerMode::Tcp => self.no_http_option().map(|()| None),
            ListenerMode::Http => Ok(Some(config)),
        }
    }

    /// Where bytes are carried nothing is done to requests, and what is usual where they are served is not either.
    fn no_http_option(&mut self) -> Result<(), Reported> {
        let mut of_requests = OPTIONS.iter().filter(|option| option.group == Group::Http && option.name != "mode");
        let given = of_requests.find_map(|option| self.claimed(option.name));
        let Some(place) = given else { return Ok(()) };
        let help = "add --mode http (mode = \"http\" under the [[listener]]), or take it out";
        Err(self.report(Problem::new("has no meaning where bytes are carried as they are", help).at(place)))
    }

    /// Whoever may say who has called comes in for that; and rules judge whom it names, who must not be able to say so himself.
    pub(in crate::config) fn admit_forwarding_clients(
        &mut self,
        http: &HttpConfig,
        clients: &mut ClientAuthConfig,
    ) -> Result<(), Reported> {
        let Some(place) = self.sources.values("xfcc-forward-from").first().map(|given| given.place.clone()) else {
            return Ok(());
        };
        let problem = match clients {
            ClientAuthConfig::Files(files) => {
                files.forward_from.clone_from(&http.forward_from);
                let is_audited = files.mode == Some(PolicyMode::Audit);
                (http.router_xfcc == RouterXfcc::Unknown && !is_audited).then(RouterXfcc::unsaid)
            }
            _ => {
                let what = "no certificate is asked for, so nobody can be known as a client that may forward";
                Some(Problem::new(what, "add --client-auth require or --allow RULE"))
            }
        };
        match problem {
            Some(problem) => Err(self.report(problem.at(place))),
            None => Ok(()),
        }
    }

    /// Whoever asks for health has no identity, and comes in for that alone.
    pub(in crate::config) fn admit_health_checks(
        &mut self,
        http: &HttpConfig,
        clients: &mut ClientAuthConfig,
    ) -> Result<(), Reported> {
        let Some((path, place)) = http.health_path.as_ref().zip(self.user_given("health-path")) else { return Ok(()) };
        let problem = match clients {
            ClientAuthConfig::Files(files) if files.required => {
                let what = "nobody is without a certificate where one is required";
                Problem::new(what, "add --client-auth request, or take it out")
            }
            ClientAuthConfig::Files(files) if files.deny.contains(&Rule::Anonymous) => {
                Problem::new("is for callers whom a deny refuses: anonymous", "take one of them out")
            }
            ClientAuthConfig::Files(files) => {
                files.health = Some(path.clone());
                return Ok(());
            }
            ClientAuthConfig::None | ClientAuthConfig::ValidationContext(_) => {
                let what = "no certificate is asked for, so everybody may ask for everything";
                Problem::new(what, "add --client-auth request and --allow RULE, or take it out")
            }
        };
        Err(self.report(problem.at(place)))
    }

    /// Whoever may say who has called has to be somebody.
    fn forward_from(&mut self) -> Result<Vec<Rule>, Reported> {
        let rules: Vec<Located<Rule>> = self.all("xfcc-forward-from", str::parse)?;
        if let Some((place, _)) = rules.iter().find(|(_, rule)| *rule == Rule::Anonymous) {
            let what = "would have everybody say who calls, without a certificate";
            let help = "name the router: dns:gorouter.service.cf.internal";
            return Err(self.report(Problem::new(what, help).at(place.clone())));
        }
        Ok(rules.into_iter().map(|(_, rule)| rule).collect())
    }

    fn xfcc_forms(&mut self) -> Result<Vec<XfccForm>, Reported> {
        let forms: Vec<Located<XfccForm>> = self.all("xfcc-form", values::one_of)?;
        let place = forms.first().map(|(place, _)| place.clone());
        let forms: Vec<_> = forms.into_iter().map(|(_, form)| form).collect();
        match (place, forms.contains(&XfccForm::Raw) && forms.contains(&XfccForm::Envoy)) {
            (Some(place), true) => {
                let what = "raw and envoy are two forms of one field, X-Forwarded-Client-Cert";
                Err(self.report(Problem::new(what, "write one of them").at(place)))
            }
            // No other form has details.
            _ if forms.is_empty() && self.sources.is_given("xfcc-details") => Ok(vec![XfccForm::Envoy]),
            _ => Ok(forms),
        }
    }

    fn xfcc_details(&mut self) -> Result<Vec<XfccDetail>, Reported> {
        let details: Vec<_> = self.all("xfcc-details", values::one_of)?.into_iter().map(|(_, detail)| detail).collect();
        let usual = || vec![XfccDetail::Hash, XfccDetail::Subject, XfccDetail::Uri, XfccDetail::Dns];
        Ok(if details.is_empty() { usual() } else { details })
    }

    fn upgrades(&mut self) -> Result<Upgrades, Reported> {
        let listed = self.all("upgrade", protocol)?;
        let alone = |word: &str| listed.iter().find(|(_, protocol)| protocol == word).map(|(place, _)| place.clone());
        for word in ["any", "off"] {
            match (alone(word), listed.len()) {
                (Some(_), 1) if word == "any" => return Ok(Upgrades::Any),
                (Some(_), 1) => return Ok(Upgrades::Listed(Arc::new([]))),
                (Some(place), _) => {
                    let what = format!("{word} is given beside protocols");
                    return Err(self.report(Problem::new(what, format!("write {word} alone")).at(place)));
                }
                (None, _) => {}
            }
        }
        Ok(Upgrades::Listed(listed.into_iter().map(|(_, protocol)| protocol).collect()))
    }

    fn switch(&mut self, name: &'static str) -> Result<bool, Reported> {
        Ok(self.given(name, values::switch)?.unwrap_or(false))
    }
}

impl RouterXfcc {
    /// That rules judge whom a router forwards, and nobody has said whom it forwards.
    pub(in crate::config) fn unsaid() -> Problem {
        let what =
            "callers are judged by what the router forwards, and anybody may write that unless the router sees to it";
        let help = "say what it does by --router-xfcc sanitize-set or forward (gorouter: router.forwarded_client_cert), or try it with --policy-mode audit";
        Problem::new(what, help)
    }
}

/// The longest target, in bytes.
const MAX_TARGET: usize = 16 * 1024;

/// The path of health checks.
fn health_path(text: &str) -> Result<RoutePath, Problem> {
    if !text.starts_with('/') && text != "*" {
        return Err(Problem::new(format!("{} does not begin with /", quote(text)), "write a path such as /health"));
    }
    let path: RoutePath = text.parse()?;
    match path.is_server() {
        true => Err(Problem::new("is no path that can be asked for by GET", "write a path such as /health")),
        false => Ok(path),
    }
}

/// A token as HTTP has it (RFC 9110, 5.6.2).
fn token(text: &str) -> Result<String, Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(Problem::new("does not fit", "write 1 to 64 letters, digits, dashes, dots or underscores")),
    }
}

/// The name of a protocol in Upgrade, in lower case.
fn protocol(text: &str) -> Result<String, Problem> {
    let protocol = text.to_ascii_lowercase();
    if protocol.starts_with("h2") || protocol.starts_with("http") {
        let help = "write websocket, any or off: HTTP/2 is agreed on in the handshake";
        return Err(Problem::new(format!("{} is HTTP, to which no connection has to change", quote(text)), help));
    }
    let is_sound = protocol.split('/').count() <= 2 && protocol.split('/').all(|part| token(part).is_ok());
    if is_sound { Ok(protocol) } else { Err(Problem::new("is no protocol", "write websocket, any or off")) }
}
