use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::fast_map::FastMap;
use crate::store::{StateChange, StateKey, StateValue, StateView, StoreError};

/// The state after blocks that are executed but not yet committed: their changes on top of a snapshot of the store.
#[derive(Debug)]
pub(super) struct Overlay {
    base: Arc<dyn StateView>,
    /// The keys that each commit changes which `base` may lack, oldest first, with its number.
    layers: VecDeque<(u64, Vec<StateKey>)>,
    /// The newest value of each key in `layers`, with the number of the last commit that changes it.
    merged: FastMap<StateKey, (Option<StateValue>, u64)>,
}

impl Overlay {
    pub(super) fn new(base: Arc<dyn StateView>) -> Self {
        Self { base, layers: VecDeque::new(), merged: FastMap::default() }
    }

    /// Adds what a block changed; `commit` numbers never fall.
    pub(super) fn push(&mut self, commit: u64, changes: &[StateChange]) {
        if self.layers.back().is_none_or(|(last, _)| *last != commit) {
            self.layers.push_back((commit, Vec::new()));
        }
        let Some((_, keys)) = self.layers.back_mut() else { return };
        for StateChange { key, new, .. } in changes {
            match self.merged.entry(key.clone()) {
                Entry::Occupied(entry) => {
                    let (value, last) = entry.into_mut();
                    value.clone_from(new);
                    if std::mem::replace(last, commit) != commit {
                        keys.push(key.clone());
                    }
                }
                Entry::Vacant(entry) => {
                    entry.insert((new.clone(), commit));
                    keys.push(key.clone());
                }
            }
        }
    }

    /// Drops the layers up to and with `commit`, which `base` holds.
    pub(super) fn rebase(&mut self, commit: u64, base: Arc<dyn StateView>) {
        self.base = base;
        while let Some((number, _)) = self.layers.front() {
            if *number > commit {
                break;
            }
            let Some((number, keys)) = self.layers.pop_front() else { break };
            for key in keys {
                if self.merged.get(&key).is_some_and(|(_, last)| *last == number) {
                    self.merged.remove(&key);
                }
            }
        }
    }

    /// Whether some executed block is not committed, as far as [`rebase`](Self::rebase) was told.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl StateView for Overlay {
    fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError> {
        match self.merged.get(key) {
            Some((value, _)) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        // Who executes blocks gets keys all the time, and scans now and then: order is made when it is asked for.
        let ours: BTreeMap<_, _> = self.merged.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
        let mut ours = ours.into_iter().peekable();
        let mut go_on = true;
        self.base.scan(prefix, &mut |key, value| {
            while let Some((our_key, (our_value, _))) = ours.next_if(|(our_key, _)| our_key.as_ref() < key) {
                if let Some(our_value) = our_value {
                    go_on = visit(our_key, our_value);
                    if !go_on {
                        return false;
                    }
                }
            }
            go_on = match ours.next_if(|(our_key, _)| our_key.as_ref() == key) {
                Some((_, (None, _))) => true,
                Some((_, (Some(our_value), _))) => visit(key, our_value),
                None => visit(key, value),
            };
            go_on
        })?;
        for (key, (value, _)) in ours {
            if !go_on {
                break;
            }
            if let Some(value) = value {
                go_on = visit(key, value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Map(BTreeMap<&'static str, &'static str>);

    impl StateView for Map {
        fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError> {
            let key = std::str::from_utf8(key).unwrap();
            Ok(self.0.get(key).map(|value| StateValue::from(*value)))
        }
        fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
            for (key, value) in &self.0 {
                if key.as_bytes().starts_with(prefix) && !visit(key.as_bytes(), value.as_bytes()) {
                    break;
                }
            }
            Ok(())
        }
    }

    fn change(key: &'static str, new: Option<&'static str>) -> StateChange {
        StateChange { key: key.into(), old: None, new: new.map(Into::into) }
    }

    fn seen(overlay: &Overlay, most: usize) -> Vec<String> {
        let mut out = Vec::new();
        overlay
            .scan(b"a", &mut |key, value| {
                out.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
                out.len() < most
            })
            .unwrap();
        out
    }

    #[test]
    fn shows_the_newest_values_in_order_and_forgets_what_the_store_holds() {
        let base = Map(BTreeMap::from([("a1", "x"), ("a3", "x"), ("a5", "x"), ("b", "x")]));
        let mut overlay = Overlay::new(Arc::new(base));
        overlay.push(1, &[change("a0", Some("1")), change("a3", None), change("a9", Some("1"))]);
        overlay.push(2, &[change("a1", Some("2")), change("a9", Some("2"))]);
        assert_eq!(seen(&overlay, 99), ["a0=1", "a1=2", "a5=x", "a9=2"]);
        assert_eq!(seen(&overlay, 2), ["a0=1", "a1=2"]);
        assert_eq!(overlay.get(b"a3").unwrap(), None);

        let committed = Map(BTreeMap::from([("a0", "1"), ("a1", "x"), ("a5", "x"), ("a9", "1")]));
        overlay.rebase(1, Arc::new(committed));
        assert_eq!(seen(&overlay, 99), ["a0=1", "a1=2", "a5=x", "a9=2"]);
        assert!(!overlay.is_empty());
    }
}
