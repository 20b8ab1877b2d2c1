//! What is trusted: CAs and CRLs that change, that are odd, and that come to their end.

mod crls;
mod ending;
mod folders;
mod slow_writers;
