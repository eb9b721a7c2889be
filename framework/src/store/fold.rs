//! What every store does alike: the checks before a change, and many blocks' state changes folded into one.

use std::collections::BTreeMap;

use super::{Commit, MAX_STATE_KEY, StateChange, StateKey, StateValue, StoreError, StoreErrorKind};
use crate::fast_map::FastMap;
use crate::types::{Hash32, Height, Tip};

/// The last value of each changed key; `None` where it is removed.
pub(super) type Folded = BTreeMap<StateKey, Option<StateValue>>;

/// What blocks in ascending order leave behind together.
pub(super) fn forward<'a>(changes: impl Iterator<Item = &'a [StateChange]>) -> Folded {
    owned(changes.flatten().map(|change| (&change.key, &change.new)).collect())
}

/// What undoing blocks leaves behind; they are given in ascending order and undone from the last to the first.
pub(super) fn backward<'a>(changes: impl DoubleEndedIterator<Item = &'a [StateChange]>) -> Folded {
    owned(changes.rev().flatten().map(|change| (&change.key, &change.old)).collect())
}

/// The steps of [`Moved`](super::Moved) for blocks taken off, given in ascending order.
pub(super) fn steps_off(removed: &[Commit]) -> Vec<Vec<StateChange>> {
    removed.iter().rev().map(|commit| commit.changes.clone()).collect()
}

/// The steps of [`Moved`](super::Moved) for blocks put back, given in ascending order.
pub(super) fn steps_back(blocks: &[Commit]) -> Vec<Vec<StateChange>> {
    blocks.iter().map(|commit| swapped(&commit.changes)).collect()
}

/// Changes seen from their other end.
pub(super) fn swapped(changes: &[StateChange]) -> Vec<StateChange> {
    let swap = |StateChange { key, old, new }: StateChange| StateChange { key, old: new, new: old };
    changes.iter().cloned().map(swap).collect()
}

/// How much of a chain stays in a rollback.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptBlocks {
    /// So many blocks from block 0 on.
    pub(super) count: usize,
}

impl KeptBlocks {
    /// Checks that a chain that ends at `tip` can go back to `keep` with as many undo records as there are.
    pub(super) fn new(tip: Option<Tip>, keep: Option<Height>, undo: usize) -> Result<Self, StoreError> {
        let have = tip.map_or(0, |tip| tip.height.saturating_add(1));
        let count = keep.map_or(0, |height| height.saturating_add(1));
        let to = keep.map_or_else(|| "the empty chain".to_owned(), |height| format!("block {height}"));
        let Some(depth) = have.checked_sub(count) else {
            let at = tip.map_or_else(|| "the chain is empty".to_owned(), |tip| format!("the tip is {}", tip.height));
            return Err(StoreError::new(StoreErrorKind::NoUndo, format!("cannot roll back to {to}: {at}")));
        };
        if depth > undo as u64 {
            return Err(StoreError::new(
                StoreErrorKind::NoUndo,
                format!("cannot roll back {depth} blocks to {to}: undo records reach {undo} blocks back"),
            ));
        }
        let count = usize::try_from(count)
            .map_err(|error| StoreError::caused(StoreErrorKind::NoUndo, format!("no such height: {count}"), error))?;
        Ok(Self { count })
    }
}

/// Whether `wanted` is to be bound now; an error where the store is another genesis' already.
pub(super) fn needs_binding(bound: Option<Hash32>, tip: Option<Tip>, wanted: Hash32) -> Result<bool, StoreError> {
    match (bound, tip) {
        (Some(bound), _) if bound == wanted => Ok(false),
        (Some(bound), _) => Err(StoreError::new(
            StoreErrorKind::GenesisMismatch,
            format!(
                "the store belongs to genesis {bound}, not to {wanted}; use another data directory for this network"
            ),
        )),
        (None, Some(tip)) => Err(StoreError::new(
            StoreErrorKind::GenesisMismatch,
            format!("the store has {} blocks of an unknown genesis, it cannot be bound to {wanted}", tip.height + 1),
        )),
        (None, None) => Ok(true),
    }
}

/// Checks the keys of changes against [`MAX_STATE_KEY`].
pub(super) fn check_changes<'a>(changes: impl Iterator<Item = &'a StateChange>) -> Result<(), StoreError> {
    changes.map(|change| &change.key).try_for_each(check_key)
}

/// Checks the keys of a whole state against [`MAX_STATE_KEY`].
pub(super) fn check_state(state: &[(StateKey, StateValue)]) -> Result<(), StoreError> {
    state.iter().map(|(key, _)| key).try_for_each(check_key)
}

/// Checks that a new state with its undo records fits a chain.
pub(super) fn check_replacement(tip: Option<Tip>, undo: &[Vec<StateChange>], in_reorg: bool) -> Result<(), StoreError> {
    if in_reorg {
        return Err(StoreError::new(
            StoreErrorKind::Invalid,
            "the state cannot be replaced during a reorganisation: finish that first",
        ));
    }
    let have = tip.map_or(0, |tip| tip.height.saturating_add(1));
    if undo.len() as u64 > have {
        let records = undo.len();
        return Err(StoreError::new(
            StoreErrorKind::Invalid,
            format!("{records} undo records given for a chain of {have} blocks"),
        ));
    }
    check_changes(undo.iter().flatten())
}

/// An empty batch on an empty chain, which leaves no tip to answer with.
pub(super) fn nothing_to_commit() -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, "an empty batch was committed to an empty chain")
}

/// Only what is left after folding is worth a copy, and a place in the order.
fn owned(folded: FastMap<&StateKey, &Option<StateValue>>) -> Folded {
    folded.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn check_key(key: &StateKey) -> Result<(), StoreError> {
    let length = key.len();
    if length <= MAX_STATE_KEY {
        return Ok(());
    }
    let start = hex::encode(&key[..16]);
    Err(StoreError::new(
        StoreErrorKind::Invalid,
        format!("a state key has {length} bytes (it begins {start}), at most {MAX_STATE_KEY} are allowed"),
    ))
}
