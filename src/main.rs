//! Parse, build, run, exit status.

use std::env;
use std::process::ExitCode;

use vestibule::exit::Exit;
use vestibule::exit::Fault;
use vestibule::supervisor::App;
use vestibule::supervisor::AppCommand;
use vestibule::supervisor::AppStatus;
use vestibule::supervisor::Asked;
use vestibule::supervisor::Signals;

fn main() -> ExitCode {
    match run() {
        Ok(status) => Exit::from(status).into(),
        Err(fault) => fault.report(),
    }
}

fn run() -> Result<AppStatus, Fault> {
    let internal = |error: std::io::Error| Fault::new(Exit::Internal, error.to_string());
    let mut words = env::args_os().skip(1);
    if words.next().is_none_or(|word| word != "run") || words.next().is_none_or(|word| word != "--") {
        return Err(Fault::new(Exit::Usage, "write run -- COMMAND [ARG...]"));
    }
    let program = words.next().ok_or_else(|| Fault::new(Exit::Usage, "no command after --"))?;
    let command = AppCommand::new(program, words);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(internal)?;
    runtime.block_on(async {
        let mut signals = Signals::for_run().map_err(internal)?;
        let (app, reaper) = App::spawn(&command)?;
        tokio::spawn(reaper.run());
        loop {
            tokio::select! {
                asked = signals.asked(Some(&app)) => if let Asked::Stop { signal, .. } = asked { app.signal(signal) },
                status = app.exited() => return Ok(status),
            }
        }
    })
}
