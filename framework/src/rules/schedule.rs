//! Whose turn it is (protocol.md section 4, block validity 3).

/// The round that a block with this distance in seconds from its parent belongs to.
pub fn round(seconds_after_parent: u64, block_time: u64) -> u64 {
    seconds_after_parent.checked_sub(block_time).map_or(0, |late| late / block_time)
}

/// The index of the proposer among `active` validators sorted by address; `None` where there are none.
pub fn proposer_index(height: u64, round: u64, active: usize) -> Option<usize> {
    let active = u128::try_from(active).ok().filter(|&n| n > 0)?;
    usize::try_from((u128::from(height) + u128::from(round)) % active).ok()
}
