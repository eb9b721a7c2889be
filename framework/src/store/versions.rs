//! A sorted map that keeps old values for as long as a snapshot may ask for them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::fold::Folded;
use super::{StateKey, StateValue, StateView, StoreError};

/// How many entries a scan copies out at a time, so that no lock is held while its visitor runs.
const SCAN_CHUNK: usize = 256;

/// A map with versions. Written by one thread at a time, read by any.
#[derive(Debug, Default)]
pub(super) struct Versions {
    map: RwLock<Map>,
    /// How many snapshots there are of each version.
    snapshots: Mutex<BTreeMap<u64, usize>>,
}

#[derive(Debug, Default)]
struct Map {
    version: u64,
    /// Whether these entries lie over a base, so that removed keys must be remembered.
    over_base: bool,
    entries: BTreeMap<StateKey, Vec<Value>>,
    /// Keys with an older value, each with the version that superseded it, in order of these.
    superseded: VecDeque<(u64, StateKey)>,
}

#[derive(Debug)]
struct Value {
    since: u64,
    /// `None`: removed.
    value: Option<StateValue>,
}

impl Versions {
    pub(super) fn new(state: Vec<(StateKey, StateValue)>) -> Self {
        let entries =
            state.into_iter().map(|(key, value)| (key, vec![Value { since: 0, value: Some(value) }])).collect();
        let map = Map { entries, ..Map::default() };
        Self { map: RwLock::new(map), snapshots: Mutex::default() }
    }

    /// A map that lies over a base.
    pub(super) fn over_base(changes: Folded) -> Self {
        let entries = changes.into_iter().map(|(key, value)| (key, vec![Value { since: 0, value }])).collect();
        let map = Map { entries, over_base: true, ..Map::default() };
        Self { map: RwLock::new(map), snapshots: Mutex::default() }
    }

    /// The present entries.
    pub(super) fn latest(&self) -> Folded {
        let map = self.read();
        let last = |values: &Vec<Value>| values.last().and_then(|value| value.value.clone());
        map.entries.iter().map(|(key, values)| (key.clone(), last(values))).collect()
    }

    /// How many keys there are, removed ones included as long as they are remembered.
    pub(super) fn len(&self) -> usize {
        self.read().entries.len()
    }

    /// Makes one new version of all changes, and drops old values that no snapshot shows.
    pub(super) fn apply(&self, changes: Folded) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let version = map.version + 1;
        for (key, value) in changes {
            map.put(version, key, value);
        }
        map.version = version;
        let oldest = self.snapshots().keys().next().copied().unwrap_or(version);
        map.forget(oldest);
    }

    fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshots(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn put(&mut self, version: u64, key: StateKey, value: Option<StateValue>) {
        match self.entries.get_mut(&key) {
            Some(values) => {
                values.push(Value { since: version, value });
                self.superseded.push_back((version, key));
            }
            None if value.is_some() || self.over_base => {
                self.entries.insert(key, vec![Value { since: version, value }]);
            }
            None => {}
        }
    }

    /// Drops what only snapshots before `oldest` could see.
    fn forget(&mut self, oldest: u64) {
        while self.superseded.front().is_some_and(|(version, _)| *version <= oldest) {
            let Some((_, key)) = self.superseded.pop_front() else { break };
            let Some(values) = self.entries.get_mut(&key) else { continue };
            let shown = values.partition_point(|value| value.since <= oldest).saturating_sub(1);
            values.drain(..shown);
            let gone = matches!(values.as_slice(), [Value { since, value: None }] if *since <= oldest);
            if gone && !self.over_base {
                self.entries.remove(&key);
            }
        }
    }
}

/// What one version says of a key.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Its value.
    Set(StateValue),
    /// That it is removed.
    Removed,
    /// Nothing: the base decides, if there is one.
    Nothing,
}

/// One version of a [`Versions`].
#[derive(Debug)]
pub(super) struct View {
    versions: Arc<Versions>,
    version: u64,
}

impl View {
    /// The present version. Not to be called while `apply` runs.
    pub(super) fn new(versions: &Arc<Versions>) -> Self {
        let version = versions.read().version;
        *versions.snapshots().entry(version).or_default() += 1;
        Self { versions: Arc::clone(versions), version }
    }

    /// What this version says of a key.
    pub(super) fn lookup(&self, key: &[u8]) -> Lookup {
        let map = self.versions.read();
        match map.entries.get(key).and_then(|values| self.shown(values)) {
            Some(Value { value: Some(value), .. }) => Lookup::Set(value.clone()),
            Some(Value { value: None, .. }) => Lookup::Removed,
            None => Lookup::Nothing,
        }
    }

    /// All that this version says of keys with a prefix, in order.
    pub(super) fn lookup_all(&self, prefix: &[u8]) -> Vec<(StateKey, Option<StateValue>)> {
        let map = self.versions.read();
        map.entries
            .range(StateKey::copy_from_slice(prefix)..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, values)| Some((key.clone(), self.shown(values)?.value.clone())))
            .collect()
    }

    fn shown<'a>(&self, values: &'a [Value]) -> Option<&'a Value> {
        values.iter().rev().find(|value| value.since <= self.version)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut snapshots = self.versions.snapshots();
        if let Some(count) = snapshots.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&self.version);
            }
        }
    }
}

impl StateView for View {
    fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError> {
        match self.lookup(key) {
            Lookup::Set(value) => Ok(Some(value)),
            Lookup::Removed | Lookup::Nothing => Ok(None),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let mut from = Bound::Included(StateKey::copy_from_slice(prefix));
        loop {
            let chunk: Vec<(StateKey, StateValue)> = {
                let map = self.versions.read();
                map.entries
                    .range((from, Bound::Unbounded))
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .filter_map(|(key, values)| Some((key.clone(), self.shown(values)?.value.clone()?)))
                    .take(SCAN_CHUNK)
                    .collect()
            };
            for (key, value) in &chunk {
                if !visit(key, value) {
                    return Ok(());
                }
            }
            match chunk.into_iter().next_back() {
                Some((last, _)) => from = Bound::Excluded(last),
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str, value: Option<&'static str>) -> Folded {
        Folded::from([(StateKey::from_static(key.as_bytes()), value.map(|v| StateValue::from_static(v.as_bytes())))])
    }

    #[test]
    fn old_values_go_when_their_last_snapshot_has_gone() {
        let versions = Arc::new(Versions::default());
        versions.apply(put("key", Some("first")));
        let first = View::new(&versions);
        let again = View::new(&versions);
        versions.apply(put("key", Some("second")));
        versions.apply(put("key", None));
        assert_eq!(first.get(b"key").unwrap().unwrap(), "first");
        drop(first);
        versions.apply(put("other", Some("value")));
        assert_eq!(again.get(b"key").unwrap().unwrap(), "first");
        drop(again);
        versions.apply(put("other", Some("value")));
        let map = versions.read();
        assert_eq!(map.entries.len(), 1, "the removed key is gone with all its values");
        assert!(map.superseded.is_empty());
    }

    #[test]
    fn a_visitor_may_read_while_somebody_writes() {
        let versions = Arc::new(Versions::default());
        versions.apply(put("key", Some("old")));
        let view = View::new(&versions);
        let mut seen = Vec::new();
        view.scan(b"", &mut |key, value| {
            versions.apply(put("key", Some("new")));
            seen.push((key.to_vec(), value.to_vec(), view.get(key).unwrap()));
            true
        })
        .unwrap();
        assert_eq!(seen, [(b"key".to_vec(), b"old".to_vec(), Some(StateValue::from_static(b"old")))]);
    }
}
