//! A DNS server that says much, on sockets.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::*;
use crate::budget::{Budgets, Overdraft, Reservation};
use crate::outbound::resolve::{MAX_ADDRESSES, Resolution, resolve_by};

const NAME: &str = "backend.apps.internal";
const A: u16 = 1;
const CNAME: u16 = 5;

/// What is answered, behind the question.
#[derive(Clone, Copy)]
enum Answer {
    /// So many addresses; none of the other family.
    Addresses(u16),
    /// As many aliases as there is place for, whose names are as long as names may be.
    LongNames,
}

/// The answer to `question`, in `room` bytes.
fn answer(question: &[u8], answer: Answer, room: usize) -> Vec<u8> {
    let name = question[HEADER..].iter().position(|byte| *byte == 0).unwrap();
    let mut said = question[..HEADER + name + 1 + 4].to_vec();
    let kind = u16::from_be_bytes([said[said.len() - 4], said[said.len() - 3]]);
    let record = |owner: u16, kind: u16, data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&owner.to_be_bytes()[..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
    };
    let mut records = Vec::new();
    match answer {
        Answer::Addresses(count) if kind == A => {
            records.extend((0..count).map(|nth| record(0xc00c, A, &[&[10, 9], &nth.to_be_bytes()[..]].concat())));
        }
        Answer::Addresses(_) => {}
        Answer::LongNames => {
            let long = [b"\x01a".repeat(120), vec![0]].concat();
            let pointer = 0xc000 | u16::try_from(said.len() + 12).unwrap();
            records.push(record(0xc00c, CNAME, &long));
            let next = record(pointer, CNAME, &pointer.to_be_bytes());
            let more = (room - said.len() - records[0].len()) / next.len();
            records.extend(std::iter::repeat_n(next, more));
        }
    }
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let is_cut = said.len() + records.iter().map(Vec::len).sum::<usize>() > room;
    said[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, count[0], count[1], 0, 0, 0, 0]);
    if is_cut {
        // TC: what is asked by TCP is answered whole.
        (said[2], said[6], said[7]) = (0x83, 0, 0);
        return said;
    }
    said.extend(records.concat());
    said
}

const HEADER: usize = 12;

/// A server that answers whatever is asked; what asks it.
async fn server(says: Answer, tasks: &mut JoinSet<()>) -> (ResolverConfig, ResolverOpts) {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let port = udp.local_addr().unwrap().port();
    tasks.spawn(async move {
        let mut question = [0; 512];
        loop {
            let (length, from) = udp.recv_from(&mut question).await.unwrap();
            udp.send_to(&answer(&question[..length], says, 1200), from).await.unwrap();
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    stream.read_exact(&mut question).await.unwrap();
                    let said = answer(&question, says, 64_000);
                    let length = u16::try_from(said.len()).unwrap().to_be_bytes();
                    let _ = stream.write_all(&[&length[..], &said].concat()).await;
                }
            });
        }
    });
    let mut server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
    server.connections.iter_mut().for_each(|connection| connection.port = port);
    let mut options = ResolverOpts::default();
    options.use_hosts_file = ResolveHosts::Never;
    (ResolverConfig::from_parts(None, Vec::new(), vec![server]), options)
}

fn network(budget: &Arc<MemoryBudget>) -> CountedNetwork<TokioRuntimeProvider> {
    CountedNetwork::new(TokioRuntimeProvider::default(), Some(budget))
}

/// A budget of answers where there is so much memory for the rest.
fn budget(backlogs: Option<u64>) -> Arc<MemoryBudget> {
    Budgets::new(None, backlogs).lookups
}

#[tokio::test]
async fn of_an_answer_by_tcp_with_thousands_of_addresses_as_many_are_used_as_there_is_memory_for() {
    let mut tasks = JoinSet::new();
    let (config, options) = server(Answer::Addresses(3900), &mut tasks).await;
    for (backlogs, wanted) in [(None, MAX_ADDRESSES..=MAX_ADDRESSES), (Some(1 << 20), 64..=512)] {
        let budget = budget(backlogs);
        let resolution = resolve_by(config.clone(), options.clone(), network(&budget), NAME).await;
        let Resolution::Addresses(found, _) = resolution else { panic!("{resolution:?}") };
        assert!(wanted.contains(&found.len()), "{} for {backlogs:?}", found.len());
        assert_eq!(found[0], Ipv4Addr::new(10, 9, 0, 0));
        // What reads the connection beside is being ended.
        while budget.held() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn answers_of_names_that_become_long_are_bounded_and_count_until_they_were_looked_at() {
    let mut tasks = JoinSet::new();
    let (config, options) = server(Answer::LongNames, &mut tasks).await;
    let budget = budget(Some(4 << 20));
    let network = network(&budget);
    let memory = Arc::clone(network.memory());
    let resolving = tokio::spawn(async move { resolve_by(config, options, network, NAME).await });
    let resolution = resolving.await.unwrap();
    assert!(matches!(resolution, Resolution::Failed(_) | Resolution::Empty), "{resolution:?}");
    assert!(memory.left.load(Ordering::Relaxed) < 100_000, "it has said as much as it may");
    assert!(budget.held() > 100_000, "what came is there as long as somebody may look at it");
    drop(memory);
    assert_eq!(budget.held(), 0);
}

/// All of `budget`, and more.
fn spent(budget: &Arc<MemoryBudget>) -> (Reservation, Overdraft) {
    let mut others = budget.reservation();
    others.set(10 << 20);
    (others, budget.overdraw().unwrap())
}

#[tokio::test]
async fn a_few_addresses_wait_for_nobody_however_much_others_are_told() {
    let mut tasks = JoinSet::new();
    let (config, options) = server(Answer::Addresses(3), &mut tasks).await;
    let budget = budget(Some(1 << 20));
    let _spent = spent(&budget);
    let network = network(&budget);
    let memory = Arc::clone(network.memory());
    let resolution = resolve_by(config, options, network, NAME).await;
    assert!(matches!(&resolution, Resolution::Addresses(found, _) if found.len() == 3), "{resolution:?}");
    assert!(!memory.has_waited());
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_memory_waits_and_a_lookup_that_has_waited_says_so() {
    let mut tasks = JoinSet::new();
    let (config, options) = server(Answer::Addresses(30), &mut tasks).await;
    let budget = budget(Some(1 << 20));
    let (others, overdraft) = spent(&budget);
    let lookup = {
        let (config, options, network) = (config.clone(), options.clone(), network(&budget));
        tokio::spawn(async move { resolve_by(config, options, network, NAME).await })
    };
    let resolution = lookup.await.unwrap();
    let Resolution::Failed(why) = resolution else { panic!("{resolution:?}") };
    assert_eq!(why, "memory is short, and what the DNS server says has no room");

    let network = network(&budget);
    let memory = Arc::clone(network.memory());
    let lookup = tokio::spawn(async move { resolve_by(config, options, network, NAME).await });
    while !memory.has_waited() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop((others, overdraft));
    let resolution = lookup.await.unwrap();
    assert!(matches!(&resolution, Resolution::Addresses(found, _) if found.len() == 30), "{resolution:?}");
}
