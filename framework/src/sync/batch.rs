//! Syncing in batches: ranges from several peers at a time, imported in order.
//!
//! The parts: [`BatchSync`] takes events and keeps the mode (here and in `mode`), `claim` knows peers, `delivery` judges what they send, `schedule` decides whom to ask for what, `hedging` when to ask others as well, `pace` and `sizing` how much at a time,
//! `ranges` keeps what came early; `turns`, `session`, `search` and `reorg` handle forks with the [`ForkRule`]'s advice, and `recover` a STAKE that is not what it was;
//! `linkage` knows the way to checkpoints and `checkpoint` goes it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::branches::BranchMemory;
use super::checkpoint::Waiting;
use super::claim::Peer;
use super::delivery::Answer;
use super::fork::{ForkRule, RollbackOne};
use super::limits::SyncLimits;
use super::linkage::Linkage;
use super::pace::Answers;
use super::ranges::{Buffer, Delivered};
use super::recover::Recovery;
use super::session::{Session, Stage};
use super::sizing::UsualSize;
use super::{
    BatchId, ConnId, Connectivity, Mode, RejectKind, RequestId, SyncAction, SyncEvent, SyncStatus, SyncStrategy,
};
use crate::types::{BlockLink, Height, Tip};

/// How often conclusions are drawn from conclusions; two or three times is usual.
const MOST_PASSES: usize = 8;

/// The default [`SyncStrategy`]: follows the highest claims, believes none, and spreads the work over all peers that deliver.
///
/// SYNCED holds as `attacks.md` says; the bounds are [`SyncLimits`]; forks are decided by a [`ForkRule`].
#[derive(Debug)]
pub struct BatchSync<F = RollbackOne> {
    pub(super) limits: SyncLimits,
    pub(super) rule: F,
    pub(super) now: Duration,
    pub(super) actions: VecDeque<SyncAction>,
    /// Our confirmed tip.
    pub(super) tip: Option<Tip>,
    pub(super) peers: BTreeMap<ConnId, Peer>,
    pub(super) requests: BTreeMap<RequestId, Asked>,
    pub(super) buffer: Buffer,
    /// In the order in which they were handed over.
    pub(super) importing: VecDeque<Importing>,
    pub(super) session: Option<Session>,
    pub(super) branches: BranchMemory,
    pub(super) linkage: Linkage,
    /// Hashes of batches that came while not all was known of the way to a checkpoint, until they are imported.
    pub(super) samples: BTreeMap<BatchId, Vec<Tip>>,
    pub(super) headers: Waiting,
    pub(super) recovery: Recovery,
    pub(super) usual_size: UsualSize,
    pub(super) answers: Answers,
    last_request: u64,
    pub(super) mode: Mode,
    pub(super) network: Connectivity,
    /// Since when it stands so to the network.
    pub(super) network_since: Duration,
    /// The last import, or when SYNCED first depended on claims alone.
    pub(super) progress: Option<Duration>,
    /// How long there had been no progress when the last peer left.
    pub(super) stalled: Duration,
    pub(super) paused_until: Duration,
    pub(super) next_probe: Duration,
    pub(super) rolled_back: u64,
    pub(super) stopped_at: Option<(Height, RejectKind)>,
}

/// An outstanding request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) peer: ConnId,
    pub(super) from: Height,
    pub(super) to: Height,
    pub(super) at: Duration,
    /// Since when its peer has worked at it: since all that was asked before was answered.
    pub(super) since: Duration,
    pub(super) purpose: Purpose,
    /// Whether another peer was asked for some of it as well, since this one was late.
    pub(super) hedged: bool,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Blocks above our tip that the peer claims to have.
    Range,
    /// To see whether the peer has anything above our tip.
    Probe,
    /// A step of the fork session.
    Fork,
    /// Headers on the way down from a checkpoint.
    Headers,
}

/// A batch under import.
#[derive(Debug, Clone, Copy)]
pub(super) struct Importing {
    pub(super) delivered: Delivered,
    /// One below it was rejected, so that it cannot be applied.
    pub(super) doomed: bool,
}

impl Default for BatchSync {
    fn default() -> Self {
        Self::new(RollbackOne::default())
    }
}

impl<F: ForkRule> BatchSync<F> {
    /// A strategy with the default limits.
    pub fn new(fork: F) -> Self {
        Self::with_limits(fork, SyncLimits::default())
    }

    /// A strategy with limits of one's own.
    pub fn with_limits(fork: F, limits: SyncLimits) -> Self {
        Self {
            limits,
            rule: fork,
            now: Duration::ZERO,
            actions: VecDeque::new(),
            tip: None,
            peers: BTreeMap::new(),
            requests: BTreeMap::new(),
            buffer: Buffer::default(),
            importing: VecDeque::new(),
            session: None,
            branches: BranchMemory::default(),
            linkage: Linkage::default(),
            samples: BTreeMap::new(),
            headers: Waiting::default(),
            recovery: Recovery::default(),
            usual_size: UsualSize::default(),
            answers: Answers::default(),
            last_request: 0,
            mode: Mode::Syncing,
            network: Connectivity::Dialling,
            network_since: Duration::ZERO,
            progress: None,
            stalled: Duration::ZERO,
            paused_until: Duration::ZERO,
            next_probe: Duration::ZERO,
            rolled_back: 0,
            stopped_at: None,
        }
    }
}

impl<F: ForkRule> SyncStrategy for BatchSync<F> {
    fn handle(&mut self, now: Duration, event: SyncEvent) {
        self.now = self.now.max(now);
        match event {
            SyncEvent::LocalTip(tip) => self.on_local_tip(tip),
            SyncEvent::Connectivity(network) => {
                if self.network != network {
                    (self.network, self.network_since) = (network, self.now);
                }
            }
            SyncEvent::PeerTip { peer, height, legacy } => self.on_peer_tip(peer, height, legacy),
            SyncEvent::PeerAbilities { peer, abilities } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.abilities = abilities;
                }
            }
            SyncEvent::Checkpoints(checkpoints) => self.linkage = Linkage::new(&checkpoints),
            SyncEvent::Headers { peer, request, links, .. } => self.on_headers(peer, request, &links),
            SyncEvent::Announced { peer, link } => self.on_announced(peer, link),
            SyncEvent::PeerGone { peer } => self.on_peer_gone(peer),
            SyncEvent::Blocks { peer, request, batch, links, bytes, weight, malformed } => {
                self.on_blocks(peer, request, Answer { batch, links, bytes, weight, malformed });
            }
            SyncEvent::RequestFailed { peer, request, why } => self.on_request_failed(peer, request, why),
            SyncEvent::Imported { batch, tip } => self.on_imported(batch, tip),
            SyncEvent::Rejected { batch, height, why, tip } => self.on_rejected(batch, height, why, tip),
            SyncEvent::Checked { batch, signed, wrong } => self.on_checked(batch, signed, wrong),
            SyncEvent::OwnLinks { links } => self.on_own_links(links),
            SyncEvent::OwnStakes { below, stakes } => self.on_own_stakes(below, stakes),
            SyncEvent::Stakes { batch, stakes } => self.on_stakes(batch, &stakes),
            SyncEvent::RolledBack { tip } => self.on_rolled_back(tip),
            SyncEvent::RollbackFailed { tip } => self.on_rollback_failed(tip),
            SyncEvent::ReorgFinished { tip } => self.on_reorg_finished(tip),
            SyncEvent::Tick => {}
        }
        self.settle();
    }

    fn poll_action(&mut self) -> Option<SyncAction> {
        self.actions.pop_front()
    }

    fn next_deadline(&self) -> Option<Duration> {
        let network = (self.mode == Mode::Syncing && self.network == Connectivity::AllDialsFailed)
            .then(|| self.network_since.saturating_add(self.limits.alone));
        self.deadlines().into_iter().chain(network).filter(|&at| at > self.now).min()
    }

    fn status(&self) -> SyncStatus {
        SyncStatus {
            mode: self.mode,
            target: self.peers.values().filter(|peer| peer.counts()).filter_map(|peer| peer.best).max(),
            outstanding: self.requests.len(),
            rolled_back: self.rolled_back,
        }
    }
}

impl<F: ForkRule> BatchSync<F> {
    /// Draws the conclusions from what changed, and from the conclusions: whatever is left undone here waits for the next event.
    fn settle(&mut self) {
        self.update_clock();
        for _ in 0..MOST_PASSES {
            let before = (self.actions.len(), self.status(), self.decided());
            self.conclude();
            if before == (self.actions.len(), self.status(), self.decided()) {
                break;
            }
        }
    }

    /// What further conclusions follow from and neither an action nor the status shows: a session that ended by itself, say, leaves its peer's
    /// claim to be closed.
    fn decided(&self) -> (Option<(ConnId, Stage)>, usize, usize) {
        let session = self.session.as_ref().map(|session| (session.peer, session.stage));
        let open = self.peers.values().filter(|peer| peer.is_open()).count();
        let off_branch = self.peers.values().filter(|peer| peer.off_branch).count();
        (session, open, off_branch)
    }

    fn conclude(&mut self) {
        self.follow_checkpoints();
        self.close_claims();
        self.hand_over();
        self.tend_session();
        if self.now >= self.paused_until && !self.reorganising() {
            self.ask_for_headers();
            self.schedule();
            self.probe();
            self.clear_buffer();
        }
        self.update_mode();
    }

    fn on_peer_tip(&mut self, id: ConnId, height: Option<Height>, legacy: bool) {
        let (syncing, above) = (self.mode == Mode::Syncing, height.is_some_and(|height| self.is_above(height)));
        let now = self.now;
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(legacy, now));
        peer.legacy = legacy;
        peer.best = height;
        if above {
            peer.open(syncing, false);
            peer.confirm();
        }
        self.await_able_peers();
    }

    fn on_announced(&mut self, id: ConnId, link: BlockLink) {
        if !self.is_above(link.height) {
            return;
        }
        let syncing = self.mode == Mode::Syncing;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.best = peer.best.max(Some(link.height));
        peer.open(syncing, false);
        peer.confirm();
    }

    fn on_peer_gone(&mut self, id: ConnId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        for request in peer.requests {
            self.requests.remove(&request);
        }
        self.recovery_peer_gone(id);
        self.session_peer_gone(id);
    }

    /// Closes a claim that was not kept. Nothing is cancelled: what the peer delivers before its deadline, or later, is taken.
    pub(super) fn give_up_on(&mut self, id: ConnId) {
        let (limits, now) = (&self.limits, self.now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.close();
        peer.distrusted = true;
        peer.not_before = now.saturating_add(limits.distrust_pause);
    }

    /// Closes the claims that were delivered, and those with which the patience is at an end.
    fn close_claims(&mut self) {
        let (tip, now, next) = (self.tip.map(|tip| tip.height), self.now, self.next_height());
        let in_session = self.session.as_ref().map(|session| session.peer);
        let ids: Vec<ConnId> = self.peers.iter().filter(|(_, peer)| peer.is_open()).map(|(&id, _)| id).collect();
        for id in ids {
            // Its own turn to be looked at comes yet.
            let awaited = self.may_recover_with(id);
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.best <= tip {
                peer.close();
                continue;
            }
            let refused = peer.allowed(now).is_none_or(|allowed| next.is_some_and(|next| allowed < next));
            let late = peer.patience_ends(&self.limits).is_some_and(|end| end <= now) && now >= self.paused_until;
            let lost = peer.off_branch && !peer.may_fork(&self.limits);
            if ((refused || lost) && !awaited || late) && in_session != Some(id) {
                self.give_up_on(id);
            }
        }
        let stuck = self.progress.is_some_and(|last| last.saturating_add(self.limits.no_progress) <= now);
        if stuck && self.importing.is_empty() && self.mode == Mode::Syncing {
            for peer in self.peers.values_mut() {
                peer.set_counts(false);
            }
        }
    }

    /// Hands the buffered batches that link over for import, and finds out those that never will.
    fn hand_over(&mut self) {
        let drains = self.reorganising() || self.session.as_ref().is_some_and(|session| session.drains);
        if drains || self.now < self.paused_until || self.importing.iter().any(|batch| batch.doomed) {
            return;
        }
        loop {
            let Some(next) = self.next_height() else { return };
            let passed = self.buffer.drop_if(|batch| batch.from() < next);
            self.discard_all(passed);
            let Some(&batch) = self.buffer.get(next) else { return };
            if batch.extends(self.last_linked().as_ref()) {
                if self.must_wait_for_headers(&batch) {
                    return;
                }
                self.buffer.take(next);
                self.import_if_on_chain(batch);
            } else if self.importing.is_empty() {
                // Our tip is certain, so these are of another branch.
                self.leave_branch(batch.peer);
            } else {
                return;
            }
        }
    }

    /// Drops what waits for blocks that nobody will deliver.
    fn clear_buffer(&mut self) {
        let idle = self.requests.is_empty() && self.importing.is_empty() && self.session.is_none();
        if idle && !self.peers.values().any(Peer::is_open) {
            let waiting = self.buffer.drop_if(|_| true);
            self.discard_all(waiting);
        }
    }

    pub(super) fn import(&mut self, delivered: Delivered) {
        if let Some(up_to) = delivered.ancestor_to {
            self.actions.push_back(SyncAction::Vouch { batch: delivered.batch, up_to });
        }
        self.actions.push_back(SyncAction::Import { batch: delivered.batch });
        self.importing.push_back(Importing { delivered, doomed: false });
    }

    fn leave_branch(&mut self, id: ConnId) {
        if let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.off_branch) {
            peer.off_branch = true;
            peer.forks.off_since = self.now;
        }
        let of_peer = self.buffer.drop_if(|batch| batch.peer == id);
        self.discard_all(of_peer);
        self.close_claims();
    }

    pub(super) fn new_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// Our tip, once all that is under import is applied.
    pub(super) fn last_linked(&self) -> Option<Tip> {
        self.importing.iter().rev().find(|batch| !batch.doomed).map(|batch| batch.delivered.last).or(self.tip)
    }

    /// The height above [`Self::last_linked`]; `None` where there is no higher one.
    pub(super) fn next_height(&self) -> Option<Height> {
        self.last_linked().map_or(Some(0), |tip| tip.height.checked_add(1))
    }

    pub(super) fn is_above(&self, height: Height) -> bool {
        self.tip.is_none_or(|tip| height > tip.height)
    }

    pub(super) fn discard(&mut self, batch: BatchId) {
        self.samples.remove(&batch);
        self.actions.push_back(SyncAction::Discard { batch });
    }

    pub(super) fn discard_all(&mut self, batches: Vec<BatchId>) {
        for batch in batches {
            self.discard(batch);
        }
    }

    /// The bytes that wait or are under import. Of one batch no more than an answer should have counts: a single large one, which could
    /// be anybody's, takes no room from the others.
    pub(super) fn held_bytes(&self) -> usize {
        let importing = || self.importing.iter().map(|batch| batch.delivered.bytes);
        let heaviest = importing().max().max(self.buffer.heaviest()).unwrap_or(0);
        let excess = heaviest.saturating_sub(self.limits.answer_bytes);
        importing().fold(self.buffer.bytes(), usize::saturating_add).saturating_sub(excess)
    }
}

#[cfg(test)]
mod tests;
