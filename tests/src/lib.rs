//! Shared pieces of the end-to-end tests: node processes, data directories, test chains, and a peer written against the wire alone.
//!
//! But for [`crowd`], [`feeder`], [`framed`], [`fuzz`], [`generate`], [`kills`], [`maker`] and [`network`], nothing here uses a type of the framework: what these tests say about the node, they say from outside.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a broken assumption of a test is a failed test, and says so"
)]

pub mod crowd;
pub mod datadir;
pub mod deadline;
pub mod feeder;
pub mod framed;
pub mod fuzz;
pub mod generate;
pub mod http;
pub mod kills;
pub mod maker;
pub mod network;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod simulation;
pub mod small_disk;
pub mod soak;
pub mod throttle;
pub mod vectors;
pub mod wire;

/// The path of the node's binary, for use in a test or a benchmark of this crate.
#[macro_export]
macro_rules! node_binary {
    () => {
        env!("CARGO_BIN_EXE_cpc-node-under-test")
    };
}
