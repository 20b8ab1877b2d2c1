//! On a terminal: the app gets it when it asks for it, and job control works.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::supervisor::process::{VESTIBULE, end_session, eventually, with_pair};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";

/// Prints a line for INT or TERM and ends with 9; never touches the terminal's input.
const SERVER: &str = "trap 'echo stop''ping; exit 9' INT TERM; sleep 60 & echo rea''dy; wait";

/// A program on a terminal of its own, as the leader of its session.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    seen: usize,
    child: Child,
}

impl Terminal {
    fn start(line: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let tty = File::options().read(true).write(true).open(name).unwrap();
        resize(&controller, 24);

        let stdio = || Stdio::from(OwnedFd::from(tty.try_clone().unwrap()));
        let mut command = Command::new("setsid");
        command.args(["--ctty"]).args(line).stdin(stdio()).stdout(stdio()).stderr(stdio());
        command.env("PS1", "prompt> ").env("TERM", "dumb").env("VESTIBULE", VESTIBULE);
        let child = with_pair(&mut command).spawn().expect("setsid --ctty (util-linux) is needed");

        let keyboard = File::from(controller);
        let mut output = keyboard.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // EIO: nobody has the terminal open any more.
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        Self { keyboard, screen, seen: 0, child }
    }

    /// An interactive shell that has a prompt.
    fn shell() -> Self {
        let mut terminal = Self::start(&["bash", "--norc", "--noprofile", "-i"]);
        terminal.sees("prompt> ");
        terminal
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for `text` on the part of the screen that has not been looked at.
    fn sees(&mut self, text: &str) {
        let (screen, seen) = (Arc::clone(&self.screen), self.seen);
        let found = || screen.lock().unwrap()[seen..].find(text);
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| eventually(text, found)));
        let Ok(at) = waited else { panic!("no {text:?} on the screen:\n{}", self.screen.lock().unwrap()) };
        self.seen += at + text.len();
    }

    fn code(&mut self) -> i32 {
        let status = eventually("the end", || self.child.try_wait().unwrap());
        assert_eq!(status.signal(), None, "ended by a signal itself:\n{}", self.screen.lock().unwrap());
        status.code().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        end_session(&mut self.child);
    }
}

fn resize(terminal: &impl std::os::fd::AsFd, rows: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn an_app_can_read_from_the_terminal() {
    let mut terminal = Terminal::start(&[VESTIBULE, "run", "--", "sh", "-c", "read -r word; echo got $word; exit 3"]);
    terminal.types("hello\n");
    terminal.sees("got hello");
    assert_eq!(terminal.code(), 3);
}

#[test]
fn ctrl_c_ends_an_app_that_reads_from_the_terminal() {
    let mut terminal = Terminal::start(&[VESTIBULE, "run", "--", "sh", "-c", "read -r word; echo got $word; exec cat"]);
    terminal.types("hello\n");
    terminal.sees("got hello");
    terminal.types(CTRL_C);
    assert_eq!(terminal.code(), 130);
}

#[test]
fn ctrl_c_asks_an_app_that_serves_to_stop() {
    let mut terminal = Terminal::start(&[VESTIBULE, "run", "--", "sh", "-c", SERVER]);
    terminal.sees("ready");
    terminal.types(CTRL_C);
    terminal.sees("stopping");
    assert_eq!(terminal.code(), 9);
}

#[test]
fn a_new_window_size_reaches_the_app_whether_it_holds_the_terminal_or_not() {
    let report = "trap 'stty size' WINCH; echo rea''dy; while :; do sleep 0.05; done";
    for asks in ["", "stty -echo; "] {
        let mut terminal = Terminal::start(&[VESTIBULE, "run", "--", "sh", "-c", &format!("{asks}{report}")]);
        terminal.sees("ready");
        resize(&terminal.keyboard, 50);
        terminal.sees("50 80");
    }
}

#[test]
fn an_interactive_shell_is_usable_as_the_app() {
    let mut terminal = Terminal::start(&[VESTIBULE, "run", "--", "bash", "--norc", "--noprofile", "-i"]);
    terminal.sees("prompt> ");
    assert!(!terminal.screen.lock().unwrap().contains("no job control"));
    terminal.types("sh -c 'echo slee''ping; exec sleep 100'\n");
    // A key that makes a signal throws away what was typed before it and not read yet, so each has to wait.
    terminal.sees("sleeping");
    terminal.types(CTRL_Z);
    terminal.sees("Stopped");
    terminal.sees("prompt> ");
    terminal.types("fg; echo code $?\n");
    terminal.sees("exec sleep 100'\r\n");
    terminal.types(CTRL_C);
    terminal.sees("prompt> ");
    terminal.types("echo $((40 + 2)); stty size; exit 5\n");
    terminal.sees("42");
    terminal.sees("24 80");
    assert_eq!(terminal.code(), 5);
}

#[test]
fn ctrl_z_gives_the_shell_its_prompt_and_fg_brings_the_app_back() {
    let mut terminal = Terminal::shell();
    terminal.types("$VESTIBULE run -- sh -c 'read -r a; echo one $a; read -r b; echo two $b; exit 4'; echo code $?\n");
    terminal.types("alpha\n");
    terminal.sees("one alpha");
    terminal.types(CTRL_Z);
    terminal.sees("Stopped");
    terminal.sees("prompt> ");
    terminal.types("fg\n");
    terminal.types("beta\n");
    terminal.sees("two beta");
    terminal.sees("prompt> ");
}

#[test]
fn ctrl_z_stops_an_app_that_serves_and_bg_lets_it_go_on() {
    let mut terminal = Terminal::shell();
    terminal.types(&format!("$VESTIBULE run -- sh -c \"{SERVER}\"\n"));
    terminal.sees("ready");
    terminal.types(CTRL_Z);
    terminal.sees("Stopped");
    terminal.types("bg\n");
    terminal.types("kill -TERM %1\n");
    terminal.sees("stopping");
    terminal.types("wait %1; echo code $?\n");
    terminal.sees("code 9");
}

#[test]
fn an_app_in_the_background_that_wants_the_terminal_waits_for_fg() {
    let mut terminal = Terminal::shell();
    terminal.types("$VESTIBULE run -- sh -c 'read -r a; echo one $a; exit 4' &\n");
    terminal.types("while ! jobs | grep Stopp; do sleep 0.05; done\n");
    terminal.sees("Stopped");
    terminal.types("fg\n");
    terminal.types("alpha\n");
    terminal.sees("one alpha");
    terminal.types("echo code $?\n");
    terminal.sees("code 4");
}

#[test]
fn without_a_shell_to_return_to_ctrl_z_does_not_leave_the_app_stopped() {
    let mut terminal = Terminal::start(&[VESTIBULE, "run", "--", "sh", "-c", "read -r a; echo one $a; exec cat"]);
    terminal.types("alpha\n");
    terminal.sees("one alpha");
    terminal.types(CTRL_Z);
    terminal.types("still\n");
    // What was typed, and what `cat` makes of it.
    terminal.sees("still");
    terminal.sees("still");
    terminal.types(CTRL_D);
    assert_eq!(terminal.code(), 0);
}

#[test]
fn a_script_that_goes_on_after_us_has_the_terminal_again() {
    let script = "$VESTIBULE run -- sh -c 'read -r a; echo one $a'; read -r b; echo two $b; exit 6";
    let mut terminal = Terminal::start(&["sh", "-c", script]);
    terminal.types("alpha\n");
    terminal.sees("one alpha");
    terminal.types("beta\n");
    terminal.sees("two beta");
    assert_eq!(terminal.code(), 6);
}
