use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::outgoing::Outgoing;
use crate::chain::Applied;
use crate::types::{Hash32, Message, WireBlock};

/// So many of the last blocks can be had by their hash; whoever is further behind syncs.
const MOST: usize = 8;
/// What the frames of a block may take, for each of its bytes: in JSON a usual block takes two and a half times as many as stored.
const FRAMED: usize = 3;

/// The last blocks that were announced by their hash: who was told of them may ask for them. Bounded in number, and in bytes by a share of
/// the budget ([`MemoryShares::recent_blocks`](crate::memory::MemoryShares::recent_blocks)); the oldest goes first. Pure.
#[derive(Debug)]
pub(super) struct RecentBlocks {
    room: usize,
    used: usize,
    blocks: VecDeque<Recent>,
}

#[derive(Debug)]
struct Recent {
    hash: Hash32,
    body: Arc<Outgoing>,
    bytes: usize,
}

impl RecentBlocks {
    /// None yet, and room for so many bytes.
    pub(super) fn new(room: usize) -> Self {
        Self { room, used: 0, blocks: VecDeque::new() }
    }

    /// Keeps a block; says whether there is room for one of its size.
    pub(super) fn keep(&mut self, block: &Applied) -> bool {
        if self.get(&block.link.hash).is_some() {
            return true;
        }
        let encoded = block.bytes.len();
        let bytes = encoded.saturating_mul(1 + FRAMED);
        if bytes > self.room {
            return false;
        }
        while (self.blocks.len() == MOST || self.used + bytes > self.room)
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.used -= oldest.bytes;
        }
        // Its bytes alone: decoded it would take several times as much, and a slice of what it came in all of that, other blocks included.
        let message = Message::NewBlock(WireBlock::Encoded(Bytes::copy_from_slice(&block.bytes)));
        let body = Arc::new(Outgoing::keeping(message, encoded * FRAMED));
        self.used += bytes;
        self.blocks.push_back(Recent { hash: block.link.hash, body, bytes });
        true
    }

    /// The block of this hash.
    pub(super) fn get(&self, hash: &Hash32) -> Option<Arc<Outgoing>> {
        self.blocks.iter().find(|recent| recent.hash == *hash).map(|recent| Arc::clone(&recent.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::messages::Messages;
    use crate::types::BlockLink;

    fn block(number: u8, bytes: usize) -> Applied {
        let link = BlockLink { height: number.into(), hash: Hash32([number; 32]), prev_hash: Hash32([0; 32]) };
        let block = Arc::new(Messages::from_printed_seed().block());
        Applied { link, block, tx_hashes: Vec::new(), bytes: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn keeps_the_newest_within_its_bytes_and_none_that_would_take_them_all() {
        let mut recent = RecentBlocks::new(4000);
        for number in 1..=4 {
            assert!(recent.keep(&block(number, 250)));
        }
        assert!((1..=4).all(|number| recent.get(&Hash32([number; 32])).is_some()));
        assert!(recent.keep(&block(5, 400)));
        assert_eq!(recent.blocks.iter().map(|one| one.hash.0[0]).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(!recent.keep(&block(6, 1001)), "it takes more than there is, with its frames");
        assert_eq!((recent.used, recent.blocks.len()), (3600, 3));
        assert!(recent.keep(&block(7, 1000)));
        assert_eq!((recent.used, recent.blocks.len()), (4000, 1));
    }

    #[test]
    fn keeps_nothing_of_what_a_block_came_in() {
        let mut recent = RecentBlocks::new(4000);
        let frame = Bytes::from(vec![0; 1 << 20]);
        assert!(recent.keep(&Applied { bytes: frame.slice(..100), ..block(1, 0) }));
        let Message::NewBlock(WireBlock::Encoded(kept)) = recent.blocks[0].body.message() else { panic!() };
        assert_eq!(kept, &frame[..100]);
        assert!(frame.is_unique(), "the frame is kept");
    }

    #[test]
    fn keeps_eight_however_small_and_each_once() {
        let mut recent = RecentBlocks::new(1 << 20);
        for number in [1, 2, 3, 3, 4, 5, 6, 7, 8, 9] {
            assert!(recent.keep(&block(number, 1)));
        }
        assert_eq!((recent.blocks.len(), recent.used), (MOST, MOST * (1 + FRAMED)));
        assert!(recent.get(&Hash32([1; 32])).is_none() && recent.get(&Hash32([2; 32])).is_some());
    }
}
