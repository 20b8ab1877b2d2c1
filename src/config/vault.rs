//! Vault or OpenBao: where it is, and how the instance logs in.

use std::path::PathBuf;
use std::time::Duration;

use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::ApiUrl;
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

/// A server of Vault or OpenBao, and how we log in to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    /// Where it is.
    pub url: ApiUrl,
    /// Below which namespace everything is.
    pub namespace: Option<String>,
    /// Who vouches for it; `None`: the CAs of the platform and of this system.
    pub ca: Option<PathBuf>,
    /// The option that says so.
    pub ca_option: &'static str,
    /// The platform's folder of CAs.
    pub platform_cas: Option<PathBuf>,
    /// What is logged in with.
    pub login: VaultLogin,
    /// Where that method is mounted, without slashes around it.
    pub mount: String,
    /// The answer to a login is wrapped, and can be unwrapped once within this time; `None`: it is not wrapped.
    pub wrap_ttl: Option<Duration>,
}

/// How the instance proves who it is, and as whom it asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultLogin {
    /// HashiCorp's plugin for Cloud Foundry: a signature with the instance's key.
    Cf {
        /// As whom.
        role: String,
    },
    /// The pair in mutual TLS.
    Cert {
        /// As whom.
        role: String,
    },
    /// A JWT that the instance's key signs.
    Jwt {
        /// As whom.
        role: String,
        /// For whom the token is.
        audience: String,
    },
    /// Comcast's plugin: a JWT that carries its certificate, and names the policies.
    Comcast {
        /// For whom the token is.
        audience: String,
        /// What is asked for; never empty.
        policies: Vec<String>,
    },
}

/// The methods by their words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumCount, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum VaultMethod {
    /// See [`VaultLogin::Cf`].
    Cf,
    /// See [`VaultLogin::Cert`].
    Cert,
    /// See [`VaultLogin::Jwt`].
    Jwt,
    /// See [`VaultLogin::Comcast`].
    Comcast,
}

/// What was said of a server of Vault, one part at a time.
#[derive(Debug, Clone)]
pub struct VaultParts {
    /// Where it is.
    pub addr: Option<ApiUrl>,
    /// Below which namespace everything is.
    pub namespace: Option<String>,
    /// Who vouches for it.
    pub ca: Option<PathBuf>,
    /// The platform's folder of CAs.
    pub platform_cas: Option<PathBuf>,
    /// What is logged in with.
    pub method: VaultMethod,
    /// Where it is mounted; `None`: as usual.
    pub mount: Option<String>,
    /// As whom.
    pub role: Option<String>,
    /// For whom tokens are.
    pub audience: Option<String>,
    /// What is asked for.
    pub policies: Vec<String>,
    /// Whether logins are wrapped.
    pub wrap_ttl: Option<Duration>,
}

impl Vault {
    /// The method that is logged in with.
    pub fn method(&self) -> VaultMethod {
        match self.login {
            VaultLogin::Cf { .. } => VaultMethod::Cf,
            VaultLogin::Cert { .. } => VaultMethod::Cert,
            VaultLogin::Jwt { .. } => VaultMethod::Jwt,
            VaultLogin::Comcast { .. } => VaultMethod::Comcast,
        }
    }

    /// As whom we ask to be let in; `None`: the method has no roles.
    pub fn role(&self) -> Option<&str> {
        match &self.login {
            VaultLogin::Cf { role } | VaultLogin::Cert { role } | VaultLogin::Jwt { role, .. } => Some(role),
            VaultLogin::Comcast { .. } => None,
        }
    }
}

impl VaultMethod {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Where it is mounted if nobody has said otherwise.
    fn usual_mount(self) -> &'static str {
        match self {
            Self::Cf => "cf",
            Self::Cert => "cert",
            Self::Jwt => "jwt",
            Self::Comcast => "cloudfoundry",
        }
    }
}

impl VaultParts {
    /// The whole, if the parts fit together.
    ///
    /// # Errors
    /// Each problem, and the option that it is about, by its name without a prefix. `prefix` stands before the names of others: `--vault-`.
    pub fn complete(self, prefix: &str) -> Result<Vault, Vec<(&'static str, Problem)>> {
        let method = self.method;
        let mut wrong: Vec<(&'static str, Problem)> = Vec::new();
        let mut missing = |option: &'static str, help: String| {
            wrong.push((option, Problem::new("is not given", help)));
        };
        if self.addr.is_none() {
            missing("addr", format!("say where Vault is: {prefix}addr https://HOST:PORT, or VAULT_ADDR"));
        }
        if self.role.is_none() && method != VaultMethod::Comcast {
            missing("role", format!("name the role that is asked for: {prefix}role ROLE"));
        }
        if self.audience.is_none() && method == VaultMethod::Jwt {
            missing("audience", format!("add {prefix}audience AUD, one of the role's bound_audiences"));
        }
        if self.policies.is_empty() && method == VaultMethod::Comcast {
            missing("policy", format!("add {prefix}policy POLICY for each that is asked for"));
        }
        let mut lonely = |option: &'static str, is_given: bool| {
            if is_given {
                let what = format!("says nothing in the method {}", method.as_str());
                wrong.push((option, Problem::new(what, format!("leave it out, or write another {prefix}method"))));
            }
        };
        lonely("role", self.role.is_some() && method == VaultMethod::Comcast);
        lonely("audience", self.audience.is_some() && matches!(method, VaultMethod::Cf | VaultMethod::Cert));
        lonely("policy", !self.policies.is_empty() && method != VaultMethod::Comcast);
        if let Some(url) = self.addr.as_ref().filter(|url| method == VaultMethod::Cert && !url.is_tls) {
            let problem = Problem::new(format!("{url} asks for no certificate"), "write https:// for the method cert");
            wrong.push(("addr", problem));
        }
        let (Some(url), []) = (self.addr, wrong.as_slice()) else { return Err(wrong) };
        let role = self.role.unwrap_or_default();
        let login = match method {
            VaultMethod::Cf => VaultLogin::Cf { role },
            VaultMethod::Cert => VaultLogin::Cert { role },
            VaultMethod::Jwt => VaultLogin::Jwt { role, audience: self.audience.unwrap_or_default() },
            VaultMethod::Comcast => VaultLogin::Comcast {
                audience: self.audience.unwrap_or_else(|| url.to_string()),
                policies: self.policies,
            },
        };
        let mount = self.mount.unwrap_or_else(|| method.usual_mount().to_owned());
        let (namespace, ca, platform_cas, wrap_ttl) = (self.namespace, self.ca, self.platform_cas, self.wrap_ttl);
        let ca_option = if prefix == "--" { "--ca" } else { "--vault-ca" };
        Ok(Vault { url, namespace, ca, ca_option, platform_cas, login, mount, wrap_ttl })
    }
}

/// A path below which something is: a mount or a namespace. Slashes around it do not count.
pub fn vault_path(text: &str) -> Result<String, Problem> {
    let bare = text.trim_matches('/');
    let is_plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~@+".contains(&byte))
    };
    match bare.split('/').all(is_plain) {
        true => Ok(bare.to_owned()),
        false => Err(Problem::new(format!("{} is no path of Vault", quote(text)), "write one such as cf or team-a/cf")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::api_url;

    fn parts(method: VaultMethod) -> VaultParts {
        VaultParts {
            addr: api_url("https://vault.example:8200").ok(),
            namespace: None,
            ca: None,
            platform_cas: None,
            method,
            mount: None,
            role: None,
            audience: None,
            policies: Vec::new(),
            wrap_ttl: None,
        }
    }

    fn wrong(parts: VaultParts) -> Vec<&'static str> {
        parts.complete("--").map_or_else(|wrong| wrong.into_iter().map(|(option, _)| option).collect(), |_| Vec::new())
    }

    #[test]
    fn each_method_has_what_it_needs_and_nothing_else() {
        let role = || Some("app".to_owned());
        let all =
            |method| VaultParts { role: role(), audience: role(), policies: vec!["p".to_owned()], ..parts(method) };
        assert_eq!(wrong(parts(VaultMethod::Cf)), ["role"]);
        assert_eq!(wrong(parts(VaultMethod::Jwt)), ["role", "audience"]);
        assert_eq!(wrong(parts(VaultMethod::Comcast)), ["policy"]);
        assert_eq!(wrong(all(VaultMethod::Cf)), ["audience", "policy"]);
        assert_eq!(wrong(all(VaultMethod::Cert)), ["audience", "policy"]);
        assert_eq!(wrong(all(VaultMethod::Jwt)), ["policy"]);
        assert_eq!(wrong(all(VaultMethod::Comcast)), ["role"]);
        assert_eq!(wrong(VaultParts { addr: None, ..parts(VaultMethod::Comcast) }), ["addr", "policy"]);
        let plain = api_url("http://127.0.0.1:8200").ok();
        assert_eq!(wrong(VaultParts { addr: plain.clone(), role: role(), ..parts(VaultMethod::Cert) }), ["addr"]);
        assert_eq!(wrong(VaultParts { addr: plain, role: role(), ..parts(VaultMethod::Cf) }), [""; 0]);
    }

    #[test]
    fn methods_are_mounted_as_usual_unless_somebody_says_otherwise() {
        let role = Some("app".to_owned());
        let vault = VaultParts { role: role.clone(), ..parts(VaultMethod::Cert) }.complete("--").unwrap();
        assert_eq!((vault.mount.as_str(), vault.role()), ("cert", Some("app")));
        let mount = vault_path("/team-a/cf/").ok();
        let vault = VaultParts { role, mount, ..parts(VaultMethod::Cf) }.complete("--").unwrap();
        assert_eq!(vault.mount, "team-a/cf");
        let comcast = VaultParts { policies: vec!["p".to_owned()], ..parts(VaultMethod::Comcast) }.complete("--");
        assert_eq!(comcast.map(|vault| (vault.mount, vault.url.to_string())).unwrap().0, "cloudfoundry");
    }

    #[test]
    fn a_path_of_vault_has_plain_segments() {
        for text in ["", "/", "a//b", "a/../b", "a b", "a?b", "a#b", "ä", "a%2fb"] {
            assert!(vault_path(text).is_err(), "{text}");
        }
    }
}
