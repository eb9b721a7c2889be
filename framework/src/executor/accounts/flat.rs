//! The state tree of v1 rules (protocol.md section 4, `state_root`): one leaf for each account, in order of the address
//! text, under the reference's Merkle tree. Kept in memory with all inner nodes: a changed leaf costs O(log n); one that
//! comes or goes costs the inner nodes to its right, once for all of a batch.

use sha2::{Digest, Sha256};

use super::state::Account;
use crate::rules::merkle::v1_parent;
use crate::types::{Address, Hash32};

/// The leaves and all nodes above them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FlatTree {
    /// In order of the text.
    addresses: Vec<Address>,
    /// `levels[0]` are the leaves; the last level has one node, or none where there are no leaves.
    levels: Vec<Vec<Hash32>>,
}

/// A leaf that is new or has another hash, or for `None` is gone.
pub(super) type LeafChange = (Address, Option<Hash32>);

impl FlatTree {
    pub(super) fn new(accounts: Vec<(Address, Account)>) -> Self {
        let mut tree = Self { addresses: Vec::new(), levels: vec![Vec::new()] };
        tree.apply(accounts.into_iter().map(|(address, account)| leaf_change(address, Some(account))).collect());
        tree
    }

    pub(super) fn root(&self) -> Hash32 {
        match self.levels.last().and_then(|level| level.first()) {
            Some(root) => *root,
            None => Hash32(Sha256::digest(b"").into()),
        }
    }

    /// Applies changes of different addresses. To remove a leaf that is not there changes nothing.
    pub(super) fn apply(&mut self, mut changes: Vec<LeafChange>) {
        changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut changed = Vec::new();
        let mut rest = changes.into_iter().peekable();
        // Up to the first leaf that comes or goes, indices stay.
        let mut first_moved = self.addresses.len();
        while let Some((address, leaf)) = rest.peek() {
            match (self.addresses.binary_search(address), leaf) {
                (Ok(index), Some(leaf)) => {
                    if self.levels[0][index] != *leaf {
                        self.levels[0][index] = *leaf;
                        changed.push(index);
                    }
                }
                (Err(_), None) => {}
                (Ok(index) | Err(index), _) => {
                    first_moved = index;
                    break;
                }
            }
            rest.next();
        }
        if rest.peek().is_some() {
            self.merge_from(first_moved, rest);
        }
        self.rehash(changed, first_moved);
    }

    /// Merges sorted changes into the leaves from an index on.
    fn merge_from(&mut self, from: usize, changes: impl Iterator<Item = LeafChange>) {
        let old_addresses = self.addresses.split_off(from);
        let leaves = &mut self.levels[0];
        let old_leaves = leaves.split_off(from);
        let mut old = old_addresses.into_iter().zip(old_leaves).peekable();
        for (address, leaf) in changes {
            while let Some((before, hash)) = old.next_if(|(other, _)| *other < address) {
                self.addresses.push(before);
                leaves.push(hash);
            }
            old.next_if(|(other, _)| *other == address);
            if let Some(leaf) = leaf {
                self.addresses.push(address);
                leaves.push(leaf);
            }
        }
        for (address, leaf) in old {
            self.addresses.push(address);
            leaves.push(leaf);
        }
    }

    /// Computes anew the nodes above `changed` (ascending) and above all leaves from `moved` on.
    fn rehash(&mut self, mut changed: Vec<usize>, mut moved: usize) {
        let mut level = 0;
        while self.levels[level].len() > 1 {
            if self.levels.len() == level + 1 {
                self.levels.push(Vec::new());
            }
            let (below, above) = self.levels.split_at_mut(level + 1);
            let (nodes, parents) = (&below[level], &mut above[0]);
            moved /= 2;
            parents.truncate(moved);
            for index in &mut changed {
                *index /= 2;
            }
            changed.dedup();
            changed.retain(|&index| index < moved);
            for &index in &changed {
                parents[index] = parent(nodes, index);
            }
            parents.extend((moved..nodes.len().div_ceil(2)).map(|index| parent(nodes, index)));
            level += 1;
        }
        self.levels.truncate(level + 1);
    }
}

/// What an account's state means to the tree.
pub(super) fn leaf_change(address: Address, account: Option<Account>) -> LeafChange {
    let leaf = account.map(|Account { balance, nonce }| {
        let digest = Sha256::new().chain_update(address.as_str()).chain_update(format!("{balance}{nonce}"));
        Hash32(digest.finalize().into())
    });
    (address, leaf)
}

/// The node above a pair; an odd last one is paired with itself.
fn parent(nodes: &[Hash32], index: usize) -> Hash32 {
    let left = &nodes[2 * index];
    v1_parent(left, nodes.get(2 * index + 1).unwrap_or(left))
}
