//! Our session beside rustls's own, of either side: both are told the same by a client or a server that says whatever its keys allow,
//! cut into reads at random, and must come to the same end.
//!
//! A schedule is made of bytes, so that a fuzzer can write one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]

mod conversation;
mod subject;

use std::fmt;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use rustls::client::{
    ClientConnectionData, ClientSessionMemoryCache, ClientSessionStore, Resumption, UnbufferedClientConnection,
};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, ContentType, ServerConfig, ServerConnection,
};

use super::Session;
use super::handshake_driver::{HandshakeDriver, HandshakeSide};
use super::record::MAX_FRAGMENT;
use super::test_peer::{Received, TakeTicket, TestClient, TestPeer, TestServer, configs, provider_with};
use crate::io::Outgoing;

use self::conversation::{Conversation, Ends, Met, Outcome, SessionEnd, meet_client, meet_server};
use self::subject::{OurSession, RustlsSession, SessionSubject};

/// Steps of one schedule at most.
const MAX_STEPS: usize = 200;

/// The server of each conversation.
static SERVER_NAME: LazyLock<ServerName<'static>> =
    LazyLock::new(|| ServerName::DnsName(DnsName::try_from_str("app.test").unwrap()));

/// Who says whatever its keys allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The sessions that are compared are a server's.
    Client,
    /// They are a client's.
    Server,
}

/// What happens after the handshake, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The peer sends so many bytes, in one record.
    Data(usize),
    /// The peer takes new keys, and may want us to do the same.
    KeyUpdate { wanted: bool },
    /// The same, with its message cut in two records, and perhaps data between them, where none may be.
    KeyUpdateInParts { wanted: bool, at: usize, interrupted: bool },
    /// It announces new keys and does not take them.
    StaleKeys,
    /// An alert.
    Alert { level: u8, description: u8 },
    /// The peer's end.
    CloseNotify,
    /// Another message of a handshake.
    Message(u8),
    /// What in TLS 1.2 is the wish to begin anew, cut in two records: the client's first message once more, or a HelloRequest.
    Renegotiation,
    /// Tickets, and behind them perhaps a key update, cut into records anywhere.
    Tickets { many: usize, length: usize, update: bool, wanted: bool },
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
    peer: Peer,
    suite: usize,
    /// The session is resumed.
    resumes: bool,
    /// What follows the peer's last flight comes with it.
    joins: bool,
    /// Decides where reads are cut, and when we answer.
    seed: u64,
    steps: Vec<Step>,
}

impl Schedule {
    /// The one with `peer` that these bytes describe. Any bytes will do.
    pub fn from_bytes(peer: Peer, bytes: &[u8]) -> Self {
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
                13 => Step::KeyUpdateInParts { wanted: value % 2 == 0, at: 1 + length % 4, interrupted: value >= 240 },
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
                28 if value >= 128 && peer == Peer::Server => Step::Tickets {
                    many: 1 + length % 3,
                    length: length * (1 + usize::from(kind) / 32),
                    update: value & 4 == 4,
                    wanted: value & 8 == 8,
                },
                29 if value < 64 => Step::Renegotiation,
                // Of a message that cannot become a good one rustls waits for the rest, and we do not.
                30 if value < 32 && ContentType::from(value) != ContentType::Handshake => Step::Record(value),
                31 if value < 32 => Step::Damaged(length * 8),
                31 if value < 96 => Step::End,
                _ => Step::Arrival,
            });
        }
        Self { peer, suite, resumes: flags & 1 == 1, joins: flags & 2 == 2, seed, steps }
    }

    /// Steps in it.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Holds the conversation with us and with rustls.
    ///
    /// # Panics
    /// When the two come to different ends, or say something that the peer cannot make sense of.
    pub fn run(&self) {
        let (ours, rustls) = (self.with_us(), self.with_rustls());
        if self.is_tolerated_alike() {
            assert_eq!(ours, rustls, "{self:?}");
        }
    }

    fn with_us(&self) -> Outcome {
        match self.peer {
            Peer::Client => self.hold(|ends, chance| meet_client(OurSession::server(&ends.server), ends, chance)),
            Peer::Server => self.hold(|ends, chance| meet_server(OurSession::client(&ends.client), ends, chance)),
        }
    }

    fn with_rustls(&self) -> Outcome {
        match self.peer {
            Peer::Client => self.hold(|ends, chance| meet_client(RustlsSession::server(&ends.server), ends, chance)),
            Peer::Server => self.hold(|ends, chance| meet_server(RustlsSession::client(&ends.client), ends, chance)),
        }
    }

    /// Holds the conversation, with two that `meet`; gives what has become of it.
    fn hold<S: SessionSubject, D>(&self, meet: impl Fn(&Ends, &mut Xorshift64) -> Met<S, D>) -> Outcome
    where
        KernelConnection<D>: TakeTicket,
    {
        let ends = Ends::with_suite(self.suite);
        let mut chance = Xorshift64(self.seed | 1);
        if self.resumes {
            // For the ticket.
            Conversation::begin(meet(&ends, &mut chance), &ends, false, &mut chance);
        }
        let mut conversation = Conversation::begin(meet(&ends, &mut chance), &ends, self.joins, &mut chance);
        for step in &self.steps {
            if conversation.subject.end() == SessionEnd::Refused {
                break;
            }
            conversation.take(*step, &mut chance);
        }
        conversation.arrive(&mut chance);
        Outcome { tickets: ends.tickets(), ..conversation.outcome() }
    }

    /// Whether we and rustls bear as much of it. In a row rustls bears 32 empty records, and 32 key updates without data of the
    /// peer; we bear any number of the former, and data of the app counts too.
    fn is_tolerated_alike(&self) -> bool {
        let run_of = |counts: fn(&Step) -> bool, ends: fn(&Step) -> bool| {
            let lengths = self.steps.iter().scan(0, |length, step| {
                *length = if ends(step) { 0 } else { *length + usize::from(counts(step)) };
                Some(*length)
            });
            lengths.max().unwrap_or_default()
        };
        let has_data = |step: &Step| matches!(step, Step::Data(1..));
        let updates = |step: &Step| {
            matches!(step, Step::KeyUpdate { .. } | Step::KeyUpdateInParts { .. } | Step::Tickets { update: true, .. })
        };
        run_of(|step| *step == Step::Data(0), has_data) < 32 && run_of(updates, has_data) < 32
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suite = CONFIGS[self.suite].0.crypto_provider().cipher_suites[0].suite();
        write!(
            f,
            "{:?}, {suite:?}, resumes {}, joins {}, seed {}: {:?}",
            self.peer, self.resumes, self.joins, self.seed, self.steps
        )
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How many schedules are tried with each peer: more by `VESTIBULE_TEST_SCHEDULES`.
    const SCHEDULES: u64 = 1000;

    #[test]
    fn every_schedule_of_a_client_comes_to_the_same_end_as_with_rustls() {
        try_schedules(Peer::Client);
    }

    #[test]
    fn every_schedule_of_a_server_comes_to_the_same_end_as_with_rustls() {
        try_schedules(Peer::Server);
    }

    fn try_schedules(peer: Peer) {
        let schedules = std::env::var("VESTIBULE_TEST_SCHEDULES").ok().map_or(SCHEDULES, |many| many.parse().unwrap());
        let first = std::env::var("VESTIBULE_TEST_FIRST").ok().map_or(1, |first| first.parse().unwrap());
        let (mut steps, mut ends, mut with_tickets) = (0, [0; 3], 0);
        for seed in first..first + schedules {
            let mut chance = Xorshift64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let length = 10 + 2 * chance.below(MAX_STEPS);
            let bytes: Vec<u8> = (0..length).map(|_| chance.below(256) as u8).collect();
            let schedule = Schedule::from_bytes(peer, &bytes);
            schedule.run();
            steps += schedule.steps();
            let outcome = schedule.with_us();
            ends[outcome.end as usize] += 1;
            with_tickets += u64::from(outcome.tickets > 1);
        }
        println!(
            "{steps} steps in {schedules} schedules of a {peer:?}; open, closed, refused: {ends:?}; {with_tickets} with tickets"
        );
        // Each kind of end is tried, and more tickets than come with the handshake.
        assert!(ends.iter().all(|count| *count * 30 > schedules), "{ends:?}");
        assert!(peer == Peer::Client || with_tickets * 30 > schedules, "{with_tickets}");
    }
}
