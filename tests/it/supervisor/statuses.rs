//! The status we end with is the app's, in a shell's numbers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use vestibule::signal::Signal;

use crate::supervisor::process::{run, run_sh};

/// What a plain shell says about `script` run by another shell.
fn of_a_shell(script: &str) -> i32 {
    // The words after the inner shell keep the outer one from becoming it.
    let status = Command::new("sh").args(["-c", "sh -c \"$0\"; exit $?", script]).stderr(Stdio::null()).status();
    status.expect("sh").code().expect("a code")
}

#[test]
fn every_exit_code_of_the_app_is_ours() {
    for code in 0..=255 {
        assert_eq!(run_sh(&format!("exit {code}")).code(), code);
    }
}

#[test]
fn an_app_that_a_signal_ended_gives_128_and_its_number_as_in_a_shell() {
    // Those whose default is to be ignored or to stop.
    let harmless = [17, 18, 19, 20, 21, 22, 23, 28];
    let named = (1..=31).filter(|number| !harmless.contains(number));
    let real_time = Signal::forwardable().map(Signal::number).filter(|number| *number > 31);
    for number in named.chain(real_time) {
        let script = format!("ulimit -c 0; kill -{number} $$; sleep 60");
        let code = run_sh(&script).code();
        assert_eq!(code, 128 + number);
        assert_eq!(code, of_a_shell(&script));
    }
}

#[test]
fn a_command_that_cannot_be_started_gives_a_shells_status_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8], mode| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let cases = [
        ("no-such-program".to_owned(), 127, "PATH was searched"),
        ("/no/such/program".to_owned(), 127, "check the path"),
        (file("plain", b"#!/bin/sh\n", 0o644), 126, "chmod +x"),
        (folder.path().to_str().unwrap().to_owned(), 126, "chmod +x"),
        (file("orphaned", b"#!/no/such/interpreter\n", 0o755), 127, "interpreter"),
        (file("other-machine", b"\x7fELF\0\0\0\0 not this one", 0o755), 126, "another machine"),
        (format!("{}/below-a-file", file("a-file", b"", 0o644)), 127, "check the path"),
        ("x".repeat(300), 127, "check the path"),
    ];
    for (program, code, mend) in cases {
        let mut refused = run([&program]);
        assert_eq!(refused.code(), code, "{program}");
        let errors = refused.errors();
        // What is longer than a file's name may be might be anything.
        let shown = if program.len() < 256 { format!("\"{program}\"") } else { "a path of 300 characters".to_owned() };
        assert!(errors.contains(&shown) && errors.contains(mend), "{errors}");
    }
}

#[test]
fn a_script_without_an_interpreter_line_runs_as_in_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("start");
    fs::write(&script, "echo \"$1\"\nexit 4\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();

    let mut app = run([script.as_os_str(), "a word".as_ref()]);

    assert_eq!(app.line(), "a word");
    assert_eq!(app.code(), 4);
}

#[test]
fn an_app_that_ends_before_anybody_asks_is_not_missed() {
    let mut apps: Vec<_> = (0..40).map(|_| run(["true"])).collect();
    for app in &mut apps {
        assert_eq!(app.code(), 0);
    }
}

#[test]
fn words_reach_the_app_as_they_were() {
    let mut app = run(["printf", "%s|", "", "two words", "--", "-x", "$HOME", "*"]);
    assert_eq!(app.line(), "|two words|--|-x|$HOME|*|");
    assert_eq!(app.code(), 0);
}
