//! The same by another client, `openssl s_client`, which also verifies the chain.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ground::Ground;
use crate::differential::world::GUID;
use crate::differential::world::Side;
use crate::differential::world::World;
use crate::differential::world::router;

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
        let mut s_client = |line: &str, ground: &Ground<'_>, more: &[&str]| {
            let said = ask(world, ground, &[&[version], more].concat())?;
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
    if let Some(mut stdin) = client.stdin.take() {
        thread::sleep(Duration::from_millis(300));
        // It may have ended, refused.
        let _ = stdin.write_all(b"a line to echo\n");
        thread::sleep(Duration::from_millis(200));
    }
    let out = client.wait_with_output().context("cannot wait for openssl")?;
    let text = format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let mut said: Vec<String> = Vec::new();
    let prefixes = ["New, ", "Reused, ", "ALPN protocol", "No ALPN", "Server Temp Key", "Verification"];
    for line in text.lines().map(str::trim) {
        let error = line.split_once("error:").and_then(|(_, rest)| rest.split(':').nth(3));
        let what = match error {
            Some(error) => error,
            None if line == "a line to echo" => "echoed",
            None if prefixes.iter().any(|prefix| line.starts_with(prefix)) => line,
            None => continue,
        };
        if !said.iter().any(|it| it == what) {
            said.push(what.to_owned());
        }
    }
    Ok(said.join("; "))
}
