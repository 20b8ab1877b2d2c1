//! Signals reach the app, and nobody else.

use vestibule::signal::Signal;

use crate::supervisor::process::{
    Process, VESTIBULE, children_of, eventually, lives, run, run_sh, signal_process, start,
};

/// Goes on for a minute without missing a signal: `wait` returns as soon as a trap has run.
const LINGER: &str = "echo ready; i=0; while [ $i -lt 600 ]; do sleep 1 & wait $!; i=$((i+1)); done";

fn signal(text: &str) -> Signal {
    text.parse().unwrap()
}

#[test]
fn every_signal_that_can_be_forwarded_reaches_the_app() {
    let others: Vec<_> =
        Signal::forwardable().filter(|signal| *signal != Signal::TERM && *signal != Signal::INT).collect();
    let traps: String = others.iter().map(|one| format!("trap 'echo got {one}' {};", one.number())).collect();
    let app = run_sh(&format!("{traps} {LINGER}"));
    app.until("ready");
    for one in others {
        app.signal(one);
        assert_eq!(app.line(), format!("got {one}"));
    }
}

#[test]
fn what_tells_of_a_limit_of_ours_neither_ends_us_nor_reaches_the_app() {
    for text in ["XCPU", "XFSZ"] {
        let mut app = run_sh(&format!("trap 'echo got {text}' {text}; trap 'echo told' USR1; {LINGER}"));
        app.until("ready");
        app.signal(signal(text));
        app.signal(signal("USR1"));
        assert_eq!(app.line(), "told");
        app.signal(Signal::TERM);
        assert_eq!((app.rest(), app.code()), (vec![], 128 + Signal::TERM.number()), "{text}");
    }
}

#[test]
fn term_and_int_ask_the_app_to_stop_and_its_status_is_ours() {
    for ask in [Signal::TERM, Signal::INT] {
        let mut app = run_sh(&format!("trap 'echo stopping; exit 9' TERM INT; {LINGER}"));
        app.until("ready");
        app.signal(ask);
        assert_eq!(app.line(), "stopping");
        assert_eq!(app.code(), 9);
    }
}

#[test]
fn a_signal_that_the_app_does_not_handle_ends_it() {
    for text in ["TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM"] {
        let mut app = run_sh("ulimit -c 0; echo ready; exec sleep 60");
        app.until("ready");
        app.signal(signal(text));
        assert_eq!(app.code(), 128 + signal(text).number(), "{text}");
    }
}

#[test]
fn a_signal_reaches_what_the_app_has_started_too() {
    let below = "trap \"echo below; exit\" USR1; echo ready; while :; do sleep 0.05; done";
    // The first `wait` may be cut short by the app's own trap.
    let mut app = run_sh(&format!("trap : USR1; sh -c '{below}' & wait $!; wait $!; exit 3"));
    app.until("ready");
    app.signal(signal("USR1"));
    assert_eq!(app.line(), "below");
    assert_eq!(app.code(), 3);
}

#[test]
fn an_app_that_ignores_term_stays_and_hears_the_rest() {
    let mut app = run_sh(&format!("trap '' TERM; trap 'echo still here' USR1; echo $$; {LINGER}"));
    let id = app.line().parse().unwrap();
    app.until("ready");
    app.signal(Signal::TERM);
    app.signal(signal("USR1"));
    assert_eq!(app.line(), "still here");
    assert!(lives(id));

    signal_process(id, Signal::KILL);
    assert_eq!(app.code(), 137);
}

#[test]
fn an_app_that_has_gone_into_another_group_is_still_signalled() {
    let moves = "my $other = fork; if (!$other) { setpgrp 0, 0; sleep 60; exit }
        until (setpgrp 0, $other) { select undef, undef, undef, 0.01 }
        $SIG{USR1} = sub { kill 9, $other; exit 6 }; $| = 1; print \"ready\\n\"; sleep 60";
    let mut app = run(["perl", "-e", moves]);
    app.until("ready");
    app.signal(signal("USR1"));
    assert_eq!(app.code(), 6);
}

#[test]
fn a_stopped_app_goes_on_when_we_are_told_to() {
    let mut app = run_sh("echo $$; kill -STOP $$; exit 8");
    let id = app.line();
    eventually("the app to stop", || Process::find(&id).filter(|process| process.state == 'T'));
    assert!(lives(app.id()));
    assert_ne!(Process::find(app.id()).unwrap().state, 'T', "we serve on without a terminal");
    app.signal(Signal::CONT);
    assert_eq!(app.code(), 8);
}

#[test]
fn an_app_that_was_stopped_goes_on_and_ends_when_we_are_told_to_stop() {
    // Its child is stopped as well, and stays behind.
    let script =
        "sh -c 'echo $$; kill -STOP $$; sleep 60' & trap 'exit 6' TERM; kill -STOP $$; while :; do sleep 0.05; done";
    let mut app = run_sh(script);
    let below = app.line();
    eventually("both to stop", || {
        let both = [Process::find(&below)?, Process::find(children_of(app.id()).first()?)?];
        both.iter().all(|process| process.state == 'T').then_some(())
    });
    app.signal(Signal::TERM);
    assert_eq!(app.code(), 6);
    assert!(!lives(below.parse().unwrap()));
}

#[test]
fn the_signal_that_the_app_gets_in_place_of_term_begins_the_drain() {
    for text in ["QUIT", "WINCH", "RTMIN+3", "HUP", "INT"] {
        let number = signal(text).number();
        let script = format!("trap 'echo stopping; exit 4' {number}; {LINGER}");
        let map = format!("--signal-map=TERM:{text}");
        let mut app =
            start([VESTIBULE, "run", "--log-level=info", "--log-format=json", &map, "--", "sh", "-c", &script]);
        app.until("ready");
        app.signal(signal(text));
        assert_eq!(app.line(), "stopping", "{text}");
        assert_eq!(app.code(), 4, "{text}");
        let log = app.errors();
        let place = |message: &str| log.find(message).unwrap_or_else(|| panic!("{text}: no {message} in {log}"));
        assert!(place("\"draining\"") < place("\"listeners closed\""), "{log}");
        assert!(place("\"listeners closed\"") < place("\"stop signal sent to app\""), "{log}");
        let sent = log.lines().find(|line| line.contains("\"stop signal sent to app\"")).unwrap();
        assert!(sent.contains(&format!("\"signal\":\"{text}\"")), "{sent}");
    }
}

#[test]
fn a_signal_that_is_nobodys_term_is_passed_on_and_drains_nothing() {
    let script = format!("trap 'echo quit' QUIT; trap 'exit 4' USR1; {LINGER}");
    let mut app = start([VESTIBULE, "run", "--log-level=info", "--signal-map=TERM:USR1", "--", "sh", "-c", &script]);
    app.until("ready");
    app.signal(signal("QUIT"));
    assert_eq!(app.line(), "quit");
    app.signal(Signal::TERM);
    assert_eq!(app.code(), 4);
    assert_eq!(app.errors().matches("\"draining\"").count(), 1);
}

#[test]
fn a_hup_that_reaches_the_app_has_a_line_and_one_that_is_dropped_has_none() {
    for (map, forwarded) in [("--signal-map=HUP:HUP", 1), ("--signal-map=HUP:0", 0)] {
        let script = format!("trap 'echo hup' HUP; trap 'exit 4' TERM; {LINGER}");
        let mut app =
            start([VESTIBULE, "run", "--log-level=info", "--log-format=json", map, "--", "sh", "-c", &script]);
        app.until("ready");
        app.signal(signal("HUP"));
        if forwarded > 0 {
            assert_eq!(app.line(), "hup");
        }
        app.signal(Signal::TERM);
        assert_eq!(app.code(), 4);
        let log = app.errors();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("\"signal forwarded to app\"")).collect();
        assert_eq!(lines.len(), forwarded, "{log}");
        assert!(lines.iter().all(|line| line.contains("\"signal\":\"HUP\"")), "{log}");
    }
}

#[test]
fn a_storm_of_signals_loses_neither_the_app_nor_its_status() {
    let mut app = run_sh(&format!("trap : USR1 USR2 HUP WINCH; trap 'exit 5' QUIT; {LINGER}"));
    app.until("ready");
    for _ in 0..50 {
        for text in ["USR1", "USR2", "HUP", "WINCH"] {
            app.signal(signal(text));
        }
    }
    assert!(lives(app.id()));
    app.signal(signal("QUIT"));
    assert_eq!(app.code(), 5);
}

#[test]
fn an_app_that_closes_its_stdio_is_waited_for() {
    let mut app = run_sh("trap 'exit 11' TERM; echo $$; exec <&- >&- 2>&-; while :; do sleep 0.05; done");
    let id = app.line();
    let open = |number| std::fs::read_link(format!("/proc/{id}/fd/{number}")).is_ok();
    eventually("the app to close its stdio", || (!open(0) && !open(1) && !open(2)).then_some(()));
    assert!(lives(app.id()));
    app.signal(Signal::TERM);
    assert_eq!(app.code(), 11);
}
