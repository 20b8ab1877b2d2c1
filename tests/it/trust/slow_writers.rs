//! Files that are rewritten in place, slowly: a look in between sees whole blocks, and not all of them.

use std::fs;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use vestibule::issuer::CertificateAuthority;

use crate::clients::{BOTH, Backend, someone, visit};
use crate::support::client::Client;
use crate::support::credentials::roots_pem;
use crate::support::sidecar::Sidecar;
use crate::support::{app, eventually, within};

/// How long the writers pause. It is what is tested, and not what is waited for.
const PAUSE: Duration = Duration::from_millis(600);

/// How long a CA that is missing from a file that was rewritten in place is waited for.
const AS_A_REMOVAL: Duration = Duration::from_secs(3);

/// How often a file was looked at with something new in it.
fn reloads(sidecar: &Sidecar) -> usize {
    sidecar.lines_of("client CAs and rules reloaded").len()
}

fn still_here(client: &mut Client) {
    client.send(b"here").unwrap();
    assert_eq!(client.receive(4).unwrap(), b"here");
}

/// Writes `parts` to `path` in place, with a pause between them and a look forced in it.
pub(super) fn write_slowly(sidecar: &Sidecar, path: &Path, parts: &[&str], anew: bool, reopened: bool) {
    // As long as somebody has the old file open, the new one cannot get its inode.
    let _old = File::open(path).ok();
    if anew {
        fs::remove_file(path).unwrap();
    }
    let mut file = File::create(path).unwrap();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            sidecar.signal("HUP");
            sleep(PAUSE);
        }
        file.write_all(part.as_bytes()).unwrap();
        if reopened {
            drop(file);
            file = OpenOptions::new().append(true).open(path).unwrap();
        }
    }
}

#[test]
fn a_bundle_that_is_rewritten_slowly_ends_no_connection_of_the_cas_that_stay() {
    let backend = Backend::new();
    let now = SystemTime::now();
    let second = CertificateAuthority::generate(now).unwrap();
    let (first_pem, second_pem) = (roots_pem(), second.roots_pem());
    fs::write(backend.ca(), format!("{first_pem}{second_pem}")).unwrap();
    let sidecar = backend.before(app::echo()).arg("--allow").arg("any").ready();
    let connector = backend.connector_as(&second.issue(&someone().0, now).unwrap(), &BOTH);
    let mut client = visit(&connector, &sidecar).unwrap();
    for (round, (anew, reopened)) in
        [(false, false), (false, true), (true, false), (true, true)].into_iter().enumerate()
    {
        // A comment makes it another text each time.
        let head = format!("# {round}\n{first_pem}");
        write_slowly(&sidecar, &backend.ca(), &[&head, &second_pem], anew, reopened);
        eventually("the whole bundle", || (reloads(&sidecar) > round).then_some(()));
        still_here(&mut client);
        visit(&connector, &sidecar).unwrap();
    }
    // What is added is taken at once, in place as well.
    let mut all = format!("{first_pem}{second_pem}");
    within(AS_A_REMOVAL, || {
        let another = CertificateAuthority::generate(now).unwrap();
        let theirs = backend.connector_as(&another.issue(&someone().0, now).unwrap(), &BOTH);
        all += &another.roots_pem();
        let began = Instant::now();
        fs::write(backend.ca(), &all).unwrap();
        eventually("the clients of the CA that was added", || visit(&theirs, &sidecar).ok());
        began.elapsed()
    });
    // What stays away goes in the end.
    fs::write(backend.ca(), &first_pem).unwrap();
    client.receive_all();
    sidecar.access_log_entry("policy_changed");
    assert!(sidecar.reasons().iter().filter(|reason| *reason == "policy_changed").count() == 1);
}

#[test]
fn a_bundle_that_is_replaced_by_a_rename_counts_at_once_whatever_it_takes_away() {
    let backend = Backend::new();
    let now = SystemTime::now();
    let second = CertificateAuthority::generate(now).unwrap();
    let both = format!("{}{}", roots_pem(), second.roots_pem());
    fs::write(backend.ca(), &both).unwrap();
    let sidecar = backend.before(app::echo()).arg("--allow").arg("any").ready();
    let connector = backend.connector_as(&second.issue(&someone().0, now).unwrap(), &BOTH);
    let replace = |text: &str| {
        let next = backend.files.path().join(".next");
        fs::write(&next, text).unwrap();
        fs::rename(next, backend.ca()).unwrap();
    };
    within(AS_A_REMOVAL, || {
        replace(&both);
        let mut client = eventually("the second CA's clients", || visit(&connector, &sidecar).ok());
        let began = Instant::now();
        replace(&roots_pem());
        client.receive_all();
        began.elapsed()
    });
}

#[test]
fn a_policy_file_that_is_rewritten_slowly_ends_no_connection_of_the_rules_that_stay() {
    let backend = Backend::new();
    fs::write(backend.policy(), "mode = 'enforce'\nallow = ['cf:any']\ndeny = ['cn:x']\n").unwrap();
    let sidecar = backend.before(app::echo()).arg("--policy").arg(backend.policy().to_str().unwrap()).ready();
    let mut client = visit(&backend.connector_as(&someone().1, &BOTH), &sidecar).unwrap();
    for (round, (anew, reopened)) in [(false, false), (true, true)].into_iter().enumerate() {
        let deny = format!("deny = ['cn:x', 'cn:{round}']\nallow = ['cf:any']\n");
        let (first, second) = deny.split_once('\n').unwrap();
        write_slowly(&sidecar, &backend.policy(), &[&format!("{first}\n"), second], anew, reopened);
        eventually("the new rules", || (reloads(&sidecar) > round).then_some(()));
        still_here(&mut client);
    }
    // As a writer leaves it behind whose disk is full: the rules are those of before.
    for nothing in ["", "\n"] {
        fs::write(backend.policy(), nothing).unwrap();
        sidecar.wait_until("the empty file", |line| {
            line["level"] == "warn" && line["error"].as_str().is_some_and(|error| error.contains("the file is empty"))
        });
        still_here(&mut client);
    }
    // Nobody is admitted.
    fs::write(backend.policy(), "allow = []").unwrap();
    client.receive_all();
    sidecar.access_log_entry("policy_changed");
}
