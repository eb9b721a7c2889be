//! One line of the index: the beginning of a transaction's hash, and where a transaction with such a hash stands.

use std::ops::RangeInclusive;

use crate::types::{Hash32, Height};

/// Bytes of an entry on disk.
pub(super) const ENTRY_BYTES: usize = 16;

/// Bits of a place that hold the position in the block: a block has a few MiB, and a transaction a hundred bytes or more.
const INDEX_BITS: u32 = 24;

/// An entry, ordered by the hash's beginning, then by height and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) prefix: u64,
    /// Height, then position.
    place: u64,
}

/// The first bytes of a hash as a number. They tell nearly all transactions apart.
pub(super) fn prefix(hash: Hash32) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    u64::from_be_bytes(first)
}

impl Entry {
    /// `None` beyond 2^40 blocks, or 2^24 transactions in a block.
    pub(super) fn new(hash: Hash32, height: Height, index: usize) -> Option<Self> {
        let index = u64::try_from(index).ok().filter(|index| *index < 1 << INDEX_BITS)?;
        let height = Some(height).filter(|height| *height < 1 << (u64::BITS - INDEX_BITS))?;
        Some(Self { prefix: prefix(hash), place: (height << INDEX_BITS) | index })
    }

    /// Everything that has this prefix.
    pub(super) fn all_of(prefix: u64) -> RangeInclusive<Self> {
        Self { prefix, place: u64::MIN }..=Self { prefix, place: u64::MAX }
    }

    /// Height and position.
    pub(super) fn place(self) -> (Height, usize) {
        // 24 bits fit any usize that this runs on.
        (self.place >> INDEX_BITS, usize::try_from(self.place & ((1 << INDEX_BITS) - 1)).unwrap_or(usize::MAX))
    }

    /// Writes it, big-endian.
    pub(super) fn write(self, into: &mut [u8]) {
        into[..8].copy_from_slice(&self.prefix.to_be_bytes());
        into[8..ENTRY_BYTES].copy_from_slice(&self.place.to_be_bytes());
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(from: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
        Self { prefix: number(&from[..8]), place: number(&from[8..ENTRY_BYTES]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_writing_and_keeps_its_order() {
        let entry = Entry::new(Hash32([0xAB; 32]), (1 << 40) - 1, (1 << 24) - 1).unwrap();
        let mut bytes = [0; ENTRY_BYTES];
        entry.write(&mut bytes);
        assert_eq!(Entry::read(&bytes), entry);
        assert_eq!(entry.place(), ((1 << 40) - 1, (1 << 24) - 1));
        assert!(Entry::new(Hash32::ZERO, 7, 9) < Entry::new(Hash32::ZERO, 8, 0));
        assert!(Entry::new(Hash32::ZERO, 1 << 40, 0).is_none() && Entry::new(Hash32::ZERO, 0, 1 << 24).is_none());
    }
}
