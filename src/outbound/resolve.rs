//! DNS: all addresses of a name, and whether there are none or nobody could say.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::time::Duration;

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::timeout;

/// How long one try may take, and how many there are.
const TRY: Duration = Duration::from_secs(1);
const TRIES: usize = 2;

/// How long the second family is waited for, once there are addresses of the first.
const OTHER_FAMILY: Duration = Duration::from_millis(200);

/// What is in `/etc/hosts` holds for so long.
const HOSTS: Duration = Duration::from_secs(30);

/// More addresses than that are left out: a name has a few hundred instances at most.
const MAX_ADDRESSES: usize = 1024;

/// What there is to say of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Its addresses, and for how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// It has none.
    Empty,
    /// Nobody could say, for this reason: what was known holds.
    Failed(String),
}

/// The DNS answer for one address family: A or AAAA.
enum Answer {
    Addresses(Vec<IpAddr>, Duration),
    /// The name is there, and has no address of the family.
    NoData,
    /// There is no such name.
    NoName,
    Failed(String),
}

/// Looks `name` up: in `/etc/hosts`, else by the servers of `/etc/resolv.conf`, both of which are read each time. Nothing is kept.
pub(super) async fn resolve(name: &str) -> Resolution {
    let (config, options) = match read_system_conf() {
        Ok(read) => read,
        // `/etc/hosts` may know it all the same.
        Err(_) => (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default()),
    };
    let search = config.search().to_vec();
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
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
        if let Some(resolution) = both_families(&resolver, name).await {
            return resolution;
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
async fn both_families(resolver: &TokioResolver, name: Name) -> Option<Resolution> {
    let ask = async |kind| answer(resolver.lookup(name.clone(), kind).await);
    let (mut four, mut six) = (pin!(ask(RecordType::A)), pin!(ask(RecordType::AAAA)));
    let (one, other) = tokio::select! {
        one = &mut four => beside(one, six).await,
        one = &mut six => beside(one, four).await,
    };
    Some(match (one, other) {
        (Answer::Addresses(four, four_ttl), Answer::Addresses(six, six_ttl)) => {
            addresses(four.into_iter().chain(six), four_ttl.min(six_ttl))
        }
        // What the other family would have said is asked again soon.
        (Answer::Addresses(known, ttl), _) | (_, Answer::Addresses(known, ttl)) => addresses(known.into_iter(), ttl),
        (Answer::Failed(why), _) | (_, Answer::Failed(why)) => Resolution::Failed(why),
        (Answer::NoData, _) | (_, Answer::NoData) => Resolution::Empty,
        (Answer::NoName, Answer::NoName) => return None,
    })
}

/// `one`, and what `other` says: where there are addresses already, it is not waited for (RFC 8305, 3).
async fn beside(one: Answer, other: impl Future<Output = Answer>) -> (Answer, Answer) {
    let other = match one {
        Answer::Addresses(..) => timeout(OTHER_FAMILY, other).await.unwrap_or(Answer::NoData),
        _ => other.await,
    };
    (one, other)
}

fn addresses(all: impl Iterator<Item = IpAddr>, ttl: Duration) -> Resolution {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in all.map(|ip| ip.to_canonical()).take(MAX_ADDRESSES) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Resolution::Addresses(addresses, ttl)
}

fn answer(found: Result<Lookup, NetError>) -> Answer {
    match found {
        Ok(lookup) => {
            let records = lookup.answers();
            let ips: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
            // Of the aliases as well: whichever ends first may lead elsewhere.
            let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
            if ips.is_empty() { Answer::NoData } else { Answer::Addresses(ips, Duration::from_secs(ttl.into())) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain => Answer::NoName,
            ResponseCode::NoError => Answer::NoData,
            code => Answer::Failed(format!("the DNS server says {code}")),
        },
        Err(NetError::Timeout) => Answer::Failed(format!("no DNS server has answered within {:?}", TRY * 2)),
        Err(NetError::NoConnections) => Answer::Failed("no DNS server can be reached".to_owned()),
        Err(error) => Answer::Failed(error.to_string()),
    }
}
