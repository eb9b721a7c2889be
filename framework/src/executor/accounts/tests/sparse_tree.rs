//! The state tree of canonical rules against its definition.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::executor::accounts::overlay::Overlay;
use crate::executor::accounts::page::{Page, Slot};
use crate::executor::accounts::sparse::{self, Leaf};
use crate::store::{StateKey, StateValue};
use crate::testkit::executor::MemoryState;
use crate::types::Hash32;

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

/// The root of a subtree, by its definition; `depth` is that of its top.
fn naive_root(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
    match leaves {
        [] => [0; 32],
        [(_, leaf)] => *leaf,
        _ => {
            let is_right = |path: &[u8; 32]| path[depth / 8] >> (7 - depth % 8) & 1 == 1;
            let (right, left): (Vec<_>, Vec<_>) = leaves.iter().partition(|(path, _)| is_right(path));
            hash(&[b"cpc/state/node/1", &naive_root(&left, depth + 1), &naive_root(&right, depth + 1)])
        }
    }
}

fn naive_root_of(entries: &BTreeMap<StateKey, StateValue>) -> Hash32 {
    let leaf = |(key, value): (&StateKey, &StateValue)| {
        let path = hash(&[b"cpc/state/key/1", key]);
        (path, hash(&[b"cpc/state/leaf/1", &path, value]))
    };
    let leaves: Vec<_> = entries.iter().map(leaf).collect();
    Hash32(naive_root(&leaves, 0))
}

proptest! {
    #[test]
    fn has_the_root_that_its_definition_gives_after_any_insertions(
        batches in proptest::collection::vec(proptest::collection::btree_map(0..400u16, any::<u16>(), 0..60), 1..8)
    ) {
        let mut state = MemoryState::default();
        let mut entries = BTreeMap::new();
        for batch in batches {
            let bytes = |number: u16| StateValue::copy_from_slice(&number.to_be_bytes());
            let batch: Vec<_> = batch.into_iter().map(|(key, value)| (bytes(key), bytes(value))).collect();
            entries.extend(batch.iter().cloned());
            let mut overlay = Overlay::new(&state);
            sparse::insert(&mut overlay, &batch).unwrap();
            let root = sparse::root(&mut overlay).unwrap();
            prop_assert_eq!(root, naive_root_of(&entries));
            let changes = overlay.into_changes();
            state.apply(&changes);
        }

        let all: Vec<_> = entries.into_iter().collect();
        let empty = MemoryState::default();
        let mut at_once = Overlay::new(&empty);
        sparse::insert(&mut at_once, &all).unwrap();
        let mut fresh = MemoryState::default();
        fresh.apply(&at_once.into_changes());
        prop_assert_eq!(fresh, state, "the pages depend on the entries alone");
    }

    #[test]
    fn pages_are_read_back_as_they_were_written(
        slots in proptest::collection::vec((0..3u8, any::<[u8; 32]>(), any::<[u8; 32]>()), 16)
    ) {
        let mut page = Box::<Page>::default();
        for (index, (kind, one, other)) in slots.into_iter().enumerate() {
            *page.slot_mut(index) = match kind {
                0 => Slot::Empty,
                1 => Slot::Leaf(Leaf { path: Hash32(one), hash: Hash32(other) }),
                _ => Slot::Node(Hash32(one)),
            };
        }
        page.seal();
        let bytes = page.encode();
        prop_assert_eq!(Page::decode(&bytes), Some(page));
        prop_assert_eq!(Page::decode(&bytes[..bytes.len() - 1]), None);
        prop_assert_eq!(Page::decode(&[&bytes[..], &[0]].concat()), None);
    }
}

#[test]
fn an_empty_tree_has_a_root_of_zeros() {
    let empty = MemoryState::default();
    assert_eq!(sparse::root(&mut Overlay::new(&empty)).unwrap(), Hash32::ZERO);
}

/// Worked out from the definition alone, by another program. They must never change: chains depend on them.
#[test]
fn has_the_roots_that_are_frozen() {
    let root_of = |entries: &[(StateKey, StateValue)]| {
        let empty = MemoryState::default();
        let mut overlay = Overlay::new(&empty);
        sparse::insert(&mut overlay, entries).unwrap();
        sparse::root(&mut overlay).unwrap().to_string()
    };
    let epoch = (StateKey::from_static(b"m/epoch"), StateValue::from_static(&[0]));
    assert_eq!(root_of(&[epoch]), "81b5210e36cba9ccb802e5a985cfb6b0538547e5bc857035be3e4ea04ac54d01");
    let squares: Vec<_> = (0..100).map(|i| (format!("a/{i}").into(), (i * i).to_string().into())).collect();
    assert_eq!(root_of(&squares), "55f8e8dbe3877beeab8877bbeddb2f4b35b835dc2bdd4eb06fcdb86b8e505430");
}
