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
    entries: Vec<Entry>,
    places: FastMap<StateKey, Place>,
    /// What was written since [`Overlay::take_written`].
    written: Vec<Place>,
}

/// Where a key stands among the entries: whoever has read it writes it without looking it up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

#[derive(Debug)]
struct Entry {
    key: StateKey,
    old: Option<StateValue>,
    new: Option<StateValue>,
    /// Whether it is among those written.
    listed: bool,
}

/// A key with its value before and now.
pub(super) type Touched<'s> = (&'s [u8], Option<&'s [u8]>, Option<&'s [u8]>);

impl<'a> Overlay<'a> {
    pub(super) fn new(view: &'a dyn StateView) -> Self {
        Self { view, entries: Vec::new(), places: FastMap::default(), written: Vec::new() }
    }

    pub(super) fn get(&mut self, key: &StateKey) -> Result<Option<&StateValue>, StoreError> {
        let place = self.place(key)?;
        Ok(self.entries[place.0].new.as_ref())
    }

    /// Writes a value, or removes the key for `None`.
    pub(super) fn put(&mut self, key: &StateKey, value: Option<StateValue>) -> Result<(), StoreError> {
        let place = self.place(key)?;
        self.put_at(place, value);
        Ok(())
    }

    /// As [`Overlay::put`], for a key that was read.
    pub(super) fn put_at(&mut self, place: Place, value: Option<StateValue>) {
        let entry = &mut self.entries[place.0];
        if entry.new != value {
            entry.new = value;
            if !std::mem::replace(&mut entry.listed, true) {
                self.written.push(place);
            }
        }
    }

    /// The account of an address, an empty one where it does not exist, and where to write it.
    pub(super) fn account(&mut self, address: &Address) -> Result<(Place, Account), StoreError> {
        let place = self.place(&account_key(address))?;
        let Entry { key, new, .. } = &self.entries[place.0];
        let account = new.as_ref().map_or(Ok(Account::default()), |value| decode_holdings(key, value))?;
        Ok((place, account))
    }

    /// Writes the account of an address that was read.
    pub(super) fn put_account(&mut self, place: Place, address: &Address, account: Account) {
        self.put_at(place, Some(encode_account(address, account)));
    }

    pub(super) fn validator(&mut self, address: &Address) -> Result<Option<Validator>, StoreError> {
        let key = validator_key(address);
        self.get(&key)?.map(|value| decode_validator(&key, value)).transpose()
    }

    pub(super) fn put_validator(&mut self, validator: &Validator) -> Result<(), StoreError> {
        self.put(&validator_key(&validator.address), Some(encode_validator(validator)))
    }

    /// A counter; 0 where it was never written.
    pub(super) fn counter(&mut self, key: &'static [u8]) -> Result<u64, StoreError> {
        let key = StateKey::from_static(key);
        self.get(&key)?.map_or(Ok(0), |value| state::decode(&key, value))
    }

    pub(super) fn put_counter(&mut self, key: &'static [u8], value: u64) -> Result<(), StoreError> {
        self.put(&StateKey::from_static(key), Some(state::encode(&value)))
    }

    /// The first `limit` values under a prefix, in order of their keys.
    pub(super) fn first_values(&self, prefix: &[u8], limit: usize) -> Result<Vec<StateValue>, StoreError> {
        let touched = self.entries.iter().filter(|entry| entry.key.starts_with(prefix));
        let mut found: BTreeMap<StateKey, StateValue> =
            touched.filter_map(|entry| Some((entry.key.clone(), entry.new.clone()?))).collect();
        let mut unchanged = 0;
        self.view.scan(prefix, &mut |key, value| {
            if !self.places.contains_key(key) {
                found.insert(StateKey::copy_from_slice(key), StateValue::copy_from_slice(value));
                unchanged += 1;
            }
            unchanged < limit
        })?;
        Ok(found.into_values().take(limit).collect())
    }

    /// What was written since the last call, as it is now.
    pub(super) fn take_written(&mut self) -> impl Iterator<Item = Touched<'_>> {
        let written = std::mem::take(&mut self.written);
        for place in &written {
            self.entries[place.0].listed = false;
        }
        let entries = &self.entries;
        written.into_iter().map(move |place| entries[place.0].touched())
    }

    /// The keys that were read or written and are or were there, with the value before and now.
    pub(super) fn touched(&self) -> impl Iterator<Item = Touched<'_>> {
        self.entries.iter().filter(|entry| entry.old.is_some() || entry.new.is_some()).map(Entry::touched)
    }

    /// All that differs from the view: each key once, in order.
    pub(super) fn into_changes(self) -> Vec<StateChange> {
        let mut changes = Vec::with_capacity(self.entries.len());
        let differing = self.entries.into_iter().filter(|entry| entry.old != entry.new);
        changes.extend(differing.map(|Entry { key, old, new, .. }| StateChange { key, old, new }));
        changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        changes
    }

    fn place(&mut self, key: &StateKey) -> Result<Place, StoreError> {
        Ok(match self.places.entry(key.clone()) {
            hash_map::Entry::Occupied(place) => *place.get(),
            hash_map::Entry::Vacant(vacant) => {
                let old = self.view.get(key)?;
                let place = *vacant.insert(Place(self.entries.len()));
                self.entries.push(Entry { key: key.clone(), new: old.clone(), old, listed: false });
                place
            }
        })
    }
}

impl Entry {
    fn touched(&self) -> Touched<'_> {
        (&self.key, self.old.as_deref(), self.new.as_deref())
    }
}
