//! Bytes both ways, and how each side hears of the other's end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::digest;

use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ask::{Ask, VERSIONS};
use crate::differential::ground::Ground;
use crate::differential::world::{Side, World};
use crate::wire::client::{Client, read_to_end, reset};
use crate::wire::end::End;

/// Bytes each way.
const MUCH: usize = 8 * 1024 * 1024;

/// How long a side that hears of nothing is listened to.
const QUIET: Duration = Duration::from_millis(500);

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    let ground = Ground::usual(world, side, false, Mode::Hand)?;
    for (version, versions) in VERSIONS {
        let config = Ask { versions, ..Ask::default() }.config()?;
        for (line, case) in CASES {
            let (client, app) = ground.through(&config).with_context(|| (*line).to_owned())?;
            seen.note(format!("{version}, {line}"), case(client, app)?);
        }
        ground.apps[0].forget();
        let mut client = ground.connect(&config).map_err(|end| anyhow::anyhow!("{end}"))?;
        ground.apps[0].next()?.write_all(b"SSH-2.0-app\r\n")?;
        let greeting = client.receive(13).map_or_else(|end| end.to_string(), |it| String::from_utf8_lossy(&it).into());
        seen.note(format!("{version}, the app speaks first"), greeting);
    }
    Ok(())
}

type Story = fn(Client, TcpStream) -> Result<String>;

const CASES: &[(&str, Story)] = &[
    ("8 MB each way at once, the client ends by close_notify", much),
    ("the client sends close_notify, then the app answers", |mut client, app| {
        client.close_notify().map_err(failed)?;
        let got = heard(&app);
        Ok(format!("app: {got}; {}", answer(&mut client, app)))
    }),
    ("the client sends close_notify and FIN, then the app answers", |mut client, app| {
        client.close_notify().and_then(|()| client.fin()).map_err(failed)?;
        let got = heard(&app);
        Ok(format!("app: {got}; {}", answer(&mut client, app)))
    }),
    ("the client sends FIN without close_notify, then the app answers", |mut client, app| {
        client.fin().map_err(failed)?;
        let got = heard(&app);
        Ok(format!("app: {got}; {}", answer(&mut client, app)))
    }),
    ("the client resets", |client, app| {
        reset(client.tcp);
        Ok(format!("app: {}", heard(&app)))
    }),
    ("the app half-closes, then the client sends", |mut client, mut app| {
        app.write_all(b"last")?;
        app.shutdown(Shutdown::Write)?;
        let (bytes, end) = client.receive_all();
        let sent = client.send(b"more").and_then(|()| client.close_notify());
        let told = sent.map_or_else(|end| end.to_string(), |()| "sent".to_owned());
        Ok(format!("client: {} bytes, {end}, then {told}; app: {}", bytes.len(), heard(&app)))
    }),
    ("the app closes after its answer", |mut client, mut app| {
        app.write_all(b"last")?;
        drop(app);
        let (bytes, end) = client.receive_all();
        Ok(format!("client: {} bytes, {end}, then {}", bytes.len(), after(&client)))
    }),
    ("the app closes while bytes of the client are unread", |mut client, mut app| {
        client.send(&[1; 1000]).map_err(failed)?;
        thread::sleep(QUIET / 5);
        app.write_all(b"last")?;
        drop(app);
        let (bytes, end) = client.receive_all();
        Ok(format!("client: {} bytes, {end}, then {}", bytes.len(), after(&client)))
    }),
    ("the app resets in its answer", |mut client, mut app| {
        app.write_all(b"last")?;
        thread::sleep(QUIET / 5);
        reset(app);
        let (bytes, end) = client.receive_all();
        Ok(format!("client: {} bytes, {end}, then {}", bytes.len(), after(&client)))
    }),
    ("the app resets before its answer", |mut client, app| {
        reset(app);
        let (bytes, end) = client.receive_all();
        Ok(format!("client: {} bytes, {end}, then {}", bytes.len(), after(&client)))
    }),
    ("nobody says anything for half a second", |mut client, app| {
        let end = client.end_within(QUIET);
        Ok(format!("client: {end}; app: {}", heard(&app)))
    }),
];

/// Many bytes both ways at a time.
fn much(mut client: Client, app: TcpStream) -> Result<String> {
    let mut writer = app.try_clone()?;
    let up = thread::spawn(move || {
        let (bytes, end) = read_to_end(&app);
        format!("{} bytes {}, {end}", bytes.len(), fingerprint(&bytes))
    });
    let down = thread::spawn(move || {
        let written = writer.write_all(&noise(2));
        written.and_then(|()| writer.shutdown(Shutdown::Write))
    });
    client.send(&noise(1)).and_then(|()| client.close_notify()).map_err(failed)?;
    let (bytes, end) = client.receive_all();
    down.join().map_err(|_| anyhow::anyhow!("the app's writer panicked"))??;
    let up = up.join().map_err(|_| anyhow::anyhow!("the app's reader panicked"))?;
    Ok(format!("app: {up}; client: {} bytes {}, {end}", bytes.len(), fingerprint(&bytes)))
}

/// Bytes that no mistake in their order could leave as they are.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..MUCH).map(|_| next()).collect()
}

fn fingerprint(bytes: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the app hears next.
fn heard(mut app: &TcpStream) -> String {
    let mut space = [0; 64];
    if app.set_read_timeout(Some(QUIET)).is_err() {
        return "gone".to_owned();
    }
    let mut bytes = 0;
    loop {
        match app.read(&mut space) {
            Ok(0) => return format!("{bytes} bytes, {}", End::Fin),
            Ok(n) => bytes += n,
            Err(error) => return format!("{bytes} bytes, {}", End::of(&error)),
        }
    }
}

/// What comes of an answer to a client that has ended its own sending.
fn answer(client: &mut Client, mut app: TcpStream) -> String {
    let written = app.write_all(b"answer").and_then(|()| app.shutdown(Shutdown::Write));
    let (bytes, end) = client.receive_all();
    let written = written.map_or_else(|error| End::of(&error).to_string(), |()| "sent".to_owned());
    format!("answer {written}; client: {} bytes, {end}", bytes.len())
}

/// How TCP ends once TLS has.
fn after(client: &Client) -> String {
    let _ = client.tcp.set_read_timeout(Some(QUIET));
    read_to_end(&client.tcp).1.to_string()
}

fn failed(end: End) -> anyhow::Error {
    anyhow::anyhow!("the client cannot: {end}")
}
