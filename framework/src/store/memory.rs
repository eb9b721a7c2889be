//! A store in memory.
//!
//! The state is kept as versions per key: a snapshot is a version number, and a commit costs what it changes, whatever
//! the size of the state.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::fold::{self, KeptBlocks};
use super::versions::{Versions, View};
use super::{
    ByteBudget, ChainStore, Commit, Moved, ReorgOutcome, StateChange, StateKey, StateValue, StateView, StoreError,
    UNDO_DEPTH, check_linkage,
};
use crate::types::{EncodedBlock, Hash32, Height, Tip};

/// A [`ChainStore`] that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    chain: Mutex<Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    genesis: Option<Hash32>,
    blocks: Vec<EncodedBlock>,
    heights: HashMap<Hash32, Height>,
    /// What each of the last blocks changed, the tip's last.
    undo: VecDeque<Vec<StateChange>>,
    state: Arc<Versions>,
    reorg: Option<Reorg>,
}

#[derive(Debug)]
struct Reorg {
    /// How many blocks of the old chain are still in place.
    fork: usize,
    /// The rest of the old chain.
    removed: Vec<Commit>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The genesis that the store is bound to.
    pub fn genesis_id(&self) -> Option<Hash32> {
        self.chain().genesis
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        // Every change is checked before it begins, so a chain behind a poisoned lock is still whole.
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ChainStore for MemoryStore {
    async fn bind(&self, genesis: Hash32, state: Vec<(StateKey, StateValue)>) -> Result<(), StoreError> {
        let mut chain = self.chain();
        fold::check_state(&state)?;
        if fold::needs_binding(chain.genesis, chain.tip(), genesis)? {
            chain.genesis = Some(genesis);
            chain.state = Arc::new(Versions::new(state));
        }
        Ok(())
    }

    async fn tip(&self) -> Result<Option<Tip>, StoreError> {
        Ok(self.chain().tip())
    }

    async fn blocks(
        &self,
        heights: RangeInclusive<Height>,
        budget: ByteBudget,
    ) -> Result<Vec<EncodedBlock>, StoreError> {
        let chain = self.chain();
        let first = usize::try_from(*heights.start()).unwrap_or(usize::MAX);
        let end = usize::try_from(*heights.end()).unwrap_or(usize::MAX).saturating_add(1).min(chain.blocks.len());
        let Some(range) = chain.blocks.get(first..end) else { return Ok(Vec::new()) };
        let mut room = budget.0;
        let mut found = Vec::new();
        for block in range {
            match room.checked_sub(block.bytes.len()) {
                Some(left) => room = left,
                None if found.is_empty() => room = 0,
                None => break,
            }
            found.push(block.clone());
        }
        Ok(found)
    }

    async fn height_of(&self, hash: Hash32) -> Result<Option<Height>, StoreError> {
        Ok(self.chain().heights.get(&hash).copied())
    }

    async fn commit(&self, batch: Vec<Commit>) -> Result<Tip, StoreError> {
        let mut chain = self.chain();
        check_linkage(chain.tip(), &batch)?;
        fold::check_changes(batch.iter().flat_map(|commit| &commit.changes))?;
        chain.append(batch);
        chain.prune();
        chain.tip().ok_or_else(fold::nothing_to_commit)
    }

    async fn rollback(&self, keep: Option<Height>) -> Result<Moved, StoreError> {
        let mut chain = self.chain();
        let kept = KeptBlocks::new(chain.tip(), keep, chain.undo.len())?.count;
        let mut removed = chain.remove_from(kept);
        let steps = fold::steps_off(&removed);
        let old = chain.reorg.take().unwrap_or_else(|| Reorg { fork: kept + removed.len(), removed: Vec::new() });
        removed.truncate(old.fork.saturating_sub(kept));
        removed.extend(old.removed);
        chain.reorg = Some(Reorg { fork: old.fork.min(kept), removed });
        Ok(Moved { tip: chain.tip(), steps })
    }

    async fn finish_reorg(&self, outcome: ReorgOutcome) -> Result<Moved, StoreError> {
        let mut chain = self.chain();
        let mut steps = Vec::new();
        if let Some(reorg) = chain.reorg.take() {
            if outcome == ReorgOutcome::PutBack {
                steps = fold::steps_off(&chain.remove_from(reorg.fork));
                steps.extend(fold::steps_back(&reorg.removed));
                chain.append(reorg.removed);
            }
            chain.prune();
        }
        Ok(Moved { tip: chain.tip(), steps })
    }

    fn state(&self) -> Result<Arc<dyn StateView>, StoreError> {
        Ok(Arc::new(View::new(&self.chain().state)))
    }

    async fn replace_state(
        &self,
        state: Vec<(StateKey, StateValue)>,
        undo: Vec<Vec<StateChange>>,
    ) -> Result<(), StoreError> {
        let mut chain = self.chain();
        fold::check_state(&state)?;
        fold::check_replacement(chain.tip(), &undo, chain.reorg.is_some())?;
        chain.state = Arc::new(Versions::new(state));
        chain.undo = undo.into_iter().rev().collect();
        chain.prune();
        Ok(())
    }
}

impl Chain {
    fn tip(&self) -> Option<Tip> {
        self.blocks.last().map(|block| block.link.tip())
    }

    fn append(&mut self, batch: Vec<Commit>) {
        self.state.apply(fold::forward(batch.iter().map(|commit| commit.changes.as_slice())));
        for Commit { block, changes } in batch {
            self.heights.insert(block.link.hash, block.link.height);
            self.blocks.push(block);
            self.undo.push_back(changes);
        }
    }

    /// Takes off all blocks but the first `kept`; the undo records must reach so far.
    fn remove_from(&mut self, kept: usize) -> Vec<Commit> {
        let blocks = self.blocks.split_off(kept);
        let undo = self.undo.split_off(self.undo.len() - blocks.len());
        self.state.apply(fold::backward(undo.iter().map(Vec::as_slice)));
        for block in &blocks {
            self.heights.remove(&block.link.hash);
        }
        blocks.into_iter().zip(undo).map(|(block, changes)| Commit { block, changes }).collect()
    }

    /// Drops undo records that no rollback needs. During a reorganisation all are kept, since putting back needs them.
    fn prune(&mut self) {
        if self.reorg.is_none() {
            let extra = self.undo.len().saturating_sub(usize::try_from(UNDO_DEPTH).unwrap_or(usize::MAX));
            self.undo.drain(..extra);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;
    use crate::testkit::store::StoreFactory;

    #[derive(Debug)]
    struct InMemory;

    impl StoreFactory for InMemory {
        type Store = MemoryStore;
        const LASTS: bool = false;

        fn new() -> Self {
            Self
        }

        fn open(&self) -> MemoryStore {
            MemoryStore::new()
        }
    }

    crate::store_suite!(contract, InMemory);
}
