//! What each command does, given what was typed.

pub mod identity;
pub mod issuer;
mod text;
