//! What is typed wrong, and what is said of it.

use super::*;

#[test]
#[rustfmt::skip] // What is typed, and what is said, in one column each.
fn every_diagnostic_says_where_what_and_the_help() {
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
            "v.toml:1: a key of 4 characters: no such key; vestibule run --help lists the options"),
        (n().file("\"http://user:S3cret@p:1\" = 1"),
            "v.toml:1: a key of 22 characters: no such key; vestibule run --help lists the options"),
        (n().file("config = 'other.toml'"),
            "v.toml:1: config: cannot stand in the file; use --config or VESTIBULE_CONFIG"),
        // The file.
        (n().flag("config", "none.toml"),
            "--config: cannot read \"none.toml\": no such file or directory; name a TOML file that can be read"),
        (n().flag("config", ""),
            "--config: is empty; write the path of a file"),
        (n().file("\u{feff} \n"),
            "v.toml: the file is empty; have it written anew; a comment will do where all is to be as it is"),
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
fn all_diagnostics_are_reported_in_one_run() {
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
fn without_a_flag_among_them_diagnostics_are_the_configurations() {
    let fault = Fault::from(nothing().variable("VESTIBULE_THREADS", "x").resolve().unwrap_err());
    assert_eq!(fault.exit, Exit::Config);
}

#[test]
fn quotes_around_a_value_are_named_for_every_option_wherever_it_was_given() {
    for option in options::of("run").filter(|option| option.scope != options::Scope::Flag) {
        for value in ["\"1\"", "'a,b'", "\"/x\"", "''", "\"\""] {
            let mut typed = vec![ConfigInput::default().flag(option.name, value)];
            typed.extend(option.variable().map(|name| ConfigInput::default().variable(&name, value)));
            typed.extend(option.platform.map(|name| ConfigInput::default().variable(name, value)));
            if option.name != "config" && option.arity != Arity::Switch {
                let quoted = format!("{} = {value:?}", option.name);
                typed.extend((option.name != "config").then(|| ConfigInput::default().file(&quoted)));
            }
            for typed in typed {
                let said = typed.resolve().map(drop).unwrap_err().lines();
                assert!(said.contains("begins or ends with a quote"), "{typed:?}: {said}");
            }
        }
    }
    for value in ["\"h2", "h2\"", "\""] {
        assert!(ConfigInput::default().flag("alpn", value).resolve().is_err(), "{value}");
    }
    // One inside is whatever it is.
    assert_eq!(ConfigInput::default().flag("alpn", "h\"2").resolve().map(drop), Ok(()));
}
