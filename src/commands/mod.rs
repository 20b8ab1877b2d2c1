//! What each command does, given what was typed.

mod check;
mod demo;
mod envoy;
mod health;
pub mod identity;
pub mod issuer;
pub mod policy;
mod serve;
mod text;
mod token;

use std::io::Write;
use std::time::SystemTime;

use crate::cli::{Command, completions};
use crate::exit::{Exit, Fault};
use crate::sandbox::EarlyThread;
use crate::secrets::Plan;
use crate::sidecar;
use crate::supervisor::{AppCommand, PROXY_VARIABLE, Signals};
use crate::sys::limits;
use serve::OwnApp;

/// Keeps what is in memory, keys above all, from debuggers and from `/proc`, of our own user too. The first thing that is done, before anything is
/// read and before an app is started, which could open our memory and read it later. What serves says so where the kernel refuses.
pub fn keep_memory_private() {
    let _ = limits::keep_memory_private();
}

/// Has what goes beyond our own limits fail, and not end us: a file for the app, the log, a token that are larger than files may be. The second thing
/// that is done.
pub fn outlive_limits() {
    Signals::outlive_limits();
}

/// Does what was asked for.
///
/// `early` is a thread that is there before `main`, if there is one.
///
/// What serves stays on top of this frame for weeks. So the commands that need much of the stack are not inlined into it.
///
/// # Errors
/// [`Fault`] with the status to end with.
pub fn execute(command: Command, early: Option<EarlyThread>) -> Result<Exit, Fault> {
    match command {
        Command::Run { config, command } => {
            let mut words = command.into_iter();
            // Invariant: the command line is never empty.
            let program = words.next().unwrap_or_default();
            let mut app = AppCommand::new(program, words);
            app.scope = config.app.scope;
            app.map = config.app.map.clone();
            if config.app.hide_key {
                app.env_remove.extend(["CF_INSTANCE_KEY".into(), "VESTIBULE_KEY".into()]);
            }
            app.env_remove.push(PROXY_VARIABLE.into());
            let secrets = config.secrets.as_ref().map(|secrets| Plan::read(secrets, &std::env::vars_os().collect()));
            Ok(serve::serve(config, Some(OwnApp { command: app, secrets: secrets.transpose()? }), &[], early))
        }
        Command::Proxy { config } => Ok(serve::serve(config, None, &[], early)),
        Command::Health { admin } => health::health(admin.as_ref()),
        Command::Wait { admin, timeout } => health::wait(admin.as_ref(), timeout),
        Command::Identity { file, json } => {
            print(&identity::run(&file, json, SystemTime::now())?)?;
            Ok(Exit::Success)
        }
        Command::PolicyTest { config, peer, request, json } => {
            let (text, exit) = policy::test(&config, peer.as_deref(), request.as_ref(), json, SystemTime::now())?;
            print(&text)?;
            Ok(exit)
        }
        Command::Token(command) => token::run(&command),
        Command::Issuer(options) => {
            issuer::run(&options, &mut std::io::stdout())?;
            Ok(Exit::Success)
        }
        Command::Check { config, options } => {
            let (report, exit) = check::run(config, &options)?;
            print(&report)?;
            Ok(exit)
        }
        Command::Completions(shell) => {
            print(&completions::script(shell))?;
            Ok(Exit::Success)
        }
        Command::Demo(args) => demo::run(&args),
        Command::Envoy(command) => envoy::run(command, early),
        Command::Launch { job, words } => sidecar::launch(job, &words),
    }
}

/// Writes to stdout, which may be a pipe that nobody reads any more.
fn print(text: &str) -> Result<(), Fault> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Fault::of_stdout(&error))
}
