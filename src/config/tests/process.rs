//! The app as a child, and the admin listener.

use super::*;

#[test]
fn the_app_is_treated_as_asked() {
    let config = ConfigInput::default()
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
            hold_until_ready: Some(Duration::from_secs(5)),
        }
    );
}

#[test]
fn the_metrics_listener_takes_no_address_that_another_has() {
    for (typed, line) in [
        (
            ConfigInput::default().flag("listen", "8443").flag("metrics", "127.0.0.1:8443"),
            "--metrics: 127.0.0.1:8443 is taken by --listen [::]:8443; give the metrics an address of their own",
        ),
        (
            ConfigInput::default().flag("metrics", "8080"),
            "--metrics: [::]:8080 is where the app listens; give the metrics an address of their own, or correct --app",
        ),
        (
            ConfigInput::default().flag("admin", "8080"),
            "--admin: 127.0.0.1:8080 is where the app listens: whoever reaches the app would reach the admin listener; give the admin listener an address of its own, or correct --app",
        ),
        (
            ConfigInput::default().variable("VESTIBULE_METRICS", "9901").flag("admin", "127.0.0.1:9901"),
            "VESTIBULE_METRICS: [::]:9901 is taken by --admin 127.0.0.1:9901; give the metrics an address of their own",
        ),
    ] {
        assert_eq!(typed.diagnostics(), [line]);
    }
    // The default steps aside when it is opened.
    assert!(
        ConfigInput::default()
            .variable("PORT", "9901")
            .config()
            .is_where_an_app_listens("127.0.0.1:9901".parse().unwrap())
    );
    for free in ["127.0.0.1:0", "9902", "off"] {
        ConfigInput::default().flag("metrics", free).config();
    }
}

#[test]
fn the_admin_listener_takes_no_address_of_another_listener_where_it_was_asked_for() {
    for (typed, line) in [
        (
            ConfigInput::default().flag("listen", "127.0.0.1:8443").flag("admin", "127.0.0.1:8443"),
            "--admin: 127.0.0.1:8443 is taken by --listen 127.0.0.1:8443; give the admin listener an address of its own, or turn it off",
        ),
        (
            ConfigInput::default().flag("listen", "8443").variable("VESTIBULE_ADMIN", "127.0.0.1:8443"),
            "VESTIBULE_ADMIN: 127.0.0.1:8443 is taken by --listen [::]:8443; give the admin listener an address of its own, or turn it off",
        ),
    ] {
        assert_eq!(typed.diagnostics(), [line]);
    }
    // The default steps aside, and the kernel chooses two ports.
    ConfigInput::default().flag("listen", "127.0.0.1:9901").config();
    ConfigInput::default().flag("listen", "127.0.0.1:0").flag("admin", "127.0.0.1:0").config();
}

#[test]
fn where_health_is_asked_is_not_guessed_from_a_file_that_nobody_can_read() {
    let wrong = |typed: &ConfigInput| Fault::from(typed.admin().unwrap_err()).message().to_owned();
    let unknown = ConfigInput::default().variable("VESTIBULE_CONFIG", "missing.toml");
    assert!(wrong(&unknown).contains("cannot read \"missing.toml\""));
    let torn = ConfigInput::default().file("admin = \"127.0.0.1:1");
    assert!(wrong(&torn).contains("not TOML"));
    let known = unknown.flag("admin", "127.0.0.1:9999").admin().unwrap().unwrap();
    assert_eq!(known.addr, AdminAddr::Tcp(([127, 0, 0, 1], 9999).into()));
    let wrong_elsewhere =
        ConfigInput::default().file("listen = \"x\"\nadmin = \"127.0.0.1:1\"").admin().unwrap().unwrap();
    assert_eq!(wrong_elsewhere.addr, AdminAddr::Tcp(([127, 0, 0, 1], 1).into()));
}

#[test]
fn errors_about_the_app_have_their_help() {
    for (typed, line) in [
        (
            ConfigInput::default().flag("hide-app-port", "true").flag("app", "9000"),
            "--app: given beside --hide-app-port; let the app take its port from PORT, or leave one of the two out",
        ),
        (
            ConfigInput::default().flag("hide-app-port", "true").variable("VESTIBULE_LISTENER", "1=2"),
            "--hide-app-port: given beside VESTIBULE_LISTENER; let the app take its port from PORT, or leave one of the two out",
        ),
        (
            ConfigInput { proxy: true, ..ConfigInput::default() }.variable("VESTIBULE_HIDE_APP_PORT", "true"),
            "VESTIBULE_HIDE_APP_PORT: the app is not ours to start here; leave it out, or use vestibule run -- COMMAND",
        ),
        (
            ConfigInput { proxy: true, ..ConfigInput::default() }.flag("hide-key", "true"),
            "--hide-key: the app is not ours to start here; leave it out, or use vestibule run -- COMMAND",
        ),
        (
            ConfigInput::default().flag("signal-map", "TRM:3"),
            "--signal-map: \"TRM\" is not a signal; write a name or a number, such as TERM",
        ),
        (
            ConfigInput::default().flag("signal-map", "TERM:3,15:2"),
            "--signal-map: TERM is rewritten twice; keep one of the two",
        ),
        (
            ConfigInput::default().variable("VESTIBULE_ALPN", "\"h2,http/1.1\""),
            "VESTIBULE_ALPN: begins or ends with a quote that is part of the value; leave the quotes out; docker --env-file, for one, keeps them as they are",
        ),
        (
            ConfigInput::default().flag("admin-host", "metrics.example:9901"),
            "--admin-host: \"metrics.example:9901\" has a port; write the name alone, all ports count",
        ),
        (
            ConfigInput::default().flag("admin-host", "*.example"),
            "--admin-host: \"*.example\" is not a host name; write each name in full, such as metrics.example.org",
        ),
        (
            ConfigInput::default().flag("admin-host", "http://metrics.example/"),
            "--admin-host: \"http://metrics.example/\" is not a host name; write each name in full, such as metrics.example.org",
        ),
        (
            ConfigInput::default().variable("VESTIBULE_ADMIN_HOST", "10.1.2.3"),
            "VESTIBULE_ADMIN_HOST: \"10.1.2.3\" is an IP address; leave it out, addresses are always answered to",
        ),
        (
            ConfigInput::default().flag("admin", "off").flag("admin-host", "metrics.example"),
            "--admin: given beside --admin-host; there would be nowhere to ask: leave one of the two out",
        ),
        (
            ConfigInput::default().flag("app-ready", "http:health"),
            "--app-ready: \"http:health\" is no way to ask; write tcp, off, or http:/PATH such as http:/health",
        ),
        (
            ConfigInput::default().flag("hold-until-ready", "5s").flag("app-ready", "off"),
            "--hold-until-ready: the app is never asked whether it is ready; set --app-ready to tcp",
        ),
        (
            ConfigInput::default().flag("hold-until-ready", "10s"),
            "--hold-until-ready: 10s is not shorter than the handshake timeout, 10s; write a shorter one, or raise --handshake-timeout",
        ),
        (
            ConfigInput::default().flag("drain-delay", "9s"),
            "--drain-delay: 9s is longer than the whole drain, 8s; write a shorter one, or raise --drain-timeout",
        ),
        (
            ConfigInput::default().flag("admin", "everywhere"),
            "--admin: \"everywhere\" is not an address; write a port such as 9901, ADDRESS:PORT such as 127.0.0.1:9901, unix:/PATH, or off",
        ),
        (
            ConfigInput::default().flag("admin-actions", "drain,quit"),
            "--admin-actions: \"quit\" is not among the choices; write drain, reload or loglevel",
        ),
        (
            ConfigInput::default().flag("admin-actions", "drain").variable("VESTIBULE_ADMIN", "off"),
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
    let actions = |typed: ConfigInput| typed.config().admin.unwrap().actions;
    assert_eq!(actions(ConfigInput::default()), []);
    let typed = ConfigInput::default().variable("VESTIBULE_ADMIN_ACTIONS", "reload, loglevel");
    assert_eq!(actions(typed), [AdminAction::Reload, AdminAction::LogLevel]);
}

#[test]
fn the_admin_address_is_known_to_be_asked_for() {
    let admin = |value: &str| ConfigInput::default().flag("admin", value).config().admin;
    let tcp = |addr: &str| {
        Some(Admin { addr: AdminAddr::Tcp(addr.parse().unwrap()), explicit: true, actions: vec![], hosts: vec![] })
    };
    assert_eq!(admin("9900"), tcp("127.0.0.1:9900"));
    assert_eq!(admin("localhost:9900"), tcp("127.0.0.1:9900"));
    assert_eq!(admin("[::1]:0"), tcp("[::1]:0"));
    assert_eq!(
        admin("unix:/run/a.sock"),
        Some(Admin { addr: AdminAddr::Unix("/run/a.sock".into()), explicit: true, actions: vec![], hosts: vec![] })
    );
    assert_eq!(admin("off"), None);
}
