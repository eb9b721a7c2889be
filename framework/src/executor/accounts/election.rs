//! Who may propose: elected at the end of each epoch (protocol.md section 4, block validity 6).

use super::state::{CANDIDATES, EPOCH, VALIDATORS, Validator, corrupt, decode_validator};
use super::transition::{Transition, reward_account};
use crate::executor::Proposer;
use crate::rules::schedule::proposer_index;
use crate::store::{StateChange, StateView, StoreError};
use crate::types::{Address, HashRules, NetworkParams};

/// The validators that propose in turn, in order of their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ActiveSet(Vec<Active>);

/// One of them. While a validator is active, neither its key nor who gets its rewards can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) proposer: Proposer,
    /// Whose account its rewards go to; nobody's where its key is none.
    pub(super) reward_to: Option<Address>,
}

impl ActiveSet {
    pub(super) fn open(rules: HashRules, view: &dyn StateView) -> Result<Self, StoreError> {
        let mut set = Self::default();
        for validator in super::state::validators(view)?.into_iter().filter(|validator| validator.is_active) {
            set.insert(rules, validator);
        }
        Ok(set)
    }

    /// Whose turn it is at a height in a round.
    pub(super) fn scheduled(&self, height: u64, round: u64) -> Option<&Proposer> {
        proposer_index(height, round, self.0.len()).map(|index| &self.0[index].proposer)
    }

    /// The active validator with this address.
    pub(super) fn get(&self, address: &Address) -> Option<&Active> {
        self.find(address).ok().map(|index| &self.0[index])
    }

    /// Takes back changes of the state.
    pub(super) fn revert(&mut self, rules: HashRules, changes: &[StateChange]) -> Result<(), StoreError> {
        for change in changes.iter().filter(|change| change.key.starts_with(VALIDATORS)) {
            let read = |value| decode_validator(&change.key, value);
            if let Some(new) = change.new.as_deref().map(read).transpose()? {
                self.remove(&new.address);
            }
            if let Some(old) = change.old.as_deref().map(read).transpose()?.filter(|old| old.is_active) {
                self.insert(rules, old);
            }
        }
        Ok(())
    }

    fn insert(&mut self, rules: HashRules, validator: Validator) {
        let reward_to = reward_account(rules, &validator);
        let active =
            Active { proposer: Proposer { address: validator.address, pub_key: validator.pub_key }, reward_to };
        match self.find(&active.proposer.address) {
            Ok(index) => self.0[index] = active,
            Err(index) => self.0.insert(index, active),
        }
    }

    fn remove(&mut self, address: &Address) {
        if let Ok(index) = self.find(address) {
            self.0.remove(index);
        }
    }

    fn find(&self, address: &Address) -> Result<usize, usize> {
        self.0.binary_search_by(|other| other.proposer.address.cmp(address))
    }
}

/// Whether an epoch ends with the block at `height`.
pub(super) fn ends_epoch(params: &NetworkParams, height: u64) -> bool {
    (u128::from(height) + 1).is_multiple_of(u128::from(params.epoch_length))
}

/// Elects at the end of an epoch: those with the most power become active, all others inactive.
pub(super) fn elect(transition: &mut Transition<'_, '_>, before: &ActiveSet) -> Result<ActiveSet, StoreError> {
    let limit = usize::try_from(transition.genesis.params.max_validators).unwrap_or(usize::MAX);
    let mut after = ActiveSet::default();
    for address in transition.overlay.first_values(CANDIDATES, limit)? {
        let address = std::str::from_utf8(&address).map_err(|_| corrupt(CANDIDATES, "a candidate without address"))?;
        let elected = set_active(transition, &address.into(), true)?;
        after.insert(transition.genesis.hash_rules, elected);
    }
    for Active { proposer, .. } in &before.0 {
        if after.get(&proposer.address).is_none() {
            set_active(transition, &proposer.address, false)?;
        }
    }
    Ok(after)
}

/// Counts an epoch that has ended.
pub(super) fn count_epoch(transition: &mut Transition<'_, '_>) -> Result<(), StoreError> {
    let epoch = transition.overlay.counter(EPOCH)?;
    transition.overlay.put_counter(EPOCH, epoch.saturating_add(1))
}

fn set_active(transition: &mut Transition<'_, '_>, address: &Address, active: bool) -> Result<Validator, StoreError> {
    let stored = transition.overlay.validator(address)?;
    let missing = || corrupt(&super::state::validator_key(address), "the validator is missing");
    let validator = Validator { is_active: active, ..stored.ok_or_else(missing)? };
    transition.overlay.put_validator(&validator)?;
    Ok(validator)
}
