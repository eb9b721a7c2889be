//! How many blocks to ask for at once, by the sizes seen so far.
//!
//! What a peer sends says something about what *it* sends next. What blocks weigh in general only blocks say that were imported,
//! and the middle of them at that: one peer's padding must not make every other's answer look large.

use std::collections::VecDeque;

use super::limits::{MAX_REQUEST_BLOCKS, SyncLimits};

/// What a block is taken to weigh while none was seen, in bytes.
const ASSUMED_BLOCK: u64 = 4096;

/// How many imports are remembered: enough for a middle that a few peers cannot move, few enough to follow the chain.
const REMEMBERED: usize = 15;

/// The sizes of the blocks that came from one peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Sizing {
    /// Bytes per block: a moving average that rises at once and falls slowly, so that a range is rather too small.
    per_block: Option<u64>,
    /// The most blocks that came in one answer.
    longest: u64,
}

impl Sizing {
    pub(super) fn observe(&mut self, blocks: usize, bytes: usize) {
        let (Ok(blocks), Ok(bytes)) = (u64::try_from(blocks), u64::try_from(bytes)) else { return };
        let Some(seen) = bytes.checked_div(blocks) else { return };
        let smoothed = self.per_block.map_or(seen, |old| seen.max(old - old / 4 + seen / 4));
        self.per_block = Some(smoothed.max(1));
        self.longest = self.longest.max(blocks);
    }

    /// How many blocks are expected to have so many bytes, if that can be told; at least one.
    pub(super) fn blocks_in(&self, bytes: usize, usual: &UsualSize) -> Option<u64> {
        let size = self.per_block.or(usual.per_block)?;
        Some((u64::try_from(bytes).unwrap_or(u64::MAX) / size.max(1)).max(1))
    }

    /// The expected size of some blocks, in bytes: what its own blocks weighed, as far as that is no more than its `share` of the
    /// window, or than such blocks weigh usually.
    pub(super) fn estimate(&self, blocks: u64, usual: &UsualSize, share: usize) -> usize {
        let usually = usual.per_block.unwrap_or(ASSUMED_BLOCK).saturating_mul(blocks);
        let own = self.per_block.map_or(usually, |own| own.saturating_mul(blocks));
        let believed = usually.max(u64::try_from(share).unwrap_or(u64::MAX));
        usize::try_from(own.min(believed)).unwrap_or(usize::MAX)
    }
}

/// What blocks weigh usually: the middle of the last imports.
#[derive(Debug, Default)]
pub(super) struct UsualSize {
    /// Bytes per block of each.
    last: VecDeque<u64>,
    per_block: Option<u64>,
}

impl UsualSize {
    /// So many blocks of so many bytes were imported.
    pub(super) fn imported(&mut self, blocks: u64, bytes: usize) {
        let Some(size) = u64::try_from(bytes).unwrap_or(u64::MAX).checked_div(blocks) else { return };
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(size.max(1));
        let mut sorted: Vec<u64> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        self.per_block = sorted.get((sorted.len() - 1) / 2).copied();
    }
}

/// How many blocks to ask a peer for: 1 to [`MAX_REQUEST_BLOCKS`].
pub(super) fn range_for(limits: &SyncLimits, legacy: bool, peer: &Sizing, all: &UsualSize) -> u64 {
    let aim = u64::try_from(limits.answer_bytes).unwrap_or(u64::MAX);
    let first = if legacy { limits.first_range_legacy } else { limits.first_range };
    let by_size = peer.per_block.or(all.per_block).map_or(first, |size| aim / size.max(1));
    let by_growth = if legacy { limits.first_range_legacy.max(peer.longest.saturating_mul(2)) } else { u64::MAX };
    by_size.min(by_growth).clamp(1, MAX_REQUEST_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(blocks: usize, bytes: usize) -> Sizing {
        let mut sizing = Sizing::default();
        sizing.observe(blocks, bytes);
        sizing
    }

    fn imported(blocks: u64, bytes: usize) -> UsualSize {
        let mut usual = UsualSize::default();
        usual.imported(blocks, bytes);
        usual
    }

    #[test]
    fn a_legacy_peer_starts_small_and_grows_towards_500() {
        let limits = SyncLimits::default();
        let mut sizing = Sizing::default();
        let mut ranges = vec![];
        for _ in 0..5 {
            let range = range_for(&limits, true, &sizing, &UsualSize::default());
            ranges.push(range);
            let blocks = usize::try_from(range).unwrap();
            sizing.observe(blocks, blocks * 1000);
        }
        assert_eq!(ranges, [64, 128, 256, 500, 500]);
    }

    #[test]
    fn a_range_aims_at_one_mebibyte() {
        let limits = SyncLimits::default();
        for legacy in [false, true] {
            let sizing = seen(64, 64 * 30_000);
            assert_eq!(range_for(&limits, legacy, &sizing, &UsualSize::default()), (1 << 20) / 30_000);
        }
    }

    #[test]
    fn a_new_peer_is_sized_by_what_was_imported() {
        let limits = SyncLimits::default();
        assert_eq!(range_for(&limits, true, &Sizing::default(), &imported(1, 1 << 19)), 2);
        assert_eq!(range_for(&limits, false, &Sizing::default(), &imported(1, 1)), MAX_REQUEST_BLOCKS);
    }

    #[test]
    fn a_huge_block_is_still_asked_for() {
        let limits = SyncLimits::default();
        assert_eq!(range_for(&limits, false, &seen(1, 1 << 30), &UsualSize::default()), 1);
        assert_eq!(range_for(&limits, false, &seen(1, usize::MAX), &UsualSize::default()), 1);
    }

    #[test]
    fn an_empty_answer_teaches_nothing() {
        let limits = SyncLimits::default();
        assert_eq!(range_for(&limits, false, &seen(0, 17), &UsualSize::default()), limits.first_range);
    }

    #[test]
    fn a_peer_s_sizes_are_believed_up_to_its_share_of_the_window_or_what_is_usual() {
        let (padded, share) = (seen(1, 16 << 20), 100_000);
        assert_eq!(padded.estimate(1, &UsualSize::default(), share), share);
        assert_eq!(padded.estimate(1, &imported(1, 1 << 20), share), 1 << 20);
        assert_eq!(seen(1, 2_000).estimate(10, &imported(1, 1 << 20), share), 20_000);
        assert_eq!(Sizing::default().estimate(10, &imported(1, 1 << 20), share), 10 << 20);
        assert_eq!(seen(1, usize::MAX).estimate(u64::MAX, &imported(1, usize::MAX), share), usize::MAX);
    }

    #[test]
    fn a_few_padded_blocks_do_not_change_what_is_usual() {
        let mut usual = UsualSize::default();
        for at in 0..60 {
            usual.imported(100, if at % 3 == 0 { 100 << 20 } else { 100 * 4_000 });
            assert!(at < 2 || usual.per_block == Some(4_000), "after {at}");
        }
        (0..8).for_each(|_| usual.imported(100, 100 * 30_000));
        assert_eq!(usual.per_block, Some(30_000), "the chain's blocks have grown");
    }
}
