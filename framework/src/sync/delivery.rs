//! What comes in for requests and imports, and what follows from it for the peer.

use std::time::Duration;

use super::batch::{Asked, BatchSync, Importing, Purpose};
use super::claim::Peer;
use super::fork::ForkRule;
use super::linkage::{Linkage, Verdict};
use super::ranges::Delivered;
use super::{
    BatchId, ConnId, Contradiction, Mode, RejectKind, RequestFailure, RequestId, SyncAction, SyncOffence, SyncReport,
};
use crate::types::{BlockLink, Height, Tip};

/// What came for a request.
pub(super) struct Answer {
    pub(super) batch: BatchId,
    pub(super) links: Vec<BlockLink>,
    pub(super) bytes: usize,
    pub(super) weight: usize,
    pub(super) malformed: bool,
}

impl<F: ForkRule> BatchSync<F> {
    pub(super) fn on_blocks(&mut self, id: ConnId, request: RequestId, answer: Answer) {
        let Some(asked) = self.answered(id, request) else {
            self.discard(answer.batch);
            return;
        };
        self.move_up(id, request);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.sizing.observe(answer.links.len(), answer.bytes);
        }
        let Answer { batch, links, bytes, weight, malformed } = answer;
        let delivered =
            Delivered::new(id, batch, asked.from, &links, weight).filter(|delivered| delivered.last.height <= asked.to);
        let took = delivered.and_then(|_| self.note_pace(id, &asked, bytes));
        let ancestor_to = match delivered.map_or(Verdict::Unknown, |_| self.linkage.judge(&links)) {
            Verdict::Contradiction(found) => {
                self.discard(batch);
                self.contradict(id, Some(found));
                return;
            }
            Verdict::Ancestor(height) => Some(height),
            Verdict::Unknown => None,
        };
        let delivered = delivered.map(|delivered| Delivered { took, ancestor_to, ..delivered });
        if malformed {
            let refused = delivered.map_or(asked.from, |delivered| delivered.last.height.saturating_add(1));
            self.refuse(id, refused, self.now.saturating_add(self.limits.refused_pause));
        }
        if self.linkage.is_walking() && delivered.is_some() {
            self.samples.insert(batch, Linkage::samples(&links));
        }
        if asked.purpose == Purpose::Fork {
            self.on_fork_blocks(id, batch, &links, delivered);
            return;
        }
        let Some(delivered) = delivered else {
            self.discard(batch);
            if links.is_empty() {
                self.on_empty(id, asked.purpose);
            } else {
                self.on_failure(id);
            }
            return;
        };
        self.note_delivery(id, asked, delivered.last.height);
        if self.reorganising() || self.peers.get(&id).is_none_or(Peer::is_ruled_out) {
            self.discard(batch);
            return;
        }
        let superfluous = self.buffer.insert(delivered);
        self.discard_all(superfluous);
        self.shrink_buffer();
    }

    /// What a delivery says about the peer's height and reliability.
    fn note_delivery(&mut self, id: ConnId, asked: Asked, last: Height) {
        let (syncing, now) = (self.mode == Mode::Syncing, self.now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let more_to_come = !peer.is_idle();
        (peer.empties, peer.failures, peer.waiting) = (0, 0, more_to_come.then_some(now));
        if asked.purpose == Purpose::Range && !peer.is_guess() {
            return;
        }
        // A full answer lets us guess that there is more; a shorter one shows the end.
        let more = if last == asked.to { (asked.to - asked.from).saturating_add(1) } else { 0 };
        if more > 0 || peer.is_guess() {
            peer.best = peer.best.filter(|&best| best > last && !peer.is_guess()).or(Some(last.saturating_add(more)));
            peer.open(syncing, true);
        } else {
            peer.best = peer.best.max(Some(last));
            peer.open(syncing, false);
        }
    }

    fn on_empty(&mut self, id: ConnId, purpose: Purpose) {
        let (limits, now, tip) = (&self.limits, self.now, self.tip.map(|tip| tip.height));
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.is_guess() {
            peer.best = tip;
            peer.close();
            return;
        }
        if purpose == Purpose::Probe {
            return;
        }
        // What was asked for together comes back together: that is one answer, not several.
        if now < peer.not_before {
            return;
        }
        peer.empties = peer.empties.saturating_add(1);
        peer.not_before = now.saturating_add(limits.empty_pause);
        if peer.empties >= limits.empty_answers {
            self.give_up_on(id);
        }
    }

    pub(super) fn on_request_failed(&mut self, id: ConnId, request: RequestId, why: RequestFailure) {
        let Some(asked) = self.answered(id, request) else { return };
        let legacy = self.peers.get(&id).is_some_and(|peer| peer.legacy);
        match why {
            _ if asked.purpose == Purpose::Fork => self.fork_request_failed(id),
            // A busy legacy peer is honest: nothing but the request is lost, and patience with its claim ends by itself.
            RequestFailure::TimedOut if legacy => {}
            // Of blocks the peer may know how to give out all the same.
            _ if asked.purpose == Purpose::Headers => self.pause_headers(id),
            RequestFailure::TimedOut | RequestFailure::BadAnswer | RequestFailure::NotSent => self.on_failure(id),
        }
    }

    fn on_failure(&mut self, id: ConnId) {
        let (limits, now) = (&self.limits, self.now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.not_before = now.saturating_add(limits.failure_pause.saturating_mul(1 << peer.failures.min(4)));
        peer.failures = peer.failures.saturating_add(1);
        if peer.failures >= limits.failures {
            self.give_up_on(id);
        }
    }

    pub(super) fn on_imported(&mut self, batch: BatchId, tip: Tip) {
        self.tip = Some(tip);
        let Some(Importing { delivered, .. }) = self.imported(batch).map(|(_, importing)| importing) else { return };
        self.progress = Some(self.now);
        self.usual_size.imported(delivered.blocks(), delivered.bytes);
        if let Some(took) = delivered.took {
            self.answers.used(took);
        }
        let trust = self.limits.regained_trust;
        let Some(peer) = self.peers.get_mut(&delivered.peer) else { return };
        peer.proven = true;
        if peer.distrusted && (!peer.has(tip.height.saturating_add(1)) || delivered.blocks() >= trust) {
            // It was only slow.
            (peer.distrusted, peer.not_before) = (false, self.now);
        }
        // Only here can a node that is SYNCED become SYNCING again: valid blocks came, and more are to come.
        if peer.has(tip.height.saturating_add(1)) && tip.height < Height::MAX && !peer.distrusted {
            let guess = peer.is_guess();
            peer.open(true, guess);
            peer.set_counts(true);
        }
    }

    pub(super) fn on_rejected(&mut self, batch: BatchId, height: Height, why: RejectKind, tip: Option<Tip>) {
        if tip.map(|tip| tip.height) > self.tip.map(|tip| tip.height) {
            self.progress = Some(self.now);
        }
        self.tip = tip;
        let Some((place, Importing { delivered, doomed })) = self.imported(batch) else { return };
        for later in self.importing.iter_mut().skip(place) {
            later.doomed = true;
        }
        if doomed {
            return;
        }
        let id = delivered.peer;
        if why == RejectKind::WrongProposer {
            self.suspect_stakes(id, height);
        }
        self.session_rejected(id);
        let refused_until = self.now.saturating_add(self.limits.refused_pause);
        match why {
            RejectKind::Invalid => self.convict(id, height),
            RejectKind::NotLinked => self.on_failure(id),
            RejectKind::FromTheFuture => {
                let at = self.now.saturating_add(self.limits.future_pause);
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.not_before = at;
                }
            }
            RejectKind::Local => {
                self.paused_until = self.now.saturating_add(self.limits.local_pause);
                self.progress = Some(self.paused_until);
            }
            RejectKind::BodyMismatch => self.refuse(id, height, refused_until),
            RejectKind::WrongProposer => {
                self.report_stop(height, why);
                self.refuse(id, height, refused_until);
            }
            RejectKind::Checkpoint => {
                let demanded = self.linkage.demanded(height);
                self.contradict(id, demanded.map(|expected| Contradiction { height, expected, offered: None }));
            }
            RejectKind::Stricter => {
                self.report_stop(height, why);
                self.refuse(id, height, Duration::MAX);
            }
        }
    }

    /// Takes a batch that is imported, as far as it was, off the list. Gives its place there.
    fn imported(&mut self, batch: BatchId) -> Option<(usize, Importing)> {
        let place = self.importing.iter().position(|importing| importing.delivered.batch == batch);
        let found = place.and_then(|place| Some((place, self.importing.remove(place)?)));
        // Until a reorganisation has ended, our chain is the one that would be put back.
        if let Some((_, importing)) = found.as_ref().filter(|(_, importing)| !importing.doomed && !self.reorganising())
        {
            let delivered = importing.delivered;
            self.judge_imported(&delivered);
        }
        self.samples.remove(&batch);
        found
    }

    pub(super) fn convict(&mut self, id: ConnId, height: Height) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.guilty = true;
        if let Some(session) = self.session.as_mut().filter(|session| session.peer == id) {
            session.convicted = true;
        }
        self.rule_out(id);
        self.actions.push_back(SyncAction::Penalise { peer: id, offence: SyncOffence::InvalidBlock { height } });
    }

    /// Takes nothing more of a peer.
    pub(super) fn rule_out(&mut self, id: ConnId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.close();
        for request in std::mem::take(&mut peer.requests) {
            self.requests.remove(&request);
            self.actions.push_back(SyncAction::Cancel { request });
        }
        let of_peer = self.buffer.drop_if(|batch| batch.peer == id);
        self.discard_all(of_peer);
        self.session_peer_gone(id);
    }

    /// Notes a block that this peer is not asked for again for a while. Without blame: others may deliver it.
    fn refuse(&mut self, id: ConnId, height: Height, until: Duration) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.refused = Some((height, until));
        }
    }

    fn report_stop(&mut self, height: Height, why: RejectKind) {
        if self.stopped_at != Some((height, why)) {
            self.stopped_at = Some((height, why));
            self.actions.push_back(SyncAction::Report(SyncReport::StoppedAt { height, why }));
        }
    }

    /// Takes a request off the list, if it is this peer's.
    pub(super) fn answered(&mut self, id: ConnId, request: RequestId) -> Option<Asked> {
        let asked = *self.requests.get(&request)?;
        if asked.peer != id {
            return None;
        }
        self.requests.remove(&request);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.requests.retain(|outstanding| *outstanding != request);
        }
        Some(asked)
    }

    /// Lets go of batches where answers were larger than expected.
    fn shrink_buffer(&mut self) {
        while self.held_bytes() > self.limits.window_bytes {
            let busy = !self.importing.is_empty();
            let Some(batch) = self.buffer.drop_one(self.limits.answer_bytes, busy) else { return };
            self.discard(batch);
        }
    }
}
