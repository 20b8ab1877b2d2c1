//! `vestibule demo`: an issuer, a small app and the proxy between them, on one machine, with commands to try.
//!
//! Everything is real: the pair lies in files, is replaced as the platform replaces it, and the proxy is the one that
//! `vestibule proxy` runs. Only the folder is temporary.
//!
//! With `--green-blue` the app is a back-end with two front-ends: green, which `--allow-app` admits, and blue, which no
//! rule does. Both call again and again, and each answer or refusal is told beside the proxy's own access log entry.
//!
//! With `--http` both front-ends may come in, and the proxy judges each request by routes: green may ask for one path, and
//! blue for none.
//!
//! With `--tokens` tokens are made with the pair in service, verified, and refused where they do not count.

mod app;
mod front_end;
mod http;
mod reporter;
mod settings;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use self::front_end::{DemoClient, FrontEnd, FrontEndSidecar};
use self::reporter::DemoReporter;
use self::settings::{KEY, issuing, resolved};
use self::tokens::TokenDemo;
use super::text;
use crate::cli::{DemoArgs, DemoCalls};
use crate::config::{AccessLogFilter, Config, Listen, Log};
use crate::exit::{Exit, Fault};
use crate::issuer::{CertificateAuthority, Folder, InstanceSpec, IssuerError};
use crate::lifecycle::ControlRequest;
use crate::sidecar;
use crate::sidecar::Sidecar;
use crate::supervisor::Signals;
use crate::telemetry;

/// A certificate outlives its rotation by as much again, and by this: a client that is slow still finds it valid, and so does a receiver
/// the last token that was made with it.
const MARGIN: Duration = Duration::from_secs(20);

/// Long enough for the runtime to hand over a signal that has come already.
const A_MOMENT: Duration = Duration::from_millis(1);

/// Runs the demo until a signal that ends it: SIGINT, SIGTERM, or at once SIGHUP, SIGQUIT, SIGUSR1 or SIGUSR2. Brings a runtime of its own, so it must not be called from within one.
///
/// # Errors
/// The address that was typed cannot be opened (status 69), or a fault of the system's (70).
#[inline(never)]
pub(super) fn run(args: &DemoArgs) -> Result<Exit, Fault> {
    let log = Log { format: None, level: args.log_level, access: AccessLogFilter::All };
    let front_ends = match args.calls {
        DemoCalls::Nobody => Ok(Vec::new()),
        DemoCalls::GreenBlue => FrontEnd::green_and_blue([&["/"], &["/"]], validity(args.rotate_every)),
        DemoCalls::Http => FrontEnd::green_and_blue(http::PATHS, validity(args.rotate_every)),
    };
    let front_ends = front_ends.map_err(issuing)?;
    let callers = front_ends.iter().map(|front_end| (front_end.spec.app.to_string(), front_end.name)).collect();
    telemetry::start_logging_beside(&log, reporter::connection_layer(callers));
    let authority = CertificateAuthority::generate(SystemTime::now()).map_err(issuing)?;
    let spec =
        InstanceSpec { key: KEY, validity: validity(args.rotate_every), ..InstanceSpec::generate().map_err(issuing)? };
    let runtime = sidecar::runtime(1)?;
    let ended = runtime.block_on(Demo { args, log, authority, spec, front_ends }.run());
    runtime.shutdown_background();
    ended
}

/// What is known before the first file is written.
struct Demo<'a> {
    args: &'a DemoArgs,
    log: Log,
    authority: CertificateAuthority,
    spec: InstanceSpec,
    /// Those who call, with `--green-blue` and `--http`. Only the first is allowed in, or may ask for something.
    front_ends: Vec<FrontEnd>,
}

impl Demo<'_> {
    async fn run(self) -> Result<Exit, Fault> {
        // From here on a signal does not end the process where it stands, and the folder is always removed.
        let deaf = |error| internal("cannot listen for signals", &error);
        let mut early = Signals::for_proxy().map_err(deaf)?;
        let mut others = Signals::for_cleanup().map_err(deaf)?;
        let folder = tempfile::Builder::new()
            .prefix("vestibule-demo-")
            .tempdir()
            .map_err(|error| internal("cannot make a temporary folder (set TMPDIR to a writable one)", &error))?;
        let ended = tokio::select! {
            ended = self.serve(&folder, &mut early) => ended,
            () = others.any() => Ok(Exit::Success),
        };
        let path = folder.path().to_owned();
        folder.close().map_err(|error| internal(&format!("{}: cannot be removed", path.display()), &error))?;
        ended
    }

    async fn serve(self, dir: &TempDir, early: &mut Signals) -> Result<Exit, Fault> {
        let folder = Folder::instance(dir.path());
        let roots = dir.path().join("ca.crt");
        self.authority.write_roots(&roots).map_err(issuing)?;
        self.write_pair(&folder).map_err(issuing)?;
        for front_end in &self.front_ends {
            front_end.write_pair(dir.path(), &self.authority).map_err(issuing)?;
        }
        let is_http = self.args.calls == DemoCalls::Http;
        if is_http {
            http::write_policy(dir.path(), &self.front_ends)
                .map_err(|error| internal("cannot write the policy file", &error))?;
        }
        let app = app::start(is_http).await.map_err(|error| internal("cannot start the demo's app", &error))?;
        let (sidecar, taken) = self.open(&folder, &roots, app)?;
        if let Ok(ControlRequest::Stop) = timeout(A_MOMENT, early.next_request(None)).await {
            return Ok(Exit::Success);
        }
        let proxy = sidecar.addresses().next().ok_or_else(|| Fault::new(Exit::Internal, "nothing is listened on"))?;
        let sidecars = self.front_ends.iter();
        let sidecars = sidecars.map(|one| one.open_sidecar(dir.path(), reached(proxy), &self.spec, &self.log));
        let sidecars = sidecars.collect::<Result<Vec<_>, _>>()?;
        let callers: Vec<_> = sidecars.iter().map(|one| one.caller).collect();
        let mut commands = self.commands(proxy, dir.path(), &roots, &callers);
        if self.args.tokens {
            commands.push(TokenDemo::command(&folder.cert(), &folder.key(), &roots));
        }
        let (introduced, told) = watch::channel(false);
        let narrator = DemoReporter {
            intro: self.intro(dir.path(), proxy, app, taken, (sidecar.admin_addr(), &callers)),
            commands,
            shown: sidecar.served(),
            introduced,
        };
        let tokens = self.args.tokens.then(|| TokenDemo::new(&self.authority, &roots)).transpose()?;
        let tokens = tokens::show_again_and_again(tokens, sidecar.served(), told.clone());
        let told_of_rotations = told.clone();
        let calls = front_end::call_again_and_again(front_end::CallLog { callers, introduced: told });
        let mut others: JoinSet<Result<Exit, Fault>> = JoinSet::new();
        let mut pairs = Vec::new();
        for FrontEndSidecar { caller, sidecar } in sidecars {
            pairs.push((caller.name, sidecar.served()));
            others.spawn(sidecar.run());
        }
        let rotations = reporter::tell_rotations(pairs, told_of_rotations);
        tokio::select! {
            ended = sidecar.run() => ended,
            Some(Ok(Err(fault))) = others.join_next() => Err(fault),
            fault = self.rotate(dir.path(), &folder) => Err(fault),
            fault = narrator.run() => Err(fault),
            fault = calls => Err(fault),
            fault = tokens => Err(fault),
            fault = rotations => Err(fault),
        }
    }

    /// The proxy on the address that was asked for. The default steps aside when it is taken; then it is returned too.
    fn open(&self, folder: &Folder, roots: &Path, app: SocketAddr) -> Result<(Sidecar, Option<Listen>), Fault> {
        let DemoArgs { listen, listen_typed, .. } = *self.args;
        match Sidecar::open(self.config(listen, folder, roots, app)?) {
            Err(_) if !listen_typed => {
                let free = Listen::At(SocketAddr::new(socket(listen).ip(), 0));
                Ok((Sidecar::open(self.config(free, folder, roots, app)?)?, Some(listen)))
            }
            opened => Ok((opened?, None)),
        }
    }

    /// Everything else is as `vestibule proxy` has it by default.
    fn config(&self, listen: Listen, folder: &Folder, roots: &Path, app: SocketAddr) -> Result<Config, Fault> {
        let mut flags = vec![
            ("listen", listen.to_string().into()),
            ("app", app.to_string().into()),
            ("cert", folder.cert().into_os_string()),
            ("key", folder.key().into_os_string()),
        ];
        match self.front_ends.first() {
            None => {}
            Some(_) if self.args.calls == DemoCalls::Http => flags.extend(http::flags(roots)),
            Some(allowed) => {
                flags.push(("client-ca", roots.into()));
                flags.push(("allow-app", allowed.spec.app.to_string().into()));
            }
        }
        resolved(&self.log, |all| all.extend(flags))
    }

    /// Replaces all pairs again and again; ends only by a fault.
    async fn rotate(&self, dir: &Path, folder: &Folder) -> Fault {
        let every = self.args.rotate_every;
        let mut ticks = interval_at(Instant::now() + every, every);
        // A machine that slept owes one rotation, not all that it missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let front_ends = || self.front_ends.iter().try_for_each(|one| one.write_pair(dir, &self.authority));
            if let Err(error) = self.write_pair(folder).and_then(|()| front_ends()) {
                return issuing(error);
            }
        }
    }

    fn write_pair(&self, folder: &Folder) -> Result<(), IssuerError> {
        folder.write(&self.authority.issue(&self.spec, SystemTime::now())?)
    }

    /// Commands to paste into a shell. They verify the instance's name, as a router does, or are what a front-end does.
    fn commands(&self, proxy: SocketAddr, dir: &Path, roots: &Path, callers: &[DemoClient]) -> Vec<String> {
        if callers.is_empty() {
            return commands(&self.spec, proxy, roots);
        }
        let as_each = callers.iter().flat_map(|DemoClient { name, outbound, paths }| {
            paths.iter().map(move |path| format!("curl http://{outbound}{path}    # as {name}"))
        });
        let first = self.front_ends.first().filter(|_| self.args.calls == DemoCalls::Http);
        let by_tls = first.map(|front_end| http::command(&curl(&self.spec, proxy, roots), front_end, dir));
        as_each.chain(by_tls).collect()
    }

    /// What is running, in aligned lines.
    fn intro(
        &self,
        dir: &Path,
        proxy: SocketAddr,
        app: SocketAddr,
        taken: Option<Listen>,
        (admin, callers): (Option<SocketAddr>, &[DemoClient]),
    ) -> Vec<String> {
        let InstanceSpec { organization, space, app: app_guid, key, .. } = &self.spec;
        let stepped_aside =
            taken.map(|taken| format!(" ({taken} is taken; --listen chooses another)")).unwrap_or_default();
        let status = match admin {
            Some(admin) => format!("http://{admin}/, metrics at http://{admin}/metrics"),
            None => "no status page: its address, 127.0.0.1:9901, is taken".to_owned(),
        };
        let every = text::duration(self.args.rotate_every);
        let said = match self.args.calls {
            DemoCalls::Http => http::SAID,
            DemoCalls::Nobody | DemoCalls::GreenBlue => ["allowed in by --allow-app", "no rule allows it in"],
        };
        let front_ends = self.front_ends.iter().zip(callers).zip(said).map(|((front_end, caller), said)| {
            let (app, outbound) = (front_end.spec.app, caller.outbound);
            (front_end.name, format!("app {app}, {said}; speaks plaintext HTTP to its --outbound, {outbound}"))
        });
        [
            ("proxy", format!("TLS on {proxy}{stepped_aside}")),
            ("app", format!("plaintext HTTP on {app}, in this process")),
            ("status", status),
            ("instance", instance(&self.spec).to_owned()),
            ("identity", format!("app {app_guid}")),
            ("", format!("space {space}")),
            ("", format!("organization {organization}")),
            ("pair", format!("{}/instance.crt and instance.key", dir.display())),
            (
                "rotation",
                format!(
                    "a new {} key and certificate every {every}{}, as the platform writes them",
                    key.to_string().to_uppercase(),
                    if self.front_ends.is_empty() { "" } else { ", for each front-end too" }
                ),
            ),
        ]
        .into_iter()
        .chain(front_ends)
        .map(|(name, what)| format!("{name:<10}{what}"))
        .collect()
    }
}

/// How long each certificate is valid, in whole seconds.
fn validity(rotate_every: Duration) -> Duration {
    Duration::from_secs(rotate_every.as_secs().saturating_mul(2)).saturating_add(MARGIN)
}

/// For clients without a certificate.
fn commands(spec: &InstanceSpec, proxy: SocketAddr, roots: &Path) -> Vec<String> {
    let (name, reached, ca) = (instance(spec), reached(proxy), text::quoted(roots));
    vec![
        curl(spec, proxy, roots),
        format!("openssl s_client -connect {reached} -servername {name} -CAfile {ca} -verify_return_error </dev/null"),
    ]
}

/// A request by curl.
fn curl(spec: &InstanceSpec, proxy: SocketAddr, roots: &Path) -> String {
    let (name, reached, port, roots) = (instance(spec), reached(proxy), proxy.port(), text::quoted(roots));
    let host = if reached.is_ipv6() { format!("[{}]", reached.ip()) } else { reached.ip().to_string() };
    format!("curl --cacert {roots} --resolve {name}:{port}:{host} https://{name}:{port}/")
}

/// Where to dial a listener on this machine.
fn reached(proxy: SocketAddr) -> SocketAddr {
    match proxy.ip() {
        // `[::]` takes IPv4 as well, and there are machines without IPv6.
        ip if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], proxy.port())),
        _ => proxy,
    }
}

fn socket(listen: Listen) -> SocketAddr {
    match listen {
        Listen::EveryAddress(port) => SocketAddr::from(([0, 0, 0, 0], port)),
        Listen::At(addr) => addr,
    }
}

/// The demo's instance always has a name; only a retiring one has none.
fn instance(spec: &InstanceSpec) -> &str {
    spec.instance.as_ref().map_or("", |instance| instance.as_str())
}

fn internal(what: &str, error: &io::Error) -> Fault {
    Fault::new(Exit::Internal, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> InstanceSpec {
        InstanceSpec {
            instance: Some("51f0a007-a1b2-4c3d-5e6f-7a07".parse().unwrap()),
            ..InstanceSpec::generate().unwrap()
        }
    }

    #[test]
    fn the_commands_dial_an_address_of_this_machine_and_quote_the_folder() {
        let name = "51f0a007-a1b2-4c3d-5e6f-7a07";
        for (proxy, folder, curl, openssl) in [
            (
                "127.0.0.1:8443",
                "/tmp/d",
                format!("curl --cacert /tmp/d/ca.crt --resolve {name}:8443:127.0.0.1 https://{name}:8443/"),
                format!(
                    "openssl s_client -connect 127.0.0.1:8443 -servername {name} -CAfile /tmp/d/ca.crt -verify_return_error </dev/null"
                ),
            ),
            (
                "[::]:9443",
                "/tmp/my d",
                format!("curl --cacert '/tmp/my d/ca.crt' --resolve {name}:9443:127.0.0.1 https://{name}:9443/"),
                format!(
                    "openssl s_client -connect 127.0.0.1:9443 -servername {name} -CAfile '/tmp/my d/ca.crt' -verify_return_error </dev/null"
                ),
            ),
            (
                "[::1]:8443",
                "/tmp/d",
                format!("curl --cacert /tmp/d/ca.crt --resolve {name}:8443:[::1] https://{name}:8443/"),
                format!(
                    "openssl s_client -connect [::1]:8443 -servername {name} -CAfile /tmp/d/ca.crt -verify_return_error </dev/null"
                ),
            ),
        ] {
            let commands = commands(&spec(), proxy.parse().unwrap(), &Path::new(folder).join("ca.crt"));
            assert_eq!(commands, [curl, openssl]);
        }
    }

    #[test]
    fn a_certificate_outlives_its_rotation() {
        for every in [Duration::from_millis(1), Duration::from_secs(5), Duration::from_secs(3600 * 24 * 3652)] {
            assert!(validity(every) >= every + Duration::from_secs(9), "{every:?}");
        }
    }
}
