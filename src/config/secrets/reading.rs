//! From what was typed about secrets to what it means.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{CredHubConfig, SecretSource, Secrets};
use crate::config::options::{Group, OPTIONS};
use crate::config::reader::{OptionReader, Reported};
use crate::config::sources::Environment;
use crate::config::values::Range;
use crate::config::vault::vault_path;
use crate::config::{ApiUrl, Vault, VaultParts, values};
use crate::diagnostics::redact::quote_path;
use crate::diagnostics::{Problem, Source};

/// Where the platform says where CredHub is.
const PLATFORM_OPTIONS: &str = "VCAP_PLATFORM_OPTIONS";

/// What [`PLATFORM_OPTIONS`] says.
#[derive(Deserialize)]
struct PlatformOptions {
    #[serde(rename = "credhub-uri")]
    credhub_uri: Option<String>,
}

impl OptionReader {
    /// What is resolved; `None`: nothing was asked for.
    pub(in crate::config) fn secrets(
        &mut self,
        environment: &Environment,
        starts_app: bool,
    ) -> Result<Option<Secrets>, Reported> {
        let given = self.all("resolve", values::one_of);
        // Read even where nothing is resolved: what is wrong in it would be so then.
        let timeout =
            self.required("resolve-timeout", |text| values::duration(text, &Range::A_MILLISECOND_TO_TEN_MINUTES));
        let dir = self.absolute_path("secrets-dir");
        let url = self.all("credhub-url", credhub_url).map(|mut urls| urls.pop());
        let ca = self.paths("credhub-ca").map(|mut paths| paths.pop());
        let credhub_timeout =
            self.required("credhub-timeout", |text| values::duration(text, &Range::A_MILLISECOND_TO_TEN_MINUTES));
        let database_url = self.required("credhub-database-url", values::on_or_off);
        let vault = self.vault(environment);
        let signal = self.given("secret-signal", |text| text.parse());
        let on_expiry = self.required("secret-on-expiry", values::one_of);
        let given = given?;
        let Some((place, _)) = given.first().cloned() else {
            self.reject_orphan_secrets_options()?;
            return Ok(None);
        };
        if !starts_app {
            let problem = Problem::new(
                "the app is not ours to start here, so nobody would be given the secrets",
                "leave it out, or use vestibule run -- COMMAND",
            );
            return Err(self.report(problem.at(place)));
        }
        let mut resolve: Vec<SecretSource> = Vec::new();
        for (_, source) in given {
            if !resolve.contains(&source) {
                resolve.push(source);
            }
        }
        let asks_vault = resolve.iter().any(|source| matches!(source, SecretSource::Vault | SecretSource::Transit));
        let vault = vault?;
        let vault = match asks_vault {
            true => Some(self.whole_vault(vault)?),
            false => None,
        };
        let url = match url? {
            // The platform's own word comes before the variable that other tools read.
            Some((place, url)) if !matches!(place, Source::Platform(_)) => Some(url),
            url if resolve.contains(&SecretSource::Credhub) => {
                self.credhub_of_platform(environment)?.or(url.map(|(_, url)| url))
            }
            url => url.map(|(_, url)| url),
        };
        let platform_cas = environment.get("CF_SYSTEM_CERT_PATH").filter(|path| !path.is_empty());
        Ok(Some(Secrets {
            resolve,
            timeout: timeout?,
            dir: dir?,
            credhub: CredHubConfig {
                url,
                ca: ca?.map(|(_, path)| path),
                platform_cas: platform_cas.map(|path| Path::new(path).to_owned()),
                timeout: credhub_timeout?,
                database_url: database_url?,
            },
            vault,
            signal: signal?,
            on_expiry: on_expiry?,
        }))
    }

    /// What was said of Vault, one part at a time.
    fn vault(&mut self, environment: &Environment) -> Result<VaultParts, Reported> {
        let addr = self.given("vault-addr", values::api_url);
        let namespace = self.given("vault-namespace", vault_path);
        let ca = self.paths("vault-ca").map(|mut paths| paths.pop());
        let method = self.required("vault-method", values::one_of);
        let mount = self.given("vault-mount", vault_path);
        let role = self.given("vault-role", values::name);
        let audience = self.given("vault-audience", values::name);
        let policies = self.all("vault-policy", values::name);
        let wrap_ttl = self.given("vault-wrap-ttl", |text| values::duration(text, &Range::A_SECOND_TO_AN_HOUR));
        let platform_cas = environment.get("CF_SYSTEM_CERT_PATH").filter(|path| !path.is_empty());
        Ok(VaultParts {
            addr: addr?,
            namespace: namespace?,
            ca: ca?.map(|(_, path)| path),
            platform_cas: platform_cas.map(PathBuf::from),
            method: method?,
            mount: mount?,
            role: role?,
            audience: audience?,
            policies: policies?.into_iter().map(|(_, policy)| policy).collect(),
            wrap_ttl: wrap_ttl?,
        })
    }

    /// The whole of it, which somebody is to be asked by.
    fn whole_vault(&mut self, parts: VaultParts) -> Result<Vault, Reported> {
        parts.complete("--vault-").map_err(|wrong| {
            let mut noted = None;
            for (option, problem) in wrong {
                let name = OPTIONS.iter().map(|row| row.name).find(|name| *name == format!("vault-{option}"));
                let name = name.unwrap_or("vault-addr");
                let place =
                    self.sources.values(name).first().map_or(Source::Default(name), |given| given.place.clone());
                noted = Some(self.report(problem.at(place)));
            }
            // Invariant: there is an error, where it is not whole.
            noted.unwrap_or_else(|| {
                self.report(Problem::new("is not whole", "say where it is").at(Source::Default("vault-addr")))
            })
        })
    }

    /// Where CredHub is, if the platform says so.
    fn credhub_of_platform(&mut self, environment: &Environment) -> Result<Option<ApiUrl>, Reported> {
        let Some(text) = environment.get(PLATFORM_OPTIONS).filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = || {
            Problem::new(
                "is not JSON that says where CredHub is",
                "write {\"credhub-uri\":\"https://HOST:PORT\"}, or give --credhub-url",
            )
        };
        let options =
            text.to_str().and_then(|text| serde_json::from_str::<PlatformOptions>(text).ok()).ok_or_else(wrong);
        let url = options.and_then(|options| options.credhub_uri.map(|url| credhub_url(&url)).transpose());
        url.map_err(|problem| self.report(problem.at(Source::Platform(PLATFORM_OPTIONS.to_owned()))))
    }

    /// The folder that was named; the app may work elsewhere than we do.
    fn absolute_path(&mut self, name: &'static str) -> Result<Option<PathBuf>, Reported> {
        let Some((place, path)) = self.paths(name)?.pop() else { return Ok(None) };
        if path.is_absolute() {
            return Ok(Some(path));
        }
        let what = format!("{} is not absolute, and the app may work elsewhere", quote_path(&path));
        Err(self.report(Problem::new(what, "write a path that begins with /").at(place)))
    }

    /// What is said of options that have nothing to work on.
    fn reject_orphan_secrets_options(&mut self) -> Result<(), Reported> {
        let of_it = OPTIONS.iter().filter(|option| option.group == Group::Secrets && option.name != "resolve");
        let mut given = of_it.filter_map(|option| self.sources.values(option.name).first());
        // A variable or a file may be one for many.
        let lonely = given.find(|given| matches!(given.place, Source::Flag(_))).map(|given| given.place.clone());
        let Some(place) = lonely else { return Ok(()) };
        let help = "add --resolve credhub, vault, transit or file, or leave it out";
        Err(self.report(Problem::new("no secrets are resolved", help).at(place)))
    }
}

/// CredHub's own paths stand behind the port, whatever stands there.
fn credhub_url(text: &str) -> Result<ApiUrl, Problem> {
    let url = values::api_url(text)?;
    if !url.is_tls {
        return Err(Problem::new(
            "is not encrypted, and CredHub knows us by our certificate",
            "write https://HOST:PORT",
        ));
    }
    Ok(ApiUrl { prefix: String::new(), ..url })
}
