//! The numbers of a sync, in one place.

use std::time::Duration;

/// The most blocks that one request may ask for (protocol.md section 1).
pub const MAX_REQUEST_BLOCKS: u64 = 500;

/// What a sync allows itself and others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncLimits {
    /// Blocks that may be asked for or wait, those under import included: twelve full answers, since as many as eight are being
    /// verified together, executed and committed, and four on their way.
    pub window_blocks: u64,
    /// Their bytes in the framework's encoding, about. The range right above the tip is asked for whatever waits, since nothing else goes on without it.
    pub window_bytes: usize,
    /// The size at which an answer is aimed, in bytes: what a peer serves at most.
    pub answer_bytes: usize,
    /// The first range for a peer with features, in blocks, while no block's size is known.
    pub first_range: u64,
    /// The first range for a legacy peer: it sends all that it is asked for in one line, however long.
    pub first_range_legacy: u64,
    /// The smallest range into which the window is cut so that all peers have a share, in blocks.
    pub least_share: u64,
    /// How long a peer with features may take for an answer. One that has delivered may take as long as is waited before others are asked
    /// as well, where that is longer.
    pub timeout: Duration,
    /// How long a legacy peer may take: applying 500 blocks keeps it busy for 33 s.
    pub timeout_legacy: Duration,
    /// After how long another peer is asked for a range as well while no answer of anybody has shown how long one takes: a peer's first answer
    /// may need several ways there and back, and all would be asked for everything. As long is the first turn of a peer in which its branch is
    /// looked at, while others wait for theirs; each further one is twice as long, up to [`Self::search`].
    pub stall: Duration,
    /// The least time after which another peer is asked for a range as well; else three times the median answer.
    pub hedge_least: Duration,
    /// The longest such time, for peers that are slow by nature: it doubles for a peer each time that somebody else was asked in vain. As long
    /// is the longest rest of one that others are sooner than each time.
    pub hedge_most: Duration,
    /// How long an answer should take to come: what a peer is given at a time is cut to it, so that little is lost with a peer that
    /// stands still.
    pub answer_time: Duration,
    /// After how long without a linking block a claim closes. As long may the claims of others hold back a look at a branch; and as long is the
    /// first turn of a legacy peer for that, where others wait.
    pub claim_patience: Duration,
    /// The same for a legacy peer that has delivered before: it may be busy, but all liars together delay SYNCED by no more than [`Self::no_progress`].
    pub claim_patience_legacy: Duration,
    /// After how long without an imported block no claim holds back SYNCED any more.
    pub no_progress: Duration,
    /// For how long all dials must have failed before a node counts as alone.
    pub alone: Duration,
    /// How many empty answers in a row close a claim.
    pub empty_answers: u8,
    /// How many other failures in a row close a claim.
    pub failures: u8,
    /// The wait after an empty answer.
    pub empty_pause: Duration,
    /// The wait after the first failure of a peer; it doubles with each.
    pub failure_pause: Duration,
    /// The wait before a peer is asked again whose claim was closed for not delivering. It doubles with each look at a peer's branch that led to
    /// nothing, up to [`Self::branch_pause`].
    pub distrust_pause: Duration,
    /// How often, while SYNCED, one of the peers that say nothing of their progress is asked for what is above our tip.
    pub probe_interval: Duration,
    /// How many blocks at once a peer must deliver, after its claim was closed for not delivering, for its claims to count again.
    pub regained_trust: u64,
    /// The wait after a block from the future.
    pub future_pause: Duration,
    /// The wait after a failure of our own store.
    pub local_pause: Duration,
    /// For how long a peer is not asked again for a block whose body or proposer was refused.
    pub refused_pause: Duration,
    /// The wait before a peer is asked for headers again that gave none.
    pub headers_pause: Duration,
    /// How long blocks that are not known to lead to a checkpoint wait for headers, while none come. Less than [`Self::no_progress`].
    pub headers_patience: Duration,
    /// For how long more they wait with each header that comes: what is slower leads nowhere.
    pub headers_pace: Duration,
    /// How long they wait after the first peer for one that can give headers.
    pub headers_grace: Duration,
    /// How long the search for a branching point may take with a peer with features.
    pub search: Duration,
    /// The same with a legacy peer.
    pub search_legacy: Duration,
    /// The wait before a branch that led to nothing better is tried again, whoever shows it; it doubles with each time. As long is the
    /// wait after a recovery that led to nothing.
    pub branch_pause: Duration,
    /// The longest such wait: somebody may have spoilt what others can deliver right.
    pub branch_pause_most: Duration,
    /// How long a SYNCED node waits, once it refused a proposer, before it doubts its own STAKEs: in a healthy network its tip has moved by then.
    pub recovery_wait: Duration,
    /// How many branches that led to nothing better are remembered.
    pub branches: usize,
    /// How many branching points a peer's branches may be tried at, per connection.
    pub fork_tries: usize,
}

impl Default for SyncLimits {
    fn default() -> Self {
        Self {
            // A decoded block takes 1 to 3 KiB, however empty. Fewer leave the cores without work while the disk is waited for.
            window_blocks: 6000,
            // Decoded and executed blocks take five times as much again.
            window_bytes: 4 << 20,
            answer_bytes: 1 << 20,
            first_range: 128,
            first_range_legacy: 64,
            least_share: 16,
            timeout: Duration::from_secs(20),
            timeout_legacy: Duration::from_secs(60),
            stall: Duration::from_secs(3),
            hedge_least: Duration::from_millis(50),
            hedge_most: Duration::from_secs(64),
            answer_time: Duration::from_millis(500),
            claim_patience: Duration::from_secs(10),
            claim_patience_legacy: Duration::from_secs(25),
            no_progress: Duration::from_secs(30),
            alone: Duration::from_secs(10),
            empty_answers: 3,
            failures: 3,
            empty_pause: Duration::from_millis(500),
            failure_pause: Duration::from_secs(1),
            distrust_pause: Duration::from_secs(10),
            probe_interval: Duration::from_secs(15),
            regained_trust: 8,
            future_pause: Duration::from_secs(5),
            local_pause: Duration::from_secs(10),
            refused_pause: Duration::from_secs(60),
            headers_pause: Duration::from_secs(10),
            headers_patience: Duration::from_secs(25),
            headers_pace: Duration::from_millis(5),
            headers_grace: Duration::from_secs(3),
            search: Duration::from_secs(60),
            search_legacy: Duration::from_secs(600),
            branch_pause: Duration::from_secs(60),
            branch_pause_most: Duration::from_secs(600),
            recovery_wait: Duration::from_secs(60),
            branches: 64,
            fork_tries: 16,
        }
    }
}
