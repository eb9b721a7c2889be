//! The state tree of canonical rules against its definition.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::executor::accounts::sparse::{SparseTree, change};
use crate::store::{StateKey, StateValue};
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

fn bytes(number: u16) -> StateValue {
    StateValue::copy_from_slice(&number.to_be_bytes())
}

/// Keys with the value that they get; `None` removes one.
type Batch = BTreeMap<u16, Option<u16>>;

proptest! {
    #[test]
    fn has_the_root_that_its_definition_gives_after_any_changes(
        batches in proptest::collection::vec(
            proptest::collection::btree_map(0..400u16, proptest::option::weighted(0.7, any::<u16>()), 0..60), 1..12)
    ) {
        let mut tree = SparseTree::default();
        let mut entries = BTreeMap::new();
        for batch in batches {
            let batch: Batch = batch;
            let changes = batch.iter().map(|(key, value)| change(&bytes(*key), value.map(bytes).as_deref()));
            tree.apply(changes.collect());
            for (key, value) in batch {
                match value {
                    Some(value) => entries.insert(bytes(key), bytes(value)),
                    None => entries.remove(&bytes(key)),
                };
            }
            prop_assert_eq!(tree.root(), naive_root_of(&entries));
        }
        tree.apply(entries.keys().map(|key| change(key, None)).collect());
        prop_assert_eq!(tree.root(), Hash32::ZERO, "nothing is left of it");
    }
}

/// Keys whose paths part only after many bits have a long way of nodes with one half above them.
#[test]
fn an_entry_that_goes_takes_the_nodes_above_it_along() {
    let mut keys: Vec<_> = (0..20_000u32).map(|number| StateKey::copy_from_slice(&number.to_be_bytes())).collect();
    keys.sort_by_key(|key| change(key, None).0);
    let shared = |pair: &[StateKey]| {
        let (a, b) = (change(&pair[0], None).0, change(&pair[1], None).0);
        a.0.iter().zip(b.0).map(|(a, b)| (a ^ b).leading_zeros()).take_while(|zeros| *zeros == 8).count()
    };
    let close = keys.windows(2).max_by_key(|pair| shared(pair)).unwrap();
    assert!(shared(close) >= 2, "two of so many keys share 16 bits at least");
    let mut tree = SparseTree::default();
    let entry = |key: &StateKey| change(key, Some(b"value"));
    tree.apply(vec![entry(&close[0])]);
    let alone = tree.root();
    tree.apply(vec![entry(&close[1])]);
    assert_ne!(tree.root(), alone);
    tree.apply(vec![change(&close[1], None)]);
    assert_eq!(tree.root(), alone);
}

#[test]
fn an_empty_tree_has_a_root_of_zeros() {
    assert_eq!(SparseTree::default().root(), Hash32::ZERO);
}

/// Worked out from the definition alone, by another program. They must never change: chains depend on them.
#[test]
fn has_the_roots_that_are_frozen() {
    let root_of = |entries: &[(StateKey, StateValue)]| {
        let mut tree = SparseTree::default();
        tree.apply(entries.iter().map(|(key, value)| change(key, Some(value))).collect());
        tree.root().to_string()
    };
    let epoch = (StateKey::from_static(b"m/epoch"), StateValue::from_static(&[0]));
    assert_eq!(root_of(&[epoch]), "81b5210e36cba9ccb802e5a985cfb6b0538547e5bc857035be3e4ea04ac54d01");
    let squares: Vec<_> = (0..100).map(|i| (format!("a/{i}").into(), (i * i).to_string().into())).collect();
    assert_eq!(root_of(&squares), "55f8e8dbe3877beeab8877bbeddb2f4b35b835dc2bdd4eb06fcdb86b8e505430");
}
