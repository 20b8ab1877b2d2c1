//! Files replaced by rename, each alone; broken ones; and what becomes of connections that are open.

use anyhow::Result;

use crate::credentials::Pair;
use crate::diego;
use crate::diego::Container;
use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ask::Ask;
use crate::differential::ground::{Ground, Plan, greet};
use crate::differential::world::{ROUTER, Side, World, router};

/// A file that is replaced by one that cannot be used.
type Break = fn(&World, &Ground<'_>) -> Result<()>;

const BROKEN: &[(&str, Break)] = &[
    ("an empty file", |_, ground| ground.folder.replace("id-cert-and-key", "")),
    ("no YAML", |_, ground| ground.folder.replace("id-cert-and-key", "{ this is : [ no YAML")),
    ("half a PEM", |world, ground| {
        let half = world.next_id.chain[..world.next_id.chain.len() / 3].to_owned();
        ground.folder.id(&Pair { chain: half, key: world.next_id.key.clone() })
    }),
    ("another pair's key", |world, ground| {
        ground.folder.id(&Pair { chain: world.next_id.chain.clone(), key: world.id.key.clone() })
    }),
    ("another secret's name", |_, ground| {
        ground.folder.replace("id-cert-and-key", "resources: []\nversion_info: \"0\"\n")
    }),
];

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    for old_sds in [false, true] {
        let container = Container { mtls: true, old_sds, ..diego::container() };
        let (roots, names) = (world.platform.pem.as_str(), [ROUTER]);
        let ground = Ground::start(world, side, &Plan { container, roots, names: &names, mode: Mode::Echo })?;
        let form = if old_sds { "old SDS form" } else { "new SDS form" };
        let config = ground.router()?;
        let both = |ground: &Ground<'_>| format!("{}, {}", ground.served(0, &config), ground.served(1, &config));
        seen.note(format!("{form}, at first"), both(&ground));
        let mut open = ground.connect(&config).map_err(|end| anyhow::anyhow!("no connection: {end}"))?;

        ground.folder.rewrite_the_same()?;
        ground.folder.id(&world.next_id)?;
        ground.comes_to_serve(0, "next id", &config);
        seen.note(format!("{form}, the instance's pair replaced"), both(&ground));
        ground.folder.c2c(&world.next_c2c)?;
        ground.comes_to_serve(1, "next c2c", &config);
        seen.note(format!("{form}, the pair between containers replaced"), both(&ground));

        let stranger = world.stranger.client(router())?;
        let strange = Ask { pair: Some(&stranger), ..Ask::default() }.config()?;
        seen.note(format!("{form}, a stranger before the roots are replaced"), ground.verdict(0, &strange));
        ground.folder.clients(&world.stranger.pem, &[ROUTER])?;
        seen.note(format!("{form}, the same after"), ground.comes_to("served", || ground.verdict(0, &strange)));
        seen.note(format!("{form}, who was let in before"), ground.verdict(0, &config));
        seen.note(
            format!("{form}, both pairs then"),
            format!("{}, {}", ground.served(0, &strange), ground.served(1, &strange)),
        );
        ground.folder.clients(&world.stranger.pem, &["another"])?;
        ground
            .comes_to("gone", || if ground.verdict(0, &strange) == "served" { "served".into() } else { "gone".into() });
        seen.note(format!("{form}, the stranger after its name was taken from the list"), ground.verdict(0, &strange));

        let open = greet(&mut open).map_or_else(|end| end.to_string(), |()| "served".to_owned());
        seen.note(format!("{form}, a connection from before all this"), open);
    }
    let ground = Ground::usual(world, side, false, Mode::Echo)?;
    let config = ground.router()?;
    for (line, break_it) in BROKEN {
        break_it(world, &ground)?;
        seen.note(format!("{line} instead of the pair"), ground.comes_to_serve(0, "nothing", &config));
        ground.folder.id(&world.next_id)?;
        seen.note(format!("{line}, then a good pair"), ground.comes_to_serve(0, "next id", &config));
        ground.folder.id(&world.id)?;
        ground.comes_to_serve(0, "id", &config);
    }
    Ok(())
}
