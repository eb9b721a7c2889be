//! The search for the place where a peer's branch leaves ours.

use std::time::Duration;

use super::batch::{BatchSync, Purpose};
use super::fork::{Branching, ForkRule, branching};
use super::ranges::{Delivered, Span};
use super::session::{Session, Stage};
use super::sizing::range_for;
use super::{BatchId, ConnId, SyncAction};
use crate::types::{BlockLink, Height};

impl<F: ForkRule> BatchSync<F> {
    /// Begins a session with a peer whose blocks do not link.
    pub(super) fn begin_search(&mut self, peer: ConnId) {
        let Some(ours) = self.tip else { return };
        self.recovery.had_turn = false;
        self.session = Some(Session::new(peer, ours, Stage::LookingUp, self.now));
        let from = ours.height.saturating_sub(self.bound());
        self.actions.push_back(SyncAction::LookUp { from, to: ours.height });
    }

    pub(super) fn on_own_links(&mut self, links: Vec<BlockLink>) {
        let bound = self.bound();
        let Some(session) = &mut self.session else { return };
        if session.stage != Stage::LookingUp {
            return;
        }
        let (last, base) = (links.last().map(BlockLink::tip), session.base);
        if last != Some(base) {
            // A higher or another tip is news that is on its way to us; fewer blocks cannot be read, now as a moment ago.
            let readable = last.is_some_and(|last| last.height >= base.height);
            let pause = if readable { self.limits.empty_pause } else { self.limits.local_pause };
            self.drop_session();
            self.postpone_sessions(pause);
            return;
        }
        let lowest = base.height.saturating_sub(bound);
        session.own = links.into_iter().filter(|link| link.height >= lowest).collect();
        self.search_deeper(0);
    }

    /// An answer to a question of the session.
    pub(super) fn on_fork_blocks(
        &mut self,
        id: ConnId,
        batch: BatchId,
        links: &[BlockLink],
        delivered: Option<Delivered>,
    ) {
        let (empty_pause, empty_answers) = (self.limits.empty_pause, self.limits.empty_answers);
        let now = self.now;
        let Some(session) = self.session.as_mut().filter(|session| session.peer == id) else {
            self.discard(batch);
            return;
        };
        let Some(delivered) = delivered else {
            session.empties = session.empties.saturating_add(1);
            session.resume_at = now.saturating_add(empty_pause);
            let over = !links.is_empty() || session.empties >= empty_answers;
            self.discard(batch);
            if over {
                self.fail_session(false);
            }
            return;
        };
        session.empties = 0;
        match session.stage {
            Stage::Searching { asking, .. } => self.on_searched(asking, links, delivered),
            Stage::Comparing { next } => self.read_stakes(next, delivered),
            // A short answer ended below the branching point.
            Stage::Showing { .. }
                if session.recovery.is_none()
                    && session.shown.is_empty()
                    && delivered.extends(session.shown_to.as_ref()) =>
            {
                let keep = branching_above(session, links);
                self.on_located(keep, delivered);
            }
            Stage::Showing { .. } if delivered.extends(session.shown_to.as_ref()) => self.show(delivered),
            Stage::Joining { broken: false, .. } if delivered.extends(self.tip.as_ref()) => self.import(delivered),
            _ => {
                self.discard(batch);
                self.fail_session(false);
            }
        }
    }

    /// Asks for the peer's blocks in place of those of ours that are doubted now.
    pub(super) fn ask_lower(&mut self, tried: u64, asking: u64) {
        let Some(session) = &self.session else { return };
        let (id, base) = (session.peer, session.base.height);
        let from = base.saturating_add(1).saturating_sub(asking);
        // The block above our tip comes with the first question: where only our tip is to go, nothing more is needed.
        let to = if tried == 0 { base.saturating_add(1) } else { base.saturating_sub(tried) };
        self.ask_for_branch(id, from, to);
    }

    pub(super) fn ask_for_branch(&mut self, id: ConnId, from: Height, to: Height) {
        let Some(peer) = self.peers.get(&id) else { return };
        let len = range_for(&self.limits, peer.legacy, &peer.sizing, &self.usual_size);
        let to = to.min(from.saturating_add(len - 1)).max(from);
        self.ask(id, Span { from, to }, Purpose::Fork);
    }

    fn on_searched(&mut self, asking: u64, links: &[BlockLink], delivered: Delivered) {
        let Some(session) = &mut self.session else { return };
        match branching(&session.own, links) {
            Branching::Lower => {
                self.discard(delivered.batch);
                self.search_deeper(asking);
            }
            Branching::After(keep) => self.on_located(keep, delivered),
        }
    }

    /// The peer's branch leaves ours after `keep`, or after higher blocks that it did not send yet.
    fn on_located(&mut self, keep: Option<Height>, delivered: Delivered) {
        let Some(session) = &mut self.session else { return };
        let (id, base) = (session.peer, session.base);
        if keep == Some(base.height) {
            // No fork: the peer has our tip after all, or had it when this began.
            self.discard(delivered.batch);
            self.drop_session();
            let pause = self.now.saturating_add(self.limits.distrust_pause);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.off_branch = false;
                (peer.forks.not_before, peer.forks.waits_since) = (pause, self.now);
            }
            return;
        }
        session.stage = Stage::Showing { keep };
        session.shown_to = session.own.iter().find(|link| Some(link.height) == keep).map(BlockLink::tip);
        if delivered.extends(session.shown_to.as_ref()) {
            self.show(delivered);
        } else {
            self.discard(delivered.batch);
        }
    }

    /// Doubts more of our blocks, after `tried` of them.
    fn search_deeper(&mut self, tried: u64) {
        let bound = self.bound();
        let beyond = (bound > self.rule.bound()).then(|| tried.saturating_mul(2).clamp(1, bound));
        let Some(session) = &mut self.session else { return };
        let most = bound.min(session.base.height.saturating_add(1));
        match self.rule.next_depth(tried).or(beyond).map(|depth| depth.min(most)).filter(|&depth| depth > tried) {
            Some(asking) => session.stage = Stage::Searching { tried, asking },
            None => self.fail_session(true),
        }
    }

    /// Begins no session for a while with any peer that is on another branch now.
    fn postpone_sessions(&mut self, pause: Duration) {
        let at = self.now.saturating_add(pause);
        for peer in self.peers.values_mut().filter(|peer| peer.off_branch) {
            peer.forks.not_before = peer.forks.not_before.max(at);
        }
    }
}

/// The last common block of ours and these, which link to one of ours.
fn branching_above(session: &Session, links: &[BlockLink]) -> Option<Height> {
    match branching(&session.own, links) {
        Branching::After(keep) => keep,
        Branching::Lower => session.shown_to.map(|tip| tip.height),
    }
}
