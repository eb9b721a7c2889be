//! The state tree of v1 rules against its definition.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::executor::accounts::flat::{FlatTree, leaf_change};
use crate::executor::accounts::state::Account;
use crate::types::{Address, Hash32};

/// protocol.md section 4, word for word.
fn naive_root(accounts: &BTreeMap<Address, Account>) -> Hash32 {
    let hash = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    let leaf = |(address, account): (&Address, &Account)| {
        hash(format!("{address}{}{}", account.balance, account.nonce).as_bytes())
    };
    let mut level: Vec<[u8; 32]> = accounts.iter().map(leaf).collect();
    if level.is_empty() {
        return Hash32(hash(b""));
    }
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| hash(&[pair[0], *pair.last().unwrap()].concat())).collect();
    }
    Hash32(level[0])
}

/// Batches of changes to 40 addresses, whose order as text differs from their order as numbers; `None` removes.
fn batches() -> impl Strategy<Value = Vec<BTreeMap<u8, Option<(u128, u64)>>>> {
    let account = proptest::option::weighted(0.7, (any::<u128>(), any::<u64>()));
    proptest::collection::vec(proptest::collection::btree_map(0..40u8, account, 0..12), 1..20)
}

proptest! {
    #[test]
    fn has_the_root_that_its_definition_gives_after_any_changes(batches in batches()) {
        let mut accounts = BTreeMap::new();
        let mut tree = FlatTree::new(Vec::new());
        prop_assert_eq!(tree.root(), naive_root(&accounts));
        for batch in batches {
            let mut changes = Vec::new();
            for (number, account) in batch {
                let address = Address::new(format!("é{number}"));
                let account = account.map(|(balance, nonce)| Account { balance, nonce });
                match account {
                    Some(account) => accounts.insert(address.clone(), account),
                    None => accounts.remove(&address),
                };
                changes.push(leaf_change(address, account));
            }
            tree.apply(changes);
            prop_assert_eq!(tree.root(), naive_root(&accounts));
            let fresh = FlatTree::new(accounts.clone().into_iter().collect());
            prop_assert_eq!(&fresh, &tree);
        }
    }
}
