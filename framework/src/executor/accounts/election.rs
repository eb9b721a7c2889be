//! Who may propose: elected at the end of each epoch (protocol.md section 4, block validity 6).

use super::state::{CANDIDATES, EPOCH, VALIDATORS, Validator, corrupt, decode_validator};
use super::transition::Transition;
use crate::executor::Proposer;
use crate::store::{StateChange, StateView, StoreError};
use crate::types::{Address, NetworkParams};

/// The validators that propose in turn, in order of their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ActiveSet(Vec<Proposer>);

impl ActiveSet {
    pub(super) fn open(view: &dyn StateView) -> Result<Self, StoreError> {
        let mut set = Self::default();
        for validator in super::state::validators(view)?.into_iter().filter(|validator| validator.is_active) {
            set.insert(validator);
        }
        Ok(set)
    }

    pub(super) fn as_slice(&self) -> &[Proposer] {
        &self.0
    }

    /// Takes back changes of the state.
    pub(super) fn revert(&mut self, changes: &[StateChange]) -> Result<(), StoreError> {
        for change in changes.iter().filter(|change| change.key.starts_with(VALIDATORS)) {
            let read = |value| decode_validator(&change.key, value);
            if let Some(new) = change.new.as_deref().map(read).transpose()? {
                self.remove(&new.address);
            }
            if let Some(old) = change.old.as_deref().map(read).transpose()?.filter(|old| old.is_active) {
                self.insert(old);
            }
        }
        Ok(())
    }

    fn insert(&mut self, validator: Validator) {
        let proposer = Proposer { address: validator.address, pub_key: validator.pub_key };
        match self.0.binary_search_by(|other| other.address.cmp(&proposer.address)) {
            Ok(index) => self.0[index] = proposer,
            Err(index) => self.0.insert(index, proposer),
        }
    }

    fn remove(&mut self, address: &Address) {
        if let Ok(index) = self.0.binary_search_by(|other| other.address.cmp(address)) {
            self.0.remove(index);
        }
    }
}

/// Whether an epoch ends with the block at `height`.
pub(super) fn ends_epoch(params: &NetworkParams, height: u64) -> bool {
    (u128::from(height) + 1).is_multiple_of(u128::from(params.epoch_length))
}

/// Ends an epoch: those with the most power become active, all others inactive.
pub(super) fn elect(transition: &mut Transition<'_, '_>, before: &ActiveSet) -> Result<ActiveSet, StoreError> {
    let limit = usize::try_from(transition.genesis.params.max_validators).unwrap_or(usize::MAX);
    let mut after = ActiveSet::default();
    for address in transition.overlay.first_values(CANDIDATES, limit)? {
        let address = std::str::from_utf8(&address).map_err(|_| corrupt(CANDIDATES, "a candidate without address"))?;
        let elected = set_active(transition, &address.into(), true)?;
        after.insert(elected);
    }
    for proposer in before.as_slice() {
        if after.0.binary_search_by(|other| other.address.cmp(&proposer.address)).is_err() {
            set_active(transition, &proposer.address, false)?;
        }
    }
    let epoch = transition.overlay.counter(EPOCH)?;
    transition.overlay.put_counter(EPOCH, epoch.saturating_add(1))?;
    Ok(after)
}

fn set_active(transition: &mut Transition<'_, '_>, address: &Address, active: bool) -> Result<Validator, StoreError> {
    let stored = transition.overlay.validator(address)?;
    let missing = || corrupt(&super::state::validator_key(address), "the validator is missing");
    let validator = Validator { is_active: active, ..stored.ok_or_else(missing)? };
    transition.overlay.put_validator(&validator)?;
    Ok(validator)
}
