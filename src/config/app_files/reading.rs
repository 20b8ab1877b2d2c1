//! From what was typed about files for the app to what it means.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{AppFiles, CredentialFile, CredentialForm, RotationHook, TokenFile};
use crate::config::reader::{Located, OptionReader, Reported};
use crate::config::values;
use crate::config::values::FileMode;
use crate::diagnostics::redact::{quote, quote_path};
use crate::diagnostics::{Problem, Source};
use crate::signal::Signal;

impl OptionReader {
    /// What is written for the app, and what follows a rotation. `starts_app`: there is an app of ours to be signalled.
    pub(in crate::config) fn app_files(&mut self, starts_app: bool) -> Result<AppFiles, Reported> {
        let tokens = self.all("identity-file", token_file);
        let credentials = self.all("credential-file", credential_file);
        let mode = self.placed("file-mode", values::file_mode);
        let hook = self.all("on-rotation", rotation_hook);
        let token_ttl = self.required("identity-ttl", values::token_ttl);
        let (tokens, credentials, (mode_place, mode), hook) = (tokens?, credentials?, mode?, hook?.pop());
        if let Some((place, RotationHook::Signal(_))) = &hook
            && !starts_app
        {
            let help = "write exec:PROGRAM, or start the app by vestibule run -- COMMAND";
            return Err(self.report(Problem::new("the app is not ours to signal here", help).at(place.clone())));
        }
        if tokens.is_empty()
            && credentials.is_empty()
            && mode != FileMode::PRIVATE
            && matches!(mode_place, Source::Flag(_))
        {
            let help = "add --identity-file AUDIENCE=PATH or --credential-file FORM=PATH, or leave it out";
            return Err(self.report(Problem::new("there is no file to be written", help).at(mode_place)));
        }
        let of_tokens = tokens.iter().map(|(place, file)| (place.clone(), file.path.clone()));
        let of_credentials = credentials.iter().map(|(place, file)| (place.clone(), file.path.clone()));
        self.reject_duplicate_files(of_tokens.chain(of_credentials).collect())?;
        let mut credentials: Vec<_> = credentials.into_iter().map(|(_, file)| file).collect();
        // As they are written.
        credentials.sort_by_key(|file| file.form);
        Ok(AppFiles {
            tokens: tokens.into_iter().map(|(_, file)| file).collect(),
            credentials,
            mode,
            token_ttl: token_ttl?,
            on_rotation: hook.map(|(_, hook)| hook),
        })
    }

    /// Neither are two of them one file, nor is one of them ours to read. Which paths lead to one file is found out at the start.
    fn reject_duplicate_files(&mut self, files: Vec<Located<PathBuf>>) -> Result<(), Reported> {
        let mut result = Ok(());
        let config = self.sources.values("config").first().map(|given| PathBuf::from(&given.value));
        for (at, (place, path)) in files.iter().enumerate() {
            let what = match () {
                () if files[..at].iter().any(|(_, earlier)| earlier == path) => "is written twice",
                () if config.as_ref() == Some(path) => "is our own --config",
                () => continue,
            };
            let problem = Problem::new(format!("{} {what}", quote_path(path)), "give each file a path of its own");
            result = Err(self.report(problem.at(place.clone())));
        }
        result
    }
}

/// `AUDIENCE=PATH`. An audience is often a URL, and may hold a `=`.
fn token_file(text: &str) -> Result<TokenFile, Problem> {
    let help = "write AUDIENCE=PATH, such as https://vault.example.com=/run/app/vault.jwt";
    let Some((audience, path)) = text.rsplit_once('=') else {
        return Err(Problem::new(format!("{} has no =", quote(text)), help));
    };
    if audience.is_empty() {
        return Err(Problem::new(format!("{} names no audience", quote(text)), help));
    }
    Ok(TokenFile { audience: audience.to_owned(), path: file(path)? })
}

/// `FORM=PATH`.
fn credential_file(text: &str) -> Result<CredentialFile, Problem> {
    let Some((form, path)) = text.split_once('=') else {
        let help = "write FORM=PATH, such as pem=/run/app/instance.pem";
        return Err(Problem::new(format!("{} has no =", quote(text)), help));
    };
    Ok(CredentialFile { form: values::one_of::<CredentialForm>(form)?, path: file(path)? })
}

fn file(text: &str) -> Result<PathBuf, Problem> {
    let path = values::path(OsStr::new(text))?;
    match Path::new(text).file_name() {
        Some(_) if !text.ends_with('/') => Ok(path),
        _ => Err(Problem::new(format!("{} names a folder", quote_path(&path)), "write the path of a file")),
    }
}

/// `signal:NAME` or `exec:PROGRAM ARGUMENT...`.
fn rotation_hook(text: &str) -> Result<RotationHook, Problem> {
    if let Some(name) = text.strip_prefix("signal:") {
        let signal: Signal = name.parse()?;
        return match signal.is_forwardable() {
            true => Ok(RotationHook::Signal(signal)),
            false => {
                Err(Problem::new(format!("{signal} is never sent to an app"), "write another one, such as signal:HUP"))
            }
        };
    }
    let mut words = text.strip_prefix("exec:").unwrap_or_default().split_ascii_whitespace().map(str::to_owned);
    match words.next() {
        Some(program) => Ok(RotationHook::Exec { program, args: words.collect() }),
        None => {
            let help = "write signal:NAME, such as signal:HUP, or exec:PROGRAM ARGUMENT...";
            Err(Problem::new(format!("{} is nothing that could be done", quote(text)), help))
        }
    }
}
