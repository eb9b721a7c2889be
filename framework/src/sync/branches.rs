//! Branches that were tried and led to nothing better, whoever showed them.
//!
//! A branch is known by its common block with ours and its own first block, which a known proposer signed: it cannot be made anew at will, as
//! connections can. It is tried again after ever longer pauses, not never: what one peer spoilt another may deliver right. Where a peer was
//! convicted over it of an invalid block, the pause is short and stays so: that peer has paid, and nobody can keep us from the branch by
//! spoiling its end again and again.

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
    /// Until when the branch that leaves ours after `keep` with the block `first` has to wait, where it has to.
    pub(super) fn paused_until(&self, keep: Option<Height>, first: Hash32, now: Duration) -> Option<Duration> {
        self.0.iter().find(|failed| failed.is(keep, first) && failed.until > now).map(|failed| failed.until)
    }

    /// Notes that a rollback towards this branch led to nothing better.
    pub(super) fn failed(&mut self, keep: Option<Height>, first: Hash32, now: Duration, limits: &SyncLimits) {
        let times = self.take(keep, first);
        let pause = limits.branch_pause.saturating_mul(1 << times.min(MOST_DOUBLINGS)).min(limits.branch_pause_most);
        self.note(Failed { keep, first, times: times.saturating_add(1), until: now.saturating_add(pause) }, limits);
    }

    /// Notes that the peer which showed this branch was convicted of an invalid block on it.
    pub(super) fn spoilt(&mut self, keep: Option<Height>, first: Hash32, now: Duration, limits: &SyncLimits) {
        let times = self.take(keep, first);
        self.note(Failed { keep, first, times, until: now.saturating_add(limits.distrust_pause) }, limits);
    }

    /// Forgets a branch; says how often it failed.
    fn take(&mut self, keep: Option<Height>, first: Hash32) -> u32 {
        let before = self.0.iter().position(|failed| failed.is(keep, first)).and_then(|place| self.0.remove(place));
        before.map_or(0, |failed| failed.times)
    }

    fn note(&mut self, failed: Failed, limits: &SyncLimits) {
        if self.0.len() >= limits.branches {
            self.0.pop_front();
        }
        self.0.push_back(failed);
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

    impl BranchMemory {
        fn is_paused(&self, keep: Option<Height>, first: Hash32, now: Duration) -> bool {
            self.paused_until(keep, first, now).is_some()
        }
    }

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
    fn what_a_convicted_peer_spoilt_waits_for_a_moment_only_however_often() {
        let (mut branches, limits) = (BranchMemory::default(), SyncLimits::default());
        let first = Hash32([1; 32]);
        let mut now = secs(1000);
        for _ in 0..10 {
            branches.spoilt(Some(7), first, now, &limits);
            assert!(branches.is_paused(Some(7), first, now));
            now += limits.distrust_pause;
            assert!(!branches.is_paused(Some(7), first, now));
        }
        branches.failed(Some(7), first, now, &limits);
        assert!(!branches.is_paused(Some(7), first, now + limits.branch_pause), "nothing was doubled");
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
