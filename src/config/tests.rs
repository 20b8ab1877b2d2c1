//! From everything that can be typed to the truth, or to the exact line for each mistake.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::options;
use super::options::{Arity, Opt};
use super::resolve::{own_certificate, resolve};
use super::sources::{Environment, Sources};
use super::*;
use crate::diagnostics::Diagnostics;
use crate::exit::{Exit, Fault};

/// What somebody typed.
#[derive(Debug, Default, Clone)]
pub(super) struct Typed {
    flags: Vec<(&'static str, OsString)>,
    environment: Environment,
    file: Option<String>,
    proxy: bool,
}

impl Typed {
    pub(super) fn flag(mut self, name: &'static str, value: &str) -> Self {
        self.flags.push((name, value.into()));
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Also names it, in a variable.
    pub(super) fn file(mut self, text: &str) -> Self {
        self.file = Some(text.to_owned());
        self.variable("VESTIBULE_CONFIG", "v.toml")
    }

    fn resolve(&self) -> Result<Config, Diagnostics> {
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
        resolve(&inputs)
    }

    pub(super) fn config(&self) -> Config {
        self.resolve().unwrap_or_else(|diagnostics| panic!("{}", Fault::from(diagnostics).message()))
    }

    pub(super) fn diagnostics(&self) -> Vec<String> {
        let diagnostics = self.resolve().expect_err("nothing was wrong");
        diagnostics.iter().map(ToString::to_string).collect()
    }
}

pub(super) fn nothing() -> Typed {
    Typed::default()
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
        connect: Duration::from_secs(1),
        pair: PairSource::Files(PairFiles {
            cert: "/etc/cf-instance-credentials/instance.crt".into(),
            key: "/etc/cf-instance-credentials/instance.key".into(),
        }),
        tls,
        clients: ClientAuthConfig::None,
        dial: Dial::BeforeHandshake,
        proxy_protocol: None,
        accept_proxy_protocol: vec![],
    };
    let expected = Config {
        listeners: vec![listener],
        credential_timeout: Some(Duration::from_secs(10)),
        timeouts: Timeouts { handshake: Duration::from_secs(10), idle: None, max_age: None },
        app: AppConfig::default(),
        admin: Some(Admin {
            addr: AdminAddr::Tcp("127.0.0.1:9901".parse().unwrap()),
            asked: false,
            actions: vec![],
            hosts: vec![],
        }),
        drain: Drain { delay: Duration::ZERO, timeout: Duration::from_secs(8) },
        log: Log { format: None, level: LogLevel::Info, access: AccessLog::Denied },
        threads: 2,
        limits: Limits::default(),
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
    let app = |typed: &Typed| typed.config().listeners[0].app.clone();
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
fn what_kubernetes_sets_for_a_service_of_our_name_is_no_mistake() {
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
    let own = |typed: &Typed| own_certificate(&typed.environment).unwrap().display().to_string();
    assert_eq!(own(&typed), "/etc/cf-instance-credentials/instance.crt");
    typed = typed.variable("CF_INSTANCE_CERT", "/a");
    assert_eq!(own(&typed), "/a");
    typed = typed.variable("VESTIBULE_CERT", "/b");
    assert_eq!(own(&typed), "/b");
}

#[test]
#[rustfmt::skip] // What is typed, and what is said, in one column each.
fn every_mistake_says_where_what_and_the_mend() {
    let n = nothing;
    for (typed, said) in [
        (n().flag("handshake-timeout", "10"),
            "--handshake-timeout: \"10\" has no unit; write 10s or 10ms"),
        (n().flag("handshake-timeout", "0s"),
            "--handshake-timeout: \"0s\" is too short; write at least 1ms"),
        (n().flag("connect-timeout", "off"),
            "--connect-timeout: cannot be off; write a duration such as 10s, 500ms, 1m 30s or 1h"),
        (n().variable("VESTIBULE_IDLE_TIMEOUT", "1000h"),
            "VESTIBULE_IDLE_TIMEOUT: \"1000h\" is too long; write at most 720h"),
        (n().file("\n\nlisten = 'localhost:8443'"),
            "v.toml:3: listen: \"localhost\" is a name; write an IP address such as 127.0.0.1:8443"),
        (n().flag("app", "app.internal:8080"),
            "--app: \"app.internal\" is a name; write an IP address such as 127.0.0.1:8080"),
        (n().variable("PORT", "http"),
            "PORT: \"http\" is not a port; a port is a number from 1 to 65535"),
        (n().flag("listener", "8443"),
            "--listener: \"8443\" has no =; write LISTEN=APP such as 8443=8080"),
        (n().flag("threads", "0"),
            "--threads: \"0\" is out of range; write a number from 1 to 256"),
        (n().flag("max-connections", "many"),
            "--max-connections: \"many\" is not a number; write a number from 1 to 1000000"),
        (n().flag("tls-min", "1.1"),
            "--tls-min: \"1.1\" is not among the choices; write 1.2 or 1.3"),
        (n().variable("VESTIBULE_LOG_LEVEL", "verbose"),
            "VESTIBULE_LOG_LEVEL: \"verbose\" is not among the choices; write off, error, warn, info, debug or trace"),
        (n().flag("alpn", "h2,http2"),
            "--alpn: \"http2\" is not what clients offer; write h2"),
        (n().flag("alpn", "h2,h2"),
            "--alpn: \"h2\" is there twice; write each protocol once"),
        (n().flag("alpn", "h2,off"),
            "--alpn: off is given beside protocols; write off alone"),
        // Half a pair.
        (n().flag("cert", "/c.pem"),
            "--cert: has no key beside it; give --key too"),
        (n().variable("VESTIBULE_KEY", "/k.pem"),
            "VESTIBULE_KEY: has no cert beside it; give VESTIBULE_CERT too"),
        (n().file("cert = '/c.pem'").variable("CF_INSTANCE_KEY", "/k.pem"),
            "v.toml:1: cert: has no key beside it; give key too"),
        (n().variable("CF_INSTANCE_KEY", "/k.pem"),
            "CF_INSTANCE_KEY: has no cert beside it; give CF_INSTANCE_CERT too"),
        (n().flag("cert", "/c").flag("key", ""),
            "--key: is empty; write the path of a file"),
        (n().flag("cert", "/c").variable("VESTIBULE_KEY", "-----BEGIN PRIVATE KEY-----"),
            "VESTIBULE_KEY: holds PEM text; write the text to a file and give the path of that file"),
        // One listener or several.
        (n().flag("listener", "1=2").flag("listen", "3"),
            "--listen: given beside --listener; write every listener as LISTEN=APP"),
        (n().flag("listener", "1=2").file("app = 3"),
            "--listener: given beside v.toml:1: app; write every listener as LISTEN=APP"),
        (n().flag("listener", "8443=1,8443=2"),
            "--listener: [::]:8443 and [::]:8443 overlap; give each listener an address of its own"),
        (n().flag("listener", "8443=1,127.0.0.1:8443=2"),
            "--listener: [::]:8443 and 127.0.0.1:8443 overlap; give each listener an address of its own"),
        (n().flag("listen", "8080"),
            "--listen: we would listen where the app is, 127.0.0.1:8080; give one of them another port"),
        (n().variable("PORT", "8443"),
            "PORT: we would listen where the app is, 127.0.0.1:8443; give one of them another port"),
        // Names.
        (n().variable("VESTIBULE_LISTN", "1"),
            "VESTIBULE_LISTN: no such variable; the nearest is VESTIBULE_LISTEN"),
        (n().variable("VESTIBULE_COLOUR", "1"),
            "VESTIBULE_COLOUR: no such variable; vestibule run --help lists the options"),
        (n().file("handshake_timeout = '1s'"),
            "v.toml:1: handshake_timeout: no such key; the nearest is handshake-timeout"),
        (n().file("[listeners]\na = 1"),
            "v.toml:1: listeners: no such key; the nearest is listener"),
        (n().file("json = true"),
            "v.toml:1: json: no such key; vestibule run --help lists the options"),
        (n().file("\"a\\nb\\u001b\" = 1"),
            "v.toml:1: a\\nb\\u{1b}: no such key; vestibule run --help lists the options"),
        (n().file("config = 'other.toml'"),
            "v.toml:1: config: cannot stand in the file; use --config or VESTIBULE_CONFIG"),
        // The file.
        (n().flag("config", "none.toml"),
            "--config: cannot read \"none.toml\": no such file or directory; name a TOML file that can be read"),
        (n().flag("config", ""),
            "--config: is empty; write the path of a file"),
        (n().file("listen = [8443]"),
            "v.toml:1: listen: is of type array; write a string"),
        (n().file("threads = true"),
            "v.toml:1: threads: \"true\" is not a number; write a number from 1 to 256"),
        (n().file("alpn = ['h2', 1979-05-27]"),
            "v.toml:1: alpn: is of type datetime; write an array of strings"),
        (n().file("threads = 1\nthreads = 2"),
            "v.toml:2: not TOML: duplicate key; write KEY = \"VALUE\""),
        (n().file("listen = 8443 8444\nthreads = 1"),
            "v.toml:1: not TOML: string values must be quoted, expected literal string; write KEY = \"VALUE\""),
        (n().file("threads = 1\nlisten 8443\n"),
            "v.toml:2: not TOML: key with no value, expected `=`; write KEY = \"VALUE\""),
    ] {
        assert_eq!(typed.diagnostics(), [said]);
    }
}

#[test]
fn all_mistakes_are_reported_in_one_run() {
    let typed = nothing()
        .flag("handshake-timeout", "10")
        .variable("VESTIBULE_TREADS", "1")
        .variable("VESTIBULE_APP", "x:1")
        .file("listn = 1\nlog-level = 'loud'\nthreads = 0");
    let expected = [
        "VESTIBULE_TREADS: no such variable; the nearest is VESTIBULE_THREADS",
        "v.toml:1: listn: no such key; the nearest is listen",
        "VESTIBULE_APP: \"x\" is a name; write an IP address such as 127.0.0.1:1",
        "--handshake-timeout: \"10\" has no unit; write 10s or 10ms",
        "v.toml:2: log-level: \"loud\" is not among the choices; write off, error, warn, info, debug or trace",
        "v.toml:3: threads: \"0\" is out of range; write a number from 1 to 256",
    ];
    assert_eq!(typed.diagnostics(), expected);
    let fault = Fault::from(typed.resolve().unwrap_err());
    assert_eq!((fault.exit, fault.message()), (Exit::Usage, expected.join("\n")));
}

#[test]
fn without_a_flag_among_them_mistakes_are_the_configurations() {
    let fault = Fault::from(nothing().variable("VESTIBULE_THREADS", "x").resolve().unwrap_err());
    assert_eq!(fault.exit, Exit::Config);
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
    for option in options::of("run") {
        for choice in option.choices {
            // Some choices have a meaning only where client certificates are asked for.
            let clients = option.group == options::Group::Clients && *choice != "off";
            let typed = if clients { nothing().flag("client-ca", "/ca").flag("allow", "any") } else { nothing() };
            typed.flag(option.name, choice).config();
        }
        if let options::Preset::Value(default) = option.default
            // Whoever types these is told more than by the default when they cannot be had.
            && !matches!(option.name, "cert" | "key" | "admin")
        {
            assert_eq!(nothing().flag(option.name, default).config(), nothing().config(), "{}", option.name);
        }
    }
}

/// Any option with any text, in any source.
fn anything() -> impl Strategy<Value = Typed> {
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
    fn whatever_is_typed_there_is_a_truth_or_a_line_for_each_mistake(typed in anything()) {
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

#[test]
fn the_app_is_treated_as_asked() {
    let config = Typed::default()
        .flag("signal-scope", "app")
        .flag("signal-map", "15:3,HUP:0")
        .flag("signal-map", "USR1:USR2")
        .flag("hide-app-port", "true")
        .flag("hide-key", "true")
        .flag("app-ready", "http:/health")
        .flag("hold-until-ready", "5s")
        .config();
    assert_eq!(
        config.app,
        AppConfig {
            scope: SignalScope::App,
            map: "15:3,HUP:0,USR1:USR2".parse().unwrap(),
            hide_port: true,
            hide_key: true,
            ready: AppReady::Http("/health".into()),
            hold: Some(Duration::from_secs(5)),
        }
    );
}

#[test]
fn mistakes_about_the_app_have_their_mend() {
    for (typed, line) in [
        (
            Typed::default().flag("hide-app-port", "true").flag("app", "9000"),
            "--app: given beside --hide-app-port; let the app take its port from PORT, or leave one of the two out",
        ),
        (
            Typed::default().flag("hide-app-port", "true").variable("VESTIBULE_LISTENER", "1=2"),
            "--hide-app-port: given beside VESTIBULE_LISTENER; let the app take its port from PORT, or leave one of the two out",
        ),
        (
            Typed { proxy: true, ..Typed::default() }.variable("VESTIBULE_HIDE_APP_PORT", "true"),
            "VESTIBULE_HIDE_APP_PORT: the app is not ours to start here; leave it out, or use vestibule run -- COMMAND",
        ),
        (
            Typed { proxy: true, ..Typed::default() }.flag("hide-key", "true"),
            "--hide-key: the app is not ours to start here; leave it out, or use vestibule run -- COMMAND",
        ),
        (
            Typed::default().flag("signal-map", "TRM:3"),
            "--signal-map: \"TRM\" is not a signal; write a name or a number, such as TERM",
        ),
        (
            Typed::default().flag("signal-map", "TERM:3,15:2"),
            "--signal-map: TERM is rewritten twice; keep one of the two",
        ),
        (
            Typed::default().variable("VESTIBULE_ALPN", "\"h2,http/1.1\""),
            "VESTIBULE_ALPN: begins or ends with a quote that is part of the value; leave the quotes out; docker --env-file, for one, keeps them as they are",
        ),
        (
            Typed::default().flag("admin-host", "metrics.example:9901"),
            "--admin-host: \"metrics.example:9901\" has a port; write the name alone, all ports count",
        ),
        (
            Typed::default().flag("admin-host", "*.example"),
            "--admin-host: \"*.example\" is not a host name; write each name in full, such as metrics.example.org",
        ),
        (
            Typed::default().flag("admin-host", "http://metrics.example/"),
            "--admin-host: \"http://metrics.example/\" is not a host name; write each name in full, such as metrics.example.org",
        ),
        (
            Typed::default().variable("VESTIBULE_ADMIN_HOST", "10.1.2.3"),
            "VESTIBULE_ADMIN_HOST: \"10.1.2.3\" is an IP address; leave it out, addresses are always answered to",
        ),
        (
            Typed::default().flag("admin", "off").flag("admin-host", "metrics.example"),
            "--admin: given beside --admin-host; there would be nowhere to ask: leave one of the two out",
        ),
        (
            Typed::default().flag("app-ready", "http:health"),
            "--app-ready: \"http:health\" is no way to ask; write tcp, off, or http:/PATH such as http:/health",
        ),
        (
            Typed::default().flag("hold-until-ready", "5s").flag("app-ready", "off"),
            "--hold-until-ready: the app is never asked whether it is ready; set --app-ready to tcp",
        ),
        (
            Typed::default().flag("hold-until-ready", "10s"),
            "--hold-until-ready: 10s is not shorter than the handshake timeout, 10s; write a shorter one, or raise --handshake-timeout",
        ),
        (
            Typed::default().flag("drain-delay", "9s"),
            "--drain-delay: 9s is longer than the whole drain, 8s; write a shorter one, or raise --drain-timeout",
        ),
        (
            Typed::default().flag("admin", "everywhere"),
            "--admin: \"everywhere\" is not an address; write a port such as 9901, ADDRESS:PORT such as 127.0.0.1:9901, unix:/PATH, or off",
        ),
        (
            Typed::default().flag("admin-actions", "drain,quit"),
            "--admin-actions: \"quit\" is not among the choices; write drain, reload or loglevel",
        ),
        (
            Typed::default().flag("admin-actions", "drain").variable("VESTIBULE_ADMIN", "off"),
            "--admin-actions: given beside VESTIBULE_ADMIN; there would be nowhere to ask: leave one of the two out",
        ),
    ] {
        let diagnostics = typed.resolve().unwrap_err();
        let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(lines, [line]);
    }
}

#[test]
fn nothing_may_be_done_by_the_admin_listener_that_was_not_named() {
    let actions = |typed: Typed| typed.config().admin.unwrap().actions;
    assert_eq!(actions(Typed::default()), []);
    let typed = Typed::default().variable("VESTIBULE_ADMIN_ACTIONS", "reload, loglevel");
    assert_eq!(actions(typed), [AdminAction::Reload, AdminAction::LogLevel]);
}

#[test]
fn the_admin_address_is_known_to_be_asked_for() {
    let admin = |value: &str| Typed::default().flag("admin", value).config().admin;
    let tcp = |addr: &str| {
        Some(Admin { addr: AdminAddr::Tcp(addr.parse().unwrap()), asked: true, actions: vec![], hosts: vec![] })
    };
    assert_eq!(admin("9900"), tcp("127.0.0.1:9900"));
    assert_eq!(admin("localhost:9900"), tcp("127.0.0.1:9900"));
    assert_eq!(admin("[::1]:0"), tcp("[::1]:0"));
    assert_eq!(
        admin("unix:/run/a.sock"),
        Some(Admin { addr: AdminAddr::Unix("/run/a.sock".into()), asked: true, actions: vec![], hosts: vec![] })
    );
    assert_eq!(admin("off"), None);
}

#[test]
fn quotes_around_a_value_are_named_for_every_option_wherever_it_was_given() {
    for option in options::OPTIONS.iter().filter(|option| options::serving(option.name) == Some(option)) {
        for value in ["\"1\"", "'a,b'", "\"/x\"", "''", "\"\""] {
            let mut typed = vec![Typed::default().flag(option.name, value)];
            typed.extend(option.variable().map(|name| Typed::default().variable(&name, value)));
            typed.extend(option.platform.map(|name| Typed::default().variable(name, value)));
            if option.name != "config" && option.arity != Arity::Switch {
                let quoted = format!("{} = {value:?}", option.name);
                typed.extend((option.name != "config").then(|| Typed::default().file(&quoted)));
            }
            for typed in typed {
                let said = typed.resolve().map(drop).unwrap_err().lines();
                assert!(said.contains("begins or ends with a quote"), "{typed:?}: {said}");
            }
        }
    }
    for value in ["\"h2", "h2\"", "\""] {
        assert!(Typed::default().flag("alpn", value).resolve().is_err(), "{value}");
    }
    // One inside is whatever it is.
    assert_eq!(Typed::default().flag("alpn", "h\"2").resolve().map(drop), Ok(()));
}
