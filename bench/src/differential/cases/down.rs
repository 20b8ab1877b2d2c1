//! The app does not listen: what clients see, and what gorouter would make of it.

use anyhow::Result;

use super::how_often;
use crate::differential::Seen;
use crate::differential::app::{App, Mode};
use crate::differential::ask::{Ask, VERSIONS};
use crate::differential::ground::Ground;
use crate::differential::world::{Side, World};
use crate::wire::end::End;
use crate::wire::gorouter::{Failure, Method, Phase};

/// Attempts of each method: a race is not won each time.
const TIMES: usize = 20;

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    for mtls in [false, true] {
        let mut ground = Ground::usual(world, side, mtls, Mode::Echo)?;
        let clients = if mtls { "mTLS, " } else { "" };
        let pair = mtls.then_some(&world.router);
        let mut down = Vec::new();
        down.extend(ground.apps.drain(..).map(|app| app.addr));
        for (version, versions) in VERSIONS {
            let config = Ask { versions, pair, ..Ask::default() }.config()?;
            for method in [Method::Get, Method::Post] {
                let (mut retried, mut effects, mut ends) = (0, Vec::new(), Vec::new());
                for _ in 0..TIMES {
                    let failure = attempt(&ground, &config);
                    retried += usize::from(failure.is_retried(method));
                    effects.push(format!("{:?}", failure.effect()).to_lowercase());
                    ends.push(format!("{} at {:?}", failure.end, failure.phase).to_lowercase());
                }
                for list in [&mut effects, &mut ends] {
                    list.sort_unstable();
                    list.dedup();
                }
                let name = format!("{method:?}").to_uppercase();
                seen.note(
                    format!("{clients}{version}, gorouter's {name}"),
                    format!("{} retried; {}", how_often(retried, TIMES), effects.join(" or ")),
                );
                if method == Method::Post {
                    seen.note(format!("{clients}{version}, a client that writes at once"), ends.join(" or "));
                }
            }
        }
        let stranger = Ask::default().config()?;
        if mtls {
            seen.note("mTLS, a client without a certificate", ground.verdict(0, &stranger));
        }
        for addr in down {
            ground.apps.push(App::start(addr, Mode::Echo)?);
        }
        let config = Ask { pair, ..Ask::default() }.config()?;
        seen.note(format!("{clients}the first client after the app came back"), ground.verdict(0, &config));
    }
    Ok(())
}

/// One attempt as gorouter makes it: shakes hands, writes, reads.
fn attempt(ground: &Ground<'_>, config: &std::sync::Arc<rustls::ClientConfig>) -> Failure {
    let mut client = match ground.connect(config) {
        Ok(client) => client,
        Err(End::Refused) => return Failure { phase: Phase::Dial, end: End::Refused },
        Err(end) => return Failure { phase: Phase::Handshake, end },
    };
    if let Err(end) = client.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n") {
        return Failure { phase: Phase::Writing, end };
    }
    let end = client.receive(1).err().unwrap_or(End::Other("an answer".to_owned()));
    Failure { phase: Phase::Reading, end }
}
