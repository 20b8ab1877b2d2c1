//! Parse, build, run, exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    match vestibule::cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => {
            println!("{command:#?}");
            ExitCode::SUCCESS
        }
        Err(stop) => stop.report(),
    }
}
