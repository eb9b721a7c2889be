//! The chain's rules: pure functions of data, without IO and without a clock.
//!
//! Two families of hash rules exist ([`HashRules`](crate::types::HashRules)). All that differs between them is behind [`Hasher`];
//! what v1 lets in that nobody meant to is in `quirks`.

mod hasher;
pub mod keys;
pub mod merkle;
mod quirks;
pub mod schedule;
mod verify;

pub use hasher::{HashedBlock, Hasher};
pub use verify::{Parent, Rejection, Rule, SignatureCheck, Verifier};
