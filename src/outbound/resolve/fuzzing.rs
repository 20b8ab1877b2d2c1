//! What the fuzz target of DNS answers holds, with a server that says whatever it is given.

use std::collections::{HashSet, VecDeque};
use std::future::{Future, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::TcpStream;

use super::{CountedNetwork, MAX_ADDRESSES, Resolution, resolve_by};

/// The name that is looked up, and the domain that is searched for it.
const NAME: &str = "backend.apps.internal";
const LABEL: &str = "backend";
const DOMAIN: &str = "apps.internal";

/// The length of a header of DNS, and of the type and class behind a question's name, in bytes (RFC 1035, 4.1).
const HEADER: usize = 12;
const TYPE_AND_CLASS: usize = 4;

/// The types of records that are asked for (RFC 1035, 3.2.2; RFC 3596).
const TYPES: [u16; 3] = [1, 28, 5];

/// More questions than this are asked for no name, whatever is answered.
const MAX_QUESTIONS: usize = 128;

/// What the server says: each answer once, to questions for its type in their order, and then nothing.
#[derive(Debug, Default)]
struct AnswerScript {
    /// By type: flags, three counts and all that follows the question.
    answers: [VecDeque<Vec<u8>>; TYPES.len()],
    asked: usize,
    /// As they were sent.
    said: Vec<Vec<u8>>,
}

/// A network with one server, which has no TCP.
#[derive(Clone)]
struct ScriptedNetwork {
    script: Arc<Mutex<AnswerScript>>,
    /// What the resolver does beside ends with the last of these.
    handle: TokioHandle,
}

/// A socket, and the question that was sent by it.
struct ScriptedSocket {
    script: Arc<Mutex<AnswerScript>>,
    question: Mutex<Option<(Vec<u8>, SocketAddr)>>,
}

/// Nothing in these can be left half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

impl AnswerScript {
    /// The answer to `question`; `None`: there is none.
    fn answer(&mut self, question: &[u8]) -> Option<Vec<u8>> {
        self.asked += 1;
        let name = question.get(HEADER..)?.iter().position(|byte| *byte == 0)?;
        let mut said = question.get(..HEADER + name + 1 + TYPE_AND_CLASS)?.to_vec();
        let kind = said[HEADER + name + 1..].first_chunk::<2>().map(|kind| u16::from_be_bytes(*kind));
        let answer = self.answers[TYPES.iter().position(|known| Some(*known) == kind)?].pop_front()?;
        let (fixed, rest) = answer.split_first_chunk::<5>()?;
        let [high, low, answers, authorities, additionals] = *fixed;
        // The question as it was put; QR says that this is an answer.
        said[2..HEADER].copy_from_slice(&[0x80 | high, low, 0, 1, 0, answers, 0, authorities, 0, additionals]);
        said.extend_from_slice(rest);
        self.said.push(said.clone());
        Some(said)
    }
}

impl DnsUdpSocket for ScriptedSocket {
    type Time = TokioTime;

    fn poll_recv_from(&self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let Some((question, server)) = lock(&self.question).take() else { return Poll::Ready(Err(refused())) };
        let Some(answer) = lock(&self.script).answer(&question) else { return Poll::Ready(Err(refused())) };
        // A datagram that is too long is cut.
        let length = answer.len().min(buf.len());
        buf[..length].copy_from_slice(&answer[..length]);
        Poll::Ready(Ok((length, server)))
    }

    fn poll_send_to(&self, _: &mut Context<'_>, buf: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        *lock(&self.question) = Some((buf.to_vec(), target));
        Poll::Ready(Ok(buf.len()))
    }
}

impl RuntimeProvider for ScriptedNetwork {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = ScriptedSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Self::Handle {
        self.handle.clone()
    }

    fn connect_tcp(
        &self,
        _: SocketAddr,
        _: Option<SocketAddr>,
        _: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        Box::pin(ready(Err(refused())))
    }

    fn bind_udp(&self, _: SocketAddr, _: SocketAddr) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        Box::pin(ready(Ok(ScriptedSocket { script: Arc::clone(&self.script), question: Mutex::default() })))
    }
}

/// What is found of the name where the server gives these answers. The first byte says whether the name has to be searched for; of each
/// answer come its type and length in two bytes, flags in two, the number of records in each section, and all that follows the question.
///
/// # Panics
/// Where an address was found that no answer has for this name, or one twice; where there are more than can be dealt with, and where more was
/// asked than it takes.
pub async fn answers(bytes: &[u8]) -> usize {
    match found(bytes).await {
        Resolution::Addresses(addresses, _) | Resolution::Partly(addresses, _) => addresses.len(),
        Resolution::Empty | Resolution::Failed(_) => 0,
    }
}

async fn found(bytes: &[u8]) -> Resolution {
    let (searches, mut rest) = bytes.split_first().map_or((false, bytes), |(first, rest)| (first & 1 == 1, rest));
    let mut script = AnswerScript::default();
    while let Some((head, behind)) = rest.split_first_chunk::<2>() {
        let head = u16::from_be_bytes(*head);
        let (answer, behind) = behind.split_at(usize::from(head & 0x3fff).min(behind.len()));
        script.answers[usize::from(head >> 14) % TYPES.len()].push_back(answer.to_vec());
        rest = behind;
    }
    let script = Arc::new(Mutex::new(script));
    let server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let domain = DOMAIN.parse::<Name>().into_iter().filter(|_| searches).collect();
    let config = ResolverConfig::from_parts(None, domain, vec![server]);
    let name = if searches { LABEL } else { NAME };
    let network = ScriptedNetwork { script: Arc::clone(&script), handle: TokioHandle::default() };
    let mut options = ResolverOpts::default();
    // What this machine knows by itself says nothing of answers.
    options.use_hosts_file = ResolveHosts::Never;
    let resolution = Box::pin(resolve_by(config, options, CountedNetwork::new(network, None), name)).await;
    let script = lock(&script);
    assert!(script.asked <= MAX_QUESTIONS, "{} questions were asked", script.asked);
    match &resolution {
        Resolution::Addresses(addresses, _) | Resolution::Partly(addresses, _) => {
            assert!(!addresses.is_empty() && addresses.len() <= MAX_ADDRESSES);
            let distinct: HashSet<_> = addresses.iter().collect();
            assert_eq!(distinct.len(), addresses.len());
            let of_name = addresses_of_name(&script.said);
            assert!(addresses.iter().all(|ip| of_name.contains(ip)), "{addresses:?} and not {of_name:?}");
        }
        Resolution::Failed(why) => assert!(why.len() < 1024, "{why}"),
        Resolution::Empty => {}
    }
    resolution
}

/// All that was said of the name and of whatever it is an alias of, in any order and any section.
fn addresses_of_name(said: &[Vec<u8>]) -> HashSet<IpAddr> {
    let messages: Vec<Message> = said.iter().filter_map(|bytes| Message::from_vec(bytes).ok()).collect();
    let records: Vec<&Record> = messages.iter().flat_map(Message::all_sections).collect();
    let mut names: HashSet<Name> = [NAME, LABEL].iter().filter_map(|name| name.parse().ok()).collect();
    names.iter().cloned().collect::<Vec<_>>().into_iter().for_each(|mut name| {
        name.set_fqdn(true);
        names.insert(name);
    });
    loop {
        let targets = records.iter().filter_map(|record| match &record.data {
            RData::CNAME(target) if names.contains(&record.name) => Some(target.0.clone()),
            _ => None,
        });
        let new: Vec<Name> = targets.filter(|target| !names.contains(target)).collect();
        if new.is_empty() {
            break;
        }
        names.extend(new);
    }
    let own = records.iter().filter(|record| names.contains(&record.name));
    own.filter_map(|record| record.data.ip_addr()).map(|ip| ip.to_canonical()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answer to questions for `kind`, as [`answers`] reads it.
    fn answer(kind: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut answer = vec![0, 0x80, u8::try_from(records.len()).unwrap(), 0, 0];
        answer.extend(records.concat());
        let queue = u16::try_from(TYPES.iter().position(|known| *known == kind).unwrap()).unwrap();
        let head = queue << 14 | u16::try_from(answer.len()).unwrap();
        [&head.to_be_bytes()[..], &answer].concat()
    }

    /// A record of `owner` in the Internet, which holds a minute.
    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
    }

    const ASKED: &[u8] = &[0xc0, 12];
    const OTHER: &[u8] = b"\x05other\0";
    const A: u16 = TYPES[0];
    const AAAA: u16 = TYPES[1];
    const CNAME: u16 = TYPES[2];
    const SRV: u16 = 33;

    #[tokio::test]
    async fn an_answer_counts_for_the_name_that_was_asked_and_its_aliases_and_for_no_other() {
        let ours = record(ASKED, A, &[192, 0, 2, 1]);
        let others = record(OTHER, A, &[192, 0, 2, 2]);
        let alias = record(ASKED, CNAME, OTHER);
        let service = record(OTHER, SRV, &[&[0; 6][..], OTHER].concat());
        let six = record(ASKED, AAAA, &[0x20; 16]);
        let found = async |records: &[Vec<u8>]| {
            let bytes = [&[0], &answer(A, records)[..], &answer(AAAA, &[]), &answer(CNAME, &[])].concat();
            found(&bytes).await
        };
        for (records, wanted) in [
            (vec![ours.clone(), others.clone()], vec![[192, 0, 2, 1]]),
            (vec![others.clone(), alias.clone()], vec![[192, 0, 2, 2]]),
            (vec![service, ours.clone(), others.clone()], vec![[192, 0, 2, 1]]),
            // Of the other family, which was not asked for here.
            (vec![ours.clone(), six], vec![[192, 0, 2, 1]]),
            (vec![ours.clone(), ours], vec![[192, 0, 2, 1]]),
        ] {
            let wanted = wanted.iter().map(|ip| IpAddr::from(*ip)).collect();
            let minute = Duration::from_secs(60);
            assert_eq!(found(&records).await, Resolution::Addresses(wanted, minute), "{records:?}");
        }
        assert_eq!(found(&[others]).await, Resolution::Empty);
    }
}
