//! What has to hold in the end: one tip for all, a chain that grows, and no transaction lost.

use std::collections::BTreeSet;
use std::time::Duration;

use super::nodes::SimNode;
use super::world::{World, block_time};
use crate::sync::Mode;
use crate::types::{Hash32, Tip};

/// Within so many block times after all is repaired all honest nodes are on one tip.
///
/// A node that was alone for long dials again after a minute at most (six block times); then a branch has to be asked for, and
/// of two branches of one height one has to grow, for which it may take as many turns as there are validators, twice.
pub const CONVERGENCE: u32 = 30;
/// For so many block times after that the chain has to grow.
pub const TAIL: u32 = 12;
/// And by so many blocks.
const LEAST_GROWTH: u64 = 3;
/// How often it is looked whether all nodes are on one tip.
const LOOK: Duration = Duration::from_secs(1);

impl World {
    /// Waits for all nodes to be on one tip that is no lower than any was; gives the time that it took.
    pub(super) async fn converge(&mut self, healed: Duration) -> Option<(Duration, Tip)> {
        let floor = self.nodes.iter().filter_map(SimNode::tip).map(|tip| tip.height).max();
        let last = healed + CONVERGENCE * block_time();
        while self.is_well() {
            let tip = self.agreed().filter(|tip| Some(tip.height) >= floor);
            if let Some(tip) = tip {
                let after = self.now().saturating_sub(healed);
                self.oracle.note(format_args!("all are at {} {}", tip.height, tip.hash.short()));
                return Some((after, tip));
            }
            if self.now() >= last {
                let stand = self.stand();
                self.oracle.breach(format_args!("no one tip within {CONVERGENCE} block times: {stand}"));
                return None;
            }
            let next = self.now() + LOOK;
            self.until(next).await;
        }
        None
    }

    /// Looks whether the chain has grown, all are still together, and no transaction is missing.
    pub(super) async fn settle(&mut self, before: Tip) {
        let last = self.now() + TAIL * block_time();
        while self.is_well() {
            let agreed = self.agreed();
            let grown = agreed.is_some_and(|tip| tip.height >= before.height + LEAST_GROWTH);
            let missing = if grown { self.missing().await } else { Vec::new() };
            if grown && missing.is_empty() {
                return;
            }
            if self.now() >= last {
                let stand = self.stand();
                self.oracle.breach(if grown {
                    format!("transactions of nodes that were never restarted are in no block: {missing:?}; {stand}")
                } else {
                    format!("the chain was at {} and has not grown by {LEAST_GROWTH}: {stand}", before.height)
                });
                return;
            }
            // From here on no new transaction is taken, so that all can be included.
            self.agenda.clear();
            let next = self.now() + LOOK;
            self.until(next).await;
        }
    }

    /// The tip that all are on and SYNCED.
    fn agreed(&self) -> Option<Tip> {
        let mut agreed = None;
        for node in &self.nodes {
            let status = node.status()?;
            if let Some(why) = status.fatal {
                self.oracle.breach(format_args!("{} has given up: {why}", node.name));
                return None;
            }
            let tip =
                status.tip.filter(|tip| status.mode == Mode::Synced && agreed.is_none_or(|other| other == *tip))?;
            agreed = Some(tip);
        }
        agreed
    }

    fn stand(&self) -> String {
        let one = |node: &SimNode| match node.status() {
            Some(status) => {
                let tip = status.tip.map_or_else(|| "nothing".into(), |t| format!("{} {}", t.height, t.hash.short()));
                let error = status.last_error.unwrap_or_default();
                format!("{}: {tip}, {:?}, {} peers, {error:?}", node.name, status.mode, status.peers)
            }
            None => format!("{}: away", node.name),
        };
        self.nodes.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// The transactions that some node has taken, not been restarted since, and are in no block.
    async fn missing(&mut self) -> Vec<String> {
        let Some(chain) = self.nodes[0].chain().await else { return Vec::new() };
        let included: BTreeSet<Hash32> =
            chain.iter().flat_map(|block| &block.txs).map(|tx| self.hasher.transaction_hash(tx)).collect();
        self.taken.retain(|taken| self.nodes[taken.node].running.as_ref().is_some_and(|at| at.run == taken.run));
        let missing = self.taken.iter().filter(|taken| !included.contains(&taken.hash));
        missing.map(|taken| format!("{} of n{}", taken.hash.short(), taken.node)).collect()
    }
}
