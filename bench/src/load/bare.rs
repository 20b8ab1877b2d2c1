//! A TLS 1.3 client of the barest kind, for one question: how soon the first answer comes to a client that takes no tickets.
//!
//! rustls always says that it takes tickets (`psk_key_exchange_modes`), and a ticket acknowledges the client's Finished at once. A
//! client that does not, such as Go's without a session cache, sees the server's delayed acknowledgement instead when it leaves
//! Nagle's algorithm on. It verifies nothing and resumes nothing. RFC 8446, TLS_AES_128_GCM_SHA256 and X25519.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{agreement, digest, hmac, rand};

use crate::app;

const HANDSHAKE: u8 = 22;
const APPLICATION: u8 = 23;
const FINISHED: u8 = 20;
const HASH: usize = 32;

/// Dials, shakes hands, asks once, and returns how long that took until the answer was whole.
///
/// # Errors
/// The server does not speak this TLS, or takes longer than five seconds.
pub(crate) fn first_answer(server: SocketAddr, nagle: bool) -> Result<Duration> {
    let start = Instant::now();
    let mut tcp = TcpStream::connect(server).context("cannot dial")?;
    tcp.set_nodelay(!nagle)?;
    tcp.set_read_timeout(Some(Duration::from_secs(5)))?;

    let random = SystemRandom::new();
    let secret = agreement::EphemeralPrivateKey::generate(&agreement::X25519, &random).map_err(unspecified)?;
    let hello = client_hello(secret.compute_public_key().map_err(unspecified)?.as_ref(), &random)?;
    tcp.write_all(&[&record_header(HANDSHAKE, hello.len())[..], &hello].concat())?;
    let mut transcript = hello;

    let (kind, server_hello) = read_record(&mut tcp)?;
    ensure!(kind == HANDSHAKE, "the server answers the ClientHello with a record of type {kind}");
    transcript.extend_from_slice(&server_hello);
    let share = agreement::UnparsedPublicKey::new(&agreement::X25519, key_share(&server_hello)?);
    let shared =
        agreement::agree_ephemeral(secret, share, anyhow!("the key share is refused"), |key| Ok(key.to_vec()))?;

    // RFC 8446, 7.1.
    let nothing = [0; HASH];
    let early = hmac_of(&nothing, &nothing);
    let handshake = hmac_of(&derive(&early, "derived", &[]), &shared);
    let (ours, theirs) =
        (derive(&handshake, "c hs traffic", &transcript), derive(&handshake, "s hs traffic", &transcript));
    let mut from_server = Keys::new(&theirs)?;
    let mut flight = Vec::new();
    while !ends_with_finished(&flight) {
        let (kind, body) = read_sealed(&mut tcp, &mut from_server)?;
        ensure!(kind == HANDSHAKE, "the server breaks off its handshake with a record of type {kind}: {body:?}");
        flight.extend_from_slice(&body);
    }
    transcript.extend_from_slice(&flight);

    let verify = hmac_of(&expand(&ours, "finished", &[], HASH), digest::digest(&digest::SHA256, &transcript).as_ref());
    let finished = [&[FINISHED, 0, 0, HASH as u8][..], &verify].concat();
    let master = hmac_of(&derive(&handshake, "derived", &[]), &nothing);
    let mut to_server = Keys::new(&derive(&master, "c ap traffic", &transcript))?;
    let mut from_server = Keys::new(&derive(&master, "s ap traffic", &transcript))?;
    // Two writes, as TLS libraries do: the second is the one that Nagle holds back until the first is acknowledged.
    tcp.write_all(&Keys::new(&ours)?.seal(HANDSHAKE, &finished)?)?;
    tcp.write_all(&to_server.seal(APPLICATION, app::SMALL.as_bytes())?)?;

    let mut answer = Vec::new();
    while answer.len() < app::ANSWER.len() {
        match read_sealed(&mut tcp, &mut from_server)? {
            (APPLICATION, body) => answer.extend_from_slice(&body),
            // A ticket: OpenSSL's servers send them whether or not they were asked to.
            (HANDSHAKE, _) => {}
            (kind, body) => bail!("the server sends a record of type {kind} instead of the answer: {body:?}"),
        }
    }
    ensure!(answer == app::ANSWER.as_bytes(), "the answer is not what the app sent");
    Ok(start.elapsed())
}

fn client_hello(share: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>> {
    let nonce: rand::Random<[u8; 32]> = rand::generate(random).map_err(unspecified)?;
    let extensions = [
        extension(43, &[2, 3, 4]),
        extension(10, &[0, 2, 0, 29]),
        extension(13, &[0, 4, 8, 4, 4, 1]),
        extension(51, &[&[0, 36, 0, 29, 0, 32][..], share].concat()),
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend_from_slice(&nonce.expose());
    body.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    Ok([&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat())
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// The server's key share, out of its ServerHello.
fn key_share(hello: &[u8]) -> Result<&[u8]> {
    let found = || {
        // Type and length, version, random; then the session id, suite and compression before the extensions.
        let session = usize::from(*hello.get(38)?);
        let mut rest = hello.get(39 + session + 3 + 2..)?;
        loop {
            let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
            let body = rest.get(4..4 + length)?;
            if rest[..2] == [0, 51] {
                return body.get(4..);
            }
            rest = rest.get(4 + length..)?;
        }
    };
    found().context("the ServerHello holds no key share")
}

/// Whether these handshake messages are whole, and the last one is Finished.
fn ends_with_finished(mut flight: &[u8]) -> bool {
    let mut last = 0;
    while let [kind, high, middle, low, rest @ ..] = flight {
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        let Some(next) = rest.get(length..) else { return false };
        (last, flight) = (*kind, next);
    }
    last == FINISHED && flight.is_empty()
}

fn read_record(tcp: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    tcp.read_exact(&mut header).context("the server says no more")?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    tcp.read_exact(&mut body).context("a record is cut off")?;
    Ok((header[0], body))
}

/// The next record that is encrypted, with the type that it has inside.
fn read_sealed(tcp: &mut TcpStream, keys: &mut Keys) -> Result<(u8, Vec<u8>)> {
    loop {
        match read_record(tcp)? {
            (APPLICATION, body) => return keys.open(body),
            // ChangeCipherSpec, for middleboxes: it means nothing (appendix D.4).
            (20, _) => {}
            (kind, body) => bail!("the server sends a plain record of type {kind}: {body:?}"),
        }
    }
}

fn record_header(kind: u8, length: usize) -> [u8; 5] {
    let [high, low] = (length as u16).to_be_bytes();
    [kind, 3, 3, high, low]
}

/// The keys of one direction.
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    count: u64,
}

impl Keys {
    fn new(secret: &[u8]) -> Result<Self> {
        let key = UnboundKey::new(&AES_128_GCM, &expand(secret, "key", &[], 16)).map_err(unspecified)?;
        let iv = expand(secret, "iv", &[], 12).try_into().map_err(|_| anyhow!("the nonce has another length"))?;
        Ok(Self { key: LessSafeKey::new(key), iv, count: 0 })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.count.to_be_bytes()).for_each(|(byte, count)| *byte ^= count);
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, kind: u8, body: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = [body, &[kind]].concat();
        let header = record_header(APPLICATION, sealed.len() + 16);
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).map_err(unspecified)?;
        Ok([&header[..], &sealed].concat())
    }

    fn open(&mut self, mut body: Vec<u8>) -> Result<(u8, Vec<u8>)> {
        let header = record_header(APPLICATION, body.len());
        let nonce = self.nonce();
        let plain = self.key.open_in_place(nonce, Aad::from(header), &mut body).map_err(unspecified)?;
        let end = plain.iter().rposition(|byte| *byte != 0).context("a record holds nothing but padding")?;
        Ok((plain[end], plain[..end].to_vec()))
    }
}

fn hmac_of(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// HKDF-Expand-Label, for up to 32 bytes.
fn expand(secret: &[u8], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let info =
        [&[0, length as u8, label.len() as u8], label.as_bytes(), &[context.len() as u8], context, &[1]].concat();
    let mut out = hmac_of(secret, &info);
    out.truncate(length);
    out
}

/// Derive-Secret.
fn derive(secret: &[u8], label: &str, messages: &[u8]) -> Vec<u8> {
    expand(secret, label, digest::digest(&digest::SHA256, messages).as_ref(), HASH)
}

fn unspecified(_: aws_lc_rs::error::Unspecified) -> anyhow::Error {
    anyhow!("aws-lc refuses; a record may have been tampered with")
}
