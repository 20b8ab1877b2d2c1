//! Command lines, and what becomes of them.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

use crate::config::{AppAddr, Listen, LogLevel, TlsVersion};
use crate::exit::Exit;
use crate::issuer::{Flaw, KeyKind};

const COMMANDS: [&str; 11] =
    ["run", "proxy", "check", "wait", "health", "identity", "policy", "token", "issuer", "completions", "demo"];
const SERVING: [&str; 3] = ["run", "proxy", "check"];

fn typed(words: &[&str], environment: &[(&str, &str)]) -> Result<Command, ParseExit> {
    let argv = ["vestibule"].iter().chain(words).map(OsString::from);
    parse(argv, environment.iter().map(|(name, value)| (name.into(), value.into())))
}

fn command(words: &[&str]) -> Command {
    typed(words, &[]).unwrap_or_else(|stop| panic!("{stop:?}"))
}

/// Status and text of help or fault.
fn stopped(words: &[&str]) -> (Exit, String) {
    match typed(words, &[]) {
        Err(ParseExit::Help(help)) => (help.exit(), help.to_string()),
        Err(ParseExit::Fault(fault)) => (fault.exit, fault.message()),
        Ok(command) => panic!("{command:?}"),
    }
}

#[test]
fn run_takes_options_before_the_dashes_and_the_app_after_them() {
    let Command::Run { config, command } = command(&["run", "--listen", "9443", "--", "./app", "--listen", "1"]) else {
        panic!("not run");
    };
    assert_eq!(config.listeners[0].listen, Listen::EveryAddress(9443));
    assert_eq!(command, ["./app", "--listen", "1"]);
}

#[test]
fn the_apps_command_may_be_any_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(b"\xff".to_vec());
    let argv = ["vestibule", "run", "--"].map(OsString::from).into_iter().chain([odd.clone()]);
    let Ok(Command::Run { command, .. }) = parse(argv, []) else { panic!("not run") };
    assert_eq!(command, [odd]);
}

#[test]
fn flags_may_be_repeated_where_the_option_is_a_list_and_beat_the_environment() {
    let words = ["proxy", "--listener", "1=2", "--listener=3=4,5=6", "--tls-min=1.3"];
    let Ok(Command::Proxy { config }) = typed(&words, &[("VESTIBULE_LISTENER", "7=8"), ("VESTIBULE_TLS_MIN", "1.2")])
    else {
        panic!("not proxy");
    };
    let ports: Vec<_> = config.listeners.iter().map(|listener| listener.listen).collect();
    assert_eq!(ports, [1, 3, 5].map(Listen::EveryAddress));
    assert_eq!(config.listeners[0].tls.min_version, TlsVersion::Tls13);
}

#[test]
fn the_file_that_is_named_is_read() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "app = 'unix:/run/app.sock'").unwrap();
    let Command::Proxy { config } = command(&["proxy", "--config", file.path().to_str().unwrap()]) else {
        panic!("not proxy");
    };
    assert_eq!(config.listeners[0].app, AppAddr::Unix("/run/app.sock".into()));
}

#[test]
fn check_has_its_diagnostics_as_findings() {
    let Command::Check { config, options } = command(&["check", "--json", "--threads", "0"]) else {
        panic!("not check")
    };
    let diagnostics: Vec<_> = config.unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(diagnostics, ["--threads: \"0\" is out of range; write a number from 1 to 256"]);
    assert_eq!(options, CheckOptions { json: true, ..CheckOptions::default() });
}

#[test]
fn identity_shows_the_named_file_or_the_one_that_is_served() {
    let named = Command::Identity { file: "a.pem".into(), json: true };
    assert_eq!(command(&["identity", "--json", "a.pem"]), named);
    let Ok(own) = typed(&["identity"], &[("CF_INSTANCE_CERT", "/own.crt")]) else { panic!("not identity") };
    assert_eq!(own, Command::Identity { file: "/own.crt".into(), json: false });
}

#[test]
fn the_issuer_has_a_default_for_everything_but_its_folder() {
    let Command::Issuer(args) = command(&["issuer", "/tmp/ca"]) else { panic!("not issuer") };
    let expected = IssuerArgs {
        dir: "/tmp/ca".into(),
        validity: Duration::from_secs(24 * 3600),
        rotate_every: None,
        org: None,
        space: None,
        app: None,
        instance: None,
        ip: "127.0.0.1".parse().unwrap(),
        key: KeyKind::Rsa3072,
        retire: false,
        inject: None,
        client: false,
        clients_named: Vec::new(),
        second_instance: false,
        once: false,
    };
    assert_eq!(args, expected);
}

#[test]
fn the_issuer_is_told_what_to_write() {
    let words = "issuer d --rotate-every 100ms --app a --key p-256 --inject torn --client --second-instance --once";
    let words: Vec<_> = words.split(' ').collect();
    let Command::Issuer(args) = command(&words) else { panic!("not issuer") };
    assert_eq!(args.rotate_every, Some(Duration::from_millis(100)));
    assert_eq!((args.app.as_deref(), args.key, args.inject), (Some("a"), KeyKind::P256, Some(Flaw::Torn)));
    assert!(args.client && args.second_instance && args.once);
    assert!(!args.retire);
}

#[test]
fn the_names_of_the_issuers_clients_are_plain_new_and_each_given_once() {
    for (names, said) in [
        ("a b", "is no name for a client's files"),
        ("../a", "is no name for a client's files"),
        ("green,green", "\"green\" is there twice"),
        ("client", "is a name that the issuer uses itself"),
        ("authority", "is a name that the issuer uses itself"),
        ("second", "is a name that the issuer uses itself"),
    ] {
        let (exit, text) = stopped(&["issuer", "d", "--client-named", names]);
        assert!(exit == Exit::Usage && text.contains(said), "{names}: {text}");
    }
}

#[test]
fn every_choice_of_the_issuer_is_accepted() {
    for option in options::of("issuer") {
        for choice in option.choices {
            command(&["issuer", "d", &option.flag(), choice]);
        }
    }
}

#[test]
fn the_demo_needs_nothing() {
    let listen = Listen::At("127.0.0.1:8443".parse().unwrap());
    let demo = DemoArgs {
        listen,
        listen_typed: false,
        calls: DemoCalls::Nobody,
        tokens: false,
        rotate_every: Duration::from_secs(5),
        log_level: LogLevel::Off,
    };
    assert_eq!(command(&["demo"]), Command::Demo(demo.clone()));
    let typed = DemoArgs { listen_typed: true, calls: DemoCalls::GreenBlue, ..demo.clone() };
    assert_eq!(command(&["demo", "--green-blue", "--listen", "127.0.0.1:8443"]), Command::Demo(typed));
    let http = DemoArgs { calls: DemoCalls::Http, ..demo.clone() };
    assert_eq!(command(&["demo", "--http"]), Command::Demo(http));
    assert_eq!(command(&["demo", "--tokens"]), Command::Demo(DemoArgs { tokens: true, ..demo }));
}

#[test]
fn what_cannot_be_read_is_a_usage_fault_with_its_help() {
    const RUN: &str = "vestibule run [OPTIONS] -- COMMAND [ARG...]";
    for (words, said) in [
        ("run", format!("COMMAND: there is none; write {RUN}")),
        ("run --", format!("COMMAND: there is none; write {RUN}")),
        ("run ./app x", format!("COMMAND: \"./app\" stands before --; write {RUN}")),
        (
            "run --threads 0",
            format!(
                "--threads: \"0\" is out of range; write a number from 1 to 256\nCOMMAND: there is none; write {RUN}"
            ),
        ),
        ("proxy --lisen 1", "--lisen: there is no such option here; write --listen".to_owned()),
        ("proxy extra", "COMMAND: \"extra\" is not expected; write vestibule proxy [OPTIONS]".to_owned()),
        ("proxy --listen 1 --listen 2", "--listen: is given twice; keep one of the two".to_owned()),
        ("proxy --listen", "--listen: has no value; write one behind it".to_owned()),
        (
            "proxy --forward-proxy-announce env",
            "--forward-proxy-announce: there is no such option here; leave it out, or write vestibule run".to_owned(),
        ),
        ("proxy --json", "--json: there is no such option here; leave it out, or write vestibule check".to_owned()),
        ("prxy", "COMMAND: \"prxy\" is none; write proxy".to_owned()),
        ("issuer", "DIR: is not given; write vestibule issuer [OPTIONS] DIR".to_owned()),
        (
            "issuer d --ip x --instance ../x",
            "--instance: \"../x\" does not fit; write 1 to 64 letters, digits, dashes, dots or underscores\n\
            --ip: \"x\" is not an IP address; write one such as 127.0.0.1"
                .to_owned(),
        ),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        assert_eq!(stopped(&words), (Exit::Usage, said));
    }
}

#[test]
fn a_key_that_is_glued_to_an_option_is_not_repeated() {
    // A piece of a key's line, with what stands before it.
    const PIECE: &str = "b6qdBk7Bzvi4hOJ2PtVw";
    for words in
        ["run --admin-host", "identity --json", "issuer --once", "wait --timeout", "health --", "proxy --listen"]
    {
        for glue in ["", "/etc/", "unix:/tmp/", "-"] {
            let typed = format!("{words}{glue}{PIECE}");
            let (exit, said) = stopped(&typed.split(' ').collect::<Vec<_>>());
            assert_eq!(exit, Exit::Usage, "{typed}");
            assert!((0..PIECE.len() - 5).all(|at| !said.contains(&PIECE[at..at + 6])), "{said}");
        }
    }
    let args = ["-c", "e.yaml", "--config-pathb6qdBk7Bzvi4hOJ2PtVw"].map(OsString::from);
    let warned = envoy::parse(args.into_iter(), None);
    let Ok(EnvoyCommand::Serve(args)) = warned else { panic!("{warned:?}") };
    assert_eq!(args.warnings, ["an option of 33 characters: no such flag; passed over"]);
}

#[test]
fn no_command_at_all_shows_the_help_and_is_a_usage_fault() {
    let (exit, text) = stopped(&[]);
    assert_eq!(exit, Exit::Usage);
    assert!(COMMANDS.iter().all(|command| text.contains(command)), "{text}");
}

#[test]
fn version_and_help_are_no_fault() {
    assert_eq!(stopped(&["--version"]), (Exit::Success, format!("vestibule {}\n", env!("CARGO_PKG_VERSION"))));
    for command in COMMANDS {
        assert_eq!(stopped(&[command, "-h"]).0, Exit::Success);
        assert_eq!(stopped(&[command, "--help"]).0, Exit::Success);
    }
}

#[test]
fn the_first_screen_of_help_fits_a_terminal() {
    let wide = SERVING.iter().chain(&["issuer"]).map(|command| vec![*command, "-h"]);
    let token = ["jwt", "vault-cf", "verify"].map(|command| vec!["token", command, "-h"]);
    let screens = wide.chain([vec!["-h"], vec!["policy", "test", "-h"]]).chain(token);
    for words in screens {
        let (_, text) = stopped(&words);
        assert!(text.lines().count() <= 24, "{words:?}:\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{words:?}:\n{text}");
    }
}

#[test]
fn help_has_every_option_under_its_heading_and_the_first_screen_only_the_common_ones() {
    for command in SERVING {
        let (all, common) = (stopped(&[command, "--help"]).1, stopped(&[command, "-h"]).1);
        for option in options::of(command) {
            assert!(all.contains(&option.flag()), "{command} {}", option.name);
            assert_eq!(common.contains(&format!("  {} ", option.flag())), option.common, "{command} {}", option.name);
        }
        let headings = [
            "Listening:",
            "Credentials:",
            "TLS:",
            "Clients:",
            "Timeouts:",
            "Limits:",
            "Drain:",
            "Log:",
            "Configuration file:",
        ];
        let places = headings.map(|heading| all.find(heading).unwrap_or_else(|| panic!("no {heading}")));
        assert!(places.is_sorted(), "{all}");
    }
}

/// What clap makes of a command line: the command and what it was given, or what clap says instead.
fn read_by(grammar: clap::Command, argv: &[OsString]) -> Result<Option<(String, ArgMatches)>, String> {
    let matches = grammar.try_get_matches_from(argv);
    let matches = matches.map_err(|error| format!("{:?}\n{}", error.kind(), error.render()))?;
    Ok(matches.subcommand().map(|(command, matches)| (command.to_owned(), matches.clone())))
}

#[test]
fn a_start_makes_the_grammar_of_its_own_command_alone() {
    for command in COMMANDS {
        let argv = ["vestibule", command].map(OsString::from);
        let grammar = grammar::of_argv(&argv);
        assert_eq!(grammar.get_subcommands().map(clap::Command::get_name).collect::<Vec<_>>(), [command]);
    }
    let every = grammar::whole().get_subcommands().count();
    for words in [&["vestibule"][..], &["vestibule", "--help"], &["vestibule", "prxy"], &["vestibule", "help", "run"]] {
        let argv: Vec<_> = words.iter().map(OsString::from).collect();
        assert_eq!(grammar::of_argv(&argv).get_subcommands().count(), every, "{words:?}");
    }
}

#[test]
fn help_and_diagnostics_are_those_of_the_whole_grammar() {
    let ends =
        ["", "-h", "--help", "help", "--version", "--lisen 1", "--listen 1", "--json", "proxy", "x y", "-- x", "-x"];
    let commands =
        COMMANDS.iter().copied().chain(["", "prxy", "help", "help run", "policy test", "token jwt", "token x"]);
    for command in commands.chain(["envoy"]) {
        for end in ends {
            let words = ["vestibule", command, end];
            let argv: Vec<_> = words.iter().flat_map(|words| words.split_whitespace()).map(OsString::from).collect();
            assert_eq!(read_by(grammar::of_argv(&argv), &argv), read_by(grammar::whole(), &argv), "{argv:?}");
        }
    }
}

#[test]
fn the_grammar_is_sound() {
    grammar::whole().debug_assert();
}

proptest! {
    #[test]
    fn no_command_line_makes_us_panic(
        command in prop::sample::select(COMMANDS.to_vec()),
        words in prop::collection::vec("--?[a-z-]{0,8}|--listener?=.{0,9}|.{0,8}", 0..6),
    ) {
        let words: Vec<_> = [command].into_iter().chain(words.iter().map(String::as_str)).collect();
        let _ = typed(&words, &[]);
    }
}
