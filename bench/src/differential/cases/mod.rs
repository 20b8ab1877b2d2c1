//! The cases, a file for each subject.

mod bytes;
mod clients;
mod down;
mod files;
mod offers;
mod openssl;
mod resumption;
mod retirement;
mod rotation;
mod strangers;

use super::Case;

/// All cases, in the order of the table.
pub(super) const ALL: &[Case] = &[
    Case { name: "files", run: files::run },
    Case { name: "offers", run: offers::run },
    Case { name: "bytes", run: bytes::run },
    Case { name: "clients", run: clients::run },
    Case { name: "app down", run: down::run },
    Case { name: "strangers", run: strangers::run },
    Case { name: "rotation", run: rotation::run },
    Case { name: "resumption", run: resumption::run },
    Case { name: "retirement", run: retirement::run },
    Case { name: "openssl", run: openssl::run },
];

/// How often something happened.
fn how_often(times: usize, of: usize) -> &'static str {
    match times {
        0 => "never",
        all if all == of => "always",
        _ => "sometimes",
    }
}
