//! Fork rules: how far to look back for the place where a peer's branch leaves ours, and which branch is better.
//!
//! A fork is noticed when blocks that a peer delivers for the heights above our tip do not link to it. The search then looks at
//! ever lower heights of that peer's chain, without touching ours, until one of its blocks links to one of ours; only then,
//! and only once the delivered blocks end higher than ours (or fill the buffer), are our blocks rolled back.

use std::fmt::Debug;

use crate::types::{BlockLink, Height};

/// How many blocks a session may roll back, by default (`attacks.md` row 8).
pub const DEFAULT_BOUND: u64 = 100;

/// Decides about forks. Implementations are pure: the same arguments always give the same answer.
pub trait ForkRule: Debug + Send + 'static {
    /// How many blocks a session may roll back, at most.
    fn bound(&self) -> u64;

    /// How many of our blocks below and including the tip to doubt next, after `tried` of them led to no block of ours that
    /// the peer's branch links to (0: nothing was tried). `None` gives up. An answer must be above `tried`; it is cut to [`bound`](Self::bound).
    fn next_depth(&self, tried: u64) -> Option<u64>;

    /// Whether a branch that ends at `theirs` is worth leaving ours, which ends at `ours`, for.
    fn is_better(&self, theirs: Height, ours: Height) -> bool;
}

/// The documented rule: doubt the most recent block first and go back from there; the higher chain is better, and ours at equal height
/// (protocol.md section 1). Going back doubles the step, so that a branch 100 deep is found with eight questions, not a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackOne {
    bound: u64,
}

impl RollbackOne {
    /// The rule with another bound than [`DEFAULT_BOUND`]. Undo records reach [`crate::store::UNDO_DEPTH`] blocks; more cannot be rolled back.
    pub fn with_bound(bound: u64) -> Self {
        Self { bound }
    }
}

impl Default for RollbackOne {
    fn default() -> Self {
        Self::with_bound(DEFAULT_BOUND)
    }
}

impl ForkRule for RollbackOne {
    fn bound(&self) -> u64 {
        self.bound
    }

    fn next_depth(&self, tried: u64) -> Option<u64> {
        let next = tried.saturating_mul(2).clamp(1, self.bound.max(1));
        (next > tried && next <= self.bound).then_some(next)
    }

    fn is_better(&self, theirs: Height, ours: Height) -> bool {
        theirs > ours
    }
}

impl ForkRule for Box<dyn ForkRule> {
    fn bound(&self) -> u64 {
        (**self).bound()
    }
    fn next_depth(&self, tried: u64) -> Option<u64> {
        (**self).next_depth(tried)
    }
    fn is_better(&self, theirs: Height, ours: Height) -> bool {
        (**self).is_better(theirs, ours)
    }
}

/// Where a peer's blocks leave our chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Branching {
    /// Its first block links to none of ours: the branching point is lower.
    Lower,
    /// The last common block; `None` where not even block 0 is common.
    After(Option<Height>),
}

/// Finds the last block that `ours` (ascending, without holes) and `theirs` (the same, and not empty) have in common.
pub(super) fn branching(ours: &[BlockLink], theirs: &[BlockLink]) -> Branching {
    let own_hash = |height: Height| {
        let first = ours.first()?.height;
        let index = usize::try_from(height.checked_sub(first)?).ok()?;
        ours.get(index).map(|link| link.hash)
    };
    let Some(first) = theirs.first() else { return Branching::Lower };
    let links = match first.height.checked_sub(1) {
        None => true,
        Some(parent) => own_hash(parent) == Some(first.prev_hash),
    };
    if !links {
        return Branching::Lower;
    }
    let common = theirs.iter().take_while(|link| own_hash(link.height) == Some(link.hash)).last();
    Branching::After(common.map_or_else(|| first.height.checked_sub(1), |link| Some(link.height)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Hash32;

    fn hash(branch: u8, height: Height) -> Hash32 {
        let mut bytes = [branch; 32];
        bytes[..8].copy_from_slice(&height.to_be_bytes());
        Hash32(bytes)
    }

    /// Blocks of branch 1, which leaves branch 0 after `common`.
    fn chain(heights: std::ops::RangeInclusive<Height>, common: Option<Height>) -> Vec<BlockLink> {
        let at = |height| hash(u8::from(common.is_none_or(|common| height > common)), height);
        heights
            .map(|height| BlockLink {
                height,
                hash: at(height),
                prev_hash: height.checked_sub(1).map_or(Hash32::ZERO, at),
            })
            .collect()
    }

    #[test]
    fn the_search_begins_with_one_block_doubles_and_ends_at_the_bound() {
        let rule = RollbackOne::default();
        let depths: Vec<_> = std::iter::successors(rule.next_depth(0), |&tried| rule.next_depth(tried)).collect();
        assert_eq!(depths, [1, 2, 4, 8, 16, 32, 64, 100]);
    }

    #[test]
    fn a_bound_of_nothing_searches_nothing() {
        assert_eq!(RollbackOne::with_bound(0).next_depth(0), None);
        assert_eq!(RollbackOne::with_bound(1).next_depth(0), Some(1));
        assert_eq!(RollbackOne::with_bound(1).next_depth(1), None);
        assert_eq!(RollbackOne::with_bound(u64::MAX).next_depth(u64::MAX), None);
    }

    #[test]
    fn equal_height_is_not_better() {
        let rule = RollbackOne::default();
        assert!(!rule.is_better(120, 120));
        assert!(rule.is_better(121, 120));
    }

    #[test]
    fn finds_the_last_common_block() {
        let ours = chain(0..=120, Some(u64::MAX));
        assert_eq!(branching(&ours, &chain(90..=121, Some(100))), Branching::After(Some(100)));
        assert_eq!(branching(&ours, &chain(101..=121, Some(100))), Branching::After(Some(100)));
        assert_eq!(branching(&ours, &chain(102..=121, Some(100))), Branching::Lower);
    }

    #[test]
    fn finds_that_there_is_no_fork_at_all() {
        let ours = chain(20..=120, Some(u64::MAX));
        assert_eq!(branching(&ours, &chain(119..=121, Some(u64::MAX))), Branching::After(Some(120)));
    }

    #[test]
    fn block_zero_links_to_the_empty_chain() {
        let ours = chain(0..=3, Some(u64::MAX));
        assert_eq!(branching(&ours, &chain(0..=3, None)), Branching::After(None));
    }

    #[test]
    fn what_lies_below_our_known_blocks_links_to_nothing() {
        let ours = chain(20..=120, Some(u64::MAX));
        assert_eq!(branching(&ours, &chain(20..=121, Some(30))), Branching::Lower);
        assert_eq!(branching(&[], &chain(20..=21, Some(30))), Branching::Lower);
        assert_eq!(branching(&ours, &[]), Branching::Lower);
    }
}
