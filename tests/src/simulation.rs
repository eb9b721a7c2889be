//! What the simulations of this repository run: the parts that ship, in the codec that the seed says.

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::testkit::sim::{Plugs, Scenario};

/// How a failed seed is run again.
pub const REPLAY: &str = "cargo run --release -p cpc-tests --features long --bin simulate -- --seed ";

/// The parts for a seed: every fourth speaks JSON, the others postcard.
pub fn plugs(seed: u64) -> Plugs {
    let plugs = if seed.is_multiple_of(4) { Plugs::new(JsonCodec) } else { Plugs::new(PostcardCodec) };
    plugs.replay(REPLAY)
}

/// The scenario of a seed.
pub fn scenario(seed: u64) -> Scenario {
    Scenario::from_seed(seed)
}
