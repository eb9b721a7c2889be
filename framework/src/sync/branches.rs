//! Branches that were tried and led to nothing better, whoever showed them.
//!
//! A branch is known by its common block with ours and its own first block, which a known proposer signed: it cannot be made anew at will, as
//! connections can. It is tried again after ever longer pauses, not never: what one peer spoilt another may deliver right.

use std::collections::VecDeque;
use std::time::Duration;

use super::limits::SyncLimits;
use crate::types::{Hash32, Height};

/// How often the pause doubles at most; the limits end it long before.
const MOST_DOUBLINGS: u32 = 16;

/// The branches that failed last, the oldest first.
#[derive(Debug, Default)]
pub(super) struct BranchMemory(VecDeque<Failed>);

#[derive(Debug)]
struct Failed {
    keep: Option<Height>,
    first: Hash32,
    times: u32,
    /// Not tried before.
    until: Duration,
}

impl BranchMemory {
    /// Whether the branch that leaves ours after `keep` with the block `first` has to wait.
    pub(super) fn is_paused(&self, keep: Option<Height>, first: Hash32, now: Duration) -> bool {
        self.0.iter().any(|failed| failed.is(keep, first) && failed.until > now)
    }

    /// Notes that a rollback towards this branch led to nothing better.
    pub(super) fn failed(&mut self, keep: Option<Height>, first: Hash32, now: Duration, limits: &SyncLimits) {
        let before = self.0.iter().position(|failed| failed.is(keep, first)).and_then(|place| self.0.remove(place));
        let times = before.map_or(0, |failed| failed.times);
        let pause = limits.branch_pause.saturating_mul(1 << times.min(MOST_DOUBLINGS)).min(limits.branch_pause_most);
        if self.0.len() >= limits.branches {
            self.0.pop_front();
        }
        self.0.push_back(Failed { keep, first, times: times.saturating_add(1), until: now.saturating_add(pause) });
    }
}

impl Failed {
    fn is(&self, keep: Option<Height>, first: Hash32) -> bool {
        (self.keep, self.first) == (keep, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_pause_of_a_branch_doubles_up_to_its_limit() {
        let (mut branches, limits) = (BranchMemory::default(), SyncLimits::default());
        let first = Hash32([1; 32]);
        let mut now = secs(1000);
        for pause in [60, 120, 240, 480, 600, 600] {
            branches.failed(Some(7), first, now, &limits);
            now += secs(pause);
            assert!(branches.is_paused(Some(7), first, now.saturating_sub(secs(1))), "{pause}");
            assert!(!branches.is_paused(Some(7), first, now), "{pause}");
        }
        assert!(!branches.is_paused(Some(8), first, secs(1000)));
        assert!(!branches.is_paused(Some(7), Hash32([2; 32]), secs(1000)));
    }

    #[test]
    fn only_so_many_branches_are_remembered() {
        let (mut branches, limits) = (BranchMemory::default(), SyncLimits::default());
        for height in 0..1000 {
            branches.failed(Some(height), Hash32::ZERO, secs(1), &limits);
        }
        assert_eq!(branches.0.len(), limits.branches);
        assert!(branches.is_paused(Some(999), Hash32::ZERO, secs(2)));
        assert!(!branches.is_paused(Some(0), Hash32::ZERO, secs(2)));
    }
}
