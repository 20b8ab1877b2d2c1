//! Judges the identity endpoint: whether it can be opened, and what it would judge tokens by.

use std::time::SystemTime;

use super::clients;
use super::finding::{Findings, Subject};
use super::network::{NetworkCheck, PortHolder};
use super::outbound;
use crate::config::{IdentityEndpoint, TokenVerification};
use crate::credentials::ClientPolicyFiles;
use crate::sys::atomic_file;
use crate::token::RolesFile;
use crate::trust::AnchorLabels;

/// Judges `endpoint`. `holder` finds out who holds a socket.
pub(super) fn check(
    endpoint: &IdentityEndpoint,
    now: SystemTime,
    network: &NetworkCheck,
    holder: &dyn Fn(u64) -> Option<PortHolder>,
    found: &mut Findings,
) {
    outbound::check_listen(&endpoint.listen, (Subject::Tokens, "--identity-listen"), network, holder, found);
    if let Some(path) = &endpoint.token_file
        && let Err(error) = atomic_file::check(path)
    {
        let what = format!("{} cannot be written: {error}", path.display());
        found.problem(Subject::Tokens, what, "correct it, or name another --identity-token-file");
    }
    if let Some(verification) = &endpoint.verification {
        check_verification(verification, now, found);
    }
    let audiences = endpoint.audiences.join(", ");
    found.ok(Subject::Tokens, format!("{} gives tokens for {audiences}", endpoint.listen));
}

/// Judges the CAs that vouch for tokens, and the file of roles.
fn check_verification(verification: &TokenVerification, now: SystemTime, found: &mut Findings) {
    let files = verification.trust_files();
    match ClientPolicyFiles::read(&files, None).and_then(|texts| texts.client_policy(&files)) {
        Ok(client_policy) => {
            let cas = client_policy.anchors.cas();
            if cas.iter().all(|ca| ca.not_after < now || now < ca.not_before) {
                let what = "no CA of --token-ca is valid now: no token is good";
                found.problem(Subject::Tokens, what, "give --token-ca the CAs that issue now");
            }
            for (what, help) in cas.iter().filter_map(|ca| clients::ending(ca, now)) {
                found.warning(Subject::Tokens, what, help);
            }
        }
        Err(error) => {
            for error in error.said_of(AnchorLabels::TOKENS).each() {
                found.problem(
                    Subject::Tokens,
                    error.to_string(),
                    "correct it: until it can be read, no token is verified",
                );
            }
        }
    }
    match verification.roles.as_deref().map(RolesFile::load) {
        None => {}
        Some(Ok(roles)) => {
            for nobody in roles.current().nobodies() {
                found.warning(Subject::Tokens, nobody, "correct --token-roles");
            }
        }
        Some(Err(error)) => found.problem(Subject::Tokens, error.to_string(), "correct --token-roles"),
    }
}
