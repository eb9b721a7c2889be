//! A page of the canonical state tree: all that is [`PAGE_LEVELS`] levels below one of its nodes.

use super::sparse::{Leaf, node_hash};
use crate::store::StateValue;
use crate::types::Hash32;

/// Levels of the binary tree in a page. More means fewer but larger reads and writes for a changed entry; with four, a
/// change costs about five pages of 512 bytes in a tree of 10⁶ entries.
pub(super) const PAGE_LEVELS: usize = 4;
/// Subtrees below a page.
pub(super) const PAGE_SLOTS: usize = 1 << PAGE_LEVELS;

/// A subtree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Slot {
    /// No entry.
    #[default]
    Empty,
    /// One entry.
    Leaf(Leaf),
    /// More entries: in a page of their own, with this hash.
    Node(Hash32),
}

impl Slot {
    pub(super) fn hash(&self) -> Hash32 {
        match self {
            Self::Empty => Hash32::ZERO,
            Self::Leaf(leaf) => leaf.hash,
            Self::Node(hash) => *hash,
        }
    }

    fn join(left: Self, right: Self) -> Self {
        match (left, right) {
            (Self::Empty, Self::Empty) => Self::Empty,
            (Self::Leaf(leaf), Self::Empty) | (Self::Empty, Self::Leaf(leaf)) => Self::Leaf(leaf),
            (left, right) => Self::Node(node_hash(&left.hash(), &right.hash())),
        }
    }
}

/// The subtrees below a node, from left to right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page([Slot; PAGE_SLOTS]);

impl Page {
    pub(super) fn slot_mut(&mut self, index: usize) -> &mut Slot {
        &mut self.0[index]
    }

    /// The node above the page.
    pub(super) fn fold(&self) -> Slot {
        let mut row = self.0;
        let mut width = PAGE_SLOTS;
        while width > 1 {
            width /= 2;
            for index in 0..width {
                row[index] = Slot::join(row[2 * index], row[2 * index + 1]);
            }
        }
        row[0]
    }

    /// Two bit sets, which slots are leaves and which are nodes, then path and hash of each leaf and the hash of each node, in order.
    pub(super) fn encode(&self) -> StateValue {
        let (mut leaves, mut nodes) = (0u16, 0u16);
        let mut bytes = vec![0; 4];
        for (index, slot) in self.0.iter().enumerate() {
            match slot {
                Slot::Empty => {}
                Slot::Leaf(leaf) => {
                    leaves |= 1 << index;
                    bytes.extend_from_slice(&leaf.path.0);
                    bytes.extend_from_slice(&leaf.hash.0);
                }
                Slot::Node(hash) => {
                    nodes |= 1 << index;
                    bytes.extend_from_slice(&hash.0);
                }
            }
        }
        bytes[..2].copy_from_slice(&leaves.to_le_bytes());
        bytes[2..4].copy_from_slice(&nodes.to_le_bytes());
        bytes.into()
    }

    /// Reads what [`Page::encode`] wrote; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (leaves, rest) = bytes.split_first_chunk()?;
        let (nodes, mut rest) = rest.split_first_chunk()?;
        let (leaves, nodes) = (u16::from_le_bytes(*leaves), u16::from_le_bytes(*nodes));
        if leaves & nodes != 0 {
            return None;
        }
        let mut take = || {
            let (hash, after) = rest.split_first_chunk()?;
            rest = after;
            Some(Hash32(*hash))
        };
        let mut page = Self::default();
        for (index, slot) in page.0.iter_mut().enumerate() {
            if leaves & (1 << index) != 0 {
                *slot = Slot::Leaf(Leaf { path: take()?, hash: take()? });
            } else if nodes & (1 << index) != 0 {
                *slot = Slot::Node(take()?);
            }
        }
        rest.is_empty().then_some(page)
    }
}
