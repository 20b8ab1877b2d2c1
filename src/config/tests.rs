//! From everything that can be typed to the truth, or to the exact line for each error.

mod diagnostics;
mod http;
mod plaintext;
mod process;
mod routes;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::options;
use super::options::{Arity, Opt};
use super::resolve::{certificate_path, resolve};
use super::sources::{Environment, Sources};
use super::*;
use crate::diagnostics::Diagnostics;
use crate::exit::{Exit, Fault};

/// What somebody typed.
#[derive(Debug, Default, Clone)]
pub(super) struct ConfigInput {
    flags: Vec<(&'static str, OsString)>,
    environment: Environment,
    file: Option<String>,
    proxy: bool,
}

impl ConfigInput {
    pub(super) fn flag(mut self, name: &'static str, value: &str) -> Self {
        self.flags.push((name, value.into()));
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Typed behind `vestibule proxy`.
    pub(super) fn proxy() -> Self {
        Self { proxy: true, ..Self::default() }
    }

    /// Also names it, in a variable.
    pub(super) fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self.variable("VESTIBULE_CONFIG", "v.toml")
    }

    /// Others start the app.
    pub(super) fn under_proxy(self) -> Self {
        Self { proxy: true, ..self }
    }

    fn resolve(&self) -> Result<Config, Diagnostics> {
        self.read(resolve)
    }

    /// Where health is asked for.
    pub(super) fn admin(&self) -> Result<Option<Admin>, Diagnostics> {
        self.read(super::resolve::admin)
    }

    fn read<T>(&self, reading: impl FnOnce(&Sources<'_>) -> T) -> T {
        let read_file = |path: &Path| match &self.file {
            Some(text) if path == Path::new("v.toml") => Ok(text.clone()),
            _ => Err(io::Error::from_raw_os_error(2)),
        };
        let inputs = Sources {
            flags: &self.flags,
            environment: &self.environment,
            read_file: &read_file,
            starts_app: !self.proxy,
            cpus: 8,
        };
        reading(&inputs)
    }

    pub(super) fn config(&self) -> Config {
        self.resolve().unwrap_or_else(|diagnostics| panic!("{}", Fault::from(diagnostics).message()))
    }

    pub(super) fn diagnostics(&self) -> Vec<String> {
        let diagnostics = self.resolve().expect_err("nothing was wrong");
        diagnostics.iter().map(ToString::to_string).collect()
    }
}

pub(super) fn nothing() -> ConfigInput {
    ConfigInput::default()
}

fn listeners(config: &Config) -> Vec<(Listen, AppAddr)> {
    config.listeners.iter().map(|listener| (listener.listen, listener.app.clone())).collect()
}

fn tcp(address: &str) -> AppAddr {
    AppAddr::Tcp(address.parse().unwrap())
}

#[test]
fn nothing_typed_is_a_whole_configuration() {
    let tls = TlsSettings::default();
    let listener = Listener {
        listen: Listen::EveryAddress(8443),
        app: tcp("127.0.0.1:8080"),
        connect_timeout: Duration::from_secs(1),
        pair: PairSource::Files(PairFiles {
            cert: "/etc/cf-instance-credentials/instance.crt".into(),
            key: "/etc/cf-instance-credentials/instance.key".into(),
        }),
        tls,
        clients: ClientAuthConfig::None,
        dial: Dial::BeforeHandshake,
        proxy_protocol: None,
        accept_proxy_protocol: vec![],
        http: None,
        plaintext: None,
    };
    let expected = Config {
        outbounds: Vec::new(),
        forward_proxy: None,
        app_files: AppFiles::default(),
        identity_endpoint: None,
        secrets: None,
        metrics: None,
        listeners: vec![listener],
        credential_timeout: Some(Duration::from_secs(10)),
        timeouts: Timeouts { handshake: Duration::from_secs(10), idle: None, max_age: None },
        app: AppConfig::default(),
        admin: Some(Admin {
            addr: AdminAddr::Tcp("127.0.0.1:9901".parse().unwrap()),
            explicit: false,
            actions: vec![],
            hosts: vec![],
        }),
        drain: Drain { delay: Duration::ZERO, timeout: Duration::from_secs(8), http: true },
        log: Log { format: None, level: LogLevel::Info, access: AccessLogFilter::Denied },
        threads: 2,
        limits: Limits::default(),
        sandbox: SandboxMode::Off,
        envoy: None,
    };
    assert_eq!(nothing().config(), expected);
}

#[test]
fn the_platforms_variables_are_enough() {
    let typed = nothing()
        .variable("PORT", "3000")
        .variable("CF_INSTANCE_CERT", "/creds/instance.crt")
        .variable("CF_INSTANCE_KEY", "/creds/instance.key");
    let config = typed.config();
    assert_eq!(config.listeners[0].app, tcp("127.0.0.1:3000"));
    let files = PairFiles { cert: "/creds/instance.crt".into(), key: "/creds/instance.key".into() };
    assert_eq!(config.pair_files(), Some(&files));
}

#[test]
fn flag_beats_variable_beats_file_beats_platform_beats_default() {
    let mut typed = nothing();
    let app = |typed: &ConfigInput| typed.config().listeners[0].app.clone();
    assert_eq!(app(&typed), tcp("127.0.0.1:8080"));
    typed = typed.variable("PORT", "1");
    assert_eq!(app(&typed), tcp("127.0.0.1:1"));
    typed = typed.file("app = 2");
    assert_eq!(app(&typed), tcp("127.0.0.1:2"));
    typed = typed.variable("VESTIBULE_APP", "3");
    assert_eq!(app(&typed), tcp("127.0.0.1:3"));
    typed = typed.flag("app", "4");
    assert_eq!(app(&typed), tcp("127.0.0.1:4"));
}

#[test]
fn a_higher_source_replaces_a_list_whole() {
    let typed = nothing().file("listener = ['1=2', '3=4']").variable("VESTIBULE_LISTENER", "5=6, 7=8");
    let ports = [(5, "127.0.0.1:6"), (7, "127.0.0.1:8")].map(|(port, app)| (Listen::EveryAddress(port), tcp(app)));
    assert_eq!(listeners(&typed.config()), ports);
    let typed = typed.flag("listener", "9=10").flag("listener", "11=12,13=14");
    assert_eq!(typed.config().listeners.len(), 3);
}

#[test]
fn a_file_takes_what_toml_has_for_it() {
    let text =
        "listen = 9443\ntls-min = 1.3\nalpn = ['h2', 'http/1.1']\nthreads = 4\nmax-age = '1h'\nlog-format = 'json'";
    let config = nothing().file(text).config();
    assert_eq!(config.listeners[0].listen, Listen::EveryAddress(9443));
    assert_eq!(config.listeners[0].tls.min_version, TlsVersion::Tls13);
    assert_eq!(config.listeners[0].tls.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!((config.threads, config.timeouts.max_age), (4, Some(Duration::from_secs(3600))));
    assert_eq!(config.log.format, Some(LogFormat::Json));
}

#[test]
fn an_empty_array_or_off_takes_a_lower_list_away() {
    let typed = nothing().file("alpn = []\nlistener = []");
    assert_eq!(typed.config().listeners[0].tls.alpn, Vec::<Vec<u8>>::new());
    let typed = nothing().file("alpn = 'h2'").flag("alpn", "off");
    assert_eq!(typed.config().listeners[0].tls.alpn, Vec::<Vec<u8>>::new());
}

#[test]
fn a_listener_may_tell_its_app_who_calls_and_trust_load_balancers_of_its_own() {
    let typed = nothing().file(
        "proxy-protocol = 'v2'\naccept-proxy-protocol = ['10.0.0.0/8', 'fd00::1']\n\
         [[listener]]\nlisten = 1\napp = 2\n\
         [[listener]]\nlisten = 3\napp = 4\nproxy-protocol = 'off'\naccept-proxy-protocol = []\n",
    );
    let listeners = typed.config().listeners;
    let networks = |listener: &Listener| -> Vec<String> {
        listener.accept_proxy_protocol.iter().map(ToString::to_string).collect()
    };
    assert_eq!(listeners[0].proxy_protocol, Some(ProxyProtocol::V2));
    assert_eq!(networks(&listeners[0]), ["10.0.0.0/8", "fd00::1/128"]);
    assert_eq!((listeners[1].proxy_protocol, networks(&listeners[1])), (None, vec![]));
    assert_eq!(
        nothing().flag("proxy-protocol", "3").flag("accept-proxy-protocol", "10.0.0.0/8, 10.1.0.0/8").diagnostics(),
        [
            "--proxy-protocol: \"3\" is not among the choices; write off, v1 or v2",
            "--accept-proxy-protocol: \"10.1.0.0/8\" names a host and a network at once; \
             write 10.0.0.0/8, or 10.1.0.0 for the host alone",
        ]
    );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let empty =
        ["VESTIBULE_LISTEN", "VESTIBULE_CONFIG", "VESTIBULE_KEY", "VESTIBULE_LISTN", "CF_INSTANCE_CERT", "PORT"];
    let typed = empty.into_iter().fold(nothing(), |typed, name| typed.variable(name, ""));
    assert_eq!(typed.config(), nothing().config());
}

#[test]
fn what_kubernetes_sets_for_a_service_of_our_name_is_no_error() {
    let typed = nothing()
        .variable("VESTIBULE_SERVICE_HOST", "10.0.0.1")
        .variable("VESTIBULE_SERVICE_PORT", "443")
        .variable("VESTIBULE_SERVICE_PORT_HTTPS", "443")
        .variable("VESTIBULE_PORT", "tcp://10.0.0.1:443")
        .variable("VESTIBULE_DEMO_PORT_443_TCP_ADDR", "10.0.0.1");
    assert_eq!(typed.config(), nothing().config());
    assert!(nothing().variable("VESTIBULE_PORT", "443").resolve().is_err());
}

#[test]
fn port_zero_may_be_listened_on_twice_and_families_do_not_meet() {
    let config = nothing().flag("listener", "127.0.0.1:0=1,127.0.0.1:0=1,0.0.0.0:5=1,[::1]:5=1").config();
    assert_eq!(config.listeners.len(), 4);
}

#[test]
fn several_listeners_do_not_ask_for_the_platforms_port() {
    let config = nothing().variable("PORT", "3000").flag("listener", "1=2").config();
    assert_eq!(listeners(&config), [(Listen::EveryAddress(1), tcp("127.0.0.1:2"))]);
}

#[test]
fn an_app_on_another_machine_may_have_our_port() {
    assert_eq!(nothing().flag("app", "10.0.0.9:8443").config().listeners[0].app, tcp("10.0.0.9:8443"));
}

#[test]
fn the_platforms_usual_path_counts_as_the_default() {
    let usual = nothing().variable("CF_INSTANCE_CERT", "/etc/cf-instance-credentials/instance.crt");
    assert_eq!(usual.config(), nothing().config());
}

#[test]
fn threads_follow_the_cpu_quota_up_to_two() {
    let threads = |cpus| {
        let inputs = Sources {
            flags: &[],
            environment: &Environment::new(),
            read_file: &|_| Err(io::Error::other("")),
            starts_app: true,
            cpus,
        };
        resolve(&inputs).unwrap().threads
    };
    assert_eq!([0, 1, 2, 64].map(threads), [1, 1, 2, 2]);
}

#[test]
fn the_own_certificate_is_found_as_the_proxy_finds_it() {
    let mut typed = nothing();
    let own = |typed: &ConfigInput| certificate_path(&typed.environment).unwrap().display().to_string();
    assert_eq!(own(&typed), "/etc/cf-instance-credentials/instance.crt");
    typed = typed.variable("CF_INSTANCE_CERT", "/a");
    assert_eq!(own(&typed), "/a");
    typed = typed.variable("VESTIBULE_CERT", "/b");
    assert_eq!(own(&typed), "/b");
}

#[test]
fn every_option_of_the_table_is_read() {
    for option in options::of("run") {
        // A zero byte is wrong in every value, a path's included.
        let typed = nothing().variable(&option.variable().unwrap(), "\0");
        let said = typed.diagnostics().join("\n");
        assert!(said.contains(&option.variable().unwrap()), "{} is not read: {said}", option.name);
    }
}

#[test]
fn every_choice_and_every_default_of_the_table_is_accepted() {
    use options::Group;
    for option in options::of("run") {
        // Some options have a meaning only beside others.
        let base = |choice: &str| match option.group {
            Group::Outbound => nothing().flag("outbound", "9000=b:1"),
            Group::Http if matches!(option.name, "router-xfcc" | "xfcc-absent" | "xfcc-verify") => {
                let typed = nothing().flag("mode", "http").flag("client-ca", "/ca").flag("allow", "any");
                typed.flag("xfcc-forward-from", "dns:router").flag("policy-mode", "audit")
            }
            Group::Http if option.name != "mode" => {
                nothing().flag("mode", "http").flag("client-ca", "/ca").flag("allow", "any").flag("policy", "/p")
            }
            Group::Tls if option.name == "from" || (option.name, choice) == ("tls", "off") => {
                nothing().flag("tls", "off").flag("mode", "http").flag("allow", "anonymous").flag("listen", "9000")
            }
            Group::Secrets if option.name == "resolve" => {
                nothing().flag("vault-addr", "https://v:8200").flag("vault-role", "r")
            }
            Group::Secrets if matches!(option.name, "vault-method" | "secret-on-expiry") => {
                let typed = nothing().flag("resolve", "vault").flag("vault-addr", "https://v:8200");
                match choice {
                    "jwt" => typed.flag("vault-role", "r").flag("vault-audience", "a"),
                    "comcast" => typed.flag("vault-audience", "a").flag("vault-policy", "p"),
                    _ => typed.flag("vault-role", "r"),
                }
            }
            Group::Secrets => nothing().flag("resolve", "file"),
            Group::ForwardProxy if option.name != "forward-proxy" => nothing().flag("forward-proxy", "on"),
            Group::AppFiles if option.name == "file-mode" => nothing().flag("credential-file", "chain=/c"),
            Group::IdentityEndpoint if option.name != "identity-listen" => {
                nothing().flag("identity-listen", "unix:/i").flag("identity-audience", "a").flag("token-ca", "/ca")
            }
            _ => nothing(),
        };
        for choice in option.choices {
            let clients = option.group == Group::Clients && *choice != "off";
            let typed = base(choice);
            let typed = if clients { typed.flag("client-ca", "/ca").flag("allow", "any") } else { typed };
            typed.flag(option.name, choice).config();
        }
        if let options::Preset::Value(default) = option.default
            // Whoever types these is told more than by the default when they cannot be had.
            && !matches!(option.name, "cert" | "key" | "admin")
        {
            assert_eq!(base(default).flag(option.name, default).config(), base(default).config(), "{}", option.name);
        }
    }
}

/// Any option with any text, in any source.
fn anything() -> impl Strategy<Value = ConfigInput> {
    let options: Vec<&'static Opt> = options::of("run").filter(|option| option.arity != Arity::Switch).collect();
    let text =
        prop_oneof!["(?s).{0,20}", "[0-9]{1,6}(s|ms|m)?", "off|json|all|1.2|h2|\\[::\\]:[0-9]{1,5}", "[0-9]=[0-9]"];
    let one = (prop::sample::select(options), text, 0..3_u8);
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let mut file = String::new();
        let typed = all.into_iter().fold(nothing(), |typed, (option, text, source)| match source {
            0 => typed.flag(option.name, &text),
            1 => typed.variable(&option.variable().unwrap(), &text),
            _ => {
                file += &format!("{} = {text}\n", option.name);
                typed
            }
        });
        typed.file(&file)
    })
}

proptest! {
    #[test]
    fn whatever_is_typed_there_is_a_truth_or_a_line_for_each_diagnostic(typed in anything()) {
        match typed.resolve() {
            Ok(config) => prop_assert!(!config.listeners.is_empty() && config.threads > 0),
            Err(diagnostics) => {
                let lines = diagnostics.iter().count();
                prop_assert_eq!(Fault::from(diagnostics).message().lines().count(), lines);
                prop_assert!(lines > 0);
            }
        }
    }

    #[test]
    fn whatever_is_in_the_file_nothing_panics(text in "(?s).{0,200}") {
        let _ = nothing().file(&text).resolve();
    }
}
