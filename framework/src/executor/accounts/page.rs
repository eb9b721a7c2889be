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
pub(super) struct Page {
    slots: [Slot; PAGE_SLOTS],
    /// The nodes half-way between the slots and the top: with them a changed slot costs 6 hashes instead of 15.
    quads: [Slot; QUADS],
    /// Quads whose slots were changed since [`Page::seal`].
    stale: [bool; QUADS],
}

/// Nodes in the middle of a page.
const QUADS: usize = 1 << (PAGE_LEVELS / 2);
/// Slots below each of them.
const QUAD_SLOTS: usize = PAGE_SLOTS / QUADS;

impl Page {
    pub(super) fn slot_mut(&mut self, index: usize) -> &mut Slot {
        self.stale[index / QUAD_SLOTS] = true;
        &mut self.slots[index]
    }

    /// Computes anew what is above changed slots; gives the node above the page.
    pub(super) fn seal(&mut self) -> Slot {
        for ((slots, quad), stale) in self.slots.chunks(QUAD_SLOTS).zip(&mut self.quads).zip(&mut self.stale) {
            if std::mem::take(stale) {
                *quad = join_four(slots);
            }
        }
        join_four(&self.quads)
    }

    /// Two bit sets, which slots are leaves and which are nodes, little endian. Then each quad: its hash, if it is a
    /// node, and path and hash of each leaf and the hash of each node below it, in order. The page must be sealed.
    pub(super) fn encode(&self) -> StateValue {
        debug_assert_eq!(self.stale, [false; QUADS], "a page is sealed before it is written");
        let (mut leaves, mut nodes) = (0u16, 0u16);
        let hashes = |slot: &Slot| match slot {
            Slot::Empty => 0,
            Slot::Leaf(_) => 2,
            Slot::Node(_) => 1,
        };
        let count: usize = self.slots.iter().chain(&self.quads).map(hashes).sum();
        let mut bytes = Vec::with_capacity(4 + count * size_of::<Hash32>());
        bytes.extend_from_slice(&[0; 4]);
        for (index, slot) in self.slots.iter().enumerate() {
            if index % QUAD_SLOTS == 0
                && let Slot::Node(hash) = &self.quads[index / QUAD_SLOTS]
            {
                bytes.extend_from_slice(&hash.0);
            }
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

    /// Reads what [`Page::encode`] wrote; `None` where the bytes are no such thing.
    pub(super) fn decode(bytes: &[u8]) -> Option<Box<Self>> {
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
        let mut page = Box::<Self>::default();
        let Self { slots, quads, .. } = &mut *page;
        for (index, (slots, quad)) in slots.chunks_mut(QUAD_SLOTS).zip(quads).enumerate() {
            let below = |set: u16| set >> (index * QUAD_SLOTS) & ((1 << QUAD_SLOTS) - 1);
            let (leaves, nodes) = (below(leaves), below(nodes));
            let many = nodes != 0 || leaves.count_ones() > 1;
            if many {
                *quad = Slot::Node(take()?);
            }
            for (index, slot) in slots.iter_mut().enumerate() {
                if leaves & (1 << index) != 0 {
                    *slot = Slot::Leaf(Leaf { path: take()?, hash: take()? });
                } else if nodes & (1 << index) != 0 {
                    *slot = Slot::Node(take()?);
                }
                if !many && *slot != Slot::Empty {
                    *quad = *slot;
                }
            }
        }
        rest.is_empty().then_some(page)
    }
}

fn join_four(slots: &[Slot]) -> Slot {
    Slot::join(Slot::join(slots[0], slots[1]), Slot::join(slots[2], slots[3]))
}
