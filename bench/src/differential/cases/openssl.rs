//! The same by another client, `openssl s_client`, which also verifies the chain.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ground::Ground;
use crate::differential::world::{GUID, Side, World, router};

/// What is echoed.
const LINE: &str = "a line to echo";

/// How long a denial may take to reach a client that believes its handshake to be over.
const DENIAL: Duration = Duration::from_millis(400);

/// How long the echo may take.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    let (open, asking) =
        (Ground::usual(world, side, false, Mode::Echo)?, Ground::usual(world, side, true, Mode::Echo)?);
    let stranger = world.stranger.client(router())?;
    let pem = |name: &str, pair: &crate::credentials::Pair| {
        Ok::<_, anyhow::Error>(world.file(name, &pair.combined())?.display().to_string())
    };
    let (good, strange) = (pem("router.pem", &world.router)?, pem("stranger.pem", &stranger)?);
    for version in ["-tls1_2", "-tls1_3"] {
        let name = version.trim_start_matches('-');
        // Of TLS 1.3 one suite alone: which one is chosen from several is another case.
        let suites = ["-ciphersuites", "TLS_AES_128_GCM_SHA256"];
        let mut s_client = |line: &str, ground: &Ground<'_>, more: &[&str]| {
            let said = ask(world, ground, &[&[version], &suites[..], more].concat())?;
            seen.note(format!("{name}, {line}"), said);
            Ok::<_, anyhow::Error>(())
        };
        s_client("no certificate asked for", &open, &["-alpn", "h2,http/1.1"])?;
        s_client("good certificate", &asking, &["-cert", &good, "-key", &good])?;
        s_client("no certificate", &asking, &[])?;
        s_client("a stranger's certificate", &asking, &["-cert", &strange, "-key", &strange])?;
        let session = world.file(&format!("session{version}-{side:?}"), "")?.display().to_string();
        s_client("first of a session", &open, &["-sess_out", &session])?;
        s_client("second of a session", &open, &["-sess_in", &session])?;
    }
    for version in ["-tls1_1", "-tls1"] {
        let said = ask(world, &open, &[version, "-cipher", "DEFAULT@SECLEVEL=0"])?;
        seen.note(version.trim_start_matches('-').to_owned(), said);
    }
    Ok(())
}

/// Says what s_client says of interest about one connection, over which a line is echoed.
fn ask(world: &World, ground: &Ground<'_>, options: &[&str]) -> Result<String> {
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &ground.addr(0).to_string(), "-servername", GUID, "-verify_hostname", GUID])
        .arg("-CAfile")
        .arg::<&Path>(&world.ca())
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start openssl")?;
    let (stdin, stdout) = (client.stdin.take(), client.stdout.take());
    let (mut stdin, stdout) = stdin.zip(stdout).context("openssl has no pipes")?;
    let (say, heard) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| say.send(line.clone()).is_ok())
            .for_each(drop);
    });
    thread::sleep(DENIAL);
    // It may have ended, refused.
    let _ = stdin.write_all(format!("{LINE}\n").as_bytes());
    let (end, mut lines) = (Instant::now() + PATIENCE, Vec::new());
    while let Ok(line) = heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
        // s_client writes what it received past its own buffer, into the middle of a line of its own.
        let echoed = line.ends_with(LINE);
        lines.push(line);
        if echoed {
            break;
        }
    }
    drop(stdin);
    let out = client.wait_with_output().context("cannot wait for openssl")?;
    lines.extend(heard);
    lines.extend(String::from_utf8_lossy(&out.stderr).lines().map(str::to_owned));
    Ok(of_interest(&lines))
}

fn of_interest(lines: &[String]) -> String {
    let prefixes = ["New, ", "Reused, ", "ALPN protocol", "No ALPN", "Server Temp Key", "Verification"];
    let mut said: Vec<&str> = Vec::new();
    for line in lines.iter().map(|line| line.trim()) {
        let error = line.split_once("error:").and_then(|(_, rest)| rest.split(':').nth(3));
        let what = match error {
            Some(error) => error,
            None if line.ends_with(LINE) => "echoed",
            None if prefixes.iter().any(|prefix| line.starts_with(prefix)) => line,
            None => continue,
        };
        if !said.contains(&what) {
            said.push(what);
        }
    }
    said.join("; ")
}
