//! A DNS server that says what a test wants, and a network of the test's own in which it can.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};

/// What there is to say of a name.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Its addresses of both families, and their TTL in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// It is called otherwise.
    Alias(String),
    /// It is there, and has no address.
    NoData,
    ServFail,
    /// Its addresses of one family, and a failure for the other, whose type this is.
    HalfFailed(Vec<IpAddr>, u16),
    /// Nothing is said.
    Silence,
}

/// The server, on 127.0.0.1:53. Names that it does not know do not exist.
#[derive(Clone)]
pub(crate) struct Dns(Arc<Mutex<Zone>>);

#[derive(Default)]
struct Zone {
    replies: BTreeMap<String, Reply>,
    /// Name, type, and whether it was asked over TCP.
    asked: Vec<(String, u16, bool)>,
}

const A: u16 = 1;
const CNAME: u16 = 5;
pub(crate) const AAAA: u16 = 28;

/// What a client takes by UDP.
const MOST_BY_UDP: usize = 1232;

impl Dns {
    pub(crate) fn start() -> Self {
        let dns = Self(Arc::default());
        let udp = UdpSocket::bind("127.0.0.1:53").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:53").unwrap();
        std::thread::spawn({
            let dns = dns.clone();
            move || {
                let mut query = [0; 4096];
                while let Ok((length, from)) = udp.recv_from(&mut query) {
                    if let Some(answer) = dns.answer(&query[..length], false) {
                        let _ = udp.send_to(&answer, from);
                    }
                }
            }
        });
        std::thread::spawn({
            let dns = dns.clone();
            move || {
                for mut stream in tcp.incoming().map_while(Result::ok) {
                    let dns = dns.clone();
                    std::thread::spawn(move || {
                        let mut length = [0; 2];
                        while stream.read_exact(&mut length).is_ok() {
                            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                            stream.read_exact(&mut query).unwrap();
                            let Some(answer) = dns.answer(&query, true) else { return };
                            stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                            stream.write_all(&answer).unwrap();
                        }
                    });
                }
            }
        });
        dns
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.0.lock().unwrap()
    }

    /// From now on this is said of `name`, which is absolute and ends without a dot.
    pub(crate) fn say(&self, name: &str, reply: Reply) {
        self.zone().replies.insert(name.to_owned(), reply);
    }

    /// The names that were asked for so far, each with its type, and those over TCP apart.
    pub(crate) fn asked(&self) -> Vec<(String, u16, bool)> {
        self.zone().asked.clone()
    }

    /// How often the address of `name` was asked for.
    pub(crate) fn times(&self, name: &str) -> usize {
        self.zone().asked.iter().filter(|(asked, kind, _)| asked == name && *kind == A).count()
    }

    fn answer(&self, query: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        let (name, question) = question(query);
        let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
        let mut zone = self.zone();
        zone.asked.push((name.clone(), kind, by_tcp));
        let (rcode, records) = match zone.replies.get(&name) {
            None => (3, Vec::new()),
            Some(Reply::Silence) => return None,
            Some(Reply::ServFail) => (2, Vec::new()),
            Some(Reply::HalfFailed(_, failing)) if *failing == kind => (2, Vec::new()),
            Some(Reply::HalfFailed(addresses, _)) => (0, records(addresses, kind, 0, &[0xc0, 12])),
            Some(Reply::NoData) => (0, Vec::new()),
            Some(Reply::Addresses(addresses, ttl)) => (0, records(addresses, kind, *ttl, &[0xc0, 12])),
            Some(Reply::Alias(to)) => {
                let target = encoded(to);
                let mut all = vec![record(&[0xc0, 12], CNAME, 0, &target)];
                if let Some(Reply::Addresses(addresses, ttl)) = zone.replies.get(to) {
                    all.extend(records(addresses, kind, *ttl, &target));
                }
                (0, all)
            }
        };
        let mut flags = [0x81, 0x80 | rcode];
        let mut count = u16::try_from(records.len()).unwrap();
        let mut body = records.concat();
        if !by_tcp && 12 + question.len() + body.len() > MOST_BY_UDP {
            flags[0] |= 2;
            (count, body) = (0, Vec::new());
        }
        let [high, low] = count.to_be_bytes();
        let mut answer = vec![query[0], query[1], flags[0], flags[1], 0, 1, high, low, 0, 0, 0, 0];
        answer.extend_from_slice(question);
        answer.extend_from_slice(&body);
        Some(answer)
    }
}

/// The name that is asked for, and the bytes of the question.
fn question(query: &[u8]) -> (String, &[u8]) {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..at + 1 + length].to_vec()).unwrap().to_lowercase());
        at += 1 + length;
    }
    (labels.join("."), &query[12..at + 5])
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn record(name: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [name, &kind.to_be_bytes(), &1_u16.to_be_bytes(), &ttl.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn records(addresses: &[IpAddr], kind: u16, ttl: u32, name: &[u8]) -> Vec<Vec<u8>> {
    let data = addresses.iter().filter_map(|address| match (address, kind) {
        (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
        (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
        _ => None,
    });
    data.map(|data| record(name, kind, ttl, &data)).collect()
}

/// Runs the test called `test` in a network of its own, where the DNS server is 127.0.0.1 and `resolv_conf` says more; whether this is
/// there already.
pub(crate) fn in_a_network_of_its_own(test: &str, resolv_conf: &str) -> bool {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, format!("nameserver 127.0.0.1\n{resolv_conf}\n")).unwrap();
    let prepare = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf";
    super::machine::in_namespaces(test, &["--net", "--mount"], prepare, &file)
}
