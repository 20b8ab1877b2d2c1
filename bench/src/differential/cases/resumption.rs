//! Sessions kept by a client, while what they were made under changes.

use anyhow::Result;

use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ask::{Ask, VERSIONS};
use crate::differential::ground::{Ground, greet};
use crate::differential::world::{ROUTER, Side, World};

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    for (version, versions) in VERSIONS {
        for mtls in [false, true] {
            let ground = Ground::usual(world, side, mtls, Mode::Echo)?;
            let line = format!("{version}{}", if mtls { ", mTLS" } else { "" });
            let pair = mtls.then_some(&world.router);
            let config = Ask { versions, pair, resumes: true, ..Ask::default() }.config()?;
            let plain = Ask { versions, pair, ..Ask::default() }.config()?;
            let again = || match ground.connect(&config) {
                Err(end) => end.to_string(),
                Ok(mut client) => {
                    let how = if client.resumed() { "resumed" } else { "full" };
                    let leaf = world.label(&client.leaf());
                    greet(&mut client).map_or_else(|end| format!("{how}, {end}"), |()| format!("{how}, {leaf}"))
                }
            };
            seen.note(format!("{line}, first connection"), again());
            seen.note(format!("{line}, second"), again());
            ground.folder.id(&world.next_id)?;
            ground.comes_to_serve(0, "next id", &plain);
            seen.note(format!("{line}, the first after a rotation"), again());
            seen.note(format!("{line}, the second after it"), again());
            if mtls {
                ground.folder.clients(&world.stranger.pem, &[ROUTER])?;
                ground.comes_to("gone", || {
                    if ground.verdict(0, &plain) == "served" { "served".into() } else { "gone".into() }
                });
                seen.note(format!("{line}, after its CA was removed"), again());
            }
        }
    }
    Ok(())
}
