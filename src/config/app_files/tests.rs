use super::*;
use crate::config::tests::{ConfigInput, nothing};

fn files(typed: &ConfigInput) -> AppFiles {
    typed.config().app_files
}

fn diagnostic(typed: &ConfigInput) -> String {
    typed.diagnostics().join("\n")
}

#[test]
fn nothing_is_written_unless_it_is_asked_for() {
    assert_eq!(files(&nothing()), AppFiles::default());
    assert!(files(&nothing()).is_empty());
    // What a template may always set says nothing by itself.
    assert!(files(&nothing().variable("VESTIBULE_FILE_MODE", "640")).is_empty());
}

#[test]
fn the_last_equals_sign_ends_the_audience_and_the_first_one_the_form() {
    let found = files(&nothing().flag("identity-file", "https://a.example/?b=c=/run/token"));
    assert_eq!(found.tokens, [TokenFile { audience: "https://a.example/?b=c".into(), path: "/run/token".into() }]);
    assert!(!found.is_empty());
    let found = files(&nothing().flag("credential-file", "pem=/run/a=b"));
    assert_eq!(found.credentials, [CredentialFile { form: CredentialForm::Pem, path: "/run/a=b".into() }]);
}

#[test]
fn all_is_read_from_a_file_and_a_variable_too_and_keys_are_written_before_chains() {
    let text = "identity-file = [\"a=/t/a\", \"b=/t/b\"]\ncredential-file = [\"ca=/c/ca\", \"chain=/c/chain\", \"pkcs8=/c/key\"]\n";
    let found = files(&nothing().file(text).variable("VESTIBULE_ON_ROTATION", "exec:/bin/reload --now  x"));
    assert_eq!(found.tokens.len(), 2);
    let forms: Vec<_> = found.credentials.iter().map(|file| file.form.as_str()).collect();
    assert_eq!(forms, ["pkcs8", "chain", "ca"]);
    let paths: Vec<_> = found.paths().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/t/a", "/t/b", "/c/key", "/c/chain", "/c/ca"]);
    let hook = found.on_rotation.unwrap();
    assert_eq!(hook, RotationHook::Exec { program: "/bin/reload".into(), args: vec!["--now".into(), "x".into()] });
    assert_eq!(hook.to_string(), "exec:/bin/reload --now x");
}

#[test]
fn a_hook_is_a_signal_that_can_be_sent_or_a_program() {
    let hook = files(&nothing().flag("on-rotation", "signal:sighup")).on_rotation;
    assert_eq!(hook, Some(RotationHook::Signal(Signal::HUP)));
    for (text, says) in [
        ("signal:KILL", "KILL is never sent to an app"),
        ("signal:FOO", "is not a signal"),
        ("exec:", "nothing that could be done"),
        ("exec:  ", "nothing that could be done"),
        ("HUP", "nothing that could be done"),
        ("", "nothing that could be done"),
    ] {
        let said = diagnostic(&nothing().flag("on-rotation", text));
        assert!(said.starts_with("--on-rotation: ") && said.contains(says), "{text}: {said}");
    }
    let said = diagnostic(&ConfigInput::proxy().flag("on-rotation", "signal:HUP"));
    assert!(said.contains("the app is not ours to signal here"), "{said}");
    assert!(files(&ConfigInput::proxy().flag("on-rotation", "exec:true")).on_rotation.is_some());
}

#[test]
fn what_names_no_file_no_audience_or_no_form_is_an_error() {
    for (name, text, says) in [
        ("identity-file", "/run/token", "has no ="),
        ("identity-file", "=/run/token", "names no audience"),
        ("identity-file", "a=", "is empty"),
        ("identity-file", "a=/run/", "names a folder"),
        ("identity-file", "a=/", "names a folder"),
        ("identity-file", "a=..", "names a folder"),
        ("credential-file", "/run/key", "has no ="),
        ("credential-file", "jks=/run/key", "write pkcs8, pem, chain or ca"),
        ("credential-file", "PEM=/run/key", "write pkcs8, pem, chain or ca"),
        ("file-mode", "0777", "lets somebody run the file"),
    ] {
        let said = diagnostic(&nothing().flag(name, text));
        assert!(said.starts_with(&format!("--{name}: ")) && said.contains(says), "{text}: {said}");
    }
    let said = diagnostic(&nothing().flag("file-mode", "0640"));
    assert!(said.contains("there is no file to be written"), "{said}");
}

#[test]
fn tokens_in_files_live_as_long_as_those_of_the_endpoint_and_need_none() {
    let typed = nothing().flag("identity-ttl", "30s");
    assert!(diagnostic(&typed).contains("there is no identity endpoint"));
    let found = files(&typed.flag("identity-file", "a=/t"));
    assert_eq!(found.token_ttl, Duration::from_secs(30));
    assert_eq!(files(&nothing().flag("identity-file", "a=/t")).token_ttl, Duration::from_secs(300));
    let others = nothing().flag("identity-file", "a=/t").flag("identity-rate", "1/s");
    assert!(diagnostic(&others).contains("there is no identity endpoint"));
}

#[test]
fn two_files_of_one_path_and_our_own_file_are_errors() {
    let both = nothing().flag("identity-file", "a=/run/x").flag("credential-file", "pem=/run/./x");
    assert!(diagnostic(&both).contains("is written twice"), "{}", diagnostic(&both));
    let own = nothing().file("").flag("identity-file", "a=v.toml");
    assert!(diagnostic(&own).contains("is our own --config"), "{}", diagnostic(&own));
}

#[test]
fn what_is_read_is_known_with_the_option_that_names_it() {
    let typed = nothing()
        .flag("cert", "/c")
        .flag("key", "/k")
        .flag("client-ca", "/ca")
        .flag("client-crl", "/crl")
        .flag("policy", "/policy")
        .flag("outbound", "9000=a.example:1")
        .flag("outbound-ca", "/oca")
        .flag("identity-listen", "127.0.0.1:9009")
        .flag("identity-audience", "a")
        .flag("identity-token-file", "/secret")
        .flag("token-ca", "/tca")
        .flag("token-roles", "/roles");
    let config = typed.config();
    let read: Vec<_> = config.paths_read().into_iter().map(|(option, path)| (option, path.to_str().unwrap())).collect();
    let expected = [
        ("--cert", "/c"),
        ("--key", "/k"),
        ("--client-ca", "/ca"),
        ("--client-crl", "/crl"),
        ("--policy", "/policy"),
        ("--token-ca", "/tca"),
        ("--token-roles", "/roles"),
        ("--outbound-ca", "/oca"),
        ("--identity-token-file", "/secret"),
    ];
    assert_eq!(read, expected);
}
