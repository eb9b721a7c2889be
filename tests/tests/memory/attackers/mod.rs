//! Peers that do all they can to make a node hold memory. Each is one connection at a time, which is made again when the node ends it.

mod ammunition;
mod answers;
mod entry;
mod floods;
mod window;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

pub(crate) use self::ammunition::{Ammunition, Plan, txs_of};
use self::wire::Wire;

/// The longest frame that a node takes unasked.
const FRAME: usize = 4 << 20;
/// The longest that it takes as an answer.
const ANSWER: usize = 32 << 20;
/// How long an attacker that was closed waits before it comes back: as long as an address must that is not loopback (row 21).
const BACK_AFTER: Duration = Duration::from_secs(1);
/// The same of those who do nothing but that, and of those who are to fill the budget, who may come from many addresses.
const BACK_SOON: Duration = Duration::from_millis(100);

/// What an attacker does, by its row in attacks.md. What counts as done is said of each: only what the node took part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Row 1: a frame of nearly the longest length whose end never comes. Done: the node took half of it.
    EndlessFrame,
    /// Row 2: connects and says nothing. Done: the node closed it.
    Silence,
    /// Row 3: JSON nested 100,000 deep. Done: the node took it.
    DeepJson,
    /// Row 4: counts of postcard that claim more than there is. Done: the node took it.
    Bombs,
    /// Row 5: all but a handshake. Done: the node closed it.
    EarlyTalk,
    /// Rows 1 and 6: claims much, and when it is asked for that, begins an answer of nearly the longest length. Done: it was asked.
    Liar,
    /// Rows 1 and 6: claims much, and when it is asked for that, answers with all that fits, which is as large as can be once decoded.
    /// Done: it was asked.
    Bloat,
    /// Rows 1 and 6: claims much, and answers for all heights but the next with blocks of one transaction, whose recipient has a megabyte. Done:
    /// it gave such a block.
    LongRecipients,
    /// Rows 1 and 6: the same with one small block, and a megabyte that is none or is of another chain. Done: it gave such a block.
    PinnedFrames,
    /// Rows 1 and 6: the same with transactions of a few bytes, which take much more in memory. Done: it gave such a block.
    Dense,
    /// Row 7: an answer that nobody asked for. Done: the node closed it.
    Unasked,
    /// Row 7: blocks of another range than the one asked for. Done: it was asked.
    WrongRange,
    /// Row 8: another branch, good down to its forged end. Done: it was asked.
    Fork,
    /// Rows 9 and 22: asks for all blocks, each range another one, and reads nothing. Done: the node took a question.
    DeafAsker,
    /// Row 9: asks for blocks and headers as fast as it can, and for the same again. Done: it was answered.
    GreedyAsker,
    /// Row 10: claims much, and has nothing. Done: it was asked.
    Empty,
    /// Rows 11 and 23: blocks that are invalid, or far ahead, or of the largest size. Done: the node took one.
    BlockFlood,
    /// Row 12: names transactions that do not exist. Done: the node took them.
    NameFlood,
    /// Row 12: the same good block and transaction again and again. Done: the node took both.
    Again,
    /// Row 13: transactions, small and large, good and bad. Done: the node took one.
    TxFlood,
    /// Row 14: transactions that wait for a lower nonce. Done: the node took one.
    NonceGaps,
    /// Row 15: the same nonce for a little more. Done: the node took one.
    Replacements,
    /// Rows 16 and 17: says that it listens where others do. Done: somebody was dialled there.
    FalseAddress,
    /// Row 19: says the node's own handshake back. Done: the node closed it.
    Echo,
    /// Rows 20 and 23: calls itself as the honest peer does, and sends forgeries. Done: it was greeted.
    StolenName,
    /// Rows 18 and 21: connects and goes, over and over. Done: it was greeted.
    ComeAndGo,
    /// Row 24: bodies swapped under valid headers. Done: it was asked.
    Swapped,
    /// Row 25: a block of a time to come, rightly signed. Done: it was asked.
    Ahead,
    /// Row 26: faults of every kind for the log. Done: the node took one.
    Noise,
}

impl Attack {
    /// Rows 1, 6, 9, 11, 13 and 22.
    pub(crate) const OF_THE_BUDGET: [(Self, usize); 7] = [
        (Self::EndlessFrame, 8),
        (Self::DeafAsker, 8),
        (Self::BlockFlood, 8),
        (Self::TxFlood, 8),
        (Self::LongRecipients, 2),
        (Self::PinnedFrames, 2),
        (Self::Dense, 2),
    ];

    /// All of them, with more connections than a node takes from those who dial it.
    pub(crate) const ALL: [(Self, usize); 29] = [
        (Self::EndlessFrame, 8),
        (Self::Silence, 12),
        (Self::DeepJson, 1),
        (Self::Bombs, 2),
        (Self::EarlyTalk, 2),
        (Self::Liar, 3),
        (Self::Bloat, 1),
        (Self::LongRecipients, 1),
        (Self::PinnedFrames, 2),
        (Self::Dense, 1),
        (Self::Unasked, 1),
        (Self::WrongRange, 1),
        (Self::Fork, 1),
        (Self::DeafAsker, 8),
        (Self::GreedyAsker, 2),
        (Self::Empty, 1),
        (Self::BlockFlood, 8),
        (Self::NameFlood, 2),
        (Self::Again, 2),
        (Self::TxFlood, 8),
        (Self::NonceGaps, 1),
        (Self::Replacements, 1),
        (Self::FalseAddress, 2),
        (Self::Echo, 1),
        (Self::StolenName, 2),
        (Self::ComeAndGo, 2),
        (Self::Swapped, 1),
        (Self::Ahead, 1),
        (Self::Noise, 1),
    ];

    /// Whether it shows more than the node has, so that it is asked.
    fn lies(self) -> bool {
        use Attack::{Ahead, Bloat, Empty, Fork, Liar, Swapped, WrongRange};
        matches!(self, Liar | Bloat | WrongRange | Fork | Empty | Swapped | Ahead) || self.fills_the_window()
    }

    /// Whether it gives all but the next block, so that what it gives waits.
    fn fills_the_window(self) -> bool {
        matches!(self, Self::LongRecipients | Self::PinnedFrames | Self::Dense)
    }

    fn comes_back_after(self) -> Duration {
        let fills = Self::OF_THE_BUDGET.iter().any(|(attack, _)| *attack == self);
        if fills || self == Self::ComeAndGo { BACK_SOON } else { BACK_AFTER }
    }

    /// Whether it makes sense over a link of this codec.
    fn speaks(self, codec: &str) -> bool {
        match self {
            Self::DeepJson => codec == "json",
            Self::Bombs | Self::PinnedFrames => codec == "postcard",
            _ => true,
        }
    }
}

/// Where the attackers send their bytes, and which.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) link: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) ammunition: Arc<Ammunition>,
}

/// What the attackers of one kind did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    connections: AtomicUsize,
    done: AtomicUsize,
}

impl Tally {
    fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Attackers at work. Dropped, they stop.
#[derive(Debug)]
pub(crate) struct Attackers {
    _tasks: JoinSet<()>,
    attacks: Vec<(Attack, Arc<Tally>)>,
    bytes: Arc<AtomicUsize>,
}

impl Attackers {
    /// So many of each kind, each with a connection of its own, shared out over the targets.
    pub(crate) fn start(targets: &[Target], attacks: &[(Attack, usize)]) -> Self {
        let mut tasks = JoinSet::new();
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut number = 0;
        let mut tallies = Vec::new();
        for (attack, count) in attacks {
            let tally = Arc::new(Tally::default());
            let fit: Vec<&Target> =
                targets.iter().filter(|target| attack.speaks(target.ammunition.codec().name())).collect();
            if fit.is_empty() {
                continue;
            }
            for at in 0..*count {
                let target = fit[at % fit.len()].clone();
                let (attack, number_, bytes, tally) = (*attack, number, Arc::clone(&bytes), Arc::clone(&tally));
                tasks.spawn(async move {
                    loop {
                        if let Some(wire) = Wire::open(&target, number_, attack, &bytes, &tally).await {
                            wire.tally().connections.fetch_add(1, Ordering::Relaxed);
                            wire.attack(attack, &target.ammunition).await;
                        }
                        tokio::time::sleep(attack.comes_back_after()).await;
                    }
                });
                number += 1;
            }
            tallies.push((*attack, tally));
        }
        Self { _tasks: tasks, attacks: tallies, bytes }
    }

    /// Of each attack the connections that were made, and what was done.
    pub(crate) fn done(&self) -> Vec<(Attack, usize, usize)> {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        self.attacks.iter().map(|(attack, tally)| (*attack, read(&tally.connections), read(&tally.done))).collect()
    }

    /// How many bytes the node took from them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}
