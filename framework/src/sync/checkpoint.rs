//! The way down from a checkpoint: whom to ask for headers, and what follows from them.
//!
//! Blocks are asked for meanwhile, and checked in full for as long as nothing is known of them: whoever is slow with headers, or gives
//! out none, delays nothing. So at worst the sync is as fast as without a checkpoint.

use std::time::Duration;

use super::batch::{BatchSync, Purpose};
use super::claim::Peer;
use super::fork::ForkRule;
use super::linkage::{Arrival, Step, Verdict};
use super::ranges::{Delivered, Span};
use super::{ConnId, RequestId, SyncAction, SyncReport};
use crate::types::{BlockLink, Height};

impl<F: ForkRule> BatchSync<F> {
    /// Follows our tip on the way to the checkpoints.
    pub(super) fn follow_checkpoints(&mut self) {
        let report = match self.linkage.follow(self.tip) {
            Some(Arrival::Linked(checkpoint)) => SyncReport::LinkedToCheckpoint { checkpoint },
            Some(Arrival::OffChain(checkpoint)) => SyncReport::OffCheckpoint { checkpoint },
            None => return,
        };
        self.actions.push_back(SyncAction::Report(report));
    }

    /// Asks for the headers that the walk needs next, of one peer at a time.
    pub(super) fn ask_for_headers(&mut self) {
        let Some((from, to)) = self.wanted_headers() else { return };
        let candidates = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.may_give_headers(to) && peer.headers_not_before <= self.now && peer.has_room());
        // Whoever has the least to do else.
        let Some((&id, _)) = candidates.min_by_key(|(_, peer)| (!peer.proven, peer.requests.len())) else { return };
        self.ask(id, Span { from, to }, Purpose::Headers);
    }

    pub(super) fn on_headers(&mut self, id: ConnId, request: RequestId, links: &[BlockLink]) {
        let Some(asked) = self.answered(id, request) else { return };
        self.move_up(id, request);
        let fits = links.last().is_some_and(|last| last.height == asked.to);
        match if fits { self.linkage.take(links, self.tip) } else { None } {
            Some(Step::Down) => self.judge_imports(),
            Some(Step::Contradiction(height)) => self.contradict(id, height),
            None => self.pause_headers(id),
        }
    }

    /// Imports a batch, unless it is known by now that it is not of a checkpoint's chain.
    pub(super) fn import_if_on_chain(&mut self, delivered: Delivered) {
        let samples = self.samples.get(&delivered.batch).map_or(&[][..], Vec::as_slice);
        match self.linkage.judge_again(samples) {
            Verdict::Contradiction(height) => {
                self.discard(delivered.batch);
                self.contradict(delivered.peer, height);
            }
            Verdict::Ancestor(height) => self.import(Delivered { ancestor_to: Some(height), ..delivered }),
            Verdict::Unknown => self.import(delivered),
        }
    }

    /// What is under import cannot be taken back, but it can be left again.
    fn judge_imports(&mut self) {
        let mut samples = self.importing.iter().filter_map(|importing| self.samples.get(&importing.delivered.batch));
        if samples.any(|samples| matches!(self.linkage.judge_again(samples), Verdict::Contradiction(_))) {
            self.linkage.leaves_chain();
        }
    }

    /// Asks this peer for no headers for a while.
    pub(super) fn pause_headers(&mut self, id: ConnId) {
        let until = self.now.saturating_add(self.limits.headers_pause);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.headers_not_before = until;
        }
    }

    /// The peer's chain is not the one that a checkpoint demands. No fault of which it could be convicted: the checkpoint is ours.
    pub(super) fn contradict(&mut self, id: ConnId, height: Height) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.contradicts) else { return };
        peer.contradicts = true;
        self.rule_out(id);
        self.actions.push_back(SyncAction::Report(SyncReport::CheckpointContradicted { peer: id, height }));
    }

    /// When somebody may be asked for headers again.
    pub(super) fn headers_deadlines(&self) -> Vec<Duration> {
        let Some((_, to)) = self.wanted_headers() else { return Vec::new() };
        let able = self.peers.values().filter(|peer| peer.may_give_headers(to));
        able.map(|peer| peer.headers_not_before).collect()
    }

    /// The headers that nobody was asked for yet.
    fn wanted_headers(&self) -> Option<(Height, Height)> {
        let wanted = self.linkage.wanted(self.tip)?;
        let asked = self.requests.values().any(|asked| asked.purpose == Purpose::Headers);
        (!asked).then_some(wanted)
    }
}

impl Peer {
    fn may_give_headers(&self, to: Height) -> bool {
        self.abilities.headers && self.is_open() && self.has(to) && !self.is_ruled_out()
    }
}
