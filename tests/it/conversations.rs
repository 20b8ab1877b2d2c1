//! Many clients at once that upload, download, take new keys, half-close, leave and reset, as chance has it: every byte arrives, and
//! each end is seen as what it is.
//!
//! The first eight bytes that a client sends are the seed of its conversation, by which the app knows its part.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::support::client::{Client, Connector, Ending, connector_with, read_to_end};
use crate::support::credentials::Credentials;
use crate::support::sidecar::Setup;
use crate::support::{TEST_TIMEOUT, eventually};

/// Conversations that are held: more by `VESTIBULE_TEST_CONVERSATIONS`.
const CONVERSATIONS: u64 = 400;

/// Clients at once.
const CLIENTS: usize = 8;

/// What becomes of one conversation.
#[derive(Debug, Clone, Copy)]
struct Script {
    seed: u64,
    upload: usize,
    answer: usize,
    /// Key updates of the client, between two parts of its upload.
    key_updates: bool,
    /// The app ends its sending before it has read the upload.
    app_first: bool,
    end: ClientsEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientsEnd {
    /// close_notify behind the upload, then the answer is read.
    HalfClose,
    /// The answer is read first.
    AfterTheAnswer,
    /// FIN in the middle of the upload, without close_notify.
    Truncated,
    /// RST in the middle of the upload.
    Reset,
}

/// Numbers that look random and are the same for the same seed (splitmix64).
fn chance(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Script {
    fn of(seed: u64) -> Self {
        let below = |number, below: u64| chance(seed, number) % below;
        let length =
            |number| [0, 1, 100, 16_384, 70_000, 400_000][below(number, 6) as usize] + below(number + 10, 50) as usize;
        let end = match below(3, 8) {
            0..=2 => ClientsEnd::HalfClose,
            3..=5 => ClientsEnd::AfterTheAnswer,
            6 => ClientsEnd::Truncated,
            _ => ClientsEnd::Reset,
        };
        let key_updates = below(4, 2) == 0;
        Self { seed, upload: length(1), answer: length(2), key_updates, app_first: below(5, 2) == 0, end }
    }

    fn upload(&self) -> Vec<u8> {
        bytes(self.seed, self.upload)
    }

    fn answer(&self) -> Vec<u8> {
        bytes(!self.seed, self.answer)
    }
}

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    (0..length.div_ceil(8) as u64).flat_map(|at| chance(seed, at).to_le_bytes()).take(length).collect()
}

/// What the app has got, by seed.
type Uploads = Arc<Mutex<HashMap<u64, (Vec<u8>, Ending)>>>;

fn start_app(uploads: Uploads) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let uploads = Arc::clone(&uploads);
            thread::spawn(move || play_app(stream.unwrap(), &uploads));
        }
    });
    addr
}

fn play_app(mut stream: TcpStream, uploads: &Uploads) {
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut seed = [0; 8];
    if stream.read_exact(&mut seed).is_err() {
        return;
    }
    let script = Script::of(u64::from_le_bytes(seed));
    // The client may be gone. Whether that was told here: the kernel tells of a reset once, to whoever asks first.
    let answer = move |mut stream: &TcpStream| {
        let was_reset =
            stream.write_all(&script.answer()).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        let _ = stream.shutdown(Shutdown::Write);
        was_reset
    };
    // Both at once, or neither side would read while both write.
    let answering = script.app_first.then(|| {
        let stream = stream.try_clone().unwrap();
        thread::spawn(move || answer(&stream))
    });
    let wait_for_upload = script.end == ClientsEnd::AfterTheAnswer && !script.app_first;
    let (got, mut ending) = if wait_for_upload {
        // Its end comes only after the answer.
        let mut upload = vec![0; script.upload];
        stream.read_exact(&mut upload).unwrap();
        answer(&stream);
        let (rest, ending) = read_to_end(&stream);
        ([upload, rest].concat(), ending)
    } else {
        let got = read_to_end(&stream);
        if !script.app_first {
            answer(&stream);
        }
        got
    };
    if answering.is_some_and(|answering| answering.join().unwrap()) {
        ending = Ending::Reset;
    }
    uploads.lock().unwrap().insert(script.seed, (got, ending));
}

fn play_client(script: Script, connector: &Connector, addr: SocketAddr) {
    let mut client = connector.connect(addr).unwrap();
    client.tls.set_buffer_limit(None);
    let cut_short = matches!(script.end, ClientsEnd::Truncated | ClientsEnd::Reset);
    let upload = script.upload();
    let upload = if cut_short { &upload[..upload.len() / 2] } else { &upload[..] };
    client.send(&script.seed.to_le_bytes()).unwrap();
    let mut reader = client.tcp.try_clone().unwrap();
    let mut received = Vec::new();
    for (number, part) in upload.chunks(30_000).enumerate() {
        if script.key_updates && number % 2 == 0 && asking_is_tls13(&client) {
            client.tls.refresh_traffic_keys().unwrap();
        }
        client.tls.writer().write_all(part).unwrap();
        // What the app says meanwhile is read, so that nobody waits for anybody.
        flush(&mut client, &mut reader, &mut received);
    }
    match script.end {
        ClientsEnd::Truncated => return client.fin(),
        ClientsEnd::Reset => return client.reset(),
        ClientsEnd::HalfClose => client.close_notify(),
        ClientsEnd::AfterTheAnswer => {}
    }
    let (rest, ending) = client.receive_all();
    received.extend(rest);
    assert_eq!(ending, Ending::CloseNotify, "{script:?}");
    assert!(received == script.answer(), "{} of {}; {script:?}", received.len(), script.answer);
    if script.end == ClientsEnd::AfterTheAnswer {
        client.close_notify();
    }
}

fn asking_is_tls13(client: &Client) -> bool {
    client.tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
}

/// Sends what is to be sent, and reads whenever the socket takes nothing.
fn flush(client: &mut Client, reader: &mut TcpStream, received: &mut Vec<u8>) {
    while client.tls.wants_write() {
        client.tcp.set_nonblocking(true).unwrap();
        let written = client.tls.write_tls(&mut client.tcp);
        client.tcp.set_nonblocking(false).unwrap();
        match written {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                client.tcp.set_read_timeout(Some(std::time::Duration::from_millis(5))).unwrap();
                let read = client.tls.read_tls(reader);
                client.tcp.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
                if read.is_ok() {
                    let state = client.tls.process_new_packets().unwrap();
                    let start = received.len();
                    received.resize(start + state.plaintext_bytes_to_read(), 0);
                    client.tls.reader().read_exact(&mut received[start..]).unwrap();
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn every_byte_of_every_conversation_arrives_and_each_end_is_what_it_is() {
    let many = std::env::var("VESTIBULE_TEST_CONVERSATIONS").ok().map_or(CONVERSATIONS, |many| many.parse().unwrap());
    let uploads = Uploads::default();
    let credentials = Credentials::new();
    let sidecar = Setup::proxy(&credentials, start_app(Arc::clone(&uploads))).arg("--access-log=off").ready();
    let versions: [&[&'static SupportedProtocolVersion]; 2] = [&[&TLS13], &[&TLS12]];
    // With tickets of earlier ones.
    let askings = versions.map(|versions| connector_with(credentials.instance(), versions));
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= many {
                        return;
                    }
                    let script = Script::of(chance(number, 7));
                    play_client(script, &askings[number as usize % 2], sidecar.addr());
                }
            });
        }
    });
    let mut cut_short = 0;
    for number in 0..many {
        let script = Script::of(chance(number, 7));
        let seen = || uploads.lock().unwrap().remove(&script.seed);
        let whole = script.upload();
        match script.end {
            ClientsEnd::HalfClose | ClientsEnd::AfterTheAnswer => {
                let (got, ending) = eventually("the app's end", seen);
                assert_eq!(ending, Ending::Fin, "{script:?}");
                assert!(got == whole, "{} of {}; {script:?}", got.len(), whole.len());
            }
            // What was on its way may be lost with the reset, the seed as well; what has come is right, and never looks whole.
            ClientsEnd::Truncated | ClientsEnd::Reset => {
                let Some((got, ending)) = seen() else { continue };
                cut_short += 1;
                assert_eq!(ending, Ending::Reset, "{script:?}");
                assert!(whole.starts_with(&got), "{script:?}");
            }
        }
    }
    assert!(cut_short > many / 20, "{cut_short} of {many}");
}
