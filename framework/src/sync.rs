//! The `SyncStrategy` plug point: which blocks to ask whom for, and what to do about forks.
//!
//! A strategy is a state machine without IO: the engine hands it events with the time, and carries out its actions.
//! Bodies of blocks stay in the engine; a strategy sees their links and names them by batch.
//!
//! # What the engine owes a strategy
//! - Imports, rollbacks, look-ups and ends of reorganisations are carried out in the order in which they were asked for, and each, like a check, is answered by its event.
//! - Where a batch is rejected, those handed over after it are rejected too, as [`RejectKind::NotLinked`], unless they link all the same.
//! - Every request ends with [`SyncEvent::Blocks`], [`SyncEvent::Headers`], [`SyncEvent::RequestFailed`] or [`SyncEvent::PeerGone`], unless the strategy cancels it.
//! - [`SyncEvent::PeerTip`] is the first event of a peer and [`SyncEvent::PeerGone`] the last.
//! - A block at a checkpoint's height with another hash is never applied, whatever a strategy does.
//!
//! # Contract
//! Each sentence is one case of the conformance suite in [`crate::testkit`].
//!
//! - The same events at the same times give the same actions.
//! - At most one request is outstanding with a peer, or as many as it keeps apart.
//! - A request asks for 1 to 500 consecutive heights.
//! - Blocks are imported in order: a batch's first block extends the tip, or the block before it in an earlier batch under import.
//! - Every batch handed over is imported or discarded, once.
//! - A peer that is gone is asked for nothing, and what was asked of it is asked of another.
//! - An announced tip alone changes neither mode to SYNCING nor memory by more than a constant per peer.
//! - With one honest peer among any number of silent or lying ones, the tip of the honest one is reached.
//! - A strategy that is SYNCED with all claims closed has, once its last requests were answered or ran out, no outstanding request, and asks for a deadline no earlier than its next probe.
//! - Blocks are rolled back only towards blocks that were delivered, link to ours, and were checked for their proposers' signatures.
//! - After a rollback that leads to nothing better, `FinishReorg { keep: false }` follows.
//! - An honest peer is never penalised, whatever the others do.
//! - A batch is vouched for only up to a block that is known to be a checkpoint or an ancestor of one.
//!
//! # Writing your own
//!
//! 1. Keep a queue of actions: [`handle`](SyncStrategy::handle) takes one event, notes what changed, decides, and pushes;
//!    [`poll_action`](SyncStrategy::poll_action) pops.
//! 2. For each peer keep what it claims and whether the claim is *open*: worth asking after. Close it when the blocks came, and when the peer does not
//!    deliver; only a bounded number of failures, and of seconds, may pass before that.
//! 3. Ask for what follows the tip. When [`SyncEvent::Blocks`] comes, either [`Import`](SyncAction::Import) or [`Discard`](SyncAction::Discard) its
//!    batch, also where it is empty, late or from nobody you asked.
//! 4. SYNCED means that nobody is known to be ahead. Do not let a claim take it away again: only blocks that were imported may.
//! 5. Decide about forks. The least is to leave a peer on another branch alone. To follow it: find where it leaves your chain
//!    ([`LookUp`](SyncAction::LookUp) gives your own links), have what it shows [checked](SyncAction::Check), then
//!    [`Rollback`](SyncAction::Rollback), import, and always [`FinishReorg`](SyncAction::FinishReorg). [`BatchSync`] does, by a [`ForkRule`]
//!    that may be yours: often that is all one wants to change.
//!    It also looks after a refused proposer ([`RejectKind::WrongProposer`]): [`FindStakes`](SyncAction::FindStakes) and
//!    [`ReadStakes`](SyncAction::ReadStakes) are for that, and may be left alone.
//! 6. Run `sync_suite!` over it. It puts the strategy into simulated networks full of liars, in virtual time.
//!
//! Watch for: no clock but `now`, and no random choice without a seed; peers come back under another [`ConnId`]; heights up to `u64::MAX` are
//! claimed, so that sums saturate; a deadline that is not above `now` makes the engine spin.
//!
//! A strategy is a plain value, and its tests need no network:
//!
//! ```
//! use std::time::Duration;
//!
//! use cpc_framework::sync::{
//!     BatchId, BatchSync, ConnId, Mode, SyncAction, SyncEvent, SyncStrategy,
//! };
//! use cpc_framework::types::{BlockLink, Hash32};
//!
//! let mut strategy = BatchSync::default();
//! let (now, peer) = (Duration::ZERO, ConnId(1));
//! strategy.handle(now, SyncEvent::LocalTip(None));
//! strategy.handle(now, SyncEvent::PeerTip { peer, height: Some(0), legacy: false });
//! let Some(SyncAction::Request { request, from: 0, to: 0, .. }) = strategy.poll_action() else { panic!() };
//!
//! let link = BlockLink { height: 0, hash: Hash32([1; 32]), prev_hash: Hash32::ZERO };
//! let batch = BatchId(7);
//! strategy.handle(now, SyncEvent::Blocks { peer, request, batch, links: vec![link], bytes: 900, weight: 900, malformed: false });
//! assert_eq!(strategy.poll_action(), Some(SyncAction::Import { batch }));
//! assert_eq!(strategy.status().mode, Mode::Syncing);
//!
//! strategy.handle(now, SyncEvent::Imported { batch, tip: link.tip() });
//! assert_eq!(strategy.status().mode, Mode::Synced);
//! ```
//!
//! A whole one, with one request at a time: `examples/src/one_by_one.rs` in the repository.

use std::fmt::Debug;
use std::time::Duration;

use crate::types::{BlockLink, Checkpoint, HEADER_CHAIN, Handshake, Hash32, Height, REQUEST_ID, Tip};

pub mod batch;
mod branches;
mod checkpoint;
mod claim;
mod delivery;
pub mod fork;
mod hedging;
pub mod limits;
mod linkage;
mod mode;
mod pace;
mod ranges;
mod recover;
mod reorg;
mod schedule;
mod search;
mod session;
mod sizing;
mod turns;

pub use batch::BatchSync;
pub use fork::{ForkRule, RollbackOne};
pub use limits::SyncLimits;

/// Our own number for a connection. Peers are told apart by nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A strategy's own number for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The engine's number for blocks that were delivered and wait for import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// How many requests are outstanding with a peer at most that keeps them apart: one is being answered, and the others wait where the
/// next answer can be made at once. A server queues as many (attacks.md row 9).
pub const IN_FLIGHT: usize = 4;

/// What a peer can do beyond the documented protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// How many requests it can keep apart: 1 to [`IN_FLIGHT`].
    pub requests: usize,
    /// Whether it gives out headers without their blocks.
    pub headers: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self { requests: 1, headers: false }
    }
}

impl Abilities {
    /// What a handshake shows.
    pub(crate) fn of(handshake: &Handshake) -> Self {
        if !handshake.has_feature(REQUEST_ID) {
            return Self::default();
        }
        Self { requests: IN_FLIGHT, headers: handshake.has_feature(HEADER_CHAIN) }
    }
}

/// Decides what a node asks for. See the [module documentation](self) for the contract.
pub trait SyncStrategy: Debug + Send + 'static {
    /// Takes an event. `now` is the time since the node started, and never falls.
    fn handle(&mut self, now: Duration, event: SyncEvent);

    /// The next thing to do; call it until it gives `None` after every [`handle`](Self::handle).
    fn poll_action(&mut self) -> Option<SyncAction>;

    /// When to send the next [`SyncEvent::Tick`], at the latest.
    fn next_deadline(&self) -> Option<Duration>;

    /// What operators may know.
    fn status(&self) -> SyncStatus;
}

/// What a strategy is told.
#[derive(Debug, Clone, PartialEq)]
pub enum SyncEvent {
    /// Our chain ends here: at the start, and whenever it changed by anything but this strategy's own actions.
    LocalTip(Option<Tip>),
    /// How the node stands to the network.
    Connectivity(Connectivity),
    /// A handshake, first or repeated: the peer claims this tip (`None`: an empty chain).
    PeerTip {
        /// Who.
        peer: ConnId,
        /// The claimed height.
        height: Option<Height>,
        /// Whether the peer is a legacy one: honest and slow, asked for small ranges, not punished for silence.
        legacy: bool,
    },
    /// What a peer can do beyond the documented protocol. Comes after its first [`PeerTip`](Self::PeerTip); without it a peer has
    /// [`Abilities::default`].
    PeerAbilities {
        /// Who.
        peer: ConnId,
        /// What.
        abilities: Abilities,
    },
    /// The blocks that the chain must contain. Comes before any peer, if there are any.
    Checkpoints(Vec<Checkpoint>),
    /// A new block from this peer that was not just applied: it is above our tip and does not extend it, or another block at our tip's height or below.
    Announced {
        /// Who.
        peer: ConnId,
        /// The block's place. Its signature fits the key of its proposer as far as that is known.
        link: BlockLink,
    },
    /// The connection has ended.
    PeerGone {
        /// Who.
        peer: ConnId,
    },
    /// The answer to a request: the blocks are consecutive and start where the request did (the engine checked).
    Blocks {
        /// Who.
        peer: ConnId,
        /// Which request.
        request: RequestId,
        /// The name of these blocks from here on. Present also if there are none.
        batch: BatchId,
        /// Their places; may be fewer than asked for, or none.
        links: Vec<BlockLink>,
        /// The size of the answer on the wire.
        bytes: usize,
        /// What the blocks weigh while they wait: about what they have in the framework's encoding, and no more than on the wire.
        weight: usize,
        /// Whether the block after these could not be read.
        malformed: bool,
    },
    /// The answer to [`SyncAction::RequestHeaders`]: places that link to each other and end with the height asked for (the engine
    /// computed them from headers and checked that). None where the peer does not have them, or they cannot be read.
    Headers {
        /// Who.
        peer: ConnId,
        /// Which request.
        request: RequestId,
        /// Their places, ascending. They may begin above the first height asked for.
        links: Vec<BlockLink>,
        /// Their size on the wire.
        bytes: usize,
    },
    /// A request will get no answer.
    RequestFailed {
        /// Who.
        peer: ConnId,
        /// Which request.
        request: RequestId,
        /// Why.
        why: RequestFailure,
    },
    /// All blocks of a batch are applied, durably.
    Imported {
        /// Which batch.
        batch: BatchId,
        /// Our tip now.
        tip: Tip,
    },
    /// A block of a batch cannot be applied; those before it are, durably.
    Rejected {
        /// Which batch. It is gone.
        batch: BatchId,
        /// The block's height.
        height: Height,
        /// What kind of reason.
        why: RejectKind,
        /// Our tip now.
        tip: Option<Tip>,
    },
    /// A rollback is done.
    RolledBack {
        /// Our tip now.
        tip: Option<Tip>,
    },
    /// A rollback cannot be done: undo records, a checkpoint or the store forbid it.
    RollbackFailed {
        /// Our tip, unchanged.
        tip: Option<Tip>,
    },
    /// The answer to [`SyncAction::Check`].
    Checked {
        /// Which batch.
        batch: BatchId,
        /// How many of its blocks are signed by their proposers, as far as proposers' keys are known. A key that a signed block of the same
        /// branch stakes is known from there on.
        signed: u64,
        /// The first block whose signature is not by the known key of its proposer: a proof, since addresses certify keys.
        wrong: Option<Height>,
    },
    /// The answer to [`SyncAction::LookUp`]: our own blocks of these heights, ascending. Fewer, or none, where they cannot be read.
    OwnLinks {
        /// Their places.
        links: Vec<BlockLink>,
    },
    /// The answer to [`SyncAction::FindStakes`].
    OwnStakes {
        /// The height that was named.
        below: Height,
        /// Our own blocks with STAKEs, ascending. None under rules whose hashes cover a STAKE's key, or where they cannot be read.
        stakes: Vec<StakeBlock>,
    },
    /// The answer to [`SyncAction::ReadStakes`].
    Stakes {
        /// Which batch.
        batch: BatchId,
        /// Its blocks with STAKEs, ascending.
        stakes: Vec<StakeBlock>,
    },
    /// The reorganisation under way has ended.
    ReorgFinished {
        /// Our tip now.
        tip: Option<Tip>,
    },
    /// Time passed.
    Tick,
}

/// A block with STAKEs whose keys no hash covers (protocol.md section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StakeBlock {
    /// Its place. Two blocks of the same hash may still differ in the keys.
    pub link: BlockLink,
    /// A digest of the keys that its STAKEs name, in order.
    pub keys: Hash32,
}

/// How a node stands to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connectivity {
    /// There is nobody to dial and nobody connected.
    NoPeersKnown,
    /// Dials are under way.
    Dialling,
    /// Every known address was dialled and none answered.
    AllDialsFailed,
    /// At least one handshake is done.
    Connected,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFailure {
    /// Its deadline passed.
    TimedOut,
    /// The answer was not what was asked for: another range, or a frame that could not be read.
    BadAnswer,
    /// It could not be sent.
    NotSent,
}

/// Why a block cannot be applied: what follows from it, not what was wrong (the log says that).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectKind {
    /// It does not extend the tip.
    NotLinked,
    /// It breaks a rule, and whoever signed or sent it is at fault.
    Invalid,
    /// Its proposer's key is not the one that we know: under v1 rules perhaps our own doing (a swapped STAKE key).
    WrongProposer,
    /// Its time is ahead of our clock: it may be valid later.
    FromTheFuture,
    /// Only our stricter reading of the rules refuses it; nobody is at fault.
    Stricter,
    /// Its body is not the one that its header commits to: ask somebody else.
    BodyMismatch,
    /// It contradicts a checkpoint.
    Checkpoint,
    /// Our own store failed.
    Local,
}

/// What a strategy wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncAction {
    /// Ask a peer for blocks.
    Request {
        /// Whom.
        peer: ConnId,
        /// A number that was not used before.
        request: RequestId,
        /// The first height.
        from: Height,
        /// The last height.
        to: Height,
        /// How long to wait for the answer.
        timeout: Duration,
    },
    /// Ask a peer for the headers of blocks, of which only the places come back. Only of a peer with [`Abilities::headers`].
    RequestHeaders {
        /// Whom.
        peer: ConnId,
        /// A number that was not used before.
        request: RequestId,
        /// The lowest height that is of use.
        from: Height,
        /// The last height: the answer ends there.
        to: Height,
        /// How long to wait for the answer.
        timeout: Duration,
    },
    /// Say of a batch that its blocks up to this height are ancestors of a checkpoint, or the checkpoint itself, known by hash
    /// linkage. Their signatures are then not checked; all else is. Comes before the batch's [`Import`](Self::Import).
    Vouch {
        /// Which batch.
        batch: BatchId,
        /// The last such block.
        up_to: Height,
    },
    /// Forget a request. A late answer is forgiven.
    Cancel {
        /// Which.
        request: RequestId,
    },
    /// Apply the blocks of a batch.
    Import {
        /// Which.
        batch: BatchId,
    },
    /// Drop the blocks of a batch.
    Discard {
        /// Which.
        batch: BatchId,
    },
    /// Check the signatures of a batch's blocks by the keys that are known for their proposers, without the state, and say so with
    /// [`SyncEvent::Checked`]. Asked of the branch that a peer shows before any block of ours is rolled back towards it.
    Check {
        /// Which batch.
        batch: BatchId,
    },
    /// Say where our own blocks of these heights stand, with [`SyncEvent::OwnLinks`]. Asked at the start of a fork's search, for at
    /// most one block more than a session may roll back.
    LookUp {
        /// The first height.
        from: Height,
        /// The last height: our tip's.
        to: Height,
    },
    /// Say which of our own blocks below this height have STAKEs whose keys no hash covers, with [`SyncEvent::OwnStakes`]: those of the height's
    /// epoch and the one before it. Asked after a proposer was refused.
    FindStakes {
        /// The height of the refused block.
        below: Height,
    },
    /// Say which blocks of a batch have STAKEs, with [`SyncEvent::Stakes`].
    ReadStakes {
        /// Which.
        batch: BatchId,
    },
    /// Remove the blocks above `keep` (all for `None`), and keep them aside. Only where blocks that a peer has delivered link at `keep` and are signed.
    Rollback {
        /// The height of the new tip.
        keep: Option<Height>,
    },
    /// End the reorganisation: the new branch stays, or the removed blocks come back.
    FinishReorg {
        /// Whether the new branch stays.
        keep: bool,
    },
    /// A peer is provably at fault.
    Penalise {
        /// Who.
        peer: ConnId,
        /// What it did.
        offence: SyncOffence,
    },
    /// Say something to the operator, in the log and the status.
    Report(SyncReport),
}

/// What a peer is provably guilty of, as far as a strategy can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOffence {
    /// It delivered a block that breaks a rule.
    InvalidBlock {
        /// The block's height.
        height: Height,
    },
}

/// What operators should hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncReport {
    /// A peer's branch leaves ours deeper than a rollback may reach.
    ForkTooDeep {
        /// Whose.
        peer: ConnId,
        /// The deepest height that was tried.
        below: Height,
        /// How many blocks a session may roll back.
        bound: u64,
    },
    /// A reorganisation ended with the other branch.
    Reorganised {
        /// Blocks removed.
        removed: u64,
    },
    /// A block was replaced by one of the same hash with another STAKE, and a block whose proposer had been refused is accepted.
    Recovered {
        /// The height of the replaced block.
        height: Height,
        /// Blocks removed.
        removed: u64,
    },
    /// A reorganisation led to nothing better, and our blocks are back.
    PutBack {
        /// Blocks put back.
        restored: u64,
    },
    /// All headers from our tip to a checkpoint are known to link.
    LinkedToCheckpoint {
        /// The checkpoint's height.
        checkpoint: Height,
    },
    /// Our own tip is below a checkpoint and no ancestor of it.
    OffCheckpoint {
        /// The checkpoint's height.
        checkpoint: Height,
        /// Where that shows.
        found: Contradiction,
    },
    /// A peer showed a block or a header where a checkpoint demands another one. Its claim is closed.
    CheckpointContradicted {
        /// Who.
        peer: ConnId,
        /// Where that shows.
        found: Contradiction,
    },
    /// The sync stopped at a block that only our stricter reading refuses.
    StoppedAt {
        /// The block's height.
        height: Height,
        /// Why.
        why: RejectKind,
    },
}

/// A block that a checkpoint, or the chain that leads to it, has no place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// Its height: the checkpoint's, or a lower one where headers have shown what leads to it.
    pub height: Height,
    /// The hash of the block that belongs there.
    pub expected: Hash32,
    /// The hash of what is there instead, where it is known.
    pub offered: Option<Hash32>,
}

/// The documented modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Behind, or not yet known not to be: does not produce.
    Syncing,
    /// May produce.
    Synced,
}

/// What operators may know of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncStatus {
    /// The mode.
    pub mode: Mode,
    /// The highest open claim.
    pub target: Option<Height>,
    /// Outstanding requests.
    pub outstanding: usize,
    /// Blocks rolled back since the start, those put back included.
    pub rolled_back: u64,
}

impl SyncStrategy for Box<dyn SyncStrategy> {
    fn handle(&mut self, now: Duration, event: SyncEvent) {
        (**self).handle(now, event);
    }
    fn poll_action(&mut self) -> Option<SyncAction> {
        (**self).poll_action()
    }
    fn next_deadline(&self) -> Option<Duration> {
        (**self).next_deadline()
    }
    fn status(&self) -> SyncStatus {
        (**self).status()
    }
}
