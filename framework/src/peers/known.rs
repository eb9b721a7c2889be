//! What was seen before, in bounded memory (`attacks.md` row 12).

use std::collections::VecDeque;
use std::hash::Hash;

use crate::fast_map::FastSet;
use crate::limits::Limits;
use crate::types::Hash32;

/// A set that forgets its oldest member when it is full.
#[derive(Debug, Clone)]
struct FifoSet<T> {
    capacity: usize,
    order: VecDeque<T>,
    members: FastSet<T>,
}

impl<T: Copy + Eq + Hash> FifoSet<T> {
    fn new(capacity: usize) -> Self {
        Self { capacity, order: VecDeque::new(), members: FastSet::default() }
    }

    fn insert(&mut self, member: T) -> bool {
        if self.capacity == 0 || !self.members.insert(member) {
            return self.capacity == 0;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
        self.order.push_back(member);
        true
    }

    /// Walks all members once, however many go.
    fn remove_all(&mut self, gone: impl Iterator<Item = T>) {
        let before = self.members.len();
        for member in gone {
            self.members.remove(&member);
        }
        if self.members.len() < before {
            self.order.retain(|member| self.members.contains(member));
        }
    }
}

/// Ids of blocks and transactions that need no second look. Forgets the oldest when it is full.
///
/// Half of each id is kept, 43 bytes of memory for each with the bookkeeping: nobody finds another id with the same 128 bits.
#[derive(Debug, Clone)]
pub struct SeenCache(FifoSet<u128>);

impl SeenCache {
    /// An empty cache for this many ids.
    pub fn new(capacity: usize) -> Self {
        Self(FifoSet::new(capacity))
    }

    /// Adds an id; says whether it was not there.
    pub fn insert(&mut self, id: Hash32) -> bool {
        self.0.insert(half(&id))
    }

    /// Takes ids out, so that they are new again. Takes as long as the cache is large.
    pub fn forget(&mut self, ids: &[Hash32]) {
        self.0.remove_all(ids.iter().map(half));
    }

    /// Whether the id is there.
    pub fn contains(&self, id: &Hash32) -> bool {
        self.0.members.contains(&half(id))
    }

    /// How many ids are there.
    pub fn len(&self) -> usize {
        self.0.order.len()
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What one peer is known to know: what it sent to us and what we sent to it.
///
/// Only the first eight bytes of an id are kept. A peer that forges two ids with the same eight keeps something from
/// itself, and from nobody else.
#[derive(Debug, Clone)]
pub struct KnownByPeer {
    blocks: FifoSet<u64>,
    txs: FifoSet<u64>,
}

impl KnownByPeer {
    /// A peer of which nothing is known yet.
    pub fn new(limits: &Limits) -> Self {
        Self { blocks: FifoSet::new(limits.known_blocks_per_peer), txs: FifoSet::new(limits.known_txs_per_peer) }
    }

    /// The peer knows this block from now on; says whether that is new.
    pub fn insert_block(&mut self, id: &Hash32) -> bool {
        self.blocks.insert(short(id))
    }

    /// The peer knows this transaction from now on; says whether that is new.
    pub fn insert_tx(&mut self, id: &Hash32) -> bool {
        self.txs.insert(short(id))
    }

    /// The peer may have forgotten these transactions. Takes as long as it is known to know many.
    pub fn forget_txs(&mut self, ids: &[Hash32]) {
        self.txs.remove_all(ids.iter().map(short));
    }

    /// Whether the peer knows this block.
    pub fn knows_block(&self, id: &Hash32) -> bool {
        self.blocks.members.contains(&short(id))
    }

    /// Whether the peer knows this transaction.
    pub fn knows_tx(&self, id: &Hash32) -> bool {
        self.txs.members.contains(&short(id))
    }
}

fn half(id: &Hash32) -> u128 {
    id.0.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

fn short(id: &Hash32) -> u64 {
    id.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> Hash32 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        Hash32(bytes)
    }

    #[test]
    fn forgets_the_oldest_when_full() {
        let mut seen = SeenCache::new(2);
        assert!(seen.insert(id(1)) && seen.insert(id(2)));
        assert!(!seen.insert(id(1)), "seen before");
        assert!(seen.insert(id(3)));
        assert!(!seen.contains(&id(1)) && seen.contains(&id(2)) && seen.contains(&id(3)));
        assert!(seen.insert(id(1)), "forgotten, so new again");
    }

    #[test]
    fn by_default_100_000_ids_are_remembered_and_of_each_peer_1024_blocks_and_4096_transactions() {
        let limits = Limits::default();
        let mut seen = SeenCache::new(limits.seen_cache);
        assert!((0..100_000).all(|n| seen.insert(id(n))));
        assert!(seen.contains(&id(0)) && seen.len() == 100_000);
        assert!(seen.insert(id(100_000)) && !seen.contains(&id(0)) && seen.contains(&id(1)));
        let mut known = KnownByPeer::new(&limits);
        assert!((0..1024).all(|n| known.insert_block(&id(n))) && known.knows_block(&id(0)));
        assert!(known.insert_block(&id(1024)) && !known.knows_block(&id(0)) && known.knows_block(&id(1)));
        assert!((0..4096).all(|n| known.insert_tx(&id(n))) && known.knows_tx(&id(0)));
        assert!(known.insert_tx(&id(4096)) && !known.knows_tx(&id(0)) && known.knows_tx(&id(1)));
    }

    #[test]
    fn a_cache_for_nothing_holds_nothing_and_says_that_all_is_new() {
        let mut seen = SeenCache::new(0);
        assert!(seen.insert(id(1)) && seen.insert(id(1)) && seen.is_empty());
    }

    #[test]
    fn blocks_and_transactions_that_a_peer_knows_are_kept_apart() {
        let mut known = KnownByPeer::new(&Limits::default());
        assert!(known.insert_block(&id(1)) && known.insert_tx(&id(2)));
        assert!(known.knows_block(&id(1)) && known.knows_tx(&id(2)));
        assert!(!known.knows_tx(&id(1)) && !known.knows_block(&id(2)));
        known.forget_txs(&[id(1), id(2)]);
        assert!(known.knows_block(&id(1)) && !known.knows_tx(&id(2)));
    }

    proptest! {
        #[test]
        fn always_remembers_the_last_ones_and_never_more(
            ids in prop::collection::vec((0u64..20, prop::bool::weighted(0.1)), 0..200),
            capacity in 1usize..12
        ) {
            let mut seen = SeenCache::new(capacity);
            let mut model: VecDeque<u64> = VecDeque::new();
            for (n, forgets) in ids {
                if forgets {
                    seen.forget(&[id(n), id(n + 1)]);
                    model.retain(|member| *member != n && *member != n + 1);
                    prop_assert_eq!(seen.len(), model.len());
                    continue;
                }
                let new = !model.contains(&n);
                prop_assert_eq!(seen.insert(id(n)), new);
                if new {
                    model.push_back(n);
                    if model.len() > capacity {
                        model.pop_front();
                    }
                }
                prop_assert_eq!(seen.len(), model.len());
                prop_assert!(model.iter().all(|&n| seen.contains(&id(n))));
                prop_assert_eq!(seen.0.members.len(), model.len());
            }
        }
    }
}
