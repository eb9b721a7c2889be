//! What a block has changed so far, over the state that it started from.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{
    self, Account, Validator, account_key, decode_account, decode_validator, encode_account, encode_validator,
    validator_key,
};
use crate::store::{StateChange, StateKey, StateValue, StateView, StoreError};
use crate::types::Address;

/// Reads through to a view, and keeps what is written, with the old value of each key as first seen.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    view: &'a dyn StateView,
    entries: BTreeMap<StateKey, Entry>,
    /// Keys written since [`Overlay::take_written`].
    written: BTreeSet<StateKey>,
}

#[derive(Debug)]
struct Entry {
    old: Option<StateValue>,
    new: Option<StateValue>,
}

/// A key with its value before and now.
pub(super) type Touched<'s> = (&'s StateKey, Option<&'s [u8]>, Option<&'s [u8]>);

impl<'a> Overlay<'a> {
    pub(super) fn new(view: &'a dyn StateView) -> Self {
        Self { view, entries: BTreeMap::new(), written: BTreeSet::new() }
    }

    pub(super) fn get(&mut self, key: &StateKey) -> Result<Option<StateValue>, StoreError> {
        Ok(self.entry(key)?.new.clone())
    }

    /// Writes a value, or removes the key for `None`.
    pub(super) fn put(&mut self, key: &StateKey, value: Option<StateValue>) -> Result<(), StoreError> {
        let entry = self.entry(key)?;
        if entry.new != value {
            entry.new = value;
            self.written.insert(key.clone());
        }
        Ok(())
    }

    /// The account of an address; an empty one where it does not exist.
    pub(super) fn account(&mut self, address: &Address) -> Result<Account, StoreError> {
        let key = account_key(address);
        self.get(&key)?.map_or(Ok(Account::default()), |value| Ok(decode_account(&key, &value)?.1))
    }

    pub(super) fn put_account(&mut self, address: &Address, account: Account) -> Result<(), StoreError> {
        self.put(&account_key(address), Some(encode_account(address, account)))
    }

    pub(super) fn validator(&mut self, address: &Address) -> Result<Option<Validator>, StoreError> {
        let key = validator_key(address);
        self.get(&key)?.map(|value| decode_validator(&key, &value)).transpose()
    }

    pub(super) fn put_validator(&mut self, validator: &Validator) -> Result<(), StoreError> {
        self.put(&validator_key(&validator.address), Some(encode_validator(validator)))
    }

    /// A counter; 0 where it was never written.
    pub(super) fn counter(&mut self, key: &'static [u8]) -> Result<u64, StoreError> {
        let key = StateKey::from_static(key);
        self.get(&key)?.map_or(Ok(0), |value| state::decode(&key, &value))
    }

    pub(super) fn put_counter(&mut self, key: &'static [u8], value: u64) -> Result<(), StoreError> {
        self.put(&StateKey::from_static(key), Some(state::encode(&value)))
    }

    /// The first `limit` values under a prefix, in order of their keys.
    pub(super) fn first_values(&self, prefix: &[u8], limit: usize) -> Result<Vec<StateValue>, StoreError> {
        let touched = self.entries.range(StateKey::copy_from_slice(prefix)..);
        let mut found: BTreeMap<StateKey, StateValue> = touched
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, entry)| Some((key.clone(), entry.new.clone()?)))
            .collect();
        let mut unchanged = 0;
        self.view.scan(prefix, &mut |key, value| {
            if !self.entries.contains_key(key) {
                found.insert(StateKey::copy_from_slice(key), StateValue::copy_from_slice(value));
                unchanged += 1;
            }
            unchanged < limit
        })?;
        Ok(found.into_values().take(limit).collect())
    }

    /// The keys written since the last call, in order, with what they hold now.
    pub(super) fn take_written(&mut self) -> Vec<(StateKey, Option<StateValue>)> {
        let written = std::mem::take(&mut self.written);
        written.into_iter().map(|key| (key.clone(), self.entries.get(&key).and_then(|e| e.new.clone()))).collect()
    }

    /// The keys under a prefix that were read or written and are or were there: in order, with the value before and now.
    pub(super) fn touched<'s>(&'s self, prefix: &'s [u8]) -> impl Iterator<Item = Touched<'s>> {
        let touched = self.entries.range(StateKey::copy_from_slice(prefix)..);
        touched
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| entry.old.is_some() || entry.new.is_some())
            .map(|(key, entry)| (key, entry.old.as_deref(), entry.new.as_deref()))
    }

    /// All that differs from the view: each key once, in order.
    pub(super) fn into_changes(self) -> Vec<StateChange> {
        self.entries
            .into_iter()
            .filter(|(_, entry)| entry.old != entry.new)
            .map(|(key, Entry { old, new })| StateChange { key, old, new })
            .collect()
    }

    fn entry(&mut self, key: &StateKey) -> Result<&mut Entry, StoreError> {
        if !self.entries.contains_key(key) {
            let old = self.view.get(key)?;
            self.entries.insert(key.clone(), Entry { new: old.clone(), old });
        }
        Ok(self.entries.get_mut(key).expect("it was just put there"))
    }
}
