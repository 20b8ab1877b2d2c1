//! All that a foundation may have configured: what each listener serves then, and to which app.

use anyhow::Result;

use crate::diego;
use crate::diego::Container;
use crate::differential::Seen;
use crate::differential::app::{App, Mode};
use crate::differential::ask::Ask;
use crate::differential::ground::{Ground, Plan, greet};
use crate::differential::world::{GUID, ROUTER, Side, World};
use crate::wire::client::Client;

pub(super) fn run(world: &World, side: Side, seen: &mut Seen) -> Result<()> {
    for at in 0..16_u8 {
        let [mtls, http2, two, old_sds] = [1, 2, 4, 8].map(|bit| at & bit != 0);
        let ports: &[u16] = if two { &[8080, 9090] } else { &[8080] };
        let container = Container { mtls, http2, ports, old_sds, clusters_reversed: two, ..diego::container() };
        let roots = if mtls { world.platform.pem.as_str() } else { "" };
        let names: &[&str] = if mtls { &[ROUTER] } else { &[] };
        let ground = Ground::start(world, side, &Plan { container, roots, names, mode: Mode::Echo })?;
        let on = |is| if is { "on" } else { "off" };
        let form = if old_sds { "old" } else { "new" };
        for (index, listener) in ground.folder.listeners.iter().enumerate() {
            let line = format!(
                "mTLS {}, HTTP/2 {}, {} port(s), {form} SDS form, listener {}",
                on(mtls),
                on(http2),
                ports.len(),
                listener.port
            );
            seen.note(line, listened(world, &ground, index)?);
        }
    }
    Ok(())
}

/// What a listener serves, with what, and who answers; and whether a client without a certificate is served.
fn listened(world: &World, ground: &Ground<'_>, index: usize) -> Result<String> {
    ground.apps.iter().for_each(App::forget);
    let config = Ask { pair: Some(&world.router), alpn: &["h2", "http/1.1"], ..Ask::default() }.config()?;
    let mut client = match Client::connect(ground.addr(index), &config, GUID) {
        Ok(client) => client,
        Err(end) => return Ok(end.to_string()),
    };
    if let Err(end) = greet(&mut client) {
        return Ok(format!("{end} after the handshake"));
    }
    let apps: Vec<_> = ground.apps.iter().map(|app| app.taken().to_string()).collect();
    let nameless = ground.verdict(index, &Ask::default().config()?);
    Ok(format!(
        "{}; ALPN {}; connections by app {}; nameless client: {nameless}",
        world.label(&client.leaf()),
        client.alpn(),
        apps.join(" ")
    ))
}
