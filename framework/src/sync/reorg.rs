//! Taking a peer's branch: it is shown and checked, our blocks are rolled back, and they come back if it is not better.

use std::time::Duration;

use super::batch::BatchSync;
use super::fork::ForkRule;
use super::ranges::Delivered;
use super::session::Stage;
use super::{BatchId, ConnId, SyncAction, SyncReport};
use crate::types::{Height, Tip};

impl<F: ForkRule> BatchSync<F> {
    /// Adds to what the peer has shown of its branch, and has it checked.
    pub(super) fn show(&mut self, delivered: Delivered) {
        let Some(session) = &mut self.session else { return };
        session.shown_to = Some(delivered.last);
        session.shown_bytes = session.shown_bytes.saturating_add(delivered.bytes);
        session.shown.push_back(delivered);
        session.unchecked = session.unchecked.saturating_add(1);
        self.actions.push_back(SyncAction::Check { batch: delivered.batch });
    }

    pub(super) fn on_checked(&mut self, batch: BatchId, signed: u64, wrong: Option<Height>) {
        let Some(session) = &mut self.session else { return };
        if !session.shown.iter().any(|shown| shown.batch == batch) {
            return;
        }
        session.unchecked = session.unchecked.saturating_sub(1);
        session.signed = session.signed.saturating_add(signed);
        if let (Some(height), id) = (wrong, session.peer) {
            self.convict(id, height);
        }
    }

    /// Rolls back once the branch is seen to be better, or fills the buffer; asks for more of it until then.
    ///
    /// To name an unknown proposer costs nothing, so only signed blocks count: there must be enough of them for a better branch.
    /// Where the branch does not fit in the buffer, half of what fits must be signed.
    ///
    /// In a recovery the branch has our own headers up to our tip, so that what is to be seen of it is what comes after.
    pub(super) fn show_or_roll_back(&mut self, keep: Option<Height>) {
        let bound = self.bound();
        let Some(session) = &mut self.session else { return };
        session.drains = false;
        if session.unchecked > 0 {
            return;
        }
        let (id, ours, shown_to) = (session.peer, session.ours.height, session.shown_to.map(|tip| tip.height));
        let next = shown_to.map_or(Some(0), |height| height.checked_add(1));
        let Some(first) = session.shown.front().map(|delivered| delivered.first.hash) else {
            self.ask_further(id, next);
            return;
        };
        let again = self.peers.get(&id).is_none_or(|peer| peer.forks.tried.contains(&keep));
        let recovering = session.recovery.is_some();
        if again {
            self.fail_session(false);
            return;
        }
        // The first block of a recovery has the hash of ours, whoever shows it: it says nothing of what was tried.
        let paused = self.branches.paused_until(keep, first, self.now).filter(|_| !recovering);
        if let Some(until) = paused {
            self.wait_for_branch(id, until);
            return;
        }
        let blocks = session.shown.iter().map(Delivered::blocks).fold(0, u64::saturating_add);
        let too_deep = !recovering && depth_of(session.ours, keep) > bound;
        let half_signed = session.signed >= blocks.div_ceil(2);
        let signed_to = height_after(keep, session.signed);
        let is_better = |height: Option<Height>| height.is_some_and(|height| self.rule.is_better(height, ours));
        let full = session.shown_bytes >= self.limits.window_bytes;
        let shown_enough = recovering && (full || is_better(shown_to));
        if too_deep {
            // Our chain has grown meanwhile.
            self.fail_session(true);
        } else if shown_enough || is_better(signed_to) || (full && half_signed) {
            // What comes in for our chain must not put it off for ever.
            session.drains = true;
            if self.importing.is_empty() {
                session.stage = Stage::RollingBack { keep };
                session.branch = Some(first);
                let waiting = self.buffer.drop_if(|_| true);
                self.discard_all(waiting);
                self.actions.push_back(SyncAction::Rollback { keep });
            }
        } else if full || (is_better(shown_to) && !half_signed) {
            self.fail_session(false);
        } else {
            // More of it may make up for the blocks of proposers that we do not know yet.
            self.ask_further(id, next);
        }
    }

    /// Others may have spoilt what this peer can deliver right: it keeps its place before all who come while the branch rests.
    fn wait_for_branch(&mut self, id: ConnId, until: Duration) {
        self.drop_session();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.forks.not_before = until;
            peer.close();
        }
    }

    /// Our tip was moved by a block of gossip or of our own. Where a rollback is on its way, the block was before it: it is
    /// taken off with the others, and the branch has to be better than a chain that ends with it.
    pub(super) fn on_local_tip(&mut self, tip: Option<Tip>) {
        self.tip = tip;
        if let (Some(tip), Some(session)) = (tip, &mut self.session)
            && matches!(session.stage, Stage::RollingBack { .. })
        {
            session.ours = tip;
        }
    }

    pub(super) fn on_rolled_back(&mut self, tip: Option<Tip>) {
        self.tip = tip;
        let Some(session) = &mut self.session else { return };
        let Stage::RollingBack { keep } = session.stage else { return };
        self.rolled_back = self.rolled_back.saturating_add(depth_of(session.ours, keep));
        let broken = tip.map(|tip| tip.height) != keep || !self.peers.contains_key(&session.peer);
        let shown = std::mem::take(&mut session.shown);
        session.stage = Stage::Joining { keep, broken };
        for delivered in shown {
            self.import(delivered);
        }
    }

    pub(super) fn on_rollback_failed(&mut self, tip: Option<Tip>) {
        self.tip = tip;
        if self.session.as_ref().is_some_and(|session| matches!(session.stage, Stage::RollingBack { .. })) {
            self.recovery_forbidden();
            self.fail_session(true);
        }
    }

    /// Decides after what was handed over is imported.
    pub(super) fn join(&mut self, keep: Option<Height>, broken: bool, busy: bool) {
        let Some(session) = &mut self.session else { return };
        let kept = self.tip.is_some_and(|tip| self.rule.is_better(tip.height, session.ours.height));
        if kept || broken {
            session.stage = Stage::Finishing { keep, kept };
            self.actions.push_back(SyncAction::FinishReorg { keep: kept });
        } else if !busy {
            let (id, next) = (session.peer, self.next_height());
            self.ask_further(id, next);
            // It has no more: the next look finds the branch broken, and there must be one.
            if let Some(Stage::Joining { broken: true, .. }) = self.session.as_ref().map(|session| session.stage) {
                self.join(keep, true, busy);
            }
        }
    }

    /// Asks for what follows on the branch, as far as the peer claims to have it.
    fn ask_further(&mut self, id: ConnId, next: Option<Height>) {
        let best = self.peers.get(&id).filter(|peer| !peer.is_ruled_out()).and_then(|peer| peer.best);
        match (next, best) {
            (Some(next), Some(best)) if best >= next => self.ask_for_branch(id, next, best),
            _ => self.fail_session(false),
        }
    }

    pub(super) fn on_reorg_finished(&mut self, tip: Option<Tip>) {
        self.tip = tip;
        let Some(session) = self.session.take_if(|session| matches!(session.stage, Stage::Finishing { .. })) else {
            return;
        };
        let Stage::Finishing { keep, kept } = session.stage else { return };
        let depth = depth_of(session.ours, keep);
        self.progress = Some(self.now);
        if kept {
            self.linkage.reorganised();
            for peer in self.peers.values_mut() {
                peer.off_branch = false;
            }
            let report = match &session.recovery {
                Some(_) => SyncReport::Recovered { height: height_after(keep, 1).unwrap_or(0), removed: depth },
                None => SyncReport::Reorganised { removed: depth },
            };
            self.actions.push_back(SyncAction::Report(report));
            self.recovery_ended(session.recovery.as_ref(), true);
            return;
        }
        self.actions.push_back(SyncAction::Report(SyncReport::PutBack { restored: depth }));
        self.recovery_ended(session.recovery.as_ref(), false);
        if let (Some(first), None) = (session.branch, &session.recovery) {
            if session.convicted {
                self.branches.spoilt(keep, first, self.now, &self.limits);
            } else {
                self.branches.failed(keep, first, self.now, &self.limits);
            }
        }
        self.note_failed_turn(session.peer);
        if let Some(peer) = self.peers.get_mut(&session.peer) {
            peer.forks.tried.insert(keep);
        }
        // Where its proposer was refused, the peer's STAKEs are looked at next.
        if !self.may_recover_with(session.peer) {
            self.give_up_on(session.peer);
        }
    }
}

/// The height of so many blocks on top of `keep`; `None` for the empty chain.
fn height_after(keep: Option<Height>, blocks: u64) -> Option<Height> {
    match keep {
        Some(keep) => Some(keep.saturating_add(blocks)),
        None => blocks.checked_sub(1),
    }
}

/// How many blocks a rollback to `keep` removes.
fn depth_of(ours: Tip, keep: Option<Height>) -> u64 {
    match keep {
        Some(keep) => ours.height.saturating_sub(keep),
        None => ours.height.saturating_add(1),
    }
}
