use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::overlay::Overlay;
use super::verify::{KeyBook, VerifiedBatch, VerifiedBlock, check_signature};
use super::{Applied, Stop};
use crate::executor::{ExecuteError, Executor, ExecutorError, ProposalTemplate, StateMachine};
use crate::rules::{Parent, Rejection, Rule, Verifier};
use crate::store::{Commit, StateChange, StateView};
use crate::types::{Block, BlockLink, EncodedBlock, Genesis, Hash32, HashRules, Height};

/// How many of the last executed blocks are known again. A block can come from two sides at once, by gossip and as the answer
/// to a request; what lies between the two is no more than the blocks of a pause.
const RECENT: usize = 64;

/// The state machine at the last executed block, which may be ahead of the store. Everything here may read the disk.
#[derive(Debug)]
pub(super) struct Core {
    verifier: Verifier,
    keys: KeyBook,
    executor: Arc<dyn Executor>,
    checkpoints: BTreeMap<Height, Hash32>,
    machine: Box<dyn StateMachine>,
    overlay: Overlay,
    parent: Option<Parent>,
    /// The last executed blocks, up to the parent.
    recent: VecDeque<BlockLink>,
}

/// What executing a batch gave.
#[derive(Debug)]
pub(super) struct ExecutedBatch {
    pub(super) commits: Vec<Commit>,
    pub(super) applied: Vec<Applied>,
    pub(super) stop: Option<Stop>,
}

impl Core {
    pub(super) fn open(
        verifier: Verifier,
        keys: KeyBook,
        executor: Arc<dyn Executor>,
        base: Arc<dyn StateView>,
        parent: Option<Parent>,
    ) -> Result<Self, ExecutorError> {
        let genesis: &Arc<Genesis> = verifier.genesis();
        let machine = executor.open(Arc::clone(genesis), base.as_ref())?;
        let checkpoints = genesis.checkpoints.iter().map(|point| (point.height, point.hash)).collect();
        let (overlay, recent) = (Overlay::new(base), VecDeque::new());
        let mut core = Self { verifier, keys, executor, checkpoints, machine, overlay, parent, recent };
        core.learn_keys();
        Ok(core)
    }

    /// Starts anew at what the store holds: after a failed commit the machine is ahead of it.
    pub(super) fn reset(&mut self, base: Arc<dyn StateView>, parent: Option<Parent>) -> Result<(), ExecutorError> {
        self.machine = self.executor.open(Arc::clone(self.verifier.genesis()), base.as_ref())?;
        self.overlay = Overlay::new(base);
        self.parent = parent;
        self.recent.clear();
        Ok(())
    }

    pub(super) fn parent(&self) -> Option<Parent> {
        self.parent
    }

    pub(super) fn checkpoints(&self) -> &BTreeMap<Height, Hash32> {
        &self.checkpoints
    }

    /// Whether blocks are executed that the store was not known to hold at the last [`rebase`](Self::rebase).
    pub(super) fn is_ahead(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Tells that the store holds everything up to the commit of this number.
    pub(super) fn rebase(&mut self, commit: u64, base: Arc<dyn StateView>) {
        self.overlay.rebase(commit, base);
    }

    /// Executes the blocks of a batch in order; `commit` is its number. Blocks at its beginning that were executed a moment ago
    /// are passed over.
    pub(super) fn execute_batch(&mut self, commit: u64, batch: VerifiedBatch, now: u64) -> ExecutedBatch {
        let mut executed = ExecutedBatch { commits: Vec::new(), applied: Vec::new(), stop: None };
        for block in batch.blocks {
            if executed.applied.is_empty() && self.recent.contains(&block.hashed.link) {
                continue;
            }
            match self.execute(&block, now) {
                Ok(changes) => {
                    self.overlay.push(commit, &changes);
                    let link = block.hashed.link;
                    self.parent = Some(Parent { tip: link.tip(), timestamp: block.hashed.block.header.timestamp });
                    if self.recent.len() == RECENT {
                        self.recent.pop_front();
                    }
                    self.recent.push_back(link);
                    executed.commits.push(Commit { block: EncodedBlock { link, bytes: block.bytes.clone() }, changes });
                    executed.applied.push(Applied {
                        link,
                        tx_hashes: block.hashed.tx_hashes,
                        block: block.hashed.block,
                        bytes: block.bytes,
                    });
                }
                Err(error) => {
                    executed.stop = Some(Stop::from(error));
                    return executed;
                }
            }
        }
        executed.stop = batch.rejection.map(Stop::Rejected);
        executed
    }

    fn execute(&mut self, block: &VerifiedBlock, now: u64) -> Result<Vec<StateChange>, ExecuteError> {
        let hashed = &block.hashed;
        let header = &hashed.block.header;
        let round = self.verifier.check_parent(header, self.parent)?;
        self.verifier.check_clock(header, now)?;
        if let Some(expected) = self.checkpoints.get(&header.height)
            && *expected != hashed.link.hash
        {
            let detail = format!("expected {expected}, got {}", hashed.link.hash);
            return Err(Rejection::new(header.height, Rule::Checkpoint, detail).into());
        }
        if !block.signed
            && let Some(proposer) = self.machine.proposer(header.height, round)
            && proposer.address == header.proposer_address
        {
            check_signature(&self.verifier, hashed, &proposer.pub_key)?;
            self.keys.insert(proposer.address, proposer.pub_key);
        }
        self.machine.execute(&self.overlay, hashed, round).map_err(|error| self.blaming_nobody(error))
    }

    /// Who is elected at the end of an epoch decides about the reward of its last block, which the next block's state root is the first to show.
    /// So under v1 rules a STAKE whose key was swapped makes this very root look wrong, and the proposer is not to blame.
    fn blaming_nobody(&self, error: ExecuteError) -> ExecuteError {
        let genesis = self.verifier.genesis();
        match error {
            ExecuteError::Rejected(rejection)
                if rejection.rule == Rule::StateRoot
                    && genesis.hash_rules == HashRules::ComputechainV1
                    && rejection.height.is_multiple_of(genesis.params.epoch_length.max(1)) =>
            {
                Rejection { perhaps_ours: true, ..rejection }.into()
            }
            error => error,
        }
    }

    /// Follows the store after a rollback or the end of a reorganisation.
    pub(super) fn follow(
        &mut self,
        steps: Vec<Vec<StateChange>>,
        base: Arc<dyn StateView>,
        parent: Option<Parent>,
    ) -> Result<(), ExecutorError> {
        self.overlay = Overlay::new(base);
        self.parent = parent;
        self.recent.clear();
        let changes = merge(steps);
        self.machine.revert(&self.overlay, &changes)
    }

    pub(super) fn propose(&mut self, template: ProposalTemplate) -> Result<Block, ExecuteError> {
        self.machine.propose(&self.overlay, template)
    }

    pub(super) fn proposer(&self, height: Height, round: u64) -> Option<crate::executor::Proposer> {
        self.machine.proposer(height, round)
    }

    /// Learns the keys of all who may propose next, so that their signatures can be checked ahead.
    fn learn_keys(&mut self) {
        let next = self.parent.map_or(0, |parent| parent.tip.height.saturating_add(1));
        let active = self.verifier.genesis().params.max_validators;
        for round in 0..u64::from(active) {
            let Some(proposer) = self.machine.proposer(next, round) else { break };
            if self.keys.get(&proposer.address).is_some() {
                continue;
            }
            self.keys.insert(proposer.address, proposer.pub_key);
        }
    }
}

/// One set of changes that leads where all the steps lead.
fn merge(steps: Vec<Vec<StateChange>>) -> Vec<StateChange> {
    let mut merged: BTreeMap<_, StateChange> = BTreeMap::new();
    for change in steps.into_iter().flatten() {
        match merged.entry(change.key.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(change);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().old = change.old,
        }
    }
    merged.into_values().collect()
}
