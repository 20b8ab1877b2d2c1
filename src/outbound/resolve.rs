//! DNS: all addresses of a name, and whether there are none or nobody could say.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::budget::MemoryBudget;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod network;
mod system_config;
mod truncation;

use network::CountedNetwork;

/// How long one try may take, and how many there are.
const TRY: Duration = Duration::from_secs(1);
const TRIES: usize = 2;

/// How long the second family is waited for, once there are addresses of the first.
const OTHER_FAMILY: Duration = Duration::from_millis(200);

/// What is in `/etc/hosts` holds for so long.
const HOSTS: Duration = Duration::from_secs(30);

/// Aliases that the resolver follows, one behind the other.
const MAX_ALIASES: usize = 7;

/// More addresses than that are left out: a name has a few hundred instances at most.
const MAX_ADDRESSES: usize = 1024;

/// What there is to say of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Its addresses, and for how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// Those of one family; of the other nobody could say: what was known of that holds.
    Partly(Vec<IpAddr>, Family),
    /// It has none.
    Empty,
    /// Nobody could say, for this reason: what was known holds.
    Failed(String),
}

/// A kind of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Four,
    Six,
}

impl Family {
    /// Whether `ip` is of it.
    pub(super) fn has(self, ip: IpAddr) -> bool {
        (self == Self::Four) == ip.is_ipv4()
    }

    fn kind(self) -> RecordType {
        match self {
            Self::Four => RecordType::A,
            Self::Six => RecordType::AAAA,
        }
    }
}

/// The DNS answer for one address family: A or AAAA.
enum DnsAnswer {
    Addresses(Vec<IpAddr>, Duration),
    /// The name is there, and has no address of the family.
    NoData,
    /// There is no such name.
    NoName,
    Failed(String),
}

/// Looks `name` up: in `/etc/hosts`, else by the servers of `/etc/resolv.conf`, both of which are read each time. Nothing is kept. What servers
/// answer waits for room of the `budget`, where there is one.
pub(super) async fn resolve(name: &str, budget: Option<&Arc<MemoryBudget>>) -> Resolution {
    let (config, options) = match system_config::read() {
        Ok(read) => read,
        Err(error) => return Resolution::Failed(format!("/etc/resolv.conf: {error}")),
    };
    resolve_by(config, options, CountedNetwork::new(TokioRuntimeProvider::default(), budget), name).await
}

/// The same by the servers of `config`, which are reached through `network`.
async fn resolve_by<P: RuntimeProvider<Tcp = AsyncIoTokioAsStd<TcpStream>>>(
    config: ResolverConfig,
    options: ResolverOpts,
    network: CountedNetwork<P>,
    name: &str,
) -> Resolution {
    let search = config.search().to_vec();
    let memory = Arc::clone(network.memory());
    let mut builder = Resolver::builder_with_config(config, network);
    let opts = builder.options_mut();
    *opts = options;
    (opts.cache_size, opts.edns0, opts.timeout, opts.attempts) = (0, true, TRY, TRIES);
    let resolver = match builder.build() {
        Ok(resolver) => resolver,
        Err(error) => return Resolution::Failed(error.to_string()),
    };
    let Ok(absolute) = name.parse::<Name>().map(fully_qualified) else {
        return Resolution::Failed("it is not a name".to_owned());
    };
    let searched = search.iter().filter_map(|domain| name.parse::<Name>().ok()?.append_domain(domain).ok());
    let searched = searched.map(fully_qualified);
    // A name of one label is this machine's first, then one of the search list.
    if !name.contains('.')
        && let Some(addresses) = in_hosts_file(&absolute)
    {
        return addresses;
    }
    let names: Vec<Name> = match name {
        _ if name.ends_with('.') => vec![absolute],
        // Each name of the list costs two questions: a name that is whole is asked first.
        _ if name.contains('.') => std::iter::once(absolute).chain(searched).collect(),
        _ => searched.chain(std::iter::once(absolute)).collect(),
    };
    for name in names {
        match both_families(&resolver, name).await {
            // The resolver knows of no other cause than that it took too long.
            Some(Resolution::Failed(_)) if memory.has_waited() => {
                return Resolution::Failed("memory is short, and what the DNS server says has no room".to_owned());
            }
            Some(resolution) => return resolution,
            None => {}
        }
    }
    Resolution::Empty
}

/// What `/etc/hosts` says of `name`, and of localhost whatever it says.
fn in_hosts_file(name: &Name) -> Option<Resolution> {
    let hosts = Hosts::from_system().unwrap_or_default();
    let of = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [of(RecordType::A), of(RecordType::AAAA)].into_iter().flatten();
    let ips: Vec<IpAddr> =
        found.flat_map(|found| found.answers().to_vec()).filter_map(|record| record.data.ip_addr()).collect();
    match ips.is_empty() {
        true if name.is_localhost() => {
            Some(addresses([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into_iter(), HOSTS))
        }
        true => None,
        false => Some(addresses(ips.into_iter(), HOSTS)),
    }
}

fn fully_qualified(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

/// What both families say of `name`; `None`: there is no such name.
async fn both_families<P: RuntimeProvider>(resolver: &Resolver<P>, name: Name) -> Option<Resolution> {
    let ask = async |family: Family| answer(resolver.lookup(name.clone(), family.kind()).await, &name, family);
    let (mut four, mut six) = (pin!(ask(Family::Four)), pin!(ask(Family::Six)));
    let (one, other, family) = tokio::select! {
        one = &mut four => resolve_other_family(one, six, Family::Six).await,
        one = &mut six => resolve_other_family(one, four, Family::Four).await,
    };
    Some(match (one, other) {
        (DnsAnswer::Addresses(four, four_ttl), DnsAnswer::Addresses(six, six_ttl)) => {
            addresses(four.into_iter().chain(six), four_ttl.min(six_ttl))
        }
        (DnsAnswer::Addresses(known, _), DnsAnswer::Failed(_)) => {
            Resolution::Partly(distinct(known.into_iter()), family)
        }
        (DnsAnswer::Failed(_), DnsAnswer::Addresses(known, _)) => {
            let family = if family == Family::Six { Family::Four } else { Family::Six };
            Resolution::Partly(distinct(known.into_iter()), family)
        }
        (DnsAnswer::Addresses(known, ttl), _) | (_, DnsAnswer::Addresses(known, ttl)) => {
            addresses(known.into_iter(), ttl)
        }
        (DnsAnswer::Failed(why), _) | (_, DnsAnswer::Failed(why)) => Resolution::Failed(why),
        (DnsAnswer::NoData, _) | (_, DnsAnswer::NoData) => match endless(resolver, name.clone()).await {
            Some(why) => Resolution::Failed(why),
            None => Resolution::Empty,
        },
        (DnsAnswer::NoName, DnsAnswer::NoName) => return None,
    })
}

/// `one`, and what `other` says, which is of `family`: where there are addresses already, it is not waited for (RFC 8305, 3), and nobody has
/// said that there are none of the other.
async fn resolve_other_family(
    one: DnsAnswer,
    other: impl Future<Output = DnsAnswer>,
    family: Family,
) -> (DnsAnswer, DnsAnswer, Family) {
    let other = match one {
        DnsAnswer::Addresses(..) => {
            timeout(OTHER_FAMILY, other).await.unwrap_or_else(|_| DnsAnswer::Failed("it was not waited for".to_owned()))
        }
        _ => other.await,
    };
    (one, other, family)
}

/// Why nobody knows whether `name` has an address, though none was said: its aliases were not followed to their end. The resolver says of such
/// a name the same as of one without an address.
async fn endless<P: RuntimeProvider>(resolver: &Resolver<P>, mut name: Name) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let found = resolver.lookup(name.clone(), RecordType::CNAME).await.ok();
        let target = |record: &Record| match &record.data {
            RData::CNAME(target) if record.name == name => Some(target.0.clone()),
            _ => None,
        };
        let target = found.and_then(|found| found.answers().iter().find_map(target));
        let Some(target) = target else {
            return (seen.len() > MAX_ALIASES)
                .then(|| format!("{MAX_ALIASES} aliases lead to another one, which is not followed"));
        };
        seen.push(name);
        if seen.contains(&target) {
            return Some("its aliases lead in a circle".to_owned());
        }
        if seen.len() > 2 * MAX_ALIASES {
            return Some("its aliases have no end".to_owned());
        }
        name = target;
    }
}

fn addresses(all: impl Iterator<Item = IpAddr>, ttl: Duration) -> Resolution {
    Resolution::Addresses(distinct(all), ttl)
}

fn distinct(all: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in all.map(|ip| ip.to_canonical()).take(MAX_ADDRESSES) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
}

/// What was found of `name` in `family`.
fn answer(found: Result<Lookup, NetError>, name: &Name, family: Family) -> DnsAnswer {
    match found {
        Ok(lookup) => {
            let records = of_name(lookup.answers(), name, family);
            let ips: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
            // Of the aliases as well: whichever ends first may lead elsewhere.
            let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
            if ips.is_empty() { DnsAnswer::NoData } else { DnsAnswer::Addresses(ips, Duration::from_secs(ttl.into())) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain => DnsAnswer::NoName,
            ResponseCode::NoError => DnsAnswer::NoData,
            code => DnsAnswer::Failed(format!("the DNS server says {code}")),
        },
        Err(NetError::Dns(DnsError::ResponseCode(code))) => DnsAnswer::Failed(format!("the DNS server says {code}")),
        Err(NetError::Timeout) => DnsAnswer::Failed(format!("no DNS server has answered within {:?}", TRY * 2)),
        Err(NetError::NoConnections) => DnsAnswer::Failed("no DNS server can be reached".to_owned()),
        Err(error) => DnsAnswer::Failed(error.to_string()),
    }
}

/// Those of `records` that say something of `name` in `family`: its addresses, those of the name that it is an alias of, and the aliases
/// between them. The resolver gives all that stands in an answer, and what a server says of other names was not asked.
fn of_name<'a>(records: &'a [Record], name: &'a Name, family: Family) -> Vec<&'a Record> {
    let alias_of = |owner: &Name| {
        records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((record, &target.0)),
            _ => None,
        })
    };
    let (mut owners, mut last, mut found) = (vec![name], name, Vec::new());
    while let Some((alias, target)) = alias_of(last)
        && !owners.contains(&target)
        && owners.len() <= 2 * MAX_ALIASES
    {
        found.push(alias);
        owners.push(target);
        last = target;
    }
    let is_address = |record: &&Record| record.record_type() == family.kind() && owners.contains(&&record.name);
    found.extend(records.iter().filter(is_address));
    found
}
