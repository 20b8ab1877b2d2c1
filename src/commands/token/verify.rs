//! `vestibule token verify`: the verdict on a token, and the check that decided.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use super::note_commas;
use super::replay_file::ReplayFile;
use crate::cli::{TokenInput, VerifyArgs};
use crate::commands::policy::{peer_chain, to_json};
use crate::config::ClientAuthSettings;
use crate::credentials::ClientPolicyFiles;
use crate::diagnostics::{LONGEST_FIELD, SafeText};
use crate::exit::{Exit, Fault};
use crate::token::{
    CallerCertificate, LONGEST_TOKEN, RolesFile, TokenQuestion, TokenVerdict, VerdictIdentity, Verifier,
};
use crate::trust::{AnchorLabels, TrustAnchors};

/// Judges the token at the time `now`. Gives what is printed, and [`Exit::Success`] for a permit or [`Exit::Findings`] for a denial.
///
/// # Errors
/// There is nothing to judge it by.
pub(super) fn verify(args: &VerifyArgs, now: SystemTime) -> Result<(String, Exit), Fault> {
    let verifier = Verifier {
        anchors: anchors(args)?,
        identity: args.identity,
        skew: args.skew,
        max_ttl: args.max_ttl,
        issuer: args.issuer.clone(),
        require_bound: args.require_bound,
        roles: match &args.roles {
            Some((path, _)) => {
                let file = RolesFile::load(path).map_err(|error| Fault::new(Exit::Config, error.to_string()))?;
                Some(file.current())
            }
            None => None,
        },
    };
    let caller = match &args.peer {
        Some(path) => CallerCertificate::of(&peer_chain(path, Exit::NoCredential)?[0]),
        None => CallerCertificate::Unknown,
    };
    let token = match &args.token {
        TokenInput::Argument(token) => token.clone(),
        TokenInput::Stdin => read_stdin()?,
    };
    if let Some(hint) = input_hint(&args.token, &token) {
        eprintln!("vestibule: {hint}");
    }
    note_commas("--audience", &args.audiences);
    // Locked from here until it is written, so that of two who are shown one token at a time one alone lets it in.
    let replays = args.replay_file.as_deref().map(ReplayFile::open).transpose()?;
    let question = TokenQuestion {
        token: &token,
        audiences: &args.audiences,
        form: args.form,
        caller,
        role: args.roles.as_ref().and_then(|(_, role)| role.as_deref()),
        once: replays.as_ref().map(ReplayFile::cache),
    };
    let judged = verifier.verify(&question, now);
    // Before the verdict is told: whoever hears of a permit can rely on it that there is no second one.
    replays.map_or(Ok(()), ReplayFile::save)?;
    let exit = if judged.is_ok() { Exit::Success } else { Exit::Findings };
    let verdict = judged.as_ref().map_or_else(TokenVerdict::from, TokenVerdict::from);
    let text = if args.json { to_json(&verdict)? } else { to_text(&verdict) };
    Ok((text, exit))
}

/// What may have been meant, where what was given can be no token.
fn input_hint(input: &TokenInput, token: &str) -> Option<&'static str> {
    // No token ends like this, for a signature is longer.
    let is_named_like_a_file = |name: &str| [".jwt", ".txt", ".token"].iter().any(|end| name.ends_with(end));
    match input {
        TokenInput::Stdin if token.is_empty() => Some("nothing stands on stdin: give the token there, or as TOKEN"),
        TokenInput::Argument(name) if Path::new(name).exists() => {
            Some("TOKEN is the name of a file; to judge what stands in it, write < FILE in its place")
        }
        TokenInput::Argument(name) if is_named_like_a_file(name) => Some(
            "TOKEN looks like the name of a file, and there is none of that name; to judge what stands in one, write < FILE in its place",
        ),
        _ => None,
    }
}

fn anchors(args: &VerifyArgs) -> Result<TrustAnchors, Fault> {
    let files = ClientAuthSettings::of_signers(args.ca.clone(), args.crl.clone());
    let read = ClientPolicyFiles::read(&files, None).and_then(|texts| texts.client_policy(&files));
    let policy =
        read.map_err(|error| Fault::new(Exit::NoCredential, error.said_of(AnchorLabels::TOKEN_COMMAND).with_help()))?;
    for note in policy.notes.iter().map(String::as_str).chain(policy.anchors.crl_notes().iter().map(String::as_str)) {
        eprintln!("vestibule: {}", SafeText::up_to(LONGEST_FIELD, note));
    }
    Ok(policy.anchors)
}

/// What stands on stdin, without the end of its line. Of a longer text so much that it is known to be too long.
fn read_stdin() -> Result<String, Fault> {
    let mut bytes = Vec::new();
    let most = LONGEST_TOKEN as u64 + "\r\n".len() as u64 + 1;
    std::io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Fault::new(Exit::NoCredential, format!("the token cannot be read from stdin: {error}")))?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // What is not UTF-8 is no token, and the verdict says so.
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// Laid out as `policy test` does.
fn to_text(verdict: &TokenVerdict) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // A String takes everything; only the trait's signature knows of errors.
        let _ = writeln!(out, "{name:<14}{}", SafeText::up_to(LONGEST_FIELD, value));
    };
    line("verdict", &verdict.verdict);
    if let (Some(reason), Some(check), Some(detail)) = (verdict.reason, verdict.check, &verdict.detail) {
        line("reason", &format_args!("{reason} (check {check}): {detail}"));
    }
    if let Some(identity) = &verdict.identity {
        for (name, value) in parts(identity) {
            line(name, &value.as_deref().unwrap_or("none"));
        }
        if let Some(subject) = &identity.subject {
            line("subject", subject);
        }
    }
    let mut optional = |name: &str, value: Option<&dyn std::fmt::Display>| {
        if let Some(value) = value {
            line(name, value);
        }
    };
    optional("audience", verdict.audience.as_ref().map(|value| value as _));
    optional("jti", verdict.jti.as_ref().map(|value| value as _));
    optional("expires", verdict.expires_at.as_ref().map(|value| value as _));
    optional("role", verdict.role.as_ref().map(|value| value as _));
    if verdict.verdict == "permit" {
        let policies = verdict.policies.join(", ");
        line("policies", if policies.is_empty() { &"none" } else { &policies });
    }
    if let Some(seconds) = verdict.ttl_seconds {
        line("ttl", &format_args!("{seconds} s"));
    }
    for warning in &verdict.warnings {
        line("warning", warning);
    }
    if verdict.reason.is_some() {
        line("see", &"docs/tokens.md#denial-reasons");
    }
    out
}

fn parts(identity: &VerdictIdentity) -> [(&'static str, &Option<String>); 4] {
    [
        ("organization", &identity.org_guid),
        ("space", &identity.space_guid),
        ("app", &identity.app_guid),
        ("instance", &identity.cf_instance_guid),
    ]
}
