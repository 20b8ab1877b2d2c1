//! `token vault`: log in once and print the token, or keep one fresh in a file.

use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::super::print;
use super::{load, note_commas};
use crate::cli::{TokenOutput, VaultArgs};
use crate::config::values::FileMode;
use crate::config::{AccessLogFilter, Log, LogLevel, VaultLogin};
use crate::credentials::{Rotator, ServedCertificate, run_blocking};
use crate::exit::{Exit, Fault};
use crate::lifecycle::ControlRequest;
use crate::secrets::vault::{VaultError, VaultOperation, VaultSession, VaultToken, warnings};
use crate::sidecar;
use crate::supervisor::Signals;
use crate::sys::{atomic_file, limits};
use crate::telemetry;
use crate::telemetry::log_writer;

/// For the last lines of the log to be read by whoever reads them.
const LAST_LINES: Duration = Duration::from_millis(250);

/// Between two tries to write the file.
const REWRITE: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300)];

/// Does what was asked for.
///
/// # Errors
/// [`Exit::NoCredential`] without a pair, [`Exit::Config`] for a file that cannot be written, [`Exit::Findings`] where Vault does not let us in.
pub(super) fn run(args: &VaultArgs) -> Result<Exit, Fault> {
    // A token is a secret, and with --write it is here for as long as we are.
    if let Err(error) = limits::keep_memory_private() {
        eprintln!("vestibule: cannot mark the process non-dumpable (PR_SET_DUMPABLE): {error}");
    }
    match &args.vault.login {
        VaultLogin::Cf { .. } | VaultLogin::Cert { .. } => {}
        VaultLogin::Jwt { audience, .. } => note_commas("--audience", slice::from_ref(audience)),
        VaultLogin::Comcast { audience, policies } => {
            note_commas("--audience", slice::from_ref(audience));
            note_commas("--policy", policies);
        }
    }
    match &args.output {
        TokenOutput::Stdout => {
            let token = once(args)?;
            print(&format!("{}\n", token.text()))?;
        }
        TokenOutput::File { path, mode } => {
            atomic_file::remove_leftovers(path).map_err(|error| cannot_write(path, &error))?;
            if !args.once {
                return keep(args, path, *mode);
            }
            let token = once(args)?;
            write(path, *mode, &token).map_err(|error| cannot_write(path, &error))?;
        }
    }
    Ok(Exit::Success)
}

fn cannot_write(path: &Path, error: &atomic_file::WriteError) -> Fault {
    Fault::new(Exit::Config, format!("--write: {}: the token cannot be written: {error}", path.display()))
}

/// Without a line break: readers send what is in the file.
fn write(path: &Path, mode: FileMode, token: &VaultToken) -> Result<(), atomic_file::WriteError> {
    atomic_file::replace(path, token.text().as_bytes(), mode.bits())
}

/// One login with the pair as it is now.
fn once(args: &VaultArgs) -> Result<VaultToken, Fault> {
    let pair = load(&args.pair)?;
    for warning in warnings(&args.vault) {
        eprintln!("vestibule: {warning}");
    }
    let served = ServedCertificate { source: args.pair.clone(), pair, generation: 1, since: SystemTime::now() };
    let (_pairs, receiver) = watch::channel(vec![served]);
    let session = VaultSession::new(args.vault.clone(), receiver, Arc::default());
    sidecar::runtime(1)?.block_on(session.log_in_once()).map_err(|error| cannot_log_in(&error))
}

fn cannot_log_in(error: &VaultError) -> Fault {
    let fault = Fault::new(Exit::Findings, error.to_string());
    match error.help(VaultOperation::Login) {
        Some(help) => fault.with_help(help),
        None => fault,
    }
}

/// Keeps a token in the file until a signal, and takes both away then.
fn keep(args: &VaultArgs, path: &Path, mode: FileMode) -> Result<Exit, Fault> {
    Signals::unblock();
    telemetry::start_logging(&Log { format: None, level: LogLevel::Info, access: AccessLogFilter::Off });
    for warning in warnings(&args.vault) {
        tracing::warn!(detail = %warning, "configuration warning");
    }
    let kept = sidecar::runtime(1)?.block_on(async {
        let internal =
            |error: std::io::Error| Fault::new(Exit::Internal, format!("cannot listen for signals: {error}"));
        let mut signals = Signals::for_proxy().map_err(internal)?;
        let reload = Arc::new(Notify::new());
        let mut rotator = Rotator::new(Arc::clone(&reload));
        rotator.add_pair(&args.pair);
        let session = VaultSession::new(args.vault.clone(), rotator.served(), Arc::default());
        let rotated = rotator.served();
        let stopped = async {
            loop {
                match signals.next_request(None).await {
                    ControlRequest::Stop => return,
                    ControlRequest::Reload => reload.notify_one(),
                }
            }
        };
        tokio::select! {
            () = stopped => {}
            () = rotator.run() => {}
            () = session.run() => {}
            () = mirror(session.tokens(), path, mode) => {}
            () = log_rotations(rotated) => {}
        }
        remove(path);
        session.revoke().await;
        Ok(Exit::Success)
    });
    log_writer::flush(LAST_LINES);
    kept
}

/// Says which pairs follow the first one, for ever.
async fn log_rotations(mut served: watch::Receiver<Vec<ServedCertificate>>) {
    let mut before = None;
    loop {
        let generation = served.borrow_and_update().first().map(|pair| pair.generation);
        if let Some(generation) = generation.filter(|_| generation != before)
            && before.replace(generation).is_some()
        {
            tracing::info!(generation, "certificate rotated");
        }
        if served.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Writes each token to the file, and takes it away once there is none any more.
async fn mirror(mut tokens: watch::Receiver<Option<VaultToken>>, path: &Path, mode: FileMode) {
    let (mut had_one, mut tries) = (false, 0);
    loop {
        let token = tokens.borrow_and_update().clone();
        let is_done = match token {
            None => {
                if had_one {
                    remove(path);
                }
                true
            }
            Some(token) => {
                let file = path.to_owned();
                let written = run_blocking(move || write(&file, mode, &token).map_err(|error| error.to_string())).await;
                match written.unwrap_or_else(|_| Err("it panicked; please report this".to_owned())) {
                    Ok(()) => {
                        tracing::info!(file = %path.display(), "Vault token written");
                        had_one = true;
                        true
                    }
                    Err(error) if tries == 0 => {
                        tracing::error!(file = %path.display(), error, "the Vault token cannot be written; the file stays as it is, and it is tried again");
                        false
                    }
                    Err(_) => false,
                }
            }
        };
        let wait = REWRITE[tries.min(REWRITE.len() - 1)];
        tries = if is_done { 0 } else { tries + 1 };
        tokio::select! {
            changed = tokens.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
            () = sleep(wait), if !is_done => {}
        }
    }
}

/// A token that is good no longer is of no use to anybody.
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => tracing::info!(file = %path.display(), "token file removed"),
        // Whoever has taken it away has done it for us.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "the token file cannot be removed; what is in it is revoked")
        }
    }
}
