use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::engine::Figures;
use crate::sync::Mode;
use crate::types::{Checkpoint, Hash32, Height, Tip};

/// How a node stands, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// SYNCING or SYNCED (protocol.md section 1).
    pub mode: Mode,
    /// The last applied block. In the middle of a reorganisation still the one before it: a crash would put that back.
    pub tip: Option<Tip>,
    /// The hash of block 0.
    pub genesis_hash: Option<Hash32>,
    /// The highest height that a peer claims and that is not yet reached or refuted.
    pub target: Option<Height>,
    /// Requests for blocks that wait for their answer: a legacy peer may take a minute for one.
    pub outstanding: usize,
    /// Peers whose handshake is done.
    pub peers: usize,
    /// Whether a handshake was ever done.
    pub reached_anyone: bool,
    /// Whether there is anybody to dial or connected.
    pub knows_peers: bool,
    /// Why dials failed, by address: at most 64.
    pub failed_dials: BTreeMap<String, String>,
    /// Whether every known peer was reached and refused: another network, another codec, another key.
    pub refused_everywhere: bool,
    /// Transactions in the pool.
    pub pool: usize,
    /// Blocks rolled back since the start, those put back included.
    pub rolled_back: u64,
    /// What was done since the start.
    pub figures: Figures,
    /// The last refusal or fault that an operator may want to know.
    pub last_error: Option<String>,
    /// A checkpoint that the chain has not reached. Until it has, the node applies no block of gossip and proposes none, also where it is
    /// SYNCED: nobody is known to be ahead, but the chain may be another one than the operator demands.
    pub checkpoint_ahead: Option<CheckpointAhead>,
    /// Why the node cannot go on; set once.
    pub fatal: Option<String>,
}

/// A checkpoint above our tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointAhead {
    /// The lowest one.
    pub checkpoint: Checkpoint,
    /// What was found to contradict a checkpoint, if anything was: our own chain, or a peer's.
    pub trouble: Option<String>,
}

impl fmt::Display for CheckpointAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkpoint { height, hash } = self.checkpoint;
        write!(f, "the checkpoint at height {height}, block {hash}, is not reached")?;
        self.trouble.as_ref().map_or(Ok(()), |trouble| write!(f, ": {trouble}"))
    }
}

impl NodeStatus {
    /// The time from the first `get_blocks` to the last durable commit; `None` where either did not happen.
    pub fn sync_time(&self) -> Option<Duration> {
        Some(self.figures.last_commit?.saturating_sub(self.figures.first_request?))
    }
}
