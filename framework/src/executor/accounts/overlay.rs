//! What a block has changed so far, over the state that it started from.

use std::collections::{BTreeMap, hash_map};

use super::state::{
    self, Account, Validator, account_key, decode_holdings, decode_validator, encode_account, encode_validator,
    validator_key,
};
use crate::fast_map::FastMap;
use crate::store::{StateChange, StateKey, StateValue, StateView, StoreError};
use crate::types::Address;

/// Reads through to a view, and keeps what is written, with the old value of each key as first seen.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    view: &'a dyn StateView,
    entries: FastMap<StateKey, Entry>,
    /// Keys written since [`Overlay::take_written`].
    written: Vec<StateKey>,
}

#[derive(Debug)]
struct Entry {
    old: Option<StateValue>,
    new: Option<StateValue>,
    /// Whether the key is among those written.
    listed: bool,
}

/// A key with its value before and now.
pub(super) type Touched<'s> = (&'s StateKey, Option<&'s [u8]>, Option<&'s [u8]>);

impl<'a> Overlay<'a> {
    pub(super) fn new(view: &'a dyn StateView) -> Self {
        Self { view, entries: FastMap::default(), written: Vec::new() }
    }

    pub(super) fn get(&mut self, key: &StateKey) -> Result<Option<StateValue>, StoreError> {
        Ok(self.entry(key)?.new.clone())
    }

    /// Writes a value, or removes the key for `None`.
    pub(super) fn put(&mut self, key: &StateKey, value: Option<StateValue>) -> Result<(), StoreError> {
        let entry = self.entry(key)?;
        if entry.new != value {
            entry.new = value;
            if !std::mem::replace(&mut entry.listed, true) {
                self.written.push(key.clone());
            }
        }
        Ok(())
    }

    /// The account of an address; an empty one where it does not exist.
    pub(super) fn account(&mut self, address: &Address) -> Result<Account, StoreError> {
        let key = account_key(address);
        self.get(&key)?.map_or(Ok(Account::default()), |value| decode_holdings(&key, &value))
    }

    pub(super) fn put_account(&mut self, address: &Address, account: Account) -> Result<(), StoreError> {
        self.put(&account_key(address), Some(encode_account(address, account)))
    }

    /// As [`Overlay::account`], with the key of the account, for whoever writes it too.
    pub(super) fn account_with_key(&mut self, address: &Address) -> Result<(StateKey, Account), StoreError> {
        let key = account_key(address);
        let account = self.get(&key)?.map_or(Ok(Account::default()), |value| decode_holdings(&key, &value));
        account.map(|account| (key, account))
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
        let touched = self.entries.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut found: BTreeMap<StateKey, StateValue> =
            touched.filter_map(|(key, entry)| Some((key.clone(), entry.new.clone()?))).collect();
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

    /// The keys written since the last call, with what they hold now.
    pub(super) fn take_written(&mut self) -> Vec<(StateKey, Option<StateValue>)> {
        let read = |key: StateKey| {
            let value = self.entries.get_mut(&key).and_then(|entry| {
                entry.listed = false;
                entry.new.clone()
            });
            (key, value)
        };
        std::mem::take(&mut self.written).into_iter().map(read).collect()
    }

    /// The keys that were read or written and are or were there, with the value before and now.
    pub(super) fn touched(&self) -> impl Iterator<Item = Touched<'_>> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.old.is_some() || entry.new.is_some())
            .map(|(key, entry)| (key, entry.old.as_deref(), entry.new.as_deref()))
    }

    /// All that differs from the view: each key once, in order.
    pub(super) fn into_changes(self) -> Vec<StateChange> {
        let mut changes = Vec::with_capacity(self.entries.len());
        let differing = self.entries.into_iter().filter(|(_, entry)| entry.old != entry.new);
        changes.extend(differing.map(|(key, Entry { old, new, .. })| StateChange { key, old, new }));
        changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        changes
    }

    fn entry(&mut self, key: &StateKey) -> Result<&mut Entry, StoreError> {
        Ok(match self.entries.entry(key.clone()) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => {
                let old = self.view.get(key)?;
                entry.insert(Entry { new: old.clone(), old, listed: false })
            }
        })
    }
}
