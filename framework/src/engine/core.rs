use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::clocks::Clocks;
use super::fetching::Fetches;
use super::outbox::Class;
use super::outgoing::Outgoing;
use super::peer::{Peer, Wanted};
use super::producing::Producing;
use super::recent::RecentBlocks;
use super::saving::Saving;
use super::verifying::{Unverified, Verifying};
use crate::chain::{ChainCommand, KeyBook, TOLD_EARLY};
use crate::limits::Limits;
use crate::memory::MemoryShares;
use crate::mempool::{Mempool, Refusal};
use crate::node::NodeEvent;
use crate::peers::{Dialer, Host, InboundGuard, LogLimiter, Origin, PenaltyLog, ScoreBoard, SeenCache};
use crate::rules::{HashedBlock, Rejection, Verifier, sha256};
use crate::store::ChainStore;
use crate::sync::{BatchId, ConnId, Mode, SyncEvent, SyncStrategy};
use crate::transport::Endpoint;
use crate::types::{Address, BlockLink, Handshake, Hash32, Height, Message, Tip, Transaction};

/// What everything else in the engine is decided by.
#[derive(Debug)]
pub(crate) struct CoreConfig {
    pub(crate) limits: Arc<Limits>,
    pub(crate) verifier: Verifier,
    pub(crate) keys: KeyBook,
    /// For reading nonces, nothing else.
    pub(crate) store: Arc<dyn ChainStore>,
    /// What we call ourselves over each of the node's links.
    pub(crate) names: Vec<OwnName>,
    pub(crate) features: Vec<String>,
    pub(crate) tip: Option<Tip>,
    pub(crate) genesis_hash: Option<Hash32>,
    pub(crate) seed: u64,
    /// Whether the chain has a signer, so that blocks are to be proposed.
    pub(crate) validator: Option<Address>,
}

/// How a node introduces itself over one of its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnName {
    /// `host:port`
    pub(crate) node_id: String,
    /// The port on which it listens over this link; 0 where it only dials.
    pub(crate) p2p_port: u16,
}

/// What the driver is to do. Plain data.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send a message to a peer.
    Send { conn: ConnId, class: Class, message: Arc<Outgoing> },
    /// End a connection.
    Close { conn: ConnId, reason: String },
    /// Read frames up to this size from now on.
    FrameCap { conn: ConnId, cap: usize },
    /// Treat the connection as a legacy peer's.
    Patient { conn: ConnId },
    /// Connect.
    Dial { endpoint: Endpoint, feeler: bool },
    /// Answer a request for blocks or headers, and say so.
    Serve { conn: ConnId, wanted: Wanted },
    /// Read the places of our own blocks, and say them.
    LookUp { from: Height, to: Height },
    /// Read which of our own blocks have STAKEs, and say it: for a block refused at `below`.
    FindStakes { below: Height, from: Height, to: Height },
    /// Change the chain.
    Chain(ChainCommand),
    /// Check the senders and signatures of transactions.
    Verify(Vec<Unverified>),
    /// Tell our user what became of the transaction that was handed in under this number.
    Submitted { number: u64, result: Result<Hash32, Refusal> },
    /// Write `peers.json`.
    SavePeers(Vec<Endpoint>),
    /// Write the pool's transactions to their file.
    SavePool(Vec<Arc<Transaction>>),
    /// Tell whoever listens to the node's events.
    Publish(NodeEvent),
}

/// The engine's decisions: a state machine without IO. Events come in through its methods, with the time; actions are
/// taken out with [`poll_action`](Self::poll_action) after each.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) config: CoreConfig,
    pub(super) peers: BTreeMap<ConnId, Peer>,
    pub(super) dialer: Dialer,
    pub(super) guard: InboundGuard,
    pub(super) scores: ScoreBoard,
    pub(super) penalties: PenaltyLog,
    pub(super) log: LogLimiter<Host>,
    pub(super) sync: Box<dyn SyncStrategy>,
    pub(super) pool: Mempool,
    pub(super) verifying: Verifying,
    pub(super) fetches: Fetches,
    pub(super) recent_blocks: RecentBlocks,
    pub(super) seen_blocks: SeenCache,
    /// By all their bytes.
    pub(super) seen_txs: SeenCache,
    /// Transactions that were in the pool or in a block, by their hash: these need not be fetched.
    pub(super) good_txs: SeenCache,
    pub(super) tip: Option<Tip>,
    pub(super) genesis_hash: Option<Hash32>,
    /// Blocks that a strategy was told of and has neither imported nor discarded.
    pub(super) delivered: BTreeMap<BatchId, Vec<HashedBlock>>,
    /// Up to which height the strategy vouches for a delivered batch: these blocks are ancestors of a checkpoint.
    pub(super) vouched: BTreeMap<BatchId, Height>,
    /// Other copies of blocks under import, by whoever sent them.
    pub(super) spares: Vec<(ConnId, HashedBlock)>,
    /// What the chain was asked to import.
    pub(super) imports: BTreeMap<BatchId, ImportOrigin>,
    /// Whether the sync's last import was stopped: those that were under way behind it cannot link.
    pub(super) sync_stopped: bool,
    /// Where the chain will end once the gossip under import is applied.
    pub(super) gossip_tip: Option<Tip>,
    /// The highest block that peers were told of before the disk has it: none of its requests is answered as if it were not there.
    pub(super) told_early: Option<Height>,
    pub(super) reorganising: bool,
    /// What others are told of: `tip`, but in the middle of a reorganisation the one before, which a crash would put back.
    pub(super) settled_tip: Option<Tip>,
    pub(super) producing: Producing,
    pub(super) clocks: Clocks,
    pub(super) mode: Mode,
    pub(super) figures: Figures,
    /// Whether a handshake was ever done.
    pub(super) reached_anyone: bool,
    pub(super) fatal: Option<String>,
    pub(super) last_error: Option<String>,
    /// Who delivered which blocks of a sync, until they are imported or discarded.
    pub(super) senders: BTreeMap<BatchId, (ConnId, Vec<BlockLink>)>,
    /// The last block of each peer's that a sync refused: what a penalty for it is proved with.
    pub(super) refused: BTreeMap<ConnId, Refused>,
    /// What was found to contradict a checkpoint: our own chain, or a peer's.
    pub(super) checkpoint_trouble: Option<String>,
    pub(super) failed_dials: BTreeMap<String, String>,
    pub(super) tip_update_due: Option<Duration>,
    pub(super) clean_up_due: Duration,
    pub(super) saving: Saving,
    /// Transactions of blocks rolled back in the reorganisation under way: back to the pool once it is over. Bounded in number by the pool,
    /// and in bytes by the share for blocks of gossip, which none are under import of meanwhile.
    pub(super) removed: Vec<Arc<Transaction>>,
    pub(super) next_batch: u64,
    rng: u64,
    actions: VecDeque<Action>,
}

/// A block that a peer delivered, and why it was refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) rejection: Rejection,
    pub(super) hash: Option<Hash32>,
}

/// Where blocks under import came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImportOrigin {
    /// The strategy asked for them.
    Sync,
    /// A `new_block` of this peer.
    Gossip { conn: ConnId, link: BlockLink, bytes: usize },
    /// Our own validator made them.
    Own,
}

/// What operators like to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Blocks applied since the start.
    pub blocks: u64,
    /// Transactions in them.
    pub txs: u64,
    /// Blocks among them that our own validator made.
    pub proposed: u64,
    /// When the first `get_blocks` was sent, since the start.
    pub first_request: Option<Duration>,
    /// When the last blocks became durable, since the start.
    pub last_commit: Option<Duration>,
}

/// How long we wait before telling our peers again that our tip has moved.
pub(super) const TIP_UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// The feature by which a dialler says that it only checks the address, and will go once it is greeted.
pub(super) const FEELER: &str = "feeler";
/// How often what has grown too old is dropped.
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(60);
/// Blocks that come with one import while SYNCED are passed on one by one up to this many; of more only the tip is told.
pub(super) const RELAYED_BLOCKS: usize = TOLD_EARLY;

impl Core {
    pub(crate) fn new(config: CoreConfig, sync: Box<dyn SyncStrategy>) -> Self {
        let limits = Arc::clone(&config.limits);
        Self {
            peers: BTreeMap::new(),
            dialer: Dialer::new(&limits),
            guard: InboundGuard::new(&limits),
            scores: ScoreBoard::new(&limits),
            penalties: PenaltyLog::new(&limits),
            log: LogLimiter::new(&limits),
            pool: Mempool::new(config.verifier.clone(), &limits),
            verifying: Verifying::new(&limits),
            fetches: Fetches::default(),
            recent_blocks: RecentBlocks::new(MemoryShares::of(limits.network_memory).recent_blocks()),
            seen_blocks: SeenCache::new(limits.seen_cache),
            seen_txs: SeenCache::new(limits.seen_cache),
            good_txs: SeenCache::new(limits.seen_cache),
            tip: config.tip,
            genesis_hash: config.genesis_hash,
            delivered: BTreeMap::new(),
            vouched: BTreeMap::new(),
            spares: Vec::new(),
            imports: BTreeMap::new(),
            sync_stopped: false,
            gossip_tip: config.tip,
            told_early: None,
            reorganising: false,
            settled_tip: config.tip,
            producing: Producing::default(),
            clocks: Clocks::default(),
            mode: Mode::Syncing,
            figures: Figures::default(),
            reached_anyone: false,
            fatal: None,
            last_error: None,
            senders: BTreeMap::new(),
            refused: BTreeMap::new(),
            checkpoint_trouble: None,
            failed_dials: BTreeMap::new(),
            tip_update_due: None,
            clean_up_due: Duration::ZERO,
            saving: Saving::default(),
            removed: Vec::new(),
            next_batch: 0,
            rng: config.seed,
            actions: VecDeque::new(),
            sync,
            config,
        }
    }

    /// The node starts, with the addresses that the operator named and those of an earlier run.
    pub(crate) fn start(&mut self, now: Duration, configured: &[Endpoint], saved: &[Endpoint]) {
        for endpoint in configured {
            self.dialer.add(endpoint, Origin::Configured, now);
        }
        for endpoint in saved {
            self.dialer.add(endpoint, Origin::Saved, now);
        }
        let checkpoints = self.config.verifier.genesis().checkpoints.clone();
        if !checkpoints.is_empty() {
            self.sync_event(now, SyncEvent::Checkpoints(checkpoints));
        }
        self.sync_event(now, SyncEvent::LocalTip(self.tip));
        self.tick(now);
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Time passed. Also called after events that may have moved a deadline.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.expire_handshakes(now);
        self.expire_requests(now);
        self.expire_fetches(now);
        self.send_tip_updates(now);
        for (host, kind, more) in self.log.due(now) {
            tracing::info!(peer = %host, more, "{kind}: repeated");
        }
        if self.clean_up_due <= now {
            self.clean_up_due = now + CLEAN_UP_INTERVAL;
            self.dialer.clean_up(now);
        }
        let expired = self.pool.expire(now);
        self.forget_transactions(&expired);
        self.continue_offers(now);
        self.save_changed_pool(now);
        if self.sync.next_deadline().is_some_and(|at| at <= now) {
            self.sync_event(now, SyncEvent::Tick);
        }
        if self.serving_deadline().is_some_and(|at| at <= now) {
            self.serve_waiting(now);
        }
        self.tend_stuck(now);
        self.dial(now);
        self.after_peers_changed(now);
    }

    /// When to call [`tick`](Self::tick) again, at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let limits = &self.config.limits;
        let peers = self.peers.values().filter(|peer| !peer.closing).map(|peer| {
            if peer.handshake.is_none() {
                return peer.since + limits.handshake_timeout;
            }
            let silence = peer.last_sent + limits.legacy_handshake_repeat;
            let silence = peer.offering.map_or(silence, |offering| silence.min(offering.due));
            peer.outstanding.iter().map(|asked| asked.deadline).fold(silence, Duration::min)
        });
        peers
            .chain(
                [
                    self.sync.next_deadline(),
                    self.dialer.next_deadline(),
                    self.tip_update_due,
                    self.producing.deadline(),
                    self.fetches.next_deadline(),
                    self.stuck_deadline(),
                    self.saving_deadline(),
                    (!self.pool.is_empty()).then_some(self.clean_up_due),
                    self.pool.expires_at(),
                    self.serving_deadline(),
                ]
                .into_iter()
                .flatten(),
            )
            .min()
    }

    pub(super) fn send(&mut self, now: Duration, conn: ConnId, class: Class, message: Arc<Outgoing>) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.last_sent = now;
            self.push(Action::Send { conn, class, message });
        }
    }

    pub(super) fn send_handshake(&mut self, now: Duration, conn: ConnId) {
        let class = if self.peers.get(&conn).is_some_and(Peer::is_ready) { Class::TipUpdate } else { Class::Needed };
        let link = self.peers.get(&conn).map_or(0, |peer| peer.link);
        let mut handshake = self.handshake(link);
        handshake.nonce = self.peers.get(&conn).map(|peer| peer.nonce);
        if self.peers.get(&conn).is_some_and(|peer| peer.feeler) {
            handshake.features.get_or_insert_default().push(FEELER.to_owned());
        }
        let message = Arc::new(Outgoing::new(Message::Handshake(handshake)));
        self.send(now, conn, class, message);
    }

    /// Our own handshake over a link, as of now, without the nonce of a connection.
    pub(super) fn handshake(&self, link: usize) -> Handshake {
        let name = self.config.names.get(link);
        Handshake {
            node_id: name.map_or_else(|| "0.0.0.0:0".to_owned(), |name| name.node_id.clone()),
            p2p_port: name.map_or(0, |name| name.p2p_port),
            protocol_version: 1,
            network: self.config.verifier.genesis().network.clone(),
            best_height: self.settled_tip.map(|tip| tip.height),
            best_hash: self.settled_tip.map(|tip| tip.hash),
            genesis_hash: self.genesis_hash,
            features: Some(self.config.features.clone()),
            nonce: None,
        }
    }

    /// Tells peers of our tip: all of them soon after it moved, and each after a silence of ours, which also keeps the
    /// connection alive.
    fn send_tip_updates(&mut self, now: Duration) {
        let moved = self.tip_update_due.is_some_and(|at| at <= now);
        if moved {
            self.tip_update_due = None;
        }
        let silence = self.config.limits.legacy_handshake_repeat;
        let due: Vec<(ConnId, usize)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_ready())
            .filter(|(_, peer)| peer.last_sent + silence <= now || (moved && (!peer.is_legacy() || peer.wants_tip)))
            .map(|(conn, peer)| (*conn, peer.link))
            .collect();
        let mut messages = BTreeMap::new();
        for (conn, link) in due {
            let message = messages
                .entry(link)
                .or_insert_with(|| Arc::new(Outgoing::new(Message::Handshake(self.handshake(link)))));
            let message = Arc::clone(message);
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.wants_tip &= !moved;
            }
            self.send(now, conn, Class::TipUpdate, message);
        }
    }

    fn dial(&mut self, now: Duration) {
        while let Some(dial) = self.dialer.next(now) {
            self.push(Action::Dial { endpoint: dial.endpoint, feeler: dial.feeler });
        }
    }

    /// Tells the strategy how the node stands to the network.
    pub(super) fn after_peers_changed(&mut self, now: Duration) {
        let connected = self.peers.values().any(Peer::is_ready);
        let connectivity = self.dialer.connectivity(connected);
        self.sync_event(now, SyncEvent::Connectivity(connectivity));
    }

    pub(super) fn save_peers(&mut self) {
        let saved = self.dialer.book().saved();
        self.push(Action::SavePeers(saved));
    }

    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn new_batch(&mut self) -> BatchId {
        self.next_batch += 1;
        BatchId(self.next_batch)
    }

    /// What is shown in a handshake on one connection. Whoever was shown one cannot tell another from it: that would let it pass for us on a
    /// connection of ours to somebody else. The same for the same seed.
    pub(super) fn nonce(&mut self) -> u64 {
        let Hash32(hash) = sha256([b"nonce", &self.config.seed.to_be_bytes(), &self.random().to_be_bytes()]);
        hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// `SplitMix64`: good enough for jitter, and the same for the same seed. Never shown: one number tells all that follow.
    pub(super) fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A generator of its own, for a callee that needs one while the core is lent.
    pub(super) fn fork_rng(&mut self) -> impl FnMut() -> u64 + use<> {
        let mut state = self.random();
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 33)
        }
    }
}
