//! Health checks, garbage, and clients whose ClientHello comes in pieces, or never.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::differential::Seen;
use crate::differential::app::{App, Mode};
use crate::differential::ask::Ask;
use crate::differential::ground::{Ground, greet};
use crate::differential::world::{GUID, Side, World};
use crate::wire::client::{Client, dial, read_to_end};
use crate::wire::end::End;

/// Longer than gorouter waits for a handshake.
const LONG: Duration = Duration::from_secs(12);

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    let mut ground = Ground::usual(world, side, false, Mode::Echo)?;
    for _ in 0..5 {
        drop(dial(ground.addr(0)).map_err(failed)?);
    }
    thread::sleep(Duration::from_millis(300));
    seen.note("5 TCP health checks", format!("connections to the app: {}", ground.apps[0].taken()));

    let hello = hello()?;
    let cut = &hello[..hello.len() / 2];
    let pieces: [(&str, &[u8]); 6] = [
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"),
        ("zeros", &[0; 64]),
        ("a record that is too long", &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 0]),
        ("an alert", &[21, 3, 1, 0, 2, 2, 40]),
        ("half a ClientHello and FIN", cut),
        ("FIN alone", b""),
    ];
    for (line, bytes) in pieces {
        ground.apps.iter().for_each(App::forget);
        let mut tcp = dial(ground.addr(0)).map_err(failed)?;
        // The other side may have closed before all was said.
        let _ = tcp.write_all(bytes).and_then(|()| tcp.shutdown(Shutdown::Write));
        let (answer, end) = read_to_end(&tcp);
        seen.note(line, format!("{}, {end}", records(&answer)));
        seen.note(format!("{line}, the app"), format!("connections: {}", ground.apps[0].taken()));
    }

    let config = Ask::default().config()?;
    type Split = fn(&[u8]) -> Vec<Vec<u8>>;
    let splits: [(&str, Split); 3] = [
        ("two segments", |hello| hello.chunks(hello.len() / 2 + 1).map(<[u8]>::to_vec).collect()),
        ("segments of 7 bytes", |hello| hello.chunks(7).map(<[u8]>::to_vec).collect()),
        ("records of 100 bytes", |hello| hello[5..].chunks(100).map(record).collect()),
    ];
    for (line, split) in splits {
        let tcp = dial(ground.addr(0)).map_err(failed)?;
        let got = in_pieces(tcp, &config, split).and_then(|mut client| greet(&mut client));
        seen.note(format!("a ClientHello in {line}"), got.map_or_else(|end| end.to_string(), |()| "served".to_owned()));
    }

    let silent = dial(ground.addr(0)).map_err(failed)?;
    silent.set_read_timeout(Some(LONG))?;
    let (_, end) = read_to_end(&silent);
    seen.note("a silent client after 12 s", end.to_string());
    seen.note("the process after all this", if ground.process.ended() { "ended" } else { "runs" });
    seen.note("the next good client", ground.verdict(0, &config));
    Ok(())
}

/// The first record of a client.
fn hello() -> Result<Vec<u8>> {
    let name = ServerName::try_from(GUID.to_owned())?;
    let mut tls = ClientConnection::new(Ask::default().config()?, name)?;
    let mut hello = Vec::new();
    tls.write_tls(&mut hello)?;
    Ok(hello)
}

/// A handshake whose ClientHello is sent in the pieces that `split` makes of it.
fn in_pieces(
    mut tcp: TcpStream,
    config: &Arc<rustls::ClientConfig>,
    split: fn(&[u8]) -> Vec<Vec<u8>>,
) -> Result<Client, End> {
    let other = |error: String| End::Other(error);
    let name = ServerName::try_from(GUID.to_owned()).map_err(|error| other(error.to_string()))?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(|error| other(error.to_string()))?;
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).map_err(|error| End::of(&error))?;
    for piece in split(&hello) {
        tcp.write_all(&piece).map_err(|error| End::of(&error))?;
        thread::sleep(Duration::from_millis(2));
    }
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(|error| End::of(&error))?;
    }
    Ok(Client { tls, tcp })
}

fn record(part: &[u8]) -> Vec<u8> {
    let length = u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[22, 3, 1], &length[..], part].concat()
}

/// What an answer in clear text holds.
fn records(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing".to_owned(),
        [21, _, _, 0, 2, level, alert] => format!("alert {alert} (level {level})"),
        bytes => format!("{} bytes, the first of which is {}", bytes.len(), bytes[0]),
    }
}

fn failed(end: End) -> anyhow::Error {
    anyhow::anyhow!("cannot dial: {end}")
}
