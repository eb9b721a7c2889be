use std::collections::VecDeque;
use std::time::Duration;

use super::core::Core;
use crate::peers::Host;
use crate::rules::HashedBlock;
use crate::sync::ConnId;
use crate::types::Height;

/// Blocks in a row that must have come late before our clock is taken to be ahead: a single one may have been on its way for long.
const LATE_BLOCKS: usize = 3;

/// How our clock stands to the proposers', by the times of the blocks that come as news (`attacks.md` row 25). The wire carries no other time.
/// Pure: the wall clock is told.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// The wall clock at the node's start, as it was last seen: unix time.
    started: Duration,
    /// The highest block that was looked at: an old one says nothing.
    highest: Option<Height>,
    /// The last blocks, none of which was ahead: when they came, by our clock, and what they say, in unix seconds.
    late: VecDeque<(u64, u64)>,
}

/// Our clock and the proposers' differ by so many seconds, at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skew {
    /// Ours is behind.
    Behind(u64),
    /// Ours is ahead.
    Ahead(u64),
}

impl Clocks {
    /// The wall clock says this now.
    pub(super) fn tell(&mut self, now: Duration, unix_time: Duration) {
        self.started = unix_time.saturating_sub(now);
    }

    /// A block came that its proposer has signed; says how our clock stands to its, where that is more than `bearable`.
    pub(super) fn compare(
        &mut self,
        now: Duration,
        height: Height,
        timestamp: u64,
        bearable: Duration,
    ) -> Option<Skew> {
        if self.highest.is_some_and(|highest| height <= highest) {
            return None;
        }
        self.highest = Some(height);
        let (ours, bearable) = ((self.started + now).as_secs(), bearable.as_secs());
        let ahead = timestamp.saturating_sub(ours);
        if ahead > 0 {
            self.late.clear();
            return (ahead > bearable).then_some(Skew::Behind(ahead));
        }
        if self.late.len() == LATE_BLOCKS {
            self.late.pop_front();
        }
        self.late.push_back((ours, timestamp));
        let (Some(first), true) = (self.late.front(), self.late.len() == LATE_BLOCKS) else { return None };
        // Those that come all at once were held up somewhere, here perhaps.
        let one_by_one = ours.saturating_sub(first.0) * 2 >= timestamp.saturating_sub(first.1);
        // What all of them were late by is no delay on the way of one.
        let least = self.late.iter().map(|(came, says)| came.saturating_sub(*says)).min()?;
        (one_by_one && least > bearable).then_some(Skew::Ahead(least))
    }
}

impl Core {
    /// The wall clock, as often as it is looked at.
    pub(crate) fn tell_time(&mut self, now: Duration, unix_time: Duration) {
        self.clocks.tell(now, unix_time);
    }

    /// Warns where a peer's news shows that our clock and the proposer's differ. Nobody is blamed: it may be ours.
    pub(super) fn compare_clocks(&mut self, now: Duration, conn: ConnId, block: &HashedBlock) {
        let header = &block.block.header;
        // Only the end of the chain is news.
        if self.tip.is_some_and(|tip| header.height <= tip.height) {
            return;
        }
        let bearable = self.config.limits.clock_warning;
        let Some(skew) = self.clocks.compare(now, header.height, header.timestamp, bearable) else { return };
        // One line for all peers: the clock in question is our own.
        let Some(more) = self.log.allow(&Host::Name("the clock".to_owned()), "clock", now) else { return };
        let peer = self.peers.get(&conn).map_or_else(String::new, super::peer::Peer::label);
        let proposer = header.proposer_address.as_str();
        let (seconds, what) = match skew {
            Skew::Behind(seconds) => (seconds, "behind the proposer's"),
            Skew::Ahead(seconds) => (seconds, "ahead of the proposers'"),
        };
        tracing::warn!(
            peer,
            height = header.height,
            proposer,
            more,
            "our clock is {seconds} s {what}: check the time of this machine"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEARABLE: Duration = Duration::from_secs(10);
    const START: u64 = 1_700_000_000;

    fn clocks() -> Clocks {
        let mut clocks = Clocks::default();
        clocks.tell(Duration::from_secs(5), Duration::from_secs(START + 5));
        clocks
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_block_that_is_more_than_10_s_ahead_shows_that_our_clock_is_behind() {
        let mut clocks = clocks();
        assert_eq!(clocks.compare(at(100), 1, START + 110, BEARABLE), None);
        assert_eq!(clocks.compare(at(100), 2, START + 111, BEARABLE), Some(Skew::Behind(11)));
    }

    #[test]
    fn three_late_blocks_in_a_row_show_that_our_clock_is_ahead() {
        let mut clocks = clocks();
        let mut came = |now: u64, late: u64| clocks.compare(at(now), now, START + now - late, BEARABLE);
        assert_eq!(came(100, 25), None, "one was long on its way");
        assert_eq!(came(110, 12), None);
        assert_eq!(came(120, 30), Some(Skew::Ahead(12)));
        assert_eq!(came(130, 1), None, "this one shows that it is not");
        assert_eq!(came(140, 30), None);
    }

    #[test]
    fn late_blocks_that_come_all_at_once_show_nothing() {
        let mut clocks = clocks();
        for height in 0..20 {
            assert_eq!(clocks.compare(at(100), height, START + height, BEARABLE), None, "we were asleep");
        }
    }

    #[test]
    fn an_old_block_says_nothing() {
        let mut clocks = clocks();
        assert_eq!(clocks.compare(at(100), 9, START + 100, BEARABLE), None);
        for _ in 0..10 {
            assert_eq!(clocks.compare(at(100), 9, START, BEARABLE), None);
            assert_eq!(clocks.compare(at(100), 8, START + 500, BEARABLE), None);
        }
    }
}
