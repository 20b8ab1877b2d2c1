//! The pair that says that the instance is going, and rewritten or broken bootstraps.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::differential::Seen;
use crate::differential::app::Mode;
use crate::differential::ask::Ask;
use crate::differential::ground::{Ground, greet};
use crate::differential::world::{Side, World};

/// How long connections are looked at after the retirement pair; Diego gives them five seconds.
const GOING: Duration = Duration::from_millis(2500);

/// Between two bytes of a busy connection.
const BUSY: Duration = Duration::from_millis(10);

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    let mut ground = Ground::usual(world, side, true, Mode::Hand)?;
    let config = ground.router()?;
    let (mut busy, mut app) = ground.through(&config)?;
    let (mut idle, _idle_app) = ground.through(&config)?;
    ground.folder.rewrite_the_same()?;
    ground.folder.id(&world.retired)?;
    seen.note("a new connection", ground.comes_to_serve(0, "retired", &config));
    seen.note("a new connection between containers", ground.served(1, &config));
    let talk = (|| {
        for _ in 0..GOING.as_millis() / BUSY.as_millis() {
            client_says(&mut busy, &mut app)?;
            thread::sleep(BUSY);
        }
        Ok::<_, anyhow::Error>(())
    })();
    seen.note("a busy connection, 2.5 s later", talk.map_or_else(|error| error.to_string(), |()| "works".to_owned()));
    seen.note("an idle connection, 2.5 s later", idle.end_within(Duration::from_millis(10)).to_string());
    seen.note("a new connection reaches the app", reaches(&ground, &config));
    ground.folder.id(&world.next_id)?;
    seen.note("a good pair after that", ground.comes_to_serve(0, "next id", &config));
    seen.note("the process", if ground.process.ended() { "ended" } else { "runs" });

    let mut ground = Ground::usual(world, side, false, Mode::Echo)?;
    let config = Ask::default().config()?;
    let mut open = ground.connect(&config).map_err(|end| anyhow::anyhow!("no connection: {end}"))?;
    let texts = [("empty", ""), ("cut off", "admin:\n  access_log"), ("other", "static_resources: {}\n")];
    for (line, text) in texts {
        ground.folder.rewrite(text)?;
        thread::sleep(Duration::from_millis(200));
        seen.note(format!("envoy.yaml {line}"), ground.verdict(0, &config));
    }
    std::fs::remove_file(ground.folder.bootstrap())?;
    ground.folder.id(&world.next_id)?;
    seen.note("envoy.yaml gone, pair replaced", ground.comes_to_serve(0, "next id", &config));
    ground.folder.rewrite_the_same()?;
    seen.note("envoy.yaml as it was", ground.verdict(0, &config));
    let kept = greet(&mut open).map_or_else(|end| end.to_string(), |()| "works".to_owned());
    seen.note("a connection from before all this", kept);
    seen.note("the process then", if ground.process.ended() { "ended" } else { "runs" });
    Ok(())
}

/// One byte up and one down.
fn client_says(client: &mut crate::wire::client::Client, app: &mut std::net::TcpStream) -> Result<()> {
    client.send(b"?").map_err(|end| anyhow::anyhow!("up: {end}"))?;
    app.read_exact(&mut [0])?;
    app.write_all(b"!")?;
    client.receive(1).map_err(|end| anyhow::anyhow!("down: {end}"))?;
    Ok(())
}

fn reaches(ground: &Ground<'_>, config: &std::sync::Arc<rustls::ClientConfig>) -> String {
    ground.through(config).map_or_else(|error| error.to_string(), |_| "yes".to_owned())
}
