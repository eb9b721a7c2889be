//! The chain in memory: plain vectors and maps, which follow the changes.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use cpc_framework::store::{
    ByteBudget, Commit, MAX_STATE_KEY, Moved, StateChange, StateKey, StateValue, StateView, StoreError, StoreErrorKind,
    UNDO_DEPTH, check_linkage,
};
use cpc_framework::types::{EncodedBlock, Hash32, Height, Tip};
use serde::{Deserialize, Serialize};

/// One change, as it stands in the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Change {
    /// Ties the store to a genesis.
    Bind { genesis: Hash32, state: Vec<(StateKey, StateValue)> },
    /// Appends blocks.
    Commit { batch: Vec<Commit> },
    /// Takes blocks off.
    Rollback { keep: Option<Height> },
    /// Ends a reorganisation.
    FinishReorg { put_back: bool },
    /// Swaps the state.
    ReplaceState { state: Vec<(StateKey, StateValue)>, undo: Vec<Vec<StateChange>> },
}

/// Blocks and state at one moment.
#[derive(Debug, Default)]
pub(super) struct Chain {
    genesis: Option<Hash32>,
    /// Every block; what it changed is kept for the last `undo` of them.
    commits: Vec<Commit>,
    undo: usize,
    heights: HashMap<Hash32, Height>,
    /// Copied before it is changed, if somebody still reads it: that makes a view a snapshot.
    state: Arc<BTreeMap<StateKey, StateValue>>,
    reorg: Option<Reorg>,
}

/// A reorganisation under way.
#[derive(Debug)]
struct Reorg {
    /// So many blocks of the old chain are still in place.
    fork: usize,
    /// The others.
    removed: Vec<Commit>,
}

impl Chain {
    /// Whether a change may be made: `false` where it would change nothing, an error where the contract forbids it.
    pub(super) fn check(&self, change: &Change) -> Result<bool, StoreError> {
        match change {
            Change::Bind { genesis, .. } if self.genesis == Some(*genesis) => Ok(false),
            Change::Bind { genesis, .. } if self.genesis.is_some() || !self.commits.is_empty() => {
                let have = self.genesis.map_or("an unknown genesis".to_owned(), |have| format!("genesis {have}"));
                let message = format!("the log belongs to {have}, not to {genesis}; use another file");
                Err(StoreError::new(StoreErrorKind::GenesisMismatch, message))
            }
            Change::Bind { state, .. } => check_keys(state.iter().map(|(key, _)| key)).map(|()| true),
            Change::Commit { batch } => {
                check_linkage(self.tip(), batch)?;
                check_keys(batch.iter().flat_map(|commit| &commit.changes).map(|change| &change.key))?;
                Ok(!batch.is_empty())
            }
            Change::Rollback { keep } => {
                let depth = self.commits.len().checked_sub(blocks_up_to(*keep));
                if depth.is_some_and(|depth| depth <= self.undo) {
                    return Ok(true);
                }
                let (blocks, undo) = (self.commits.len(), self.undo);
                let message = format!("of {blocks} blocks the last {undo} can be undone, not all above {keep:?}");
                Err(StoreError::new(StoreErrorKind::NoUndo, message))
            }
            Change::FinishReorg { .. } => Ok(self.reorg.is_some()),
            Change::ReplaceState { state, undo } => {
                if self.reorg.is_some() || undo.len() > self.commits.len() {
                    let message = "the state is replaced between reorganisations, with one undo record a block at most";
                    return Err(StoreError::new(StoreErrorKind::Invalid, message));
                }
                check_keys(state.iter().map(|(key, _)| key))?;
                check_keys(undo.iter().flatten().map(|change| &change.key))?;
                Ok(true)
            }
        }
    }

    /// Makes a change that was checked.
    pub(super) fn make(&mut self, change: Change) -> Moved {
        let mut steps = Vec::new();
        match change {
            Change::Bind { genesis, state } => {
                self.genesis = Some(genesis);
                self.state = Arc::new(state.into_iter().collect());
            }
            Change::Commit { batch } => batch.into_iter().for_each(|commit| self.push(commit)),
            Change::Rollback { keep } => {
                let kept = blocks_up_to(keep);
                let reorg = self.reorg.take();
                let fork = reorg.as_ref().map_or(self.commits.len(), |reorg| reorg.fork);
                let mut removed = self.take_off(kept, &mut steps);
                // Blocks of the new branch are dropped for good; those of the old one join their like.
                removed.truncate(fork.saturating_sub(kept));
                removed.extend(reorg.into_iter().flat_map(|reorg| reorg.removed));
                self.reorg = Some(Reorg { fork: fork.min(kept), removed });
            }
            Change::FinishReorg { put_back } => {
                if let Some(reorg) = self.reorg.take()
                    && put_back
                {
                    self.take_off(reorg.fork, &mut steps);
                    for commit in reorg.removed {
                        steps.push(commit.changes.iter().cloned().map(swapped).collect());
                        self.push(commit);
                    }
                }
            }
            Change::ReplaceState { state, undo } => {
                self.state = Arc::new(state.into_iter().collect());
                self.undo = undo.len();
                for (commit, changes) in self.commits.iter_mut().rev().zip(undo) {
                    commit.changes = changes;
                }
            }
        }
        self.forget_old_changes();
        Moved { tip: self.tip(), steps }
    }

    pub(super) fn in_reorg(&self) -> bool {
        self.reorg.is_some()
    }

    pub(super) fn tip(&self) -> Option<Tip> {
        self.commits.last().map(|commit| commit.block.link.tip())
    }

    pub(super) fn height_of(&self, hash: Hash32) -> Option<Height> {
        self.heights.get(&hash).copied()
    }

    pub(super) fn blocks(&self, heights: RangeInclusive<Height>, budget: ByteBudget) -> Vec<EncodedBlock> {
        let first = usize::try_from(*heights.start()).unwrap_or(usize::MAX);
        let count = heights.end().checked_sub(*heights.start()).map_or(0, |more| more.saturating_add(1));
        let (mut room, mut none_yet) = (budget.0, true);
        let fits = |block: &&EncodedBlock| {
            let size = block.bytes.len();
            let taken = size <= room || none_yet;
            (room, none_yet) = (room.saturating_sub(size), false);
            taken
        };
        let range = self.commits.iter().skip(first).take(usize::try_from(count).unwrap_or(usize::MAX));
        range.map(|commit| &commit.block).take_while(fits).cloned().collect()
    }

    pub(super) fn state(&self) -> Arc<dyn StateView> {
        Arc::new(View(Arc::clone(&self.state)))
    }

    fn push(&mut self, commit: Commit) {
        let state = Arc::make_mut(&mut self.state);
        for change in &commit.changes {
            set(state, &change.key, change.new.as_ref());
        }
        self.heights.insert(commit.block.link.hash, commit.block.link.height);
        self.commits.push(commit);
        self.undo += 1;
    }

    /// Takes all but the first `kept` blocks off, the last one first, and notes each step.
    fn take_off(&mut self, kept: usize, steps: &mut Vec<Vec<StateChange>>) -> Vec<Commit> {
        let removed = self.commits.split_off(kept.min(self.commits.len()));
        self.undo -= removed.len();
        let state = Arc::make_mut(&mut self.state);
        for commit in removed.iter().rev() {
            for change in &commit.changes {
                set(state, &change.key, change.old.as_ref());
            }
            self.heights.remove(&commit.block.link.hash);
            steps.push(commit.changes.clone());
        }
        removed
    }

    /// During a reorganisation nothing is forgotten: to put the old blocks back, all of the new branch must be undone.
    fn forget_old_changes(&mut self) {
        let most = usize::try_from(UNDO_DEPTH).unwrap_or(usize::MAX);
        if self.reorg.is_some() || self.undo <= most {
            return;
        }
        let blocks = self.commits.len();
        for commit in &mut self.commits[blocks - self.undo..blocks - most] {
            commit.changes = Vec::new();
        }
        self.undo = most;
    }
}

/// A state that nobody changes any more.
#[derive(Debug)]
struct View(Arc<BTreeMap<StateKey, StateValue>>);

impl StateView for View {
    fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let from = self.0.range(StateKey::copy_from_slice(prefix)..);
        from.take_while(|(key, _)| key.starts_with(prefix)).all(|(key, value)| visit(key, value));
        Ok(())
    }
}

fn set(state: &mut BTreeMap<StateKey, StateValue>, key: &StateKey, value: Option<&StateValue>) {
    match value {
        Some(value) => state.insert(key.clone(), value.clone()),
        None => state.remove(key),
    };
}

fn swapped(change: StateChange) -> StateChange {
    StateChange { key: change.key, old: change.new, new: change.old }
}

/// How many blocks there are up to this height.
fn blocks_up_to(keep: Option<Height>) -> usize {
    keep.map_or(0, |keep| usize::try_from(keep).unwrap_or(usize::MAX).saturating_add(1))
}

fn check_keys<'a>(mut keys: impl Iterator<Item = &'a StateKey>) -> Result<(), StoreError> {
    match keys.find(|key| key.len() > MAX_STATE_KEY) {
        None => Ok(()),
        Some(key) => {
            let message = format!("a state key has {} bytes, at most {MAX_STATE_KEY} are allowed", key.len());
            Err(StoreError::new(StoreErrorKind::Invalid, message))
        }
    }
}
