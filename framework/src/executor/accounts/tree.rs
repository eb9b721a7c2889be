//! The state tree of a chain, by its hash rules.

use super::flat::{FlatTree, LeafChange, leaf_change};
use super::overlay::Overlay;
use super::sparse::{self, SparseTree};
use super::state::{self, ACCOUNTS, EPOCH, VALIDATORS, decode_account};
use crate::store::{StateChange, StateView, StoreError};
use crate::types::{Hash32, HashRules};

/// What commits to the state. Kept in memory.
#[derive(Debug)]
pub(super) enum StateTree {
    /// v1: over accounts.
    Flat(FlatTree),
    /// Canonical: over accounts, validators and the epoch index.
    Sparse(SparseTree),
}

/// A key with its value before and after something.
type Move<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

impl StateTree {
    /// The tree of the state that `view` shows.
    pub(super) fn open(rules: HashRules, view: &dyn StateView) -> Result<Self, StoreError> {
        if rules == HashRules::Canonical {
            let mut entries = Vec::new();
            for prefix in [ACCOUNTS, VALIDATORS, EPOCH] {
                view.scan(prefix, &mut |key, value| {
                    entries.extend(is_covered(key).then(|| sparse::change(key, Some(value))));
                    true
                })?;
            }
            let mut tree = SparseTree::default();
            tree.apply(entries);
            return Ok(Self::Sparse(tree));
        }
        let mut accounts = Vec::new();
        state::accounts(view, &mut |address, account| {
            accounts.push((address, account));
            true
        })?;
        Ok(Self::Flat(FlatTree::new(accounts)))
    }

    /// Takes in all that was written since the last call.
    pub(super) fn update(&mut self, overlay: &mut Overlay<'_>) -> Result<(), StoreError> {
        self.follow(overlay.take_written())
    }

    pub(super) fn root(&self) -> Hash32 {
        match self {
            Self::Flat(tree) => tree.root(),
            Self::Sparse(tree) => tree.root(),
        }
    }

    /// Forgets what the overlay wrote: the tree is again that of the state below it.
    pub(super) fn forget(&mut self, overlay: &Overlay<'_>) -> Result<(), StoreError> {
        self.follow(overlay.touched().map(|(key, old, new)| (key, new, old)))
    }

    /// Takes back changes of the state.
    pub(super) fn revert(&mut self, changes: &[StateChange]) -> Result<(), StoreError> {
        self.follow(changes.iter().map(|change| (change.key.as_ref(), change.new.as_deref(), change.old.as_deref())))
    }

    fn follow<'a>(&mut self, moves: impl Iterator<Item = Move<'a>>) -> Result<(), StoreError> {
        match self {
            Self::Flat(tree) => {
                let accounts = moves.filter(|(key, ..)| key.starts_with(ACCOUNTS));
                tree.apply(accounts.map(|(key, from, to)| leaf_of(key, from, to)).collect::<Result<_, _>>()?);
            }
            Self::Sparse(tree) => {
                let covered = moves.filter(|(key, ..)| is_covered(key));
                tree.apply(covered.map(|(key, _, to)| sparse::change(key, to)).collect());
            }
        }
        Ok(())
    }
}

/// Whether canonical roots cover a key.
fn is_covered(key: &[u8]) -> bool {
    key.starts_with(ACCOUNTS) || key.starts_with(VALIDATORS) || key == EPOCH
}

/// The leaf that the value `to` stands for; `from` names the address of one that is gone.
fn leaf_of(key: &[u8], from: Option<&[u8]>, to: Option<&[u8]>) -> Result<LeafChange, StoreError> {
    let Some(value) = to.or(from) else { return Err(state::corrupt(key, "neither an old nor a new value")) };
    let (address, account) = decode_account(key, value)?;
    Ok(leaf_change(address, to.map(|_| account)))
}
