//! How many blocks to ask for at once, by the sizes seen so far.

use super::limits::{MAX_REQUEST_BLOCKS, SyncLimits};

/// What a block is taken to weigh while none was seen, in bytes.
const ASSUMED_BLOCK: u64 = 4096;

/// The sizes of the blocks that came from one peer, or from all.
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
    pub(super) fn blocks_in(&self, bytes: usize, all: &Self) -> Option<u64> {
        let size = self.per_block.or(all.per_block)?;
        Some((u64::try_from(bytes).unwrap_or(u64::MAX) / size.max(1)).max(1))
    }

    /// The expected size of some blocks, in bytes.
    pub(super) fn estimate(&self, blocks: u64) -> usize {
        let bytes = self.per_block.unwrap_or(ASSUMED_BLOCK).saturating_mul(blocks);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// How many blocks to ask a peer for: 1 to [`MAX_REQUEST_BLOCKS`].
pub(super) fn range_for(limits: &SyncLimits, legacy: bool, peer: &Sizing, all: &Sizing) -> u64 {
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

    #[test]
    fn a_legacy_peer_starts_small_and_grows_towards_500() {
        let limits = SyncLimits::default();
        let mut sizing = Sizing::default();
        let mut ranges = vec![];
        for _ in 0..5 {
            let range = range_for(&limits, true, &sizing, &Sizing::default());
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
            assert_eq!(range_for(&limits, legacy, &sizing, &Sizing::default()), (1 << 20) / 30_000);
        }
    }

    #[test]
    fn a_new_peer_is_sized_by_what_others_sent() {
        let limits = SyncLimits::default();
        assert_eq!(range_for(&limits, true, &Sizing::default(), &seen(1, 1 << 19)), 2);
        assert_eq!(range_for(&limits, false, &Sizing::default(), &seen(1, 1)), MAX_REQUEST_BLOCKS);
    }

    #[test]
    fn a_huge_block_is_still_asked_for() {
        let limits = SyncLimits::default();
        assert_eq!(range_for(&limits, false, &seen(1, 1 << 30), &Sizing::default()), 1);
        assert_eq!(range_for(&limits, false, &seen(1, usize::MAX), &Sizing::default()), 1);
        assert_eq!(seen(1, usize::MAX).estimate(u64::MAX), usize::MAX);
    }

    #[test]
    fn an_empty_answer_teaches_nothing() {
        let limits = SyncLimits::default();
        assert_eq!(range_for(&limits, false, &seen(0, 17), &Sizing::default()), limits.first_range);
    }
}
