//! `vestibule token`: make a token with the instance's key, or judge one.

mod replay_file;
mod vault;
mod verify;

use std::time::SystemTime;

use super::print;
use crate::cli::{JwtArgs, TokenCommand, TokenOutput, VaultCfArgs};
use crate::config::PairSource;
use crate::credentials::Pair;
use crate::exit::{Exit, Fault};
use crate::token::TokenForm;
use crate::{app_files, sys, token};

/// Does what was asked for.
///
/// # Errors
/// [`Exit::NoCredential`] without a pair, [`Exit::Usage`] for what does not fit the key, and [`Exit::Findings`] where the pair vouches for
/// nobody now. To judge: [`Exit::NoCredential`] for a file that cannot be read, and [`Exit::Config`] for roles with errors.
#[inline(never)]
pub(super) fn run(command: &TokenCommand) -> Result<Exit, Fault> {
    match command {
        TokenCommand::Jwt(args) => jwt(args),
        TokenCommand::VaultCf(args) => vault_cf(args),
        TokenCommand::Verify(args) => {
            let (text, exit) = verify::verify(args, SystemTime::now())?;
            print(&text)?;
            Ok(exit)
        }
        TokenCommand::Vault(args) => vault::run(args),
    }
}

fn jwt(JwtArgs { pair, request, output }: &JwtArgs) -> Result<Exit, Fault> {
    if let (TokenOutput::File { path, .. }, PairSource::Files(files)) = (output, pair)
        && let Some(option) = app_files::option_reading(path, &[("--cert", &files.cert), ("--key", &files.key)])
    {
        let message = format!("--write: {}: we read it ourselves, as {option}", path.display());
        return Err(Fault::new(Exit::Usage, message).with_help("name another file"));
    }
    let token = token::issue(&load(pair)?, request, SystemTime::now()).map_err(|error| {
        let exit = if error.is_user_error() { Exit::Usage } else { Exit::Findings };
        Fault::new(exit, error.to_string())
    })?;
    note_commas("--audience", &request.audience);
    if let TokenForm::Comcast { policies } = &request.form {
        note_commas("--policy", policies);
    }
    if request.audience.len() > 1 {
        eprintln!("vestibule: the token has several audiences: each of them can use it with the others");
    }
    match output {
        TokenOutput::Stdout => print(&format!("{}\n", token.text()))?,
        TokenOutput::File { path, mode } => {
            // Without a line break: readers send what is in the file.
            sys::atomic_file::replace(path, token.text().as_bytes(), mode.bits()).map_err(|error| {
                Fault::new(Exit::Config, format!("--write: {}: the token cannot be written: {error}", path.display()))
            })?;
        }
    }
    Ok(Exit::Success)
}

/// Says what a comma is taken for in the values of `option`.
fn note_commas(option: &str, values: &[String]) {
    if values.iter().any(|value| value.contains(',')) {
        eprintln!(
            "vestibule: {option}: a comma is taken as part of the name; for several give the option several times"
        );
    }
}

fn vault_cf(VaultCfArgs { pair, role }: &VaultCfArgs) -> Result<Exit, Fault> {
    let body = token::vault_cf_login(&load(pair)?, role, SystemTime::now())
        .map_err(|error| Fault::new(Exit::Findings, error.to_string()))?;
    if role.chars().any(char::is_uppercase) {
        eprintln!(
            "vestibule: --role: Vault stores role names in lower case, and finds no {role}; write {}",
            role.to_lowercase()
        );
    }
    print(&(body + "\n"))?;
    Ok(Exit::Success)
}

fn load(source: &PairSource) -> Result<Pair, Fault> {
    source.load().map_err(|error| {
        let fault = Fault::new(Exit::NoCredential, format!("no usable certificate and key: {error}"));
        fault.with_help(
            error.help().unwrap_or("name them by --cert and --key, or by CF_INSTANCE_CERT and CF_INSTANCE_KEY"),
        )
    })
}
