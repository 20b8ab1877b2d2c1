//! Certificates of clients: whom both let in, and what the others hear.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use crate::credentials::Pair;
use crate::diego;
use crate::diego::Container;
use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ask::{Ask, VERSIONS};
use crate::differential::ground::{Ground, Plan};
use crate::differential::world::{ROUTER, Side, World, router};
use crate::wire::certificates::{Name, Usage, Validity, Wanted};

const URI: &str = "spiffe://cf/router";
const EMAIL: &str = "router@example.com";
const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 16, 5));

/// What the foundation lists in most of what follows.
const LISTED: &[&str] = &[ROUTER, URI, EMAIL, "10.0.16.5"];

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    let platform = &world.platform;
    let valid = |names| Wanted { names, ..router() };
    let under = platform.below("platform, issuing")?;
    let pairs: Vec<(&str, Option<Pair>)> = vec![
        ("listed name", Some(world.router.clone())),
        ("other name", Some(platform.client(valid(&[Name::Dns("bbs.service.cf.internal")]))?)),
        ("other name and listed name", Some(platform.client(valid(&[Name::Dns("other"), Name::Dns(ROUTER)]))?)),
        ("listed name in capitals", Some(platform.client(valid(&[Name::Dns("GoRouter.Service.CF.internal")]))?)),
        ("wildcard that covers the listed name", Some(platform.client(valid(&[Name::Dns("*.service.cf.internal")]))?)),
        ("wildcard of two labels above", Some(platform.client(valid(&[Name::Dns("*.cf.internal")]))?)),
        ("part of the listed name", Some(platform.client(valid(&[Name::Dns("service.cf.internal")]))?)),
        ("listed URI", Some(platform.client(valid(&[Name::Uri(URI)]))?)),
        ("other URI", Some(platform.client(valid(&[Name::Uri("spiffe://cf/other")]))?)),
        ("listed e-mail address", Some(platform.client(valid(&[Name::Email(EMAIL)]))?)),
        ("listed IP address", Some(platform.client(valid(&[Name::Ip(IP)]))?)),
        ("other IP address", Some(platform.client(valid(&[Name::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))]))?)),
        ("listed name as a URI", Some(platform.client(valid(&[Name::Uri(ROUTER)]))?)),
        ("no name at all", Some(platform.client(valid(&[]))?)),
        ("listed name, by a CA below", Some(under.client(router())?)),
        ("listed name, expired", Some(platform.client(Wanted { validity: Validity::Over, ..router() })?)),
        ("listed name, not yet valid", Some(platform.client(Wanted { validity: Validity::Later, ..router() })?)),
        ("listed name, for servers alone", Some(platform.client(Wanted { usage: Some(Usage::Server), ..router() })?)),
        ("listed name, for anything", Some(platform.client(Wanted { usage: None, ..router() })?)),
        ("listed name, another CA", Some(world.stranger.client(router())?)),
        ("no certificate", None),
    ];
    let twice = platform.pem.repeat(3);
    let both = format!("{}{}", platform.pem, world.stranger.pem);
    let all = pairs.len();
    let plans: [(&str, &str, &[&str], usize); 5] = [
        ("", &platform.pem, LISTED, all),
        ("the same CA three times, ", &twice, LISTED, 2),
        ("no names listed, ", &platform.pem, &[], all),
        ("empty roots, ", "", LISTED, all),
        ("empty roots and no names, ", "", &[], all),
    ];
    for (line, roots, names, count) in plans {
        let container = Container { mtls: true, ..diego::container() };
        let ground = Ground::start(world, side, &Plan { container, roots, names, mode: Mode::Echo })?;
        for (version, versions) in VERSIONS {
            // The first, the last and, of the long lists, all between them; where nobody is listed, what names do not decide.
            let tried = pairs.iter().enumerate().filter(|(at, _)| match names {
                _ if count < all => *at < count,
                [] => [0, 1, 13, 15, 19, 20].contains(at),
                _ if roots.is_empty() => [0, 1, 20].contains(at),
                _ => true,
            });
            for (_, (what, pair)) in tried {
                let config = Ask { versions, pair: pair.as_ref(), ..Ask::default() }.config()?;
                seen.note(format!("{line}{version}, {what}"), ground.verdict(0, &config));
            }
        }
    }
    let container = Container { mtls: true, ..diego::container() };
    let ground = Ground::start(world, side, &Plan { container, roots: &both, names: LISTED, mode: Mode::Echo })?;
    let stranger = world.stranger.client(router())?;
    let config = Ask { pair: Some(&stranger), ..Ask::default() }.config()?;
    seen.note("two CAs, a certificate of the second", ground.verdict(0, &config));
    Ok(())
}
