//! Parse, do it, exit status.

use std::process::ExitCode;

use vestibule::cli;
use vestibule::commands;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => match commands::execute(command) {
            Ok(exit) => exit.into(),
            Err(fault) => fault.report(),
        },
        Err(stop) => stop.report(),
    }
}
