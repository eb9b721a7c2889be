//! The way down from a checkpoint: whom to ask for headers, how long to wait for them, and what follows from them.
//!
//! While a walk is under way and somebody can give headers, blocks are asked for as far as the window reaches, but of those that are not
//! known to lead to the checkpoint only so many are imported as can be undone: whoever serves another chain, however well it is signed,
//! must not lead us further than we can come back. What waits takes no longer than [`headers_patience`](super::SyncLimits::headers_patience),
//! and what the headers themselves take at a rate that is far below any honest peer's. Where nobody can give headers, or nobody does in that
//! time, blocks are imported with every signature checked, and another chain than the checkpoint's is found out only at its height.

use std::time::Duration;

use super::batch::{BatchSync, Purpose};
use super::claim::Peer;
use super::fork::ForkRule;
use super::linkage::{Arrival, MOST_UNLINKED, Step, Verdict};
use super::ranges::{Delivered, Span};
use super::{ConnId, Contradiction, Mode, RequestId, SyncAction, SyncReport};
use crate::types::{BlockLink, Height};

/// How long the import waits for headers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Until when, for peers that can give them; nothing until the first such peer comes in a walk.
    until: Option<Duration>,
    /// Until when, for such a peer to come.
    grace: Option<Duration>,
}

impl<F: ForkRule> BatchSync<F> {
    /// Follows our tip on the way to the checkpoints.
    pub(super) fn follow_checkpoints(&mut self) {
        let arrival = self.linkage.follow(self.tip);
        if self.linkage.is_walking() && self.headers.until.is_none() && self.somebody_has_headers() {
            self.headers.until = Some(self.now.saturating_add(self.limits.headers_patience));
        }
        let report = match arrival {
            Some(Arrival::Linked(checkpoint)) => SyncReport::LinkedToCheckpoint { checkpoint },
            Some(Arrival::OffChain(checkpoint, found)) => SyncReport::OffCheckpoint { checkpoint, found },
            None => return,
        };
        // The next walk has a patience of its own.
        self.headers.until = None;
        self.actions.push_back(SyncAction::Report(report));
    }

    /// A peer came: others that connect at the same time may be able to give headers.
    pub(super) fn await_able_peers(&mut self) {
        let grace = self.now.saturating_add(self.limits.headers_grace);
        self.headers.grace.get_or_insert(grace);
    }

    /// Asks for the headers that the walk needs next: of one peer, and each time that nobody has answered for a while of as many again,
    /// so that those who are silent cannot hide the one that is not.
    pub(super) fn ask_for_headers(&mut self) {
        let Some((from, to)) = self.linkage.wanted(self.tip) else { return };
        let (already, last) = self.asked_for_headers(to);
        let more = match last {
            None => 1,
            Some(at) if at.saturating_add(self.limits.stall) <= self.now => already.len(),
            Some(_) => return,
        };
        let mut candidates: Vec<_> = self
            .peers
            .iter()
            .filter(|(id, _)| !already.contains(id))
            .filter(|(_, peer)| self.may_give_headers(peer, to) && peer.headers_not_before <= self.now)
            .filter(|(_, peer)| peer.has_room())
            // Whoever gave the most, and has the least to do else.
            .map(|(&id, peer)| (std::cmp::Reverse(peer.headers_given), !peer.proven, peer.requests.len(), id))
            .collect();
        candidates.sort_unstable();
        for (.., id) in candidates.into_iter().take(more) {
            self.ask(id, Span { from, to }, Purpose::Headers);
        }
    }

    pub(super) fn on_headers(&mut self, id: ConnId, request: RequestId, links: &[BlockLink]) {
        let Some(asked) = self.answered(id, request) else { return };
        self.move_up(id, request);
        let fits = links.last().is_some_and(|last| last.height == asked.to);
        if !fits {
            return self.pause_headers(id);
        }
        // Somebody else was faster.
        if self.linkage.wanted(self.tip).is_none_or(|(_, to)| to != asked.to) {
            return;
        }
        match self.linkage.take(links, self.tip) {
            Some(Step::Down) => {
                self.note_headers(id, links.first().is_some_and(|link| link.height > asked.from), links.len());
            }
            Some(Step::Contradiction(found)) => self.contradict(id, Some(found)),
            None => self.pause_headers(id),
        }
    }

    fn note_headers(&mut self, id: ConnId, more_were_asked: bool, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.headers_given = if more_were_asked { count } else { u32::MAX };
        }
        if let Some(until) = &mut self.headers.until {
            let earned = (*until).max(self.now).saturating_add(self.limits.headers_pace.saturating_mul(count));
            *until = earned.min(self.now.saturating_add(self.limits.headers_patience));
        }
        // No liar can bring more of them than there are blocks below the checkpoint.
        self.progress = self.progress.map(|_| self.now);
    }

    /// Imports a batch, unless it is known by now that it is not of a checkpoint's chain.
    pub(super) fn import_if_on_chain(&mut self, delivered: Delivered) {
        let verdict = match (self.judge_again(&delivered), self.linkage.off_chain()) {
            // It extends our chain, which is another one than the checkpoint's.
            (Verdict::Unknown, Some(found)) => Verdict::Contradiction(found),
            (verdict, _) => verdict,
        };
        match verdict {
            Verdict::Contradiction(found) => {
                self.discard(delivered.batch);
                self.contradict(delivered.peer, Some(found));
            }
            Verdict::Ancestor(height) => self.import(Delivered { ancestor_to: Some(height), ..delivered }),
            Verdict::Unknown => self.import(delivered),
        }
    }

    /// Whether a batch leads too far from what is known to lead to the checkpoint, so that it has to wait for headers.
    pub(super) fn must_wait_for_headers(&self, delivered: &Delivered) -> bool {
        self.awaits_headers()
            && self.linkage.unlinked(Some(delivered.last.height)) > MOST_UNLINKED
            && self.judge_again(delivered) == Verdict::Unknown
    }

    /// Whether headers may come that show which chain leads to the checkpoint.
    pub(super) fn awaits_headers(&self) -> bool {
        self.waits_until().is_some_and(|until| self.now < until)
    }

    fn waits_until(&self) -> Option<Duration> {
        if !self.linkage.is_walking() {
            return None;
        }
        let able = self.headers.until.filter(|_| self.somebody_has_headers());
        able.max(self.headers.grace)
    }

    /// Notes what is known by now of the blocks of a batch that are on our chain.
    pub(super) fn judge_imported(&mut self, delivered: &Delivered) {
        let Some(tip) = self.tip.filter(|tip| tip.height >= delivered.from()) else { return };
        let verdict = match self.judge_again(delivered) {
            Verdict::Ancestor(height) => Verdict::Ancestor(height.min(tip.height)),
            // What was refused is not on it.
            Verdict::Contradiction(found) if found.height > tip.height => Verdict::Unknown,
            verdict => verdict,
        };
        self.linkage.added(verdict);
    }

    fn judge_again(&self, delivered: &Delivered) -> Verdict {
        let samples = self.samples.get(&delivered.batch).map_or(&[][..], Vec::as_slice);
        match (self.linkage.judge_again(samples), delivered.ancestor_to) {
            (Verdict::Unknown, Some(height)) => Verdict::Ancestor(height),
            (verdict, _) => verdict,
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
    pub(super) fn contradict(&mut self, id: ConnId, found: Option<Contradiction>) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.contradicts) else { return };
        peer.contradicts = true;
        self.rule_out(id);
        let report = found.map(|found| SyncReport::CheckpointContradicted { peer: id, found });
        self.actions.extend(report.map(SyncAction::Report));
    }

    /// When somebody may be asked for headers again, and when nobody waits for them any more.
    pub(super) fn headers_deadlines(&self) -> Vec<Duration> {
        let mut at: Vec<Duration> = self.waits_until().into_iter().collect();
        let Some((_, to)) = self.linkage.wanted(self.tip) else { return at };
        let able = || self.peers.values().filter(|peer| self.may_give_headers(peer, to));
        at.extend(able().map(|peer| peer.headers_not_before));
        if let (Some(last), true) = (self.asked_for_headers(to).1, able().next().is_some()) {
            at.push(last.saturating_add(self.limits.stall));
        }
        at
    }

    /// Who was asked for the headers that end here, and when the last one was.
    fn asked_for_headers(&self, to: Height) -> (Vec<ConnId>, Option<Duration>) {
        let asked = || self.requests.values().filter(|asked| asked.purpose == Purpose::Headers && asked.to == to);
        (asked().map(|asked| asked.peer).collect(), asked().map(|asked| asked.at).max())
    }

    fn somebody_has_headers(&self) -> bool {
        self.peers.values().any(|peer| peer.abilities.headers && !peer.is_ruled_out())
    }

    fn may_give_headers(&self, peer: &Peer, to: Height) -> bool {
        let asked_at_all = self.mode == Mode::Syncing || peer.is_open();
        peer.abilities.headers && asked_at_all && peer.has(to) && !peer.is_ruled_out()
    }
}
