//! The chain's rules: pure functions of data, without IO and without a clock.
//!
//! Two families of hash rules exist ([`HashRules`](crate::types::HashRules)). All that differs between them is behind [`Hasher`];
//! what v1 lets in that nobody meant to is in `quirks`.

mod canonical;
mod ed25519;
mod hash_canonical;
mod hash_v1;
mod hasher;
pub mod keys;
pub mod merkle;
pub mod payload;
mod quirks;
mod rejection;
pub mod schedule;
mod sha256;
mod signature;
mod sink;
mod transaction;
mod verify;

#[cfg(test)]
mod tests;

pub use canonical::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH};
pub use hasher::{HashedBlock, Hasher};
pub use rejection::{Rejection, Rule};
pub(crate) use sha256::sha256;
pub(crate) use signature::MAX_BATCH;
pub use signature::{SignatureCheck, SignatureFault};
pub use transaction::TxFault;
pub use verify::{MAX_SECONDS_AHEAD, Parent, Verifier};
