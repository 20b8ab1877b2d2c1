use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn read(line: &str) -> Result<EnvoyCommand, Fault> {
    parse(line.split(' ').map(OsString::from), None)
}

#[track_caller]
fn serve(line: &str) -> EnvoyArgs {
    match read(line) {
        Ok(EnvoyCommand::Serve(args)) => args,
        other => panic!("{line}: {other:?}"),
    }
}

fn plain() -> EnvoyArgs {
    EnvoyArgs {
        config: "e.yaml".into(),
        drain: None,
        log_level: LogLevel::Info,
        mode: EnvoyMode::Serve,
        sandbox: SandboxMode::Off,
        secrets: SecretPaths::default(),
        warnings: Vec::new(),
    }
}

#[test]
fn diegos_line_on_linux_is_understood() {
    let line = "-c /etc/cf-assets/envoy_config/envoy.yaml --drain-time-s 900 --log-level critical";
    let expected = EnvoyArgs {
        config: "/etc/cf-assets/envoy_config/envoy.yaml".into(),
        drain: Some(Duration::from_secs(900)),
        log_level: LogLevel::Off,
        ..plain()
    };
    assert_eq!(serve(line), expected);
}

#[test]
fn diegos_line_on_windows_names_the_secrets() {
    let line = "-c e.yaml --drain-time-s 900 --log-level critical --id-creds C:\\etc\\sds-id-cert-and-key.yaml \
                --c2c-creds C:\\etc\\c2c.yaml --id-validation C:\\etc\\v.yaml";
    let secrets = serve(line).secrets;
    assert_eq!(secrets.of("id-cert-and-key"), Some(Path::new("C:\\etc\\sds-id-cert-and-key.yaml")));
    assert_eq!(secrets.of("c2c-cert-and-key"), Some(Path::new("C:\\etc\\c2c.yaml")));
    assert_eq!(secrets.of("id-validation-context"), Some(Path::new("C:\\etc\\v.yaml")));
    assert_eq!((secrets.of("other"), SecretPaths::default().of("id-cert-and-key")), (None, None));
}

#[test]
fn a_value_stands_behind_a_blank_or_an_equals_sign() {
    for line in ["-c e.yaml", "--config-path e.yaml", "--config-path=e.yaml", "-c=e.yaml", "-c f.yaml -c e.yaml"] {
        assert_eq!(serve(line), plain(), "{line}");
    }
    assert_eq!(serve("-c e.yaml --drain-time-s=5 -l error --mode=validate").mode, EnvoyMode::Validate);
    assert_eq!(serve("-c=a=b").config, Path::new("a=b"));
}

#[test]
fn every_other_flag_of_envoys_is_passed_over_with_its_value() {
    for flag in IGNORED_WITH_VALUE.iter().filter(|flag| **flag != "--config-yaml") {
        assert_eq!(serve(&format!("{flag} -x -c e.yaml")), plain(), "{flag}");
        assert_eq!(serve(&format!("{flag}=-x -c e.yaml")), plain(), "{flag}");
        assert_eq!(serve(&format!("-c e.yaml {flag}")), plain(), "{flag}");
    }
    for flag in IGNORED_ALONE {
        assert_eq!(serve(&format!("{flag} -c e.yaml")), plain(), "{flag}");
    }
    assert_eq!(serve("-c e.yaml -- --mode nonsense"), plain());
    let warned = serve("--config-yaml admin: -c e.yaml");
    assert_eq!(warned.warnings, ["--config-yaml: passed over; write it into the file that -c names"]);
}

#[test]
fn a_flag_that_nobody_knows_is_passed_over_with_one_warning() {
    for line in ["--novel 7 -c e.yaml", "--novel -c e.yaml", "-c e.yaml --novel"] {
        let args = serve(line);
        assert_eq!(args.warnings, ["--novel: no such flag; passed over"], "{line}");
        assert_eq!(args.config, Path::new("e.yaml"), "{line}");
    }
    assert_eq!(serve("--novel=7 x -c e.yaml").warnings.len(), 2);
}

#[test]
fn levels_and_modes_are_envoys() {
    let level = |word| serve(&format!("-c e.yaml -l {word}")).log_level;
    assert_eq!(["warn", "warning"].map(level), [LogLevel::Warn; 2]);
    assert_eq!(["critical", "off"].map(level), [LogLevel::Off; 2]);
    assert_eq!(level("trace"), LogLevel::Trace);
    assert_eq!(serve("-c e.yaml --mode init_only").mode, EnvoyMode::Validate);
    assert_eq!(read("--version -c"), Ok(EnvoyCommand::Version));
    assert_eq!(read("-c e.yaml -h"), Ok(EnvoyCommand::Help));
}

#[test]
fn what_counts_and_is_wrong_is_a_usage_fault_all_at_once() {
    let message = |line| read(line).unwrap_err().message();
    assert_eq!(message("--drain-time-s 5"), "-c: is not given; name the bootstrap: -c envoy.yaml");
    assert_eq!(message("-c"), "-c: has no value; write one behind it");
    assert_eq!(
        message("--drain-time-s 15m -l loud --mode x -c e.yaml"),
        "--drain-time-s: \"15m\" is no number of seconds; write a whole number, as in 900\n\
         -l: \"loud\" is not known; write one of trace, debug, info, warning, warn, error, critical, off\n\
         --mode: \"x\" is not known; write one of serve, validate, init_only"
    );
    assert_eq!(read("").unwrap_err().exit, crate::exit::Exit::Usage);
}

#[cfg(unix)]
#[test]
fn words_that_are_no_text_do_no_harm() {
    use std::os::unix::ffi::OsStringExt;
    let odd = |prefix: &[u8]| OsString::from_vec([prefix, b"\xff\xfe"].concat());
    let args = [odd(b"--x"), "-c".into(), odd(b"e")];
    let Ok(EnvoyCommand::Serve(args)) = parse(args.into_iter(), None) else { panic!("a path may be any bytes") };
    assert_eq!((args.config, args.warnings.len()), (odd(b"e").into(), 1));
    assert!(parse([odd(b"--mode="), odd(b"--x=")].into_iter(), None).is_err());
}

proptest! {
    #[test]
    fn whatever_is_typed_nothing_panics(line in vec("(-c|-l|--mode|--drain-time-s|--|-|=|.){0,4}", 0..6)) {
        let _ = parse(line.into_iter().map(OsString::from), None);
    }
}

#[test]
fn the_sandbox_is_a_flag_or_a_variable_and_the_flag_beats_it() {
    let of =
        |line: &str, variable: Option<&str>| match parse(line.split(' ').map(OsString::from), variable.map(OsStr::new))
        {
            Ok(EnvoyCommand::Serve(args)) => Ok(args.sandbox),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err(fault.message()),
        };
    assert_eq!(of("-c e.yaml", None), Ok(SandboxMode::Off));
    assert_eq!(of("-c e.yaml", Some("")), Ok(SandboxMode::Off));
    assert_eq!(of("-c e.yaml", Some("strict")), Ok(SandboxMode::Strict));
    assert_eq!(of("-c e.yaml --sandbox best-effort", Some("strict")), Ok(SandboxMode::BestEffort));
    let wrong = of("-c e.yaml", Some("stirct")).unwrap_err();
    assert!(wrong.starts_with("VESTIBULE_SANDBOX: ") && wrong.contains("off, best-effort, strict"), "{wrong}");
}
