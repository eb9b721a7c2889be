//! Fuzzing without a fuzzer: the targets, their corpus, and a mutator that knows nothing of coverage.
//!
//! What finds new ways in is `cargo fuzz` ([CONTRIBUTING.md](../../../CONTRIBUTING.md)); here what it found is tried again, and changed a
//! little, wherever the tests run.

mod corpus;
mod mutator;
mod seeds;
mod smoke;
#[path = "../../fuzz/src/lib.rs"]
pub mod targets;

pub use corpus::{directory, inputs};
pub use mutator::Mutator;
pub use seeds::seeds;
pub use smoke::{Report, Smoke, run_one};

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What its program and the directory of its corpus are called.
    pub name: &'static str,
    /// Panics where a part breaks its word.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target { name: "json", run: targets::json },
    Target { name: "postcard", run: targets::postcard },
    Target { name: "differential", run: targets::differential },
    Target { name: "framing", run: targets::framing },
    Target { name: "genesis", run: targets::genesis },
    Target { name: "peers", run: targets::peers },
    Target { name: "sync_events", run: targets::sync_events },
    Target { name: "sync_network", run: targets::sync_network },
];
