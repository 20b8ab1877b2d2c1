//! Our session beside rustls's own: both are told the same by a client that says whatever its keys allow, cut into reads at
//! random, and must come to the same end.
//!
//! A schedule is made of bytes, so that a fuzzer can write one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod server;

use std::fmt;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use rustls::{AlertDescription, ClientConfig, ContentType, ServerConfig, ServerConnection};

use super::Session;
use super::handshake_driver::HandshakeDriver;
use super::test_client::{Received, TestClient, configs, provider_with};
use crate::io::Outgoing;

use self::server::{OurServer, RustlsServer, Server};

/// Steps of one schedule at most.
const MAX_STEPS: usize = 200;

/// What happens after the handshake, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The client sends so many bytes, in one record.
    Data(usize),
    /// The client takes new keys, and may want us to do the same.
    KeyUpdate { wanted: bool },
    /// The same, with its message cut in two records.
    KeyUpdateInParts { wanted: bool, at: usize },
    /// It announces new keys and does not take them.
    StaleKeys,
    /// An alert.
    Alert { level: u8, description: u8 },
    /// The client's end.
    CloseNotify,
    /// Another message of a handshake.
    Message(u8),
    /// The client's first message once more, cut in two records: in TLS 1.2 the wish to begin anew.
    ClientHello,
    /// A record of another type.
    Record(u8),
    /// A record with one bit that is wrong.
    Damaged(usize),
    /// What was said so far arrives.
    Arrival,
    /// The app says so many bytes.
    Answer(usize),
    /// The app's end.
    End,
}

/// One conversation.
pub struct Schedule {
    suite: usize,
    /// The session is resumed.
    resumes: bool,
    /// What follows the client's last flight comes with it.
    joins: bool,
    /// Decides where reads are cut, and when we answer.
    seed: u64,
    steps: Vec<Step>,
}

impl Schedule {
    /// The one that these bytes describe. Any bytes will do.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut bytes = bytes.iter().copied();
        let mut next = || bytes.next().unwrap_or_default();
        let (suite, flags) = (usize::from(next()) % CONFIGS.len(), next());
        let seed = u64::from_le_bytes(std::array::from_fn(|_| next()));
        let mut steps = Vec::new();
        while let (Some(kind), true) = (bytes.next(), steps.len() < MAX_STEPS) {
            let value = bytes.next().unwrap_or_default();
            let length = usize::from(value);
            steps.push(match kind % 32 {
                0..=5 => Step::Data(length),
                6 => Step::Data(length * 64),
                7 => Step::Data(1),
                8 => Step::Data(0),
                9..=12 => Step::KeyUpdate { wanted: value % 2 == 0 },
                13 => Step::KeyUpdateInParts { wanted: value % 2 == 0, at: 1 + length % 4 },
                14..=18 => Step::Arrival,
                19..=24 => Step::Answer(length * (1 + usize::from(kind) / 32 * 32)),
                25 if value < 32 => Step::StaleKeys,
                26 if value < 64 => {
                    // rustls does not take user_canceled (90) with the level of an error, in TLS 1.3 where levels mean nothing.
                    let (level, description) = [(1, 90), (1, 41), (2, 0), (2, 80), (1, 80), (2, 20)][length % 6];
                    Step::Alert { level, description }
                }
                27 if value < 64 => Step::CloseNotify,
                28 if value < 32 => Step::Message(value),
                29 if value < 64 => Step::ClientHello,
                // Of a message that cannot become a good one rustls waits for the rest, and we do not.
                30 if value < 32 && ContentType::from(value) != ContentType::Handshake => Step::Record(value),
                31 if value < 32 => Step::Damaged(length * 8),
                31 if value < 96 => Step::End,
                _ => Step::Arrival,
            });
        }
        Self { suite, resumes: flags & 1 == 1, joins: flags & 2 == 2, seed, steps }
    }

    /// Steps in it.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Holds the conversation with us and with rustls.
    ///
    /// # Panics
    /// When the two come to different ends, or say something that the client cannot make sense of.
    pub fn run(&self) {
        let ours = self.hold::<OurServer>();
        let rustls = self.hold::<RustlsServer>();
        if self.is_tolerated_alike() {
            assert_eq!(ours, rustls, "{self:?}");
        }
    }

    /// Holds the conversation; gives what has become of it.
    fn hold<S: Server>(&self) -> Outcome {
        let (server_config, client_config) = &CONFIGS[self.suite];
        let mut chance = Xorshift64(self.seed | 1);
        if self.resumes {
            // For the ticket.
            Conversation::<S>::begin(server_config, client_config, false, &mut chance);
        }
        let mut conversation = Conversation::<S>::begin(server_config, client_config, self.joins, &mut chance);
        for step in &self.steps {
            if conversation.server.end() == End::Refused {
                break;
            }
            conversation.take(*step, &mut chance);
        }
        conversation.arrive(&mut chance);
        conversation.outcome()
    }

    /// Whether we and rustls bear as much of it. In a row rustls bears 32 empty records, and 32 key updates without data of the
    /// client; we bear any number of the former, and data of the app counts too.
    fn is_tolerated_alike(&self) -> bool {
        let run_of = |counts: fn(&Step) -> bool, ends: fn(&Step) -> bool| {
            let lengths = self.steps.iter().scan(0, |length, step| {
                *length = if ends(step) { 0 } else { *length + usize::from(counts(step)) };
                Some(*length)
            });
            lengths.max().unwrap_or_default()
        };
        let has_data = |step: &Step| matches!(step, Step::Data(1..));
        let updates = |step: &Step| matches!(step, Step::KeyUpdate { .. } | Step::KeyUpdateInParts { .. });
        run_of(|step| *step == Step::Data(0), has_data) < 32 && run_of(updates, has_data) < 32
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suite = CONFIGS[self.suite].0.crypto_provider().cipher_suites[0].suite();
        write!(f, "{suite:?}, resumes {}, joins {}, seed {}: {:?}", self.resumes, self.joins, self.seed, self.steps)
    }
}

/// For each suite of ours.
static CONFIGS: LazyLock<Vec<(Arc<ServerConfig>, Arc<ClientConfig>)>> = LazyLock::new(|| {
    let suites = crate::crypto::provider().cipher_suites.clone();
    let both = |suite: rustls::SupportedCipherSuite| configs(provider_with(suite.suite()));
    suites.into_iter().map(both).map(|(server, client)| (Arc::new(server), Arc::new(client))).collect()
});

/// Numbers that look random and are the same for the same seed (xorshift64).
struct Xorshift64(u64);

impl Xorshift64 {
    /// One of `0..below`.
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % below.max(1)
    }
}

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The client has sent close_notify.
    Closed,
    /// The client broke the protocol, or ended the session by an alert.
    Refused,
}

/// What has become of a conversation.
#[derive(PartialEq, Eq)]
struct Outcome {
    end: End,
    /// What the app has got.
    upload: Vec<u8>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {} bytes", self.end, self.upload.len())
    }
}

/// A client, and one of the two.
struct Conversation<S> {
    server: S,
    client: TestClient,
    first_message: Vec<u8>,
    is_tls13: bool,
    /// What the client has said and what has not arrived.
    pending: Vec<u8>,
    /// What the app has said, and what of it the client has got.
    said: Vec<u8>,
    download: Vec<u8>,
    /// The app has said everything; the client has been told so.
    closed: bool,
    told_closed: bool,
}

impl<S: Server> Conversation<S> {
    /// After the handshake. `joins`: the client's last flight has not arrived yet.
    fn begin(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, joins: bool, chance: &mut Xorshift64) -> Self {
        let is_tls13 = server.crypto_provider().cipher_suites[0].tls13().is_some();
        let (mut server, mut first_message) = (S::new(server), Vec::new());
        let shaken = TestClient::connect(Arc::clone(client), |sent| {
            if first_message.is_empty() {
                first_message = sent[5..].to_vec();
            }
            server.arrive(sent, chance)
        });
        let (client, pending) = shaken.unwrap();
        let (said, download) = (Vec::new(), Vec::new());
        let mut begun = Self {
            server,
            client,
            first_message,
            is_tls13,
            pending,
            said,
            download,
            closed: false,
            told_closed: false,
        };
        if !joins {
            begun.arrive(chance);
        }
        begun
    }

    fn take(&mut self, step: Step, chance: &mut Xorshift64) {
        let client = &mut self.client;
        match step {
            Step::Data(length) => self.pending.extend(client.seal(ContentType::ApplicationData, &bytes(length, b'u'))),
            Step::KeyUpdate { .. } | Step::KeyUpdateInParts { .. } | Step::StaleKeys if !self.is_tls13 => {}
            Step::KeyUpdate { wanted } => self.pending.extend(client.update_keys(wanted)),
            Step::KeyUpdateInParts { wanted, at } => {
                let message = [24, 0, 0, 1, u8::from(wanted)];
                for part in [&message[..at], &message[at..]] {
                    self.pending.extend(client.seal(ContentType::Handshake, part));
                }
                client.take_new_keys();
            }
            Step::StaleKeys => self.pending.extend(client.seal(ContentType::Handshake, &[24, 0, 0, 1, 1])),
            Step::Alert { level, description } => {
                self.pending.extend(client.seal(ContentType::Alert, &[level, description]));
            }
            Step::CloseNotify => self.pending.extend(client.seal(ContentType::Alert, &[1, 0])),
            // rustls reads a ClientHello before it declines it, and does not like an empty one.
            Step::Message(1) if !self.is_tls13 => {}
            Step::Message(typ) => self.pending.extend(client.seal(ContentType::Handshake, &[typ, 0, 0, 0])),
            Step::ClientHello => {
                let (start, rest) = self.first_message.split_at(1 + chance.below(self.first_message.len() - 1));
                for part in [start, rest] {
                    self.pending.extend(client.seal(ContentType::Handshake, part));
                }
            }
            Step::Record(typ) => self.pending.extend(client.seal(typ.into(), &[1])),
            Step::Damaged(length) => {
                let mut record = client.seal(ContentType::ApplicationData, &bytes(length, b'd'));
                let at = 5 + chance.below(record.len() - 5);
                record[at] ^= 1 << chance.below(8);
                self.pending.extend(record);
            }
            Step::Arrival => self.arrive(chance),
            Step::Answer(length) => {
                self.arrive(chance);
                if !self.closed && self.server.end() != End::Refused {
                    let said = bytes(length, b'a');
                    let wire = self.server.answer(&said);
                    self.said.extend(said);
                    self.hear(&wire);
                }
            }
            Step::End => {
                self.arrive(chance);
                if !self.closed && self.server.end() != End::Refused {
                    self.closed = true;
                    let wire = self.server.close();
                    self.hear(&wire);
                }
            }
        }
    }

    /// What the client has said arrives, in reads that end anywhere.
    fn arrive(&mut self, chance: &mut Xorshift64) {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while !rest.is_empty() {
            let longest = [1, 2, 7, 40, 1000, 1 << 20][chance.below(6)].min(rest.len());
            let (read, later) = rest.split_at(1 + chance.below(longest));
            rest = later;
            let said = self.server.arrive(read, chance);
            self.hear(&said);
            if self.server.end() == End::Refused {
                return;
            }
        }
    }

    /// The client makes sense of what the server says.
    fn hear(&mut self, wire: &[u8]) {
        for received in self.client.receive(wire).unwrap_or_else(|alert| panic!("the client would say {alert:?}")) {
            assert!(!self.told_closed, "{received:?} behind close_notify");
            match received {
                Received::Data(bytes) => self.download.extend(bytes),
                Received::Alert(AlertDescription::CloseNotify) => self.told_closed = true,
                Received::Alert(AlertDescription::NoRenegotiation) => assert!(!self.is_tls13),
                Received::Alert(alert) => assert_eq!(self.server.end(), End::Refused, "{alert:?}"),
                Received::KeyUpdate(wanted) => assert!(self.is_tls13 && !wanted),
                Received::Ticket => assert!(self.is_tls13),
            }
        }
    }

    fn outcome(self) -> Outcome {
        assert!(self.download == self.said, "{} of {} bytes of the app arrived", self.download.len(), self.said.len());
        assert_eq!(self.closed && S::CLOSES, self.told_closed);
        Outcome { end: self.server.end(), upload: self.server.upload() }
    }
}

fn bytes(length: usize, first: u8) -> Vec<u8> {
    (0..length).map(|at| first.wrapping_add((at % 251) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many schedules are tried: more by `VESTIBULE_TEST_SCHEDULES`.
    const SCHEDULES: u64 = 3000;

    #[test]
    fn every_schedule_comes_to_the_same_end_as_with_rustls() {
        let schedules = std::env::var("VESTIBULE_TEST_SCHEDULES").ok().map_or(SCHEDULES, |many| many.parse().unwrap());
        let first = std::env::var("VESTIBULE_TEST_FIRST").ok().map_or(1, |first| first.parse().unwrap());
        let (mut steps, mut ends) = (0, [0; 3]);
        for seed in first..first + schedules {
            let mut chance = Xorshift64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let length = 10 + 2 * chance.below(MAX_STEPS);
            let bytes: Vec<u8> = (0..length).map(|_| chance.below(256) as u8).collect();
            let schedule = Schedule::from_bytes(&bytes);
            schedule.run();
            steps += schedule.steps();
            ends[schedule.hold::<OurServer>().end as usize] += 1;
        }
        println!("{steps} steps in {schedules} schedules; open, closed, refused: {ends:?}");
        // Each kind of end is tried.
        assert!(ends.iter().all(|count| *count * 30 > schedules), "{ends:?}");
    }
}
