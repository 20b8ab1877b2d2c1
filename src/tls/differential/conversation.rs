//! A peer that says whatever its keys allow, and what becomes of the session that hears it.

use super::*;

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    Open,
    /// The peer has sent close_notify.
    Closed,
    /// The peer broke the protocol, or ended the session by an alert.
    Refused,
}

/// What has become of a conversation.
#[derive(PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) end: SessionEnd,
    /// What the app has got.
    pub(super) received: Vec<u8>,
    /// Tickets that are kept for other sessions.
    pub(super) tickets: usize,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {} bytes, with {} tickets", self.end, self.received.len(), self.tickets)
    }
}

/// What the two sides of a schedule's conversations are set up with.
pub(super) struct Ends {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    /// What the client keeps of them.
    kept: Arc<ClientSessionMemoryCache>,
}

impl Ends {
    pub(super) fn with_suite(suite: usize) -> Self {
        let (server, client) = &CONFIGS[suite];
        let kept = Arc::new(ClientSessionMemoryCache::new(1));
        // Nothing is resumed from a conversation of another schedule.
        let resumption = Resumption::store(Arc::clone(&kept) as Arc<dyn ClientSessionStore>);
        let mut client = ClientConfig::clone(client);
        client.resumption = resumption;
        Self { server: Arc::clone(server), client: Arc::new(client), kept }
    }

    /// How many tickets of TLS 1.3 the client has kept.
    pub(super) fn tickets(&self) -> usize {
        std::iter::from_fn(|| self.kept.take_tls13_ticket(&SERVER_NAME)).count()
    }
}

/// One of the two, and a peer that it has shaken hands with.
pub(super) struct Met<S, D> {
    subject: S,
    peer: TestPeer<D>,
    /// The peer's last flight, which has not arrived yet.
    flight: Vec<u8>,
    /// The message by which the peer wants to begin anew.
    renegotiation: Vec<u8>,
}

pub(super) fn meet_client<S: SessionSubject>(
    mut subject: S,
    ends: &Ends,
    chance: &mut Xorshift64,
) -> Met<S, ClientConnectionData> {
    let mut renegotiation = Vec::new();
    let shaken = TestClient::connect(Arc::clone(&ends.client), |sent| {
        if renegotiation.is_empty() {
            renegotiation = sent[5..].to_vec();
        }
        subject.arrive(sent, chance)
    });
    let (peer, flight) = shaken.unwrap();
    Met { subject, peer, flight, renegotiation }
}

pub(super) fn meet_server<S: SessionSubject>(
    mut subject: S,
    ends: &Ends,
    chance: &mut Xorshift64,
) -> Met<S, ServerConnectionData> {
    let (peer, flight) = TestServer::accept(Arc::clone(&ends.server), |sent| subject.arrive(sent, chance)).unwrap();
    Met { subject, peer, flight, renegotiation: vec![0; 4] }
}

/// A peer, and one of the two.
pub(super) struct Conversation<S, D> {
    pub(super) subject: S,
    peer: TestPeer<D>,
    renegotiation: Vec<u8>,
    is_tls13: bool,
    /// What the peer has said and what has not arrived.
    pending: Vec<u8>,
    /// What the app has said, and what of it the peer has got.
    said: Vec<u8>,
    heard: Vec<u8>,
    /// The app has said everything; the peer has been told so.
    closed: bool,
    told_closed: bool,
}

impl<S: SessionSubject, D> Conversation<S, D>
where
    KernelConnection<D>: TakeTicket,
{
    /// After the handshake. `joins`: the peer's last flight has not arrived yet.
    pub(super) fn begin(met: Met<S, D>, ends: &Ends, joins: bool, chance: &mut Xorshift64) -> Self {
        let Met { subject, peer, flight, renegotiation } = met;
        let mut begun = Self {
            subject,
            peer,
            renegotiation,
            is_tls13: ends.server.crypto_provider().cipher_suites[0].tls13().is_some(),
            pending: flight,
            said: Vec::new(),
            heard: Vec::new(),
            closed: false,
            told_closed: false,
        };
        if !joins {
            begun.arrive(chance);
        }
        begun
    }

    pub(super) fn take(&mut self, step: Step, chance: &mut Xorshift64) {
        let peer = &mut self.peer;
        match step {
            Step::Data(length) => self.pending.extend(peer.seal(ContentType::ApplicationData, &bytes(length, b'u'))),
            Step::KeyUpdate { .. } | Step::KeyUpdateInParts { .. } | Step::StaleKeys | Step::Tickets { .. }
                if !self.is_tls13 => {}
            Step::KeyUpdate { wanted } => self.pending.extend(peer.update_keys(wanted)),
            Step::KeyUpdateInParts { wanted, at, interrupted } => {
                let message = [24, 0, 0, 1, u8::from(wanted)];
                self.pending.extend(peer.seal(ContentType::Handshake, &message[..at]));
                if interrupted {
                    self.pending.extend(peer.seal(ContentType::ApplicationData, b"between"));
                }
                self.pending.extend(peer.seal(ContentType::Handshake, &message[at..]));
                peer.take_new_keys();
            }
            Step::StaleKeys => self.pending.extend(peer.seal(ContentType::Handshake, &[24, 0, 0, 1, 1])),
            Step::Alert { level, description } => {
                self.pending.extend(peer.seal(ContentType::Alert, &[level, description]));
            }
            Step::CloseNotify => self.pending.extend(peer.seal(ContentType::Alert, &[1, 0])),
            // rustls reads a ClientHello before it declines it, and does not like an empty one.
            Step::Message(1) if !self.is_tls13 => {}
            Step::Message(typ) => self.pending.extend(peer.seal(ContentType::Handshake, &[typ, 0, 0, 0])),
            Step::Renegotiation => {
                let (start, rest) = self.renegotiation.split_at(1 + chance.below(self.renegotiation.len() - 1));
                for part in [start, rest] {
                    self.pending.extend(peer.seal(ContentType::Handshake, part));
                }
            }
            Step::Tickets { many, length, update, wanted } => {
                let mut messages = ticket(length).repeat(many);
                if update {
                    messages.extend([24, 0, 0, 1, u8::from(wanted)]);
                }
                let mut rest = &messages[..];
                while !rest.is_empty() {
                    // Not in so many records that rustls, which keeps them until a message is whole, has no room for them.
                    let longest = [1, 40, MAX_FRAGMENT][chance.below(3)];
                    let (part, later) = rest.split_at(rest.len().min(1 + rest.len() / 100 + chance.below(longest)));
                    rest = later;
                    self.pending.extend(peer.seal(ContentType::Handshake, part));
                }
                if update {
                    peer.take_new_keys();
                }
            }
            Step::Record(typ) => self.pending.extend(peer.seal(typ.into(), &[1])),
            Step::Damaged(length) => {
                let mut record = peer.seal(ContentType::ApplicationData, &bytes(length, b'd'));
                let at = 5 + chance.below(record.len() - 5);
                record[at] ^= 1 << chance.below(8);
                self.pending.extend(record);
            }
            Step::Arrival => self.arrive(chance),
            Step::Answer(length) => {
                self.arrive(chance);
                if !self.closed && self.subject.end() != SessionEnd::Refused {
                    let said = bytes(length, b'a');
                    let wire = self.subject.answer(&said);
                    self.said.extend(said);
                    self.hear(&wire);
                }
            }
            Step::End => {
                self.arrive(chance);
                if !self.closed && self.subject.end() != SessionEnd::Refused {
                    self.closed = true;
                    let wire = self.subject.close();
                    self.hear(&wire);
                }
            }
        }
    }

    /// What the peer has said arrives, in reads that end anywhere.
    pub(super) fn arrive(&mut self, chance: &mut Xorshift64) {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while !rest.is_empty() {
            let longest = [1, 2, 7, 40, 1000, 1 << 20][chance.below(6)].min(rest.len());
            let (read, later) = rest.split_at(1 + chance.below(longest));
            rest = later;
            let said = self.subject.arrive(read, chance);
            self.hear(&said);
            if self.subject.end() == SessionEnd::Refused {
                return;
            }
        }
    }

    /// The peer makes sense of what it is told.
    fn hear(&mut self, wire: &[u8]) {
        for received in self.peer.receive(wire).unwrap_or_else(|alert| panic!("the peer would say {alert:?}")) {
            assert!(!self.told_closed, "{received:?} behind close_notify");
            match received {
                Received::Data(bytes) => self.heard.extend(bytes),
                Received::Alert(AlertDescription::CloseNotify) => self.told_closed = true,
                Received::Alert(AlertDescription::NoRenegotiation) => assert!(!self.is_tls13),
                Received::Alert(alert) => assert_eq!(self.subject.end(), SessionEnd::Refused, "{alert:?}"),
                Received::KeyUpdate(wanted) => assert!(self.is_tls13 && !wanted),
                Received::Ticket => assert!(self.is_tls13),
            }
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        assert!(self.heard == self.said, "{} of {} bytes of the app arrived", self.heard.len(), self.said.len());
        assert_eq!(self.closed && S::CLOSES, self.told_closed);
        Outcome { end: self.subject.end(), received: self.subject.into_received(), tickets: 0 }
    }
}

/// A ticket of so many bytes (RFC 8446, 4.6.1): lifetime, what is added to its age, nonce, itself, no extensions.
fn ticket(length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap();
    let mut content = vec![0, 0, 14, 16, 1, 2, 3, 4, 1, 0];
    content.extend(length.to_be_bytes());
    content.extend(bytes(length.into(), b't'));
    content.extend([0, 0]);
    let mut message = u32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    message[0] = 4;
    message.extend(content);
    message
}

fn bytes(length: usize, first: u8) -> Vec<u8> {
    (0..length).map(|at| first.wrapping_add((at % 251) as u8)).collect()
}
