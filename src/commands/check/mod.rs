//! `vestibule check`: the doctor. It reads everything, opens no port and changes nothing; with `--connect` it dials those whom the app dials, and resolves its secrets,
//! and with `--route` it calls the app by way of its router.
//!
//! Facts are gathered in [`machine`]; the other files judge them, and know neither files nor clocks nor sockets.

mod admin;
mod app_files;
mod chain;
mod clients;
mod credential;
mod finding;
mod http;
mod identity_endpoint;
mod limits;
mod network;
mod outbound;
mod route;
mod sandbox;
mod secrets;
mod system_info;

use std::collections::HashSet;
use std::time::SystemTime;

use self::credential::PairReading;
use self::finding::{Findings, Subject};
use self::system_info::SystemInfo;
use crate::cli::CheckOptions;
use crate::config::{AppReady, Config};
use crate::diagnostics::Diagnostics;
use crate::exit::{Exit, Fault};
use crate::listener::ConnectionCost;
use crate::sys;

/// Looks at everything, and does what else the `options` ask for: the report, one JSON object or a line for each finding; and [`Exit::Findings`] if
/// there is a problem.
///
/// # Errors
/// Never but for a fault of ours.
#[inline(never)]
pub(super) fn run(config: Result<Config, Diagnostics>, options: &CheckOptions) -> Result<(String, Exit), Fault> {
    let mut found = Findings::default();
    match config {
        // What depends on the configuration cannot be looked at without one.
        Err(diagnostics) => check_diagnostics(&diagnostics, &mut found),
        Ok(config) => look_at(&config, options.connects, &mut found)?,
    }
    if let Some(route) = &options.route {
        route::check(route, &mut found)?;
    }
    let report = match options.json {
        true => found.to_json().map_err(|error| Fault::new(Exit::Internal, format!("cannot write JSON: {error}")))?,
        false => found.to_text() + &found.see_also(),
    };
    Ok((report, found.exit()))
}

fn check_diagnostics(diagnostics: &Diagnostics, found: &mut Findings) {
    for diagnostic in diagnostics.iter() {
        let what = format!("{}: {}", diagnostic.source, diagnostic.problem.what);
        found.problem(Subject::Configuration, what, &diagnostic.problem.help);
    }
}

fn look_at(config: &Config, connects: bool, found: &mut Findings) -> Result<(), Fault> {
    let ways: Vec<String> =
        config.listeners.iter().map(|listener| format!("{} to {}", listener.listen, listener.app)).collect();
    found.ok(Subject::Configuration, ways.join(", "));

    let machine = SystemInfo::read();
    let shows_pair = config.listeners.iter().any(|listener| listener.plaintext.is_none());
    if let Some(files) = config.pair_files().filter(|files| shows_pair || files.cert.exists()) {
        credential::check(&PairReading::read(files), SystemTime::now(), found);
        limits::check_mount(files, &machine.mount_points(), found);
        limits::check_inotify(&machine.inotify(files), found);
    }
    clients::check(config, SystemTime::now(), found);

    let network = machine.network();
    for listener in &config.listeners {
        network::check_listen(listener.listen, "--listen", &network, &|inode| machine.holder(inode), found);
    }
    if let Some(metrics) = config.metrics {
        network::check_listen(metrics, "--metrics", &network, &|inode| machine.holder(inode), found);
    }
    admin::check(config, &network, &|inode| machine.holder(inode), system_info::admin_folder_exists(config), found);
    // Several listeners may lead to one app.
    let mut seen = HashSet::new();
    for listener in config.listeners.iter().filter(|listener| seen.insert(&listener.app)) {
        let app = &listener.app;
        let dialled = system_info::dial(app, listener.connect_timeout);
        // Whoever says that the app is never asked knows that there may be none.
        if config.app.ready != AppReady::Off || matches!(dialled, network::AppDialResult::Accepted) {
            network::check_app(app, &dialled, &network, found);
        }
    }
    for listener in &config.listeners {
        network::check_proxy_protocol(listener, &network, found);
    }
    http::check(config, found);

    outbound::check(config, connects, &network, &|inode| machine.holder(inode), found)?;
    if let Some(endpoint) = &config.identity_endpoint {
        identity_endpoint::check(endpoint, SystemTime::now(), &network, &|inode| machine.holder(inode), found);
    }

    app_files::check(config, found);
    secrets::check(config, &std::env::vars_os().collect(), connects, found)?;

    let descriptors = system_info::descriptor_limit();
    limits::check_descriptors(config.limits.connections, descriptors, found);
    let found_limits = [machine.memory_limit(), sys::limits::process_memory_limit()];
    let memory = config.limits.memory.or_else(|| found_limits.into_iter().flatten().min());
    limits::check_memory(config.limits.connections, ConnectionCost::of(config), descriptors, memory, found);
    limits::check_threads(config.threads, sys::limits::cpus(), found);
    let meets_routers =
        system_info::on_cloud_foundry() || config.listeners.iter().any(|listener| listener.http.is_some());
    limits::check_idle(config.timeouts.idle, meets_routers, found);
    sandbox::check(config, found);
    limits::check_drain(&config.drain, system_info::on_cloud_foundry(), found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::diagnostics::{Problem, Source};

    #[test]
    fn each_diagnostic_of_the_configuration_is_a_problem_with_its_help() {
        let flag =
            Problem::new("\"10\" has no unit", "write 10s or 10ms").at(Source::Flag("--idle-timeout".to_owned()));
        let key = Problem::new("is not known", "write listen").at(Source::File {
            path: "v.toml".into(),
            line: Some(2),
            key: "lisen".to_owned(),
        });
        let (report, exit) = run(Err(Diagnostics::from(flag).and(key)), &CheckOptions::default()).unwrap();
        assert_eq!(exit, Exit::Findings);
        assert_eq!(
            report,
            "problem  configuration --idle-timeout: \"10\" has no unit; write 10s or 10ms\n\
             problem  configuration v.toml:2: lisen: is not known; write listen\n\
             see      configuration docs/troubleshooting.md#check-configuration\n"
        );
    }
}
