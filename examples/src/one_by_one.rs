//! A sync strategy of one's own: one peer, one request at a time, and never off the branch that it is on.
//!
//! About the least that a strategy can do: it asks whoever claims to be ahead for the blocks above our tip, has them
//! imported, and asks the same peer for more. A peer that does not deliver loses its claim, and the next one is asked. A
//! peer on another branch is reported and left alone: this suits a node that must never take a block back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cpc_framework::sync::limits::MAX_REQUEST_BLOCKS;
use cpc_framework::sync::{
    BatchId, ConnId, Connectivity, Mode, RejectKind, RequestId, SyncAction, SyncEvent, SyncOffence, SyncReport,
    SyncStatus, SyncStrategy,
};
use cpc_framework::types::{BlockLink, Height, Tip};

/// The strategy.
#[derive(Debug)]
pub struct OneByOne {
    now: Duration,
    actions: VecDeque<SyncAction>,
    tip: Option<Tip>,
    network: Connectivity,
    mode: Mode,
    peers: BTreeMap<ConnId, Peer>,
    requests: u64,
    asked: Option<Asked>,
    importing: Option<(BatchId, ConnId)>,
    /// Our own store failed: nothing is asked for before.
    paused_until: Duration,
}

/// What is known of a peer. Of constant size, whatever it says.
#[derive(Debug)]
struct Peer {
    legacy: bool,
    /// What it says its height is.
    claims: Option<Height>,
    /// Whether it is worth asking.
    open: bool,
    /// Whether its claim holds back SYNCED.
    counts: bool,
    /// It did not keep a claim: what it says next holds nothing back, before it has delivered.
    distrusted: bool,
    /// It is on another branch, or sent what no rule allows: not to be asked again.
    useless: bool,
    failures: u8,
    not_before: Duration,
    last_asked: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    request: RequestId,
    peer: ConnId,
    from: Height,
}

/// How long a peer may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(8);
/// The same for one of the reference's nodes, which are slow and honest.
const TIMEOUT_LEGACY: Duration = Duration::from_secs(20);
/// So many failures in a row close a claim.
const FAILURES: u8 = 2;
/// The wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The wait after a failure of our own store, and for a block from the future.
const LONG_PAUSE: Duration = Duration::from_secs(10);

impl Default for OneByOne {
    fn default() -> Self {
        Self {
            now: Duration::ZERO,
            actions: VecDeque::new(),
            tip: None,
            network: Connectivity::Dialling,
            mode: Mode::Syncing,
            peers: BTreeMap::new(),
            requests: 0,
            asked: None,
            importing: None,
            paused_until: Duration::ZERO,
        }
    }
}

impl SyncStrategy for OneByOne {
    fn handle(&mut self, now: Duration, event: SyncEvent) {
        self.now = now;
        match event {
            SyncEvent::LocalTip(tip) | SyncEvent::ReorgFinished { tip } => self.tip = tip,
            SyncEvent::Connectivity(network) => self.network = network,
            SyncEvent::PeerTip { peer, height, legacy } => self.on_claim(peer, height, legacy),
            SyncEvent::Announced { peer, link } => {
                let legacy = self.peers.get(&peer).is_some_and(|peer| peer.legacy);
                self.on_claim(peer, Some(link.height), legacy);
            }
            SyncEvent::PeerGone { peer } => {
                self.peers.remove(&peer);
                self.asked.take_if(|asked| asked.peer == peer);
            }
            SyncEvent::Blocks { peer, request, batch, links, .. } => self.on_blocks(peer, request, batch, &links),
            SyncEvent::RequestFailed { peer, request, .. } => {
                if self.asked.take_if(|asked| asked.request == request).is_some() {
                    self.on_failure(peer);
                }
            }
            SyncEvent::Imported { batch, tip } => self.on_imported(batch, tip),
            SyncEvent::Rejected { batch, height, why, tip } => self.on_rejected(batch, height, why, tip),
            // Answers to what this strategy never asks for, what it makes no use of, and the passing of time.
            SyncEvent::RolledBack { .. }
            | SyncEvent::RollbackFailed { .. }
            | SyncEvent::Checked { .. }
            | SyncEvent::OwnLinks { .. }
            | SyncEvent::Headers { .. }
            | SyncEvent::PeerAbilities { .. }
            | SyncEvent::Checkpoints(_)
            | SyncEvent::OwnStakes { .. }
            | SyncEvent::Stakes { .. }
            | SyncEvent::Tick => {}
        }
        self.close_claims();
        self.ask();
        self.update_mode();
    }

    fn poll_action(&mut self) -> Option<SyncAction> {
        self.actions.pop_front()
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.asked.is_some() || self.importing.is_some() {
            return None;
        }
        let waits = self.peers.values().filter(|peer| peer.open).map(|peer| peer.not_before.max(self.paused_until));
        waits.filter(|&at| at > self.now).min()
    }

    fn status(&self) -> SyncStatus {
        SyncStatus {
            mode: self.mode,
            target: self.peers.values().filter(|peer| peer.counts).filter_map(|peer| peer.claims).max(),
            outstanding: usize::from(self.asked.is_some()),
            rolled_back: 0,
        }
    }
}

impl OneByOne {
    /// A claim is a hint: it says whom to ask, and while we are SYNCED it changes nothing else.
    fn on_claim(&mut self, id: ConnId, height: Option<Height>, legacy: bool) {
        let syncing = self.mode == Mode::Syncing;
        let above = height > self.tip.map(|tip| tip.height);
        let peer = self.peers.entry(id).or_insert(Peer {
            legacy,
            claims: None,
            open: false,
            counts: false,
            distrusted: false,
            useless: false,
            failures: 0,
            not_before: Duration::ZERO,
            last_asked: Duration::ZERO,
        });
        (peer.legacy, peer.claims) = (legacy, height);
        if above && !peer.open && !peer.useless {
            (peer.open, peer.counts, peer.failures) = (true, syncing && !peer.distrusted, 0);
        }
    }

    fn on_blocks(&mut self, id: ConnId, request: RequestId, batch: BatchId, links: &[BlockLink]) {
        let asked = self.asked.take_if(|asked| asked.request == request && asked.peer == id);
        let current = asked.is_some_and(|asked| Some(asked.from) == self.next_height());
        match links.first() {
            Some(first) if current && first.extends(self.tip.as_ref()) => {
                self.importing = Some((batch, id));
                self.actions.push_back(SyncAction::Import { batch });
                return;
            }
            Some(_) if current => self.leave(id),
            None if asked.is_some() => self.on_failure(id),
            // Late, or our tip has moved on meanwhile: nobody's fault.
            _ => {}
        }
        self.actions.push_back(SyncAction::Discard { batch });
    }

    fn on_imported(&mut self, batch: BatchId, tip: Tip) {
        self.tip = Some(tip);
        let Some((_, id)) = self.importing.take_if(|(importing, _)| *importing == batch) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        (peer.failures, peer.distrusted, peer.last_asked) = (0, false, Duration::ZERO);
        // Only here can a node that is SYNCED become SYNCING: valid blocks came, and there are more.
        peer.counts = peer.open && peer.claims > Some(tip.height);
    }

    fn on_rejected(&mut self, batch: BatchId, height: Height, why: RejectKind, tip: Option<Tip>) {
        self.tip = tip;
        let Some((_, id)) = self.importing.take_if(|(importing, _)| *importing == batch) else { return };
        match why {
            RejectKind::Invalid => {
                self.give_up(id, true);
                self.actions
                    .push_back(SyncAction::Penalise { peer: id, offence: SyncOffence::InvalidBlock { height } });
            }
            RejectKind::NotLinked => self.leave(id),
            RejectKind::Stricter | RejectKind::Checkpoint | RejectKind::WrongProposer => {
                self.give_up(id, true);
                self.actions.push_back(SyncAction::Report(SyncReport::StoppedAt { height, why }));
            }
            RejectKind::BodyMismatch => self.on_failure(id),
            RejectKind::FromTheFuture => {
                self.on_failure(id);
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.not_before = self.now + LONG_PAUSE;
                }
            }
            RejectKind::Local => self.paused_until = self.now + LONG_PAUSE,
        }
    }

    fn on_failure(&mut self, id: ConnId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.failures += 1;
        peer.not_before = self.now + PAUSE;
        if peer.failures >= FAILURES {
            self.give_up(id, false);
        }
    }

    /// The peer is on another branch, and this strategy stays on its own.
    fn leave(&mut self, id: ConnId) {
        self.give_up(id, true);
        let below = self.tip.map_or(0, |tip| tip.height);
        self.actions.push_back(SyncAction::Report(SyncReport::ForkTooDeep { peer: id, below, bound: 0 }));
    }

    fn give_up(&mut self, id: ConnId, useless: bool) {
        if let Some(peer) = self.peers.get_mut(&id) {
            (peer.open, peer.counts, peer.distrusted) = (false, false, true);
            peer.useless |= useless;
        }
    }

    fn close_claims(&mut self) {
        let tip = self.tip.map(|tip| tip.height);
        for peer in self.peers.values_mut().filter(|peer| peer.claims <= tip) {
            (peer.open, peer.counts) = (false, false);
        }
    }

    /// Asks whoever failed the least and was asked the longest ago; who has just delivered comes first.
    fn ask(&mut self) {
        if self.asked.is_some() || self.importing.is_some() || self.now < self.paused_until {
            return;
        }
        let Some(from) = self.next_height() else { return };
        let ready = self.peers.iter_mut().filter(|(_, peer)| peer.open && peer.not_before <= self.now);
        let Some((&id, peer)) = ready.min_by_key(|(_, peer)| (peer.failures, peer.last_asked)) else { return };
        let Some(best) = peer.claims else { return };
        peer.last_asked = self.now;
        self.requests += 1;
        let request = RequestId(self.requests);
        self.asked = Some(Asked { request, peer: id, from });
        self.actions.push_back(SyncAction::Request {
            peer: id,
            request,
            from,
            to: best.min(from.saturating_add(MAX_REQUEST_BLOCKS - 1)),
            timeout: if peer.legacy { TIMEOUT_LEGACY } else { TIMEOUT },
        });
    }

    /// `None` above the highest height that there can be.
    fn next_height(&self) -> Option<Height> {
        self.tip.map_or(Some(0), |tip| tip.height.checked_add(1))
    }

    fn update_mode(&mut self) {
        let alone = matches!(self.network, Connectivity::NoPeersKnown | Connectivity::AllDialsFailed);
        let behind = self.peers.values().any(|peer| peer.counts);
        let ready = alone || !self.peers.is_empty();
        self.mode = match self.mode {
            _ if behind => Mode::Syncing,
            Mode::Syncing if !ready || self.importing.is_some() => Mode::Syncing,
            _ => Mode::Synced,
        };
    }
}
