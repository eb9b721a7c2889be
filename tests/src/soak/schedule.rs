//! What happens to the nodes, and when: a function of the seed.

use std::fmt;
use std::time::Duration;

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It is killed, and started again at the end.
    Kill,
    /// It is stopped in order, and started again at the end.
    Restart,
    /// It is frozen (SIGSTOP), and goes on at the end.
    Pause,
    /// All its connections are cut, and none comes about until the end.
    Disconnect,
    /// Each piece of what it sends and receives comes late, until the end.
    Throttle,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Kill, Self::Restart, Self::Pause, Self::Disconnect, Self::Throttle];

    /// Whether the node's process ends.
    pub fn ends_process(self) -> bool {
        matches!(self, Self::Kill | Self::Restart)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Disconnect => "disconnect",
            Self::Throttle => "throttle",
        })
    }
}

/// Something that happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When, from the start.
    pub at: Duration,
    /// What.
    pub kind: Kind,
    /// To which node, from 0 on.
    pub node: usize,
    /// For how long.
    pub lasts: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, node, lasts } = self;
        write!(f, "{:7.1} s  node-{} {kind} for {:.1} s", at.as_secs_f64(), node + 1, lasts.as_secs_f64())
    }
}

/// Before this nothing happens: the network comes about.
const CALM: Duration = Duration::from_secs(5);

/// How long something lasts, in milliseconds: from less than a block time to several.
const LASTS_MS: (u64, u64) = (300, 6000);

/// How long the nodes are left alone after it: so every few seconds something happens.
const REST_MS: (u64, u64) = (500, 3500);

/// What happens within `total`, one thing at a time. The process of the first node never ends: its memory is watched from the
/// beginning to the end.
pub fn schedule(seed: u64, nodes: usize, total: Duration) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = Vec::new();
    let mut at = CALM;
    loop {
        let kind = Kind::ALL[random.below(Kind::ALL.len() as u64)];
        let first = usize::from(kind.ends_process());
        let node = first + random.below((nodes - first) as u64);
        let lasts = random.between(LASTS_MS);
        let step = Step { at, kind, node, lasts };
        at += lasts + random.between(REST_MS);
        if step.at + lasts > total {
            return steps;
        }
        steps.push(step);
    }
}

/// `SplitMix64`: the same numbers for the same seed, everywhere and for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: u64) -> usize {
        usize::try_from(self.next() % count).unwrap()
    }

    fn between(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(least + self.next() % (most - least))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_schedule_again_and_another_seed_another_one() {
        let minute = Duration::from_secs(60);
        assert_eq!(schedule(7, 4, minute), schedule(7, 4, minute));
        assert_ne!(schedule(7, 4, minute), schedule(8, 4, minute));
    }

    #[test]
    fn everything_happens_to_everybody_one_at_a_time_and_the_first_process_never_ends() {
        let steps = schedule(1, 4, Duration::from_secs(3600));
        assert_eq!(steps.iter().map(|step| step.kind).collect::<BTreeSet<_>>().len(), 5);
        assert_eq!(steps.iter().map(|step| step.node).collect::<BTreeSet<_>>().len(), 4);
        assert!(steps.iter().all(|step| step.node > 0 || !step.kind.ends_process()));
        assert!(steps.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at));
        assert!(steps.windows(2).all(|pair| pair[1].at < pair[0].at + Duration::from_secs(10)), "every few seconds");
    }
}
