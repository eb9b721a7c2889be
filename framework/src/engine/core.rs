use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::connection::CloseReason;
use super::fetching::{Fetches, Item};
use super::outbox::Class;
use super::outgoing::Outgoing;
use super::peer::{Outstanding, Peer, Way};
use super::producing::Producing;
use super::verifying::{Unverified, Verifying};
use crate::chain::{
    Applied, ChainCommand, ChainEvent, ChainOutcome, KeyBook, Stop, genesis_hash_in, learn_staked, proposer_signed,
};
use crate::codec::DecodeError;
use crate::limits::Limits;
use crate::mempool::{Mempool, Refusal};
use crate::node::NodeEvent;
use crate::peers::{Dialer, Host, InboundGuard, LogLimiter, Offence, Origin, ScoreBoard, SeenCache, Subject};
use crate::rules::{HashedBlock, Rejection, Verifier};
use crate::store::ChainStore;
use crate::sync::{BatchId, ConnId, Mode, RejectKind, SyncAction, SyncEvent, SyncOffence, SyncReport, SyncStrategy};
use crate::transport::{Endpoint, PeerId};
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
    /// Answer a `get_blocks`, and say so.
    Serve { conn: ConnId, from: Height, to: Height, after: Duration },
    /// Read the places of our own blocks, and say them.
    LookUp { from: Height, to: Height },
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
    pub(super) log: LogLimiter<Host>,
    pub(super) sync: Box<dyn SyncStrategy>,
    pub(super) pool: Mempool,
    pub(super) verifying: Verifying,
    pub(super) fetches: Fetches,
    /// The last blocks that were passed on: who was told of them may ask for them.
    pub(super) recent_blocks: VecDeque<(Hash32, Arc<Outgoing>)>,
    pub(super) seen_blocks: SeenCache,
    /// By all their bytes.
    pub(super) seen_txs: SeenCache,
    /// Transactions that were in the pool or in a block, by their hash: these need not be fetched.
    pub(super) good_txs: SeenCache,
    pub(super) tip: Option<Tip>,
    pub(super) genesis_hash: Option<Hash32>,
    /// A random number of this run: who shows it to us is ourselves.
    pub(super) nonce: u64,
    /// Blocks that a strategy was told of and has neither imported nor discarded.
    pub(super) delivered: BTreeMap<BatchId, Vec<HashedBlock>>,
    /// Other copies of blocks under import, by whoever sent them.
    pub(super) spares: Vec<(ConnId, HashedBlock)>,
    /// What the chain was asked to import.
    pub(super) imports: BTreeMap<BatchId, ImportOrigin>,
    /// Where the chain will end once the gossip under import is applied.
    pub(super) gossip_tip: Option<Tip>,
    pub(super) reorganising: bool,
    pub(super) producing: Producing,
    pub(super) mode: Mode,
    pub(super) figures: Figures,
    /// Whether a handshake was ever done.
    pub(super) reached_anyone: bool,
    pub(super) fatal: Option<String>,
    pub(super) last_error: Option<String>,
    /// The last block that was refused: what a penalty for it is proved with.
    pub(super) last_rejection: Option<Rejection>,
    pub(super) failed_dials: BTreeMap<String, String>,
    pub(super) tip_update_due: Option<Duration>,
    clean_up_due: Duration,
    saved_pool_is_empty: bool,
    /// Transactions of blocks rolled back in the reorganisation under way: back to the pool once it is over.
    removed: Vec<Arc<Transaction>>,
    next_batch: u64,
    rng: u64,
    actions: VecDeque<Action>,
}

/// Where blocks under import came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImportOrigin {
    /// The strategy asked for them.
    Sync,
    /// A `new_block` of this peer.
    Gossip { conn: ConnId, link: BlockLink },
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
const TIP_UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// The feature by which a dialler says that it only checks the address, and will go once it is greeted.
pub(super) const FEELER: &str = "feeler";
/// How often what has grown too old is dropped.
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(60);
/// Blocks that come with one import while SYNCED are passed on one by one up to this many; of more only the tip is told.
const RELAYED_BLOCKS: usize = 16;

impl Core {
    pub(crate) fn new(config: CoreConfig, sync: Box<dyn SyncStrategy>) -> Self {
        let limits = Arc::clone(&config.limits);
        let mut core = Self {
            peers: BTreeMap::new(),
            dialer: Dialer::new(&limits),
            guard: InboundGuard::new(&limits),
            scores: ScoreBoard::new(&limits),
            log: LogLimiter::new(&limits),
            pool: Mempool::new(config.verifier.clone(), &limits),
            verifying: Verifying::new(&limits),
            fetches: Fetches::default(),
            recent_blocks: VecDeque::new(),
            seen_blocks: SeenCache::new(limits.seen_cache),
            seen_txs: SeenCache::new(limits.seen_cache),
            good_txs: SeenCache::new(limits.seen_cache),
            tip: config.tip,
            genesis_hash: config.genesis_hash,
            nonce: 0,
            delivered: BTreeMap::new(),
            spares: Vec::new(),
            imports: BTreeMap::new(),
            gossip_tip: config.tip,
            reorganising: false,
            producing: Producing::default(),
            mode: Mode::Syncing,
            figures: Figures::default(),
            reached_anyone: false,
            fatal: None,
            last_error: None,
            last_rejection: None,
            failed_dials: BTreeMap::new(),
            tip_update_due: None,
            clean_up_due: Duration::ZERO,
            // What the last run left is there until it is replaced.
            saved_pool_is_empty: false,
            removed: Vec::new(),
            next_batch: 0,
            rng: config.seed,
            actions: VecDeque::new(),
            sync,
            config,
        };
        core.nonce = core.random();
        core
    }

    /// The node starts, with the addresses that the operator named and those of an earlier run.
    pub(crate) fn start(&mut self, now: Duration, configured: &[Endpoint], saved: &[Endpoint]) {
        for endpoint in configured {
            self.dialer.add(endpoint, Origin::Configured, now);
        }
        for endpoint in saved {
            self.dialer.add(endpoint, Origin::Saved, now);
        }
        self.sync_event(now, SyncEvent::LocalTip(self.tip));
        self.tick(now);
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether an inbound connection may come in. If so, answer with [`connected`](Self::connected) or
    /// [`inbound_failed`](Self::inbound_failed).
    pub(crate) fn admit(&mut self, now: Duration, conn: ConnId, remote: &Endpoint) -> bool {
        let Err(refusal) = self.guard.admit(conn, remote, now) else { return true };
        if let Some(more) = self.log.allow(&Host::of(remote), refusal.kind(), now) {
            tracing::info!(peer = %remote.address, more, "connection refused: {refusal}");
        }
        false
    }

    /// An admitted connection came to nothing before it was one; `refused` says that one side does not want the other.
    pub(crate) fn inbound_failed(&mut self, now: Duration, conn: ConnId, remote: &Endpoint, refused: bool, why: &str) {
        self.guard.gone(conn);
        let kind = if refused { "link refused" } else { "upgrade" };
        if let Some(more) = self.log.allow(&Host::of(remote), kind, now) {
            tracing::info!(peer = %remote.address, more, "inbound connection failed: {why}");
        }
    }

    /// A dial came to nothing; `refused` says that somebody was reached there, and is not who was meant.
    pub(crate) fn dial_failed(&mut self, now: Duration, endpoint: &Endpoint, refused: bool, why: &str) {
        let mut rng = self.fork_rng();
        if refused {
            self.dialer.refused(endpoint, now, &mut rng);
        } else {
            self.dialer.failed(endpoint, now, &mut rng);
        }
        self.note_failed_dial(now, endpoint, why);
        self.after_peers_changed(now);
    }

    /// Whether a connection is proof enough that a feeler's address is good. A second handshake would upset a legacy
    /// peer that is connected already.
    pub(crate) fn connecting_suffices(&self, endpoint: &Endpoint) -> bool {
        self.peers.values().any(|peer| peer.is_legacy() && peer.dial_back.as_ref() == Some(endpoint))
    }

    /// A dial that was only to show that the address is good has shown it.
    pub(crate) fn feeler_succeeded(&mut self, now: Duration, endpoint: &Endpoint) {
        self.dialer.succeeded(endpoint, now);
        self.save_peers();
        self.after_peers_changed(now);
    }

    /// A connection is there.
    pub(crate) fn connected(
        &mut self,
        now: Duration,
        conn: ConnId,
        link: usize,
        remote: Endpoint,
        identity: Option<PeerId>,
        dialled: Option<(Endpoint, bool)>,
    ) {
        let out = dialled.is_some();
        let (way, feeler) = dialled.map_or((Way::In, false), |(endpoint, feeler)| (Way::Out(endpoint), feeler));
        let mut peer = Peer::new(link, remote, identity, way, &self.config.limits, now);
        peer.feeler = feeler;
        self.peers.insert(conn, peer);
        if !out {
            return;
        }
        match self.guard.banned(&self.peers[&conn].remote, identity.as_ref(), now) {
            Some(left) => self.refuse(now, conn, &format!("it is banned for another {} s", left.as_secs())),
            None => self.send_handshake(now, conn),
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&mut self, now: Duration, conn: ConnId, why: &CloseReason) {
        let Some(peer) = self.peers.remove(&conn) else { return };
        self.guard.gone(conn);
        self.fetch_elsewhere(now, conn);
        let told = peer.closing;
        // Whom we dialled may be something else than a node altogether, until its handshake shows otherwise; and the
        // reference bounds no line.
        if let CloseReason::Fatal(error) = why
            && !told
            && (peer.direction == Way::In || peer.handshake.is_some())
            && !peer.is_legacy()
            && let Some(offence) = Offence::of_frame(error)
        {
            self.punish(now, &peer, &offence);
        }
        let mut rng = self.fork_rng();
        match (&peer.direction, peer.handshake.is_some()) {
            (Way::Out(endpoint), true) => self.dialer.disconnected(endpoint, now, &mut rng),
            (Way::Out(endpoint), false) if !told => {
                let endpoint = endpoint.clone();
                if matches!(why, CloseReason::Fatal(DecodeError::Desync(_))) {
                    self.dialer.refused(&endpoint, now, &mut rng);
                } else {
                    self.dialer.failed(&endpoint, now, &mut rng);
                }
                let why = format!("{}: connected, but no handshake came: {why}", endpoint.address);
                self.note_failed_dial(now, &endpoint, &why);
            }
            (Way::Out(_), false) | (Way::In, _) => {}
        }
        if let Some(endpoint) = &peer.dial_back {
            self.dialer.inbound_gone(endpoint);
        }
        if peer.handshake.is_some() {
            if !told {
                tracing::info!(peer = %peer.label(), "disconnected: {why}");
            }
            self.sync_event(now, SyncEvent::PeerGone { peer: conn });
            self.save_peers();
        } else if !told && matches!(why, CloseReason::Ended(_)) {
            // Nodes look like this that only check whether our address is good.
            tracing::debug!(peer = %peer.label(), "gone before the handshake: {why}");
        } else if !told && let Some(more) = self.log.allow(&peer.host, "no handshake", now) {
            tracing::info!(peer = %peer.label(), more, "gone before the handshake: {why}");
        }
        self.after_peers_changed(now);
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
            self.pool.expire(now);
            self.save_pool();
        }
        if self.sync.next_deadline().is_some_and(|at| at <= now) {
            self.sync_event(now, SyncEvent::Tick);
        }
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
            peer.outstanding.map_or(silence, |asked| asked.deadline.min(silence))
        });
        peers
            .chain(
                [
                    self.sync.next_deadline(),
                    self.dialer.next_deadline(),
                    self.tip_update_due,
                    self.producing.deadline(),
                    self.fetches.next_deadline(),
                ]
                .into_iter()
                .flatten(),
            )
            .min()
    }

    /// The places of our own blocks, as far as they could be read.
    pub(crate) fn own_links(&mut self, now: Duration, links: Vec<BlockLink>) {
        self.sync_event(now, SyncEvent::OwnLinks { links });
    }

    /// What became of a command to the chain.
    pub(crate) fn chain_event(&mut self, now: Duration, event: ChainEvent) {
        match event {
            ChainEvent::Imported { batch, outcome } => self.imported(now, batch, outcome),
            ChainEvent::RolledBack { tip, removed } => {
                self.moved(now, tip);
                self.push(Action::Publish(NodeEvent::RolledBack { tip }));
                self.removed.extend(removed);
                self.removed.truncate(self.config.limits.pool_txs);
                self.sync_event(now, SyncEvent::RolledBack { tip });
            }
            ChainEvent::RollbackFailed { tip, why } => {
                self.reorganising = false;
                tracing::warn!("a rollback was not done: {why}");
                self.sync_event(now, SyncEvent::RollbackFailed { tip });
            }
            ChainEvent::ReorgFinished { tip } => {
                self.reorganising = false;
                self.moved(now, tip);
                let accounts = self.accounts();
                let removed = std::mem::take(&mut self.removed);
                self.pool.return_txs(removed.clone(), &accounts, now);
                self.pool.revalidate_all(&accounts);
                self.relay_returned(now, removed);
                self.sync_event(now, SyncEvent::ReorgFinished { tip });
            }
            ChainEvent::NextSlot { tip, slot } => self.producing.slot_known(tip, slot),
            ChainEvent::Produced { slot, result } => self.produced(slot, result),
            ChainEvent::Failed(error) => {
                tracing::error!("the chain cannot go on: {error}");
                self.fatal = Some(error.to_string());
            }
        }
        self.after_peers_changed(now);
    }

    fn imported(&mut self, now: Duration, batch: BatchId, outcome: ChainOutcome) {
        let origin = self.imports.remove(&batch);
        let ChainOutcome { applied, stop, tip } = outcome;
        self.note_applied(now, &applied, tip);
        let failed_at = applied.last().map(|last| last.link.height + 1).or(tip.map(|tip| tip.height + 1)).unwrap_or(0);
        if let Some(stop) = &stop {
            self.report_stop(now, origin, stop);
        }
        match origin {
            Some(ImportOrigin::Sync) => {
                let event = match (&stop, tip) {
                    (None, Some(tip)) => SyncEvent::Imported { batch, tip },
                    (Some(Stop::Rejected(rejection)), tip) => {
                        SyncEvent::Rejected { batch, height: rejection.height, why: rejection.kind(), tip }
                    }
                    (_, tip) => SyncEvent::Rejected { batch, height: failed_at, why: RejectKind::Local, tip },
                };
                self.sync_event(now, event);
            }
            Some(ImportOrigin::Gossip { conn, link }) => {
                self.gossip_imported(now, conn, link, stop.as_ref());
                self.sync_event(now, SyncEvent::LocalTip(tip));
            }
            Some(ImportOrigin::Own) => {
                self.figures.proposed += applied.len() as u64;
                self.gossip_tip = self.tip;
                self.sync_event(now, SyncEvent::LocalTip(tip));
            }
            None => self.sync_event(now, SyncEvent::LocalTip(tip)),
        }
        let relay = origin != Some(ImportOrigin::Sync) || (self.mode == Mode::Synced && !self.reorganising);
        if relay && applied.len() <= RELAYED_BLOCKS {
            for block in &applied {
                self.relay_block(now, block, origin == Some(ImportOrigin::Own));
            }
        }
        if !applied.is_empty() {
            self.tip_update_due.get_or_insert(now + TIP_UPDATE_INTERVAL);
        }
    }

    fn note_applied(&mut self, now: Duration, applied: &[Applied], tip: Option<Tip>) {
        if applied.is_empty() {
            self.moved(now, tip);
            return;
        }
        if let Some(hash) = genesis_hash_in(applied) {
            self.genesis_hash = Some(hash);
            self.refuse_other_chains(now);
        }
        if !self.pool.is_empty() {
            let senders = applied.iter().flat_map(|block| &block.block.txs).map(|tx| &tx.from_address);
            let accounts = self.accounts();
            for block in applied {
                self.pool.remove_included(&block.tx_hashes);
            }
            self.pool.revalidate(senders, &accounts);
        }
        // Only blocks near the tip are announced; an older one is known by its height.
        for block in &applied[applied.len().saturating_sub(RELAYED_BLOCKS)..] {
            self.seen_blocks.insert(block.link.hash);
        }
        for block in applied {
            self.figures.blocks += 1;
            self.figures.txs += block.tx_hashes.len() as u64;
            self.fetches.arrived(Item::Block(block.link.hash));
            if self.mode == Mode::Synced {
                for hash in &block.tx_hashes {
                    self.fetches.arrived(Item::Tx(*hash));
                    self.good_txs.insert(*hash);
                }
            }
            self.push(Action::Publish(NodeEvent::BlockApplied { link: block.link, txs: block.tx_hashes.len() }));
        }
        self.figures.last_commit = Some(now);
        self.moved(now, tip);
    }

    /// Peers on the branch that we took may never have heard of what the other one had.
    fn relay_returned(&mut self, now: Duration, removed: Vec<Arc<Transaction>>) {
        let hasher = self.config.verifier.hasher().clone();
        let mut returned: Vec<_> = removed.into_iter().map(|tx| (hasher.transaction_hash(&tx), tx)).collect();
        returned.retain(|(hash, _)| self.pool.contains(hash));
        let returned: Vec<_> = returned.into_iter().map(|(hash, tx)| (tx, hash)).collect();
        self.relay_transactions(now, &returned);
    }

    /// Our chain ends here now.
    fn moved(&mut self, _now: Duration, tip: Option<Tip>) {
        self.tip = tip;
        if tip.is_none() {
            self.genesis_hash = None;
        }
        if !self.imports.values().any(|origin| *origin != ImportOrigin::Sync) {
            self.gossip_tip = tip;
        }
    }

    fn report_stop(&mut self, now: Duration, origin: Option<ImportOrigin>, stop: &Stop) {
        self.last_error = Some(stop.to_string());
        if let Stop::Rejected(rejection) = stop {
            self.last_rejection = Some(rejection.clone());
        }
        match (stop, origin) {
            (Stop::Local(error), _) => tracing::error!("blocks could not be applied: {error}"),
            (Stop::Rejected(rejection), Some(ImportOrigin::Gossip { conn, .. })) => {
                let Some(peer) = self.peers.get(&conn) else { return };
                if let Some(more) = self.log.allow(&peer.host, "rejected", now) {
                    tracing::warn!(peer = %peer.label(), more, "{rejection}");
                }
            }
            (Stop::Rejected(rejection), _) => tracing::warn!("{rejection}"),
        }
    }

    /// Feeds the strategy and carries out what it wants, until it wants nothing more.
    pub(super) fn sync_event(&mut self, now: Duration, event: SyncEvent) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.sync.handle(now, event);
            while let Some(action) = self.sync.poll_action() {
                if let Some(answer) = self.sync_action(now, action) {
                    events.push_back(answer);
                }
            }
        }
        let mode = self.sync.status().mode;
        if mode != self.mode {
            self.mode = mode;
            self.push(Action::Publish(NodeEvent::ModeChanged(mode)));
            let height = self.tip.map_or(-1, |tip| i128::from(tip.height));
            match mode {
                Mode::Synced => tracing::info!(height, "SYNCED"),
                Mode::Syncing => tracing::info!(height, "SYNCING"),
            }
        }
    }

    /// Carries out one action; an event that answers it at once is given back.
    fn sync_action(&mut self, now: Duration, action: SyncAction) -> Option<SyncEvent> {
        match action {
            SyncAction::Request { peer, request, from, to, timeout } => {
                return self.request_blocks(now, peer, Outstanding { request, from, to, deadline: now + timeout });
            }
            SyncAction::Cancel { request } => self.cancel_request(now, request),
            SyncAction::Import { batch } => {
                if let Some(blocks) = self.delivered.remove(&batch) {
                    self.imports.insert(batch, ImportOrigin::Sync);
                    self.push(Action::Chain(ChainCommand::Import { batch, blocks }));
                }
            }
            SyncAction::Discard { batch } => {
                self.delivered.remove(&batch);
            }
            SyncAction::Check { batch } => return Some(self.check_signatures(batch)),
            SyncAction::LookUp { from, to } => self.push(Action::LookUp { from, to }),
            SyncAction::Rollback { keep } => {
                self.reorganising = true;
                self.push(Action::Chain(ChainCommand::Rollback { keep }));
            }
            SyncAction::FinishReorg { keep } => self.push(Action::Chain(ChainCommand::FinishReorg { keep })),
            SyncAction::Penalise { peer, offence } => {
                let SyncOffence::InvalidBlock { height } = offence;
                let rule = self.last_rejection.clone().filter(|rejection| rejection.height == height);
                let rule = rule.map_or_else(|| "refused in a sync".to_owned(), |r| format!("{}: {}", r.rule, r.detail));
                self.penalise(now, peer, &Offence::InvalidBlock { height, hash: None, rule });
            }
            SyncAction::Report(report) => self.report(&report),
        }
        None
    }

    /// Checks the signatures of a batch by the keys that are known, and those that its signed blocks stake.
    fn check_signatures(&mut self, batch: BatchId) -> SyncEvent {
        let (mut signed, mut wrong) = (0, None);
        for block in self.delivered.get(&batch).into_iter().flatten() {
            match proposer_signed(&self.config.verifier, &self.config.keys, block) {
                Some(Ok(())) => {
                    signed += 1;
                    learn_staked(&self.config.verifier, &self.config.keys, block);
                }
                Some(Err(rejection)) => {
                    wrong = Some(block.link.height);
                    self.last_rejection = Some(rejection);
                    break;
                }
                None => {}
            }
        }
        SyncEvent::Checked { batch, signed, wrong }
    }

    fn report(&mut self, report: &SyncReport) {
        match report {
            SyncReport::ForkTooDeep { peer, below, bound } => {
                let peer = self.peers.get(peer).map_or_else(|| "a peer".to_owned(), Peer::label);
                let text = format!(
                    "fork too deep: the chain of {peer} leaves ours below height {below}, deeper than the {bound} blocks that may be rolled back"
                );
                tracing::warn!("{text}; to follow it, sync into a new datadir");
                self.last_error = Some(text);
            }
            SyncReport::Reorganised { removed } => tracing::info!(removed, "took another branch"),
            SyncReport::PutBack { restored } => {
                tracing::info!(restored, "the other branch is not better: our own blocks are back");
            }
            SyncReport::StoppedAt { height, why } => {
                tracing::warn!(height, ?why, "the sync stopped at this block; nobody is banned for it");
                if *why == RejectKind::WrongProposer {
                    // No v1 hash covers the key of a STAKE, so whoever passed one on may have put in another.
                    tracing::warn!(
                        "if other nodes hold this block, a STAKE here may carry a swapped key: sync into a new datadir from another peer"
                    );
                }
            }
        }
    }

    /// A provable fault of a peer.
    pub(super) fn penalise(&mut self, now: Duration, conn: ConnId, offence: &Offence) {
        let Some(mut peer) = self.peers.remove(&conn) else { return };
        if self.punish(now, &peer, offence) {
            peer.closing = true;
            self.end(conn, offence.to_string());
        }
        self.peers.insert(conn, peer);
    }

    /// Says whether the peer has to go.
    fn punish(&mut self, now: Duration, peer: &Peer, offence: &Offence) -> bool {
        let identity = peer.identity.as_ref();
        let penalty = self.scores.record(&Subject::of(&peer.remote, identity), offence, now);
        let banned = penalty.ban.filter(|ban| self.guard.ban(&peer.remote, identity, now + *ban, now));
        if let Some(more) = self.log.allow(&peer.host, offence.kind(), now) {
            let consequence = match (banned, penalty.close) {
                (Some(ban), _) => format!("banned for {} s", ban.as_secs()),
                (None, true) => "connection closed".to_owned(),
                (None, false) => "noted".to_owned(),
            };
            tracing::warn!(peer = %peer.label(), score = penalty.score, more, "{offence}: {consequence}");
        }
        penalty.close
    }

    /// Ends a connection, with a word to the log.
    pub(super) fn close(&mut self, conn: ConnId, reason: &str) {
        if let Some(peer) = self.peers.get_mut(&conn)
            && !std::mem::replace(&mut peer.closing, true)
        {
            tracing::info!(peer = %peer.label(), "closing: {reason}");
            self.end(conn, reason.to_owned());
        }
    }

    /// Ends a connection that counts for nothing any more, though what waits may still be sent.
    pub(super) fn end(&mut self, conn: ConnId, reason: String) {
        self.guard.gone(conn);
        self.push(Action::Close { conn, reason });
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
        if self.peers.get(&conn).is_some_and(|peer| peer.feeler) {
            handshake.features.get_or_insert_default().push(FEELER.to_owned());
        }
        let message = Arc::new(Outgoing::new(Message::Handshake(handshake)));
        self.send(now, conn, class, message);
    }

    /// Our own handshake over a link, as of now.
    pub(super) fn handshake(&self, link: usize) -> Handshake {
        let name = self.config.names.get(link);
        Handshake {
            node_id: name.map_or_else(|| "0.0.0.0:0".to_owned(), |name| name.node_id.clone()),
            p2p_port: name.map_or(0, |name| name.p2p_port),
            protocol_version: 1,
            network: self.config.verifier.genesis().network.clone(),
            best_height: self.tip.map(|tip| tip.height),
            best_hash: self.tip.map(|tip| tip.hash),
            genesis_hash: self.genesis_hash,
            features: Some(self.config.features.clone()),
            nonce: Some(self.nonce),
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
            .filter(|(_, peer)| peer.last_sent + silence <= now || (moved && !peer.is_legacy()))
            .map(|(conn, peer)| (*conn, peer.link))
            .collect();
        let mut messages = BTreeMap::new();
        for (conn, link) in due {
            let message = messages
                .entry(link)
                .or_insert_with(|| Arc::new(Outgoing::new(Message::Handshake(self.handshake(link)))));
            let message = Arc::clone(message);
            self.send(now, conn, Class::TipUpdate, message);
        }
    }

    fn dial(&mut self, now: Duration) {
        while let Some(dial) = self.dialer.next(now) {
            self.push(Action::Dial { endpoint: dial.endpoint, feeler: dial.feeler });
        }
    }

    pub(super) fn remember_failed_dial(&mut self, endpoint: &Endpoint, why: String) {
        const REMEMBERED: usize = 64;
        if self.failed_dials.len() < REMEMBERED || self.failed_dials.contains_key(&endpoint.to_string()) {
            self.failed_dials.insert(endpoint.to_string(), why);
        }
    }

    fn note_failed_dial(&mut self, now: Duration, endpoint: &Endpoint, why: &str) {
        self.remember_failed_dial(endpoint, why.to_owned());
        if let Some(more) = self.log.allow(&Host::Name(endpoint.address.clone()), "dial", now) {
            tracing::info!(more, "{why}");
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

    /// Has the pool written, unless it was empty the last time and is so again.
    pub(crate) fn save_pool(&mut self) {
        let empty = self.pool.is_empty();
        if !empty || !std::mem::replace(&mut self.saved_pool_is_empty, true) {
            self.saved_pool_is_empty = empty;
            let txs = self.pool.iter().map(|(_, tx)| Arc::clone(tx)).collect();
            self.push(Action::SavePool(txs));
        }
    }

    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn new_batch(&mut self) -> BatchId {
        self.next_batch += 1;
        BatchId(self.next_batch)
    }

    /// `SplitMix64`: good enough for jitter and nonces, and the same for the same seed.
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
