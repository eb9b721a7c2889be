//! Blocks that came in without a look at their signatures, and the look before they are given out.
//!
//! Below a checkpoint neither a block's signature nor its transactions' is covered by any hash that is known, so that a peer can have put
//! others in their place. Whoever checks them would take us for the culprit: what does not hold is not given out, and the answer ends before
//! it. Each block is looked at once in a run, as long as it cannot be rolled back any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chain::{ANY_LENGTH, BatchVerifier, ChainError, KeyBook, Known, VerifiedTxs, decode_stored};
use crate::codec::EncodeError;
use crate::env::ComputePool;
use crate::executor::accounts::state;
use crate::rules::{HashedBlock, Rejection, Verifier};
use crate::store::{ByteBudget, ChainStore, StateView, StoreError, UNDO_DEPTH};
use crate::types::{EncodedBlock, Height};

/// Ranges of blocks whose signatures were found good, and bad blocks, that are remembered: of 16 bytes each. What does not fit is
/// looked at again.
const MOST_REMEMBERED: usize = 1024;

/// Knows which blocks were looked at.
#[derive(Debug)]
pub(super) struct Unchecked {
    /// No block above was taken unchecked.
    up_to: Option<Height>,
    verifier: Verifier,
    keys: KeyBook,
    pool: ComputePool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// First and last height.
    good: BTreeMap<Height, Height>,
    /// What was said in the log.
    bad: BTreeSet<Height>,
    /// What was said of blocks that are too long.
    too_long: BTreeSet<Height>,
}

impl Unchecked {
    /// With blocks up to this height that may never have been looked at.
    pub(super) fn new(up_to: Option<Height>, verifier: Verifier, keys: KeyBook, pool: ComputePool) -> Self {
        Self { up_to, verifier, keys, pool, seen: Mutex::default() }
    }

    /// The blocks of a store, from the lowest on, as far as their signatures hold where nobody may have looked at them.
    pub(super) async fn read(
        &self,
        store: &dyn ChainStore,
        from: Height,
        to: Height,
        budget: ByteBudget,
    ) -> Result<Vec<EncodedBlock>, StoreError> {
        let mut blocks = store.blocks(from..=to, budget).await?;
        let doubted = {
            let seen = self.seen();
            let is_doubted = |block: &&EncodedBlock| !seen.has(block.link.height);
            let may_be = blocks.iter().take_while(|block| Some(block.link.height) <= self.up_to);
            may_be.filter(is_doubted).cloned().collect::<Vec<_>>()
        };
        let (Some(first), Some(tip)) = (doubted.first().map(|block| block.link.height), store.tip().await?) else {
            return Ok(blocks);
        };
        let (good, why) = self.look_at(store, doubted).await?;
        let settled = tip.height.saturating_sub(UNDO_DEPTH);
        let mut seen = self.seen();
        if let Some(last) = good.map(|good| good.min(settled)).filter(|&last| last >= first) {
            seen.add(first, last);
        }
        if let Some((height, why)) = why {
            blocks.retain(|block| block.link.height < height);
            if seen.bad.len() < MOST_REMEMBERED && seen.bad.insert(height) {
                tracing::error!(
                    "our block {height} came below a checkpoint, where nobody looked at signatures, and they are wrong: {why}; it is not given to \
                     others, which lack nothing else; to have it right, sync into a new datadir"
                );
            }
        }
        Ok(blocks)
    }

    /// Says, once in a run, that no node would read the answer that gives this block: one that was taken before such blocks were refused.
    pub(super) fn note_too_long(&self, height: Height, codec: &str, error: &EncodeError) {
        let mut seen = self.seen();
        if seen.too_long.len() < MOST_REMEMBERED && seen.too_long.insert(height) {
            tracing::warn!(
                "our block {height} cannot be given to others over {codec}: {error}; somebody may have padded it, where no hash covers it; \
                 they have it from others; to have it shorter, sync into a new datadir"
            );
        }
    }

    /// The last block in front whose signatures hold, and the first one whose do not.
    async fn look_at(
        &self,
        store: &dyn ChainStore,
        blocks: Vec<EncodedBlock>,
    ) -> Result<(Option<Height>, Option<(Height, String)>), StoreError> {
        let (verifier, keys, pool) = (self.verifier.clone(), self.keys.clone(), self.pool.clone());
        let view = store.state()?;
        let verdict = move || {
            let mut hashed = Vec::with_capacity(blocks.len());
            for stored in &blocks {
                match decode_stored(stored) {
                    Ok(block) => hashed.push(verifier.hasher().hash_block(Arc::new(block))),
                    Err(ChainError::Store(error)) => return Err(error),
                    Err(error) => return Ok((None, Some((stored.link.height, error.to_string())))),
                }
            }
            learn_proposers(&keys, view.as_ref(), &hashed)?;
            let verified = VerifiedTxs::default();
            let all = BatchVerifier { verifier, keys, verified, pool, longest: ANY_LENGTH };
            let verified = all.verify(hashed, Known::Nothing);
            let bad = verified.rejection.map(|rejection: Rejection| (rejection.height, rejection.to_string()));
            Ok((verified.blocks.last().map(|block| block.hashed.link.height), bad))
        };
        self.pool.blocking(verdict).await
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic elsewhere leaves at worst a block that is looked at again.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds the keys of proposers that are not known from this run. Who could propose once stays in the state.
fn learn_proposers(keys: &KeyBook, view: &dyn StateView, blocks: &[HashedBlock]) -> Result<(), StoreError> {
    for block in blocks {
        let proposer = &block.block.header.proposer_address;
        if keys.get(proposer).is_none()
            && let Some(validator) = state::validator(view, proposer)?
        {
            keys.insert(validator.address, validator.pub_key);
        }
    }
    Ok(())
}

impl Seen {
    fn has(&self, height: Height) -> bool {
        self.good.range(..=height).next_back().is_some_and(|(_, &last)| height <= last)
    }

    fn add(&mut self, mut first: Height, mut last: Height) {
        let touches = |(&start, &end): (&Height, &Height)| {
            (start <= last.saturating_add(1) && first <= end.saturating_add(1)).then_some((start, end))
        };
        let touched: Vec<_> = self.good.range(..=last.saturating_add(1)).rev().map_while(touches).collect();
        for (start, end) in touched {
            self.good.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        if self.good.len() < MOST_REMEMBERED {
            self.good.insert(first, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_there_are_only_so_many() {
        let mut seen = Seen::default();
        for (first, last) in [(10, 19), (30, 39), (20, 25), (28, 29), (5, 6)] {
            seen.add(first, last);
        }
        assert_eq!(seen.good.iter().map(|(a, b)| (*a, *b)).collect::<Vec<_>>(), [(5, 6), (10, 25), (28, 39)]);
        assert!(seen.has(10) && seen.has(25) && !seen.has(26) && !seen.has(7) && seen.has(39));
        seen.add(0, 50);
        assert_eq!(seen.good.len(), 1);
        for at in 100..100 + 10 * MOST_REMEMBERED as u64 {
            seen.add(2 * at, 2 * at);
        }
        assert_eq!(seen.good.len(), MOST_REMEMBERED);
    }
}
