//! Tokens and logins, by code of others: what they make is judged by us, and what we make by them.
//!
//! The programs are in `tokens/independent`, and share nothing with ours.

mod comcast;
mod logins;
mod programs;
mod rotations;
mod table;
mod verifiers;
