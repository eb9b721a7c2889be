//! The state tree of a chain, by its hash rules.

use super::flat::{FlatTree, LeafChange, leaf_change};
use super::overlay::Overlay;
use super::sparse;
use super::state::{self, ACCOUNTS, EPOCH, VALIDATORS, decode_account};
use crate::store::{StateChange, StateView, StoreError};
use crate::types::{Hash32, HashRules};

/// What commits to the state.
#[derive(Debug)]
pub(super) enum StateTree {
    /// v1: kept in memory.
    Flat(FlatTree),
    /// Canonical: kept in the state itself.
    Sparse,
}

impl StateTree {
    /// The tree of the state that `view` shows.
    pub(super) fn open(rules: HashRules, view: &dyn StateView) -> Result<Self, StoreError> {
        if rules == HashRules::Canonical {
            return Ok(Self::Sparse);
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
        let written = overlay.take_written();
        match self {
            Self::Flat(tree) => {
                let accounts = written.iter().filter(|(key, _)| key.starts_with(ACCOUNTS));
                let changes = accounts.map(|(key, new)| leaf_of(key, None, new.as_deref()));
                tree.apply(changes.collect::<Result<_, _>>()?);
                Ok(())
            }
            Self::Sparse => {
                let covered = |key: &[u8]| key.starts_with(ACCOUNTS) || key.starts_with(VALIDATORS) || key == EPOCH;
                let entries: Vec<_> = written
                    .into_iter()
                    .filter(|(key, _)| covered(key))
                    .filter_map(|(key, new)| Some((key, new?)))
                    .collect();
                sparse::insert(overlay, &entries)
            }
        }
    }

    pub(super) fn root(&self, overlay: &mut Overlay<'_>) -> Result<Hash32, StoreError> {
        match self {
            Self::Flat(tree) => Ok(tree.root()),
            Self::Sparse => sparse::root(overlay),
        }
    }

    /// Forgets what the overlay wrote: the tree is again that of the state below it.
    pub(super) fn forget(&mut self, overlay: &Overlay<'_>) -> Result<(), StoreError> {
        let Self::Flat(tree) = self else { return Ok(()) };
        let leaves = overlay.touched(ACCOUNTS).map(|(key, old, new)| leaf_of(key, new, old));
        tree.apply(leaves.collect::<Result<_, _>>()?);
        Ok(())
    }

    /// Takes back changes of the state.
    pub(super) fn revert(&mut self, changes: &[StateChange]) -> Result<(), StoreError> {
        let Self::Flat(tree) = self else { return Ok(()) };
        let accounts = changes.iter().filter(|change| change.key.starts_with(ACCOUNTS));
        let leaves = accounts.map(|change| leaf_of(&change.key, change.new.as_deref(), change.old.as_deref()));
        tree.apply(leaves.collect::<Result<_, _>>()?);
        Ok(())
    }
}

/// The leaf that the value `to` stands for; `from` names the address of one that is gone.
fn leaf_of(key: &[u8], from: Option<&[u8]>, to: Option<&[u8]>) -> Result<LeafChange, StoreError> {
    let Some(value) = to.or(from) else { return Err(state::corrupt(key, "neither an old nor a new value")) };
    let (address, account) = decode_account(key, value)?;
    Ok(leaf_change(address, to.map(|_| account)))
}
