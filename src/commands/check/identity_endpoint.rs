//! Judges the identity endpoint: whether it can be opened, and what it would judge tokens by.

use super::finding::{Findings, Subject};
use super::network::{NetworkCheck, PortHolder};
use super::outbound;
use crate::config::IdentityEndpoint;
use crate::sys::atomic_file;

/// Judges `endpoint`. `holder` finds out who holds a socket.
pub(super) fn judge(
    endpoint: &IdentityEndpoint,
    network: &NetworkCheck,
    holder: &dyn Fn(u64) -> Option<PortHolder>,
    found: &mut Findings,
) {
    outbound::judge_listen(&endpoint.listen, (Subject::Tokens, "--identity-listen"), network, holder, found);
    if let Some(path) = &endpoint.token_file
        && let Err(error) = atomic_file::check(path)
    {
        let what = format!("{} cannot be written: {error}", path.display());
        found.problem(Subject::Tokens, what, "correct it, or name another --identity-token-file");
    }
    let audiences = endpoint.audiences.join(", ");
    found.ok(Subject::Tokens, format!("{} gives tokens for {audiences}", endpoint.listen));
}
