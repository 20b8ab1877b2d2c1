//! What `--http` shows: the back-end's sidecar serves HTTP, tells its app who calls, and judges each request by routes.

use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use super::front_end::FrontEnd;
use crate::commands::text;

/// What green and blue ask for.
pub(super) const PATHS: [&[&str]; 2] = [&["/hello", "/secret"], &["/hello"]];

/// What the introduction says of them.
pub(super) const SAID: [&str; 2] = ["may ask for /hello by a route", "may come in, and ask for nothing"];

/// The name of the policy file.
const POLICY: &str = "policy.toml";

/// Writes the rules into `dir`: all may come in, and only the first may ask for something.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_policy(dir: &Path, front_ends: &[FrontEnd]) -> io::Result<()> {
    fs::write(dir.join(POLICY), policy(front_ends))
}

fn policy(front_ends: &[FrontEnd]) -> String {
    let rules: Vec<_> = front_ends.iter().map(|front_end| format!("\"cf:app:{}\"", front_end.spec.app)).collect();
    let first = rules.first().map_or("", String::as_str);
    format!("allow = [{}]\n\n[[route]]\npath = \"/hello\"\nallow = [{first}]\n", rules.join(", "))
}

/// What the back-end's sidecar is given, whose client CAs lie beside its rules.
pub(super) fn flags(roots: &Path) -> [(&'static str, OsString); 4] {
    [
        ("client-ca", roots.into()),
        ("policy", roots.with_file_name(POLICY).into()),
        ("mode", "http".into()),
        ("caller-headers", "true".into()),
    ]
}

/// `curl`, the command that calls the back-end without a certificate, as `front_end` calls it by TLS itself.
pub(super) fn command(curl: &str, front_end: &FrontEnd, dir: &Path) -> String {
    let folder = front_end.folder(dir);
    let (cert, key) = (text::quoted(&folder.cert()), text::quoted(&folder.key()));
    format!("{curl}hello --cert {cert} --key {key}    # as {}, in HTTP/2", front_end.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::policy::PolicyFile;

    #[test]
    fn both_may_come_in_and_only_green_may_ask_for_something() {
        let front_ends = FrontEnd::green_and_blue(PATHS, std::time::Duration::from_secs(60)).unwrap();
        let file = PolicyFile::parse(Path::new(POLICY), &policy(&front_ends)).unwrap();
        assert_eq!((file.allow.len(), file.deny.len()), (2, 0));
    }
}
