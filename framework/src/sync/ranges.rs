//! Ranges of blocks: what was delivered and waits, and what nobody was asked for yet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{BatchId, ConnId};
use crate::types::{BlockLink, Height, Tip};

/// A batch that waits or is under import. Its blocks link to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) batch: BatchId,
    pub(super) peer: ConnId,
    pub(super) first: BlockLink,
    pub(super) last: Tip,
    pub(super) bytes: usize,
    /// How long its peer worked at it, where that can be told.
    pub(super) took: Option<Duration>,
    /// Up to where its blocks are known to be ancestors of a checkpoint.
    pub(super) ancestor_to: Option<Height>,
}

impl Delivered {
    /// A batch of blocks that starts at `from` and links within itself; otherwise nothing.
    pub(super) fn new(peer: ConnId, batch: BatchId, from: Height, links: &[BlockLink], bytes: usize) -> Option<Self> {
        let (first, last) = (links.first()?, links.last()?);
        let linked = links.windows(2).all(|pair| matches!(pair, [a, b] if b.extends(Some(&a.tip()))));
        (first.height == from && linked).then(|| Self {
            batch,
            peer,
            first: *first,
            last: last.tip(),
            bytes,
            took: None,
            ancestor_to: None,
        })
    }

    pub(super) fn from(&self) -> Height {
        self.first.height
    }

    pub(super) fn blocks(&self) -> u64 {
        (self.last.height - self.first.height).saturating_add(1)
    }

    /// Whether it extends this tip.
    pub(super) fn extends(&self, tip: Option<&Tip>) -> bool {
        self.first.extends(tip)
    }
}

/// Batches that came before those below them. They never overlap.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    waiting: BTreeMap<Height, Delivered>,
    bytes: usize,
}

impl Buffer {
    /// Keeps a batch, and gives back what is superfluous now: those within it, or itself.
    pub(super) fn insert(&mut self, batch: Delivered) -> Vec<BatchId> {
        let overlapping: Vec<Delivered> = self
            .waiting
            .range(..=batch.last.height)
            .rev()
            .map(|(_, other)| *other)
            .take_while(|other| other.last.height >= batch.from())
            .collect();
        let within = |other: &Delivered| {
            other.from() >= batch.from()
                && other.last.height <= batch.last.height
                && (other.from(), other.last.height) != (batch.from(), batch.last.height)
        };
        if !overlapping.iter().all(within) {
            return vec![batch.batch];
        }
        for other in &overlapping {
            self.take(other.from());
        }
        self.bytes = self.bytes.saturating_add(batch.bytes);
        self.waiting.insert(batch.from(), batch);
        overlapping.iter().map(|other| other.batch).collect()
    }

    pub(super) fn get(&self, from: Height) -> Option<&Delivered> {
        self.waiting.get(&from)
    }

    pub(super) fn take(&mut self, from: Height) -> Option<Delivered> {
        let batch = self.waiting.remove(&from)?;
        self.bytes = self.bytes.saturating_sub(batch.bytes);
        Some(batch)
    }

    /// Takes out those for which `gone` holds.
    pub(super) fn drop_if(&mut self, gone: impl Fn(&Delivered) -> bool) -> Vec<BatchId> {
        let out: Vec<Delivered> = self.waiting.values().filter(|batch| gone(batch)).copied().collect();
        for batch in &out {
            self.take(batch.from());
        }
        out.iter().map(|batch| batch.batch).collect()
    }

    /// Takes out the batch that is missed least: the highest of more than `large` bytes, or else the highest. The lowest only where it
    /// is large and `busy` says that there is enough to do without it.
    pub(super) fn drop_one(&mut self, large: usize, busy: bool) -> Option<BatchId> {
        let above = |lowest: usize| self.waiting.iter().skip(lowest).rev();
        let large = above(usize::from(!busy)).find(|(_, batch)| batch.bytes > large);
        let from = *large.or_else(|| above(1).next())?.0;
        self.take(from).map(|batch| batch.batch)
    }

    /// The bytes of the largest batch.
    pub(super) fn heaviest(&self) -> Option<usize> {
        self.waiting.values().map(|batch| batch.bytes).max()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.waiting.values().map(|batch| Span { from: batch.from(), to: batch.last.height })
    }
}

/// Heights, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) from: Height,
    pub(super) to: Height,
}

/// The lowest heights within `window` that no span covers, up to the next one that does. `covered` is sorted.
pub(super) fn first_gap(covered: &[Span], window: Span) -> Option<Span> {
    let mut from = window.from;
    for span in covered {
        if from > window.to || span.from > from {
            break;
        }
        if span.to >= from {
            from = span.to.checked_add(1)?;
        }
    }
    if from > window.to {
        return None;
    }
    let next = covered.iter().map(|span| span.from).find(|&start| start > from);
    Some(Span { from, to: next.map_or(window.to, |start| window.to.min(start - 1)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Hash32;

    fn hash(height: Height) -> Hash32 {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&height.to_be_bytes());
        Hash32(bytes)
    }

    fn links(from: Height, to: Height) -> Vec<BlockLink> {
        (from..=to)
            .map(|height| BlockLink { height, hash: hash(height), prev_hash: hash(height.wrapping_sub(1)) })
            .collect()
    }

    fn batch(name: u64, from: Height, to: Height) -> Delivered {
        Delivered::new(ConnId(1), BatchId(name), from, &links(from, to), 10).unwrap()
    }

    fn spans(of: &[(Height, Height)]) -> Vec<Span> {
        of.iter().map(|&(from, to)| Span { from, to }).collect()
    }

    #[test]
    fn blocks_that_do_not_link_to_each_other_are_no_batch() {
        let mut broken = links(5, 9);
        broken[3].prev_hash = Hash32::ZERO;
        assert_eq!(Delivered::new(ConnId(1), BatchId(1), 5, &broken, 10), None);
        assert_eq!(Delivered::new(ConnId(1), BatchId(1), 4, &links(5, 9), 10), None);
        assert_eq!(Delivered::new(ConnId(1), BatchId(1), 5, &[], 10), None);
    }

    #[test]
    fn a_gap_ends_where_the_next_range_starts() {
        let window = Span { from: 10, to: 99 };
        assert_eq!(first_gap(&[], window), Some(window));
        assert_eq!(first_gap(&spans(&[(10, 19), (30, 39)]), window), Some(Span { from: 20, to: 29 }));
        assert_eq!(first_gap(&spans(&[(30, 39)]), window), Some(Span { from: 10, to: 29 }));
        assert_eq!(first_gap(&spans(&[(1, 5), (10, 50), (12, 20), (51, 98)]), window), Some(Span { from: 99, to: 99 }));
        assert_eq!(first_gap(&spans(&[(1, 99)]), window), None);
    }

    #[test]
    fn gaps_end_at_the_highest_height_without_overflow() {
        let window = Span { from: u64::MAX - 1, to: u64::MAX };
        assert_eq!(first_gap(&spans(&[(0, u64::MAX - 1)]), window), Some(Span { from: u64::MAX, to: u64::MAX }));
        assert_eq!(first_gap(&spans(&[(0, u64::MAX)]), window), None);
    }

    #[test]
    fn a_second_answer_for_the_same_range_is_superfluous() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.insert(batch(1, 10, 19)), []);
        assert_eq!(buffer.insert(batch(2, 10, 19)), [BatchId(2)]);
        assert_eq!(buffer.insert(batch(3, 15, 25)), [BatchId(3)]);
        assert_eq!(buffer.insert(batch(4, 12, 13)), [BatchId(4)]);
        assert_eq!(buffer.insert(batch(5, 20, 25)), []);
        assert_eq!(buffer.bytes(), 20);
    }

    #[test]
    fn a_longer_answer_replaces_what_it_contains() {
        let mut buffer = Buffer::default();
        buffer.insert(batch(1, 10, 12));
        buffer.insert(batch(2, 13, 19));
        assert_eq!(buffer.insert(batch(3, 10, 29)), [BatchId(2), BatchId(1)]);
        assert_eq!(buffer.spans().collect::<Vec<_>>(), spans(&[(10, 29)]));
        assert_eq!(buffer.bytes(), 10);
    }

    #[test]
    fn a_large_one_goes_first_then_the_highest_and_the_lowest_stays() {
        let mut buffer = Buffer::default();
        buffer.insert(Delivered { bytes: 60, ..batch(1, 10, 12) });
        buffer.insert(Delivered { bytes: 50, ..batch(2, 30, 40) });
        buffer.insert(batch(3, 41, 50));
        assert_eq!((buffer.heaviest(), buffer.bytes()), (Some(60), 120));
        assert_eq!(buffer.drop_one(20, false), Some(BatchId(2)));
        assert_eq!(buffer.drop_one(20, false), Some(BatchId(3)));
        assert_eq!(buffer.drop_one(20, false), None);
        assert_eq!(buffer.drop_one(60, true), None);
        assert_eq!(buffer.drop_if(|batch| batch.from() < 20), [BatchId(1)]);
        assert_eq!((buffer.bytes(), buffer.drop_one(20, true)), (0, None));
    }
}
