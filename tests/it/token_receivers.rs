//! The receivers of `examples/tokens`, in four languages: by their own libraries they let in what is sound, and refuse what is not.

mod programs;
mod tokens;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::{fs, thread};

use tempfile::TempDir;

use self::programs::{Language, Program};
use self::tokens::{APP, AUDIENCE, Case, sound, unsound};

/// What a receiver printed: to stdout, to stderr, and its status.
#[derive(Debug)]
struct Said {
    stdout: String,
    stderr: String,
    status: i32,
}

impl Said {
    fn permits(&self, app: &str) -> bool {
        (self.status, self.stdout.trim_end()) == (0, &format!("permit {app}")) && self.stderr.is_empty()
    }

    /// Status 1 and a reason; neither a usage error nor a crash.
    fn refuses(&self) -> bool {
        self.status == 1 && self.stdout.is_empty() && self.stderr.starts_with("refused: ")
    }
}

fn ask(program: &Program, case: &Case) -> Said {
    let dir = TempDir::new().unwrap();
    let cas = dir.path().join("ca.crt");
    fs::write(&cas, &case.cas).unwrap();
    let mut child = Command::new(&program.words[0])
        .args(&program.words[1..])
        .arg(&cas)
        .arg(AUDIENCE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever refuses a token by its length may be gone before all of it was read.
    let _ = child.stdin.take().unwrap().write_all(case.token.as_bytes());
    let output = child.wait_with_output().unwrap();
    Said {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code().unwrap(),
    }
}

fn lets_in_what_is_sound_and_refuses_the_rest(language: Language) {
    let Some(program) = language.program() else { return };
    let sound = sound().into_iter().map(|case| (case, true));
    let cases = Mutex::new(sound.chain(unsound().into_iter().map(|case| (case, false))));
    let next = || cases.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((case, is_sound)) = next() {
                    judge(language, &program, &case, is_sound);
                }
            });
        }
    });
}

fn judge(language: Language, program: &Program, case: &Case, is_sound: bool) {
    let said = ask(program, case);
    if is_sound {
        assert!(said.permits(&case.app), "{}: {said:?}", case.what);
    } else if language.leaves_out().contains(&case.what) {
        // As its first lines say. Once its libraries can, they are to be changed.
        assert!(said.permits(APP), "{}: {said:?}", case.what);
    } else {
        assert!(said.refuses(), "{}: {said:?}", case.what);
    }
}

#[test]
fn pythons_receiver_lets_in_what_is_sound_and_refuses_the_rest() {
    lets_in_what_is_sound_and_refuses_the_rest(Language::Python);
}

#[test]
fn nodes_receiver_lets_in_what_is_sound_and_refuses_the_rest() {
    lets_in_what_is_sound_and_refuses_the_rest(Language::Node);
}

#[test]
fn javas_receiver_lets_in_what_is_sound_and_refuses_the_rest() {
    lets_in_what_is_sound_and_refuses_the_rest(Language::Java);
}

#[test]
fn gos_receiver_lets_in_what_is_sound_and_refuses_the_rest() {
    lets_in_what_is_sound_and_refuses_the_rest(Language::Go);
}
