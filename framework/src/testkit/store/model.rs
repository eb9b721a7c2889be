//! What a store is compared with: all blocks, from which the state follows.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ENOUGH, StoreFactory};
use crate::store::{ChainStore, Commit, StateBytes, StateChange, StateView};
use crate::types::{BlockLink, EncodedBlock, Hash32, Height, Tip};

/// What a store is to show: the whole of it, kept the simplest way.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) commits: Vec<Commit>,
}

/// What a store shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    tip: Option<Tip>,
    blocks: Vec<EncodedBlock>,
    state: Vec<(StateBytes, StateBytes)>,
}

impl Model {
    /// Makes the next blocks. Each sets one key of its own, one that it shares with every other, and one that comes and goes.
    pub(super) fn grow(&mut self, branch: &str, count: u64) -> Vec<Commit> {
        self.grow_by(count, |height, state| {
            let own = (format!("own/{branch}/{height:06}"), Some(height.to_string()));
            let shared = ("shared".to_owned(), Some(format!("{branch} {height}")));
            let toggled = ("toggled".to_owned(), (!state("toggled")).then(|| height.to_string()));
            vec![own, shared, toggled]
        })
    }

    /// Makes the next blocks, with changes all over a wider state.
    pub(super) fn grow_wide(&mut self, branch: &str, count: u64) -> Vec<Commit> {
        self.grow_by(count, |height, _| {
            let spread = height.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50;
            vec![(format!("wide/{spread:06}"), Some(format!("{branch} {height}")))]
        })
    }

    fn grow_by(
        &mut self,
        count: u64,
        changes: impl Fn(Height, &dyn Fn(&str) -> bool) -> Vec<(String, Option<String>)>,
    ) -> Vec<Commit> {
        let mut state: BTreeMap<StateBytes, StateBytes> = self.state().into_iter().collect();
        let first = self.commits.len();
        for height in self.commits.len() as u64..self.commits.len() as u64 + count {
            let salt = self.commits.last().map_or(Hash32::ZERO, |commit| commit.block.link.hash);
            let made = changes(height, &|key| state.contains_key(key.as_bytes()));
            let label = made[0].0.clone() + made[0].1.as_deref().unwrap_or_default();
            let link = BlockLink { height, hash: hash(&format!("{label}{height}{salt}")), prev_hash: salt };
            let mut changes: Vec<StateChange> = Vec::new();
            for (key, new) in made {
                let (key, new) = (StateBytes::from(key), new.map(StateBytes::from));
                let old = match &new {
                    Some(new) => state.insert(key.clone(), new.clone()),
                    None => state.remove(&key),
                };
                changes.push(StateChange { key, old, new });
            }
            changes.sort_by(|one, other| one.key.cmp(&other.key));
            let bytes = Bytes::from(label.repeat(1 + usize::try_from(height % 7).unwrap_or(0)));
            self.commits.push(Commit { block: EncodedBlock { link, bytes }, changes });
        }
        self.commits[first..].to_vec()
    }

    pub(super) fn cut(&mut self, kept: u64) {
        self.commits.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    pub(super) fn tip(&self) -> Option<Tip> {
        self.commits.last().map(|commit| commit.block.link.tip())
    }

    pub(super) fn blocks(&self) -> Vec<EncodedBlock> {
        self.commits.iter().map(|commit| commit.block.clone()).collect()
    }

    pub(super) fn state(&self) -> Vec<(StateBytes, StateBytes)> {
        let mut state = BTreeMap::new();
        for change in self.commits.iter().flat_map(|commit| &commit.changes) {
            match &change.new {
                Some(value) => state.insert(change.key.clone(), value.clone()),
                None => state.remove(&change.key),
            };
        }
        state.into_iter().collect()
    }

    pub(super) fn seen(&self) -> Seen {
        Seen { tip: self.tip(), blocks: self.blocks(), state: self.state() }
    }

    /// What a rollback to the first `kept` blocks reports.
    pub(super) fn steps_off(&self, kept: u64) -> Vec<Vec<StateChange>> {
        let taken = self.commits.iter().skip(usize::try_from(kept).unwrap_or(usize::MAX));
        let mut steps: Vec<_> = taken.map(|commit| commit.changes.clone()).collect();
        steps.reverse();
        steps
    }

    /// What putting the blocks above the first `kept` back reports.
    pub(super) fn steps_back(&self, kept: u64) -> Vec<Vec<StateChange>> {
        let swap = |change: StateChange| StateChange { key: change.key, old: change.new, new: change.old };
        let mut steps = self.steps_off(kept);
        steps.reverse();
        steps.into_iter().map(|changes| changes.into_iter().map(swap).collect()).collect()
    }
}

pub(super) async fn seen(store: &impl ChainStore) -> Seen {
    let blocks = store.blocks(0..=Height::MAX, ENOUGH).await.expect("reads");
    Seen { tip: tip(store).await, blocks, state: state(store) }
}

pub(super) async fn tip(store: &impl ChainStore) -> Option<Tip> {
    store.tip().await.expect("reads")
}

pub(super) fn state(store: &impl ChainStore) -> Vec<(StateBytes, StateBytes)> {
    all_of(store.state().expect("reads").as_ref())
}

pub(super) fn all_of(view: &dyn StateView) -> Vec<(StateBytes, StateBytes)> {
    scan(view, b"", usize::MAX)
}

pub(super) fn scan(view: &dyn StateView, prefix: &[u8], most: usize) -> Vec<(StateBytes, StateBytes)> {
    let mut found = Vec::new();
    view.scan(prefix, &mut |key, value| {
        found.push((StateBytes::copy_from_slice(key), StateBytes::copy_from_slice(value)));
        found.len() < most
    })
    .expect("reads");
    found
}

pub(super) fn reopened<F: StoreFactory>(at: &F, store: F::Store) -> F::Store {
    drop(store);
    at.open()
}

pub(super) fn at_lasts<F: StoreFactory>(_: &F) -> bool {
    F::LASTS
}

pub(super) fn hash(label: &str) -> Hash32 {
    use sha2::Digest;
    Hash32(sha2::Sha256::digest(label.as_bytes()).into())
}

pub(super) fn pairs(pairs: &[(&str, &str)]) -> Vec<(StateBytes, StateBytes)> {
    let owned = |text: &str| StateBytes::copy_from_slice(text.as_bytes());
    pairs.iter().map(|(key, value)| (owned(key), owned(value))).collect()
}

pub(super) fn change(key: &str, old: Option<&str>, new: Option<&str>) -> StateChange {
    let owned = |text: &str| StateBytes::copy_from_slice(text.as_bytes());
    StateChange { key: owned(key), old: old.map(owned), new: new.map(owned) }
}
