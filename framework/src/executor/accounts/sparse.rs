//! The state tree of canonical rules (protocol.md section 5): a key-hashed sparse Merkle tree over accounts, validators
//! and the epoch index.
//!
//! An entry's place is the path that the bits of its key's hash spell, most significant first. An empty subtree hashes
//! to zeros, one with a single entry to that entry's leaf hash, any other to the hash of its two halves:
//!
//! ```text
//! path = SHA-256("cpc/state/key/1"  ‖ state key)
//! leaf = SHA-256("cpc/state/leaf/1" ‖ path ‖ state value)
//! node = SHA-256("cpc/state/node/1" ‖ left ‖ right)
//! ```
//!
//! The tree follows from the entries, so that nothing of it is stored: it is made when a chain is opened, and kept in
//! memory with all inner nodes, about 130 bytes for each entry. A batch costs O(log n) hashes for each entry that changes,
//! comes or goes, and each node above several of them is hashed once.

use crate::rules::sha256;
use crate::types::Hash32;

const PATH_TAG: &[u8] = b"cpc/state/key/1";
const LEAF_TAG: &[u8] = b"cpc/state/leaf/1";
const NODE_TAG: &[u8] = b"cpc/state/node/1";

/// An entry's place in the tree and its leaf hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leaf {
    pub(super) path: Hash32,
    pub(super) hash: Hash32,
}

/// An entry's place, and its leaf hash where it is there.
pub(super) type Change = (Hash32, Option<Hash32>);

/// What the value of a key, or its absence, means to the tree.
pub(super) fn change(key: &[u8], value: Option<&[u8]>) -> Change {
    let path = sha256([PATH_TAG, key]);
    (path, value.map(|value| sha256([LEAF_TAG, &path.0, value])))
}

/// The hash of a subtree with entries in both halves, or more than one in one of them.
fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    sha256([NODE_TAG, &left.0, &right.0])
}

/// The tree.
#[derive(Debug, Default)]
pub(super) struct SparseTree {
    root: Subtree,
    leaves: Slab<Leaf>,
    nodes: Slab<Node>,
}

/// Entries below a point of the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Subtree {
    #[default]
    Empty,
    /// One entry: its number among the leaves.
    Leaf(u32),
    /// More entries: the number of the node above them.
    Node(u32),
}

#[derive(Debug, Clone, Copy)]
struct Node {
    hash: Hash32,
    halves: [Subtree; 2],
}

impl SparseTree {
    /// The root over all entries.
    pub(super) fn root(&self) -> Hash32 {
        self.hash(self.root)
    }

    /// Applies changes of different keys. To remove an entry that is not there changes nothing.
    pub(super) fn apply(&mut self, mut changes: Vec<Change>) {
        changes.sort_unstable();
        self.root = self.changed(self.root, 0, &changes);
    }

    /// What a subtree, `depth` bits below the root, becomes under changes, which are all below it and in order.
    fn changed(&mut self, subtree: Subtree, depth: usize, changes: &[Change]) -> Subtree {
        if changes.is_empty() {
            return subtree;
        }
        match subtree {
            Subtree::Empty => self.made(depth, changes),
            Subtree::Leaf(number) => self.leaf_changed(number, depth, changes),
            Subtree::Node(number) => {
                let (left, right) = changes.split_at(right_half(changes, depth));
                let [old_left, old_right] = self.nodes.get(number).halves;
                let halves = [self.changed(old_left, depth + 1, left), self.changed(old_right, depth + 1, right)];
                if let Some(subtree) = single(halves) {
                    self.nodes.free(number);
                    return subtree;
                }
                *self.nodes.get_mut(number) = self.node(halves);
                Subtree::Node(number)
            }
        }
    }

    fn leaf_changed(&mut self, number: u32, depth: usize, changes: &[Change]) -> Subtree {
        let old = *self.leaves.get(number);
        match (changes, changes.binary_search_by_key(&old.path, |(path, _)| *path)) {
            ([(_, Some(hash))], Ok(_)) => {
                self.leaves.get_mut(number).hash = *hash;
                Subtree::Leaf(number)
            }
            (_, Ok(_)) => {
                self.leaves.free(number);
                self.made(depth, changes)
            }
            (_, Err(at)) => {
                let mut all = changes.to_vec();
                all.insert(at, (old.path, Some(old.hash)));
                self.leaves.free(number);
                self.made(depth, &all)
            }
        }
    }

    /// A subtree of these entries alone.
    fn made(&mut self, depth: usize, entries: &[Change]) -> Subtree {
        let mut present = entries.iter().filter_map(|(path, hash)| Some(Leaf { path: *path, hash: (*hash)? }));
        let (first, second) = (present.next(), present.next());
        match (first, second) {
            (None, _) => Subtree::Empty,
            (Some(leaf), None) => Subtree::Leaf(self.leaves.add(leaf)),
            (Some(_), Some(_)) => {
                let (left, right) = entries.split_at(right_half(entries, depth));
                let halves = [self.made(depth + 1, left), self.made(depth + 1, right)];
                let node = self.node(halves);
                Subtree::Node(self.nodes.add(node))
            }
        }
    }

    fn node(&self, halves: [Subtree; 2]) -> Node {
        Node { hash: node_hash(&self.hash(halves[0]), &self.hash(halves[1])), halves }
    }

    fn hash(&self, subtree: Subtree) -> Hash32 {
        match subtree {
            Subtree::Empty => Hash32::ZERO,
            Subtree::Leaf(number) => self.leaves.get(number).hash,
            Subtree::Node(number) => self.nodes.get(number).hash,
        }
    }
}

/// Two halves that need no node above them.
fn single(halves: [Subtree; 2]) -> Option<Subtree> {
    match halves {
        [Subtree::Empty, other @ (Subtree::Empty | Subtree::Leaf(_))] | [other @ Subtree::Leaf(_), Subtree::Empty] => {
            Some(other)
        }
        _ => None,
    }
}

/// Where the second half begins in entries whose first `depth` bits are the same.
fn right_half(entries: &[Change], depth: usize) -> usize {
    entries.partition_point(|(path, _)| path.0[depth / 8] >> (7 - depth % 8) & 1 == 0)
}

/// Values by number; the numbers of those that are gone are given out again.
#[derive(Debug)]
struct Slab<T> {
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.values[number as usize]
    }

    fn add(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.values[number as usize] = value;
            return number;
        }
        let number = u32::try_from(self.values.len()).expect("4 billion entries do not fit the memory of any machine");
        self.values.push(value);
        number
    }

    fn free(&mut self, number: u32) {
        self.free.push(number);
    }
}
