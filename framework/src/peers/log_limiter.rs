//! One log line per peer and kind a minute, with a count of those held back (`attacks.md` row 26).

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::limits::Limits;

/// A crowd beyond the table must not cost a search of it for each line.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// Says which log lines may be written. `P` names a peer; take its address rather than its connection, since
/// connecting anew must not buy a line.
#[derive(Debug)]
pub struct LogLimiter<P> {
    interval: Duration,
    capacity: usize,
    lines: HashMap<(P, &'static str), Line>,
    /// When the full table was last searched for lines that are over.
    searched: Duration,
    /// Everybody for whom there is no room: one line a kind for all of them.
    others: HashMap<&'static str, Line>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// When the first line of this interval was written.
    written: Duration,
    /// Lines written in this interval.
    lines: u32,
    held_back: u64,
}

impl<P: Clone + Eq + Hash> LogLimiter<P> {
    /// A limiter that has seen nothing.
    pub fn new(limits: &Limits) -> Self {
        Self {
            interval: limits.log_interval,
            capacity: limits.addresses_tracked,
            lines: HashMap::new(),
            searched: Duration::ZERO,
            others: HashMap::new(),
        }
    }

    /// Whether a line of this kind about this peer may be written now: `Some` with the number of lines held back
    /// since the last one, or `None` where this one is to be held back. `kind` must come from a fixed set.
    pub fn allow(&mut self, peer: &P, kind: &'static str, now: Duration) -> Option<u64> {
        self.allow_some(peer, kind, 1, now)
    }

    /// Like [`allow`](Self::allow), with up to `most` lines a minute: for what several peers behind one address do.
    pub fn allow_some(&mut self, peer: &P, kind: &'static str, most: u32, now: Duration) -> Option<u64> {
        let key = (peer.clone(), kind);
        let is_new = !self.lines.contains_key(&key);
        if is_new && self.lines.len() >= self.capacity && now.saturating_sub(self.searched) >= SEARCH_PAUSE {
            let interval = self.interval;
            self.searched = now;
            self.lines.retain(|_, line| now.saturating_sub(line.written) < interval || line.held_back > 0);
        }
        let line = if is_new && self.lines.len() >= self.capacity {
            self.others.get_mut(kind)
        } else {
            self.lines.get_mut(&key)
        };
        match line {
            Some(line) if now.saturating_sub(line.written) < self.interval && line.lines < most => {
                line.lines += 1;
                Some(0)
            }
            Some(line) if now.saturating_sub(line.written) < self.interval => {
                line.held_back = line.held_back.saturating_add(1);
                None
            }
            Some(line) => {
                let held_back = std::mem::take(&mut line.held_back);
                line.written = now;
                line.lines = 1;
                Some(held_back)
            }
            None => {
                let line = Line { written: now, lines: 1, held_back: 0 };
                if self.lines.len() < self.capacity {
                    self.lines.insert(key, line);
                } else {
                    self.others.insert(kind, line);
                }
                Some(0)
            }
        }
    }

    /// The counts of lines held back whose minute is over: to be written as a summary, so that none is lost.
    pub fn due(&mut self, now: Duration) -> Vec<(P, &'static str, u64)> {
        let interval = self.interval;
        let mut due = Vec::new();
        self.lines.retain(|(peer, kind), line| {
            let over = now.saturating_sub(line.written) >= interval;
            if over && line.held_back > 0 {
                due.push((peer.clone(), *kind, line.held_back));
            }
            !over
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn writes_one_line_a_minute_and_counts_the_others() {
        let mut log = LogLimiter::new(&Limits::default());
        assert_eq!(log.allow(&"a", "malformed", at(0)), Some(0));
        for second in 1..60 {
            assert_eq!(log.allow(&"a", "malformed", at(second)), None);
        }
        assert_eq!(log.allow(&"a", "malformed", at(60)), Some(59));
        assert_eq!(log.allow(&"a", "malformed", at(61)), None);
    }

    #[test]
    fn where_several_lines_a_minute_are_allowed_the_others_are_counted() {
        let mut log = LogLimiter::new(&Limits::default());
        let written = (0..100).filter(|_| log.allow_some(&"a", "connected", 8, at(1)).is_some()).count();
        assert_eq!(written, 8);
        assert_eq!(log.allow_some(&"a", "connected", 8, at(61)), Some(92));
        assert_eq!(log.allow_some(&"a", "connected", 8, at(62)), Some(0));
    }

    #[test]
    fn peers_and_kinds_are_counted_apart() {
        let mut log = LogLimiter::new(&Limits::default());
        assert_eq!(log.allow(&"a", "malformed", at(0)), Some(0));
        assert_eq!(log.allow(&"b", "malformed", at(0)), Some(0));
        assert_eq!(log.allow(&"a", "unasked", at(0)), Some(0));
    }

    #[test]
    fn what_was_held_back_comes_out_when_the_minute_is_over() {
        let mut log = LogLimiter::new(&Limits::default());
        log.allow(&"a", "malformed", at(0));
        log.allow(&"a", "malformed", at(1));
        assert!(log.due(at(59)).is_empty());
        assert_eq!(log.due(at(60)), [("a", "malformed", 1)]);
        assert!(log.due(at(61)).is_empty());
    }

    #[test]
    fn a_crowd_beyond_the_table_shares_one_line_a_minute() {
        let limits = Limits { addresses_tracked: 10, ..Limits::default() };
        let mut log = LogLimiter::new(&limits);
        let written = (0..10_000).filter(|peer| log.allow(peer, "refused", at(1)).is_some()).count();
        assert_eq!(written, 11);
        assert_eq!(log.lines.len(), 10);
        assert_eq!(log.allow(&10_000, "refused", at(61)), Some(0), "the table has room again");
    }
}
