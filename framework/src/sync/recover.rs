//! Recovery from a swapped STAKE key (protocol.md section 4, "A weakness of v1's rules").
//!
//! Under v1 rules no hash covers the key that a STAKE names, so that whoever handed us such a block may have put in another one, and
//! later blocks then seem to have a wrong proposer. When one is refused for that, a session with one peer after another compares the
//! STAKEs of its blocks with ours, in this epoch and the one before. Where they differ in a block of the same hash, that block and what
//! follows is taken from the peer as a branch of a fork is: ours is put back unless the refused block is acceptable then.
//!
//! The bounds: one recovery at a time; each connection is asked once while the same block is refused on the same tip; a recovery
//! that led to nothing is followed by a pause that doubles; nothing is rolled back further than the two epochs, undo records and
//! checkpoints allow. A node that is SYNCED waits first, since who is alone in refusing a block hears of a better one in time: a
//! peer must not make a healthy node doubt its state by making up a block. Nobody is blamed: neither side can be proved wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use super::batch::BatchSync;
use super::fork::ForkRule;
use super::ranges::Delivered;
use super::session::{Recovering, Session, Stage};
use super::{BatchId, ConnId, Mode, StakeBlock, SyncAction};
use crate::types::{Height, Tip};

/// How often the pause after a failed recovery doubles at most; the limits end it long before.
const MOST_DOUBLINGS: u32 = 16;

/// What is known of refused proposers.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    suspicion: Option<Suspicion>,
    /// How many recoveries in a row led to a rollback for nothing.
    failures: u32,
    /// No recovery before.
    not_before: Duration,
    /// Whether the last session was about STAKEs: then one about a fork is next.
    pub(super) had_turn: bool,
}

/// A proposer was refused: a STAKE of ours may be wrong.
#[derive(Debug)]
struct Suspicion {
    /// The refused block.
    refused: Height,
    /// Our tip, which the suspicion is bound to.
    ours: Tip,
    /// Who sent the refused block: others are asked first.
    by: ConnId,
    ready_at: Duration,
    /// The connections whose STAKEs were compared with ours, or are.
    asked: BTreeSet<ConnId>,
    /// There is nothing to compare, or no way back.
    hopeless: bool,
}

impl Recovery {
    /// From when on STAKEs are doubted.
    fn ready_at(&self) -> Option<Duration> {
        self.suspicion.as_ref().map(|suspicion| suspicion.ready_at.max(self.not_before))
    }
}

impl<F: ForkRule> BatchSync<F> {
    /// The proposer of a peer's block was refused.
    pub(super) fn suspect_stakes(&mut self, by: ConnId, refused: Height) {
        let about_fork = self.session.as_ref().filter(|_| self.reorganising());
        // What a recovery itself runs into is its failure.
        if about_fork.is_some_and(|session| session.recovery.is_some()) {
            return;
        }
        // In a reorganisation it is our own chain that the STAKEs will be looked for in, once it is back.
        let Some(ours) = about_fork.map(|session| session.ours).or(self.tip) else { return };
        if self.recovery.suspicion.as_ref().is_some_and(|known| (known.refused, known.ours) == (refused, ours)) {
            return;
        }
        let wait = if self.mode == Mode::Synced { self.limits.recovery_wait } else { Duration::ZERO };
        let ready_at = self.now.saturating_add(wait);
        self.recovery.suspicion =
            Some(Suspicion { refused, ours, by, ready_at, asked: BTreeSet::new(), hopeless: false });
    }

    /// Whether a peer may still show what we have wrong.
    pub(super) fn may_recover_with(&self, id: ConnId) -> bool {
        let Some(suspicion) = self.recovery.suspicion.as_ref().filter(|suspicion| !suspicion.hopeless) else {
            return false;
        };
        let above = suspicion.ours.height.saturating_add(1);
        let tip = self.session.as_ref().filter(|_| self.reorganising()).map_or(self.tip, |session| Some(session.ours));
        tip == Some(suspicion.ours)
            && !suspicion.asked.contains(&id)
            && self.peers.get(&id).is_some_and(|peer| !peer.is_ruled_out() && peer.has(above))
    }

    /// When a recovery may begin that has to wait.
    pub(super) fn recovery_deadlines(&self) -> impl Iterator<Item = Duration> {
        let waits = self.peers.keys().any(|&id| self.may_recover_with(id));
        let ready = self.recovery.ready_at().filter(|_| waits);
        ready.into_iter().flat_map(|at| [at, at.saturating_add(self.limits.claim_patience)])
    }

    /// With whom STAKEs are compared next, unless another peer may extend our tip: those who did not send the refused block first.
    pub(super) fn next_recovery(&self) -> Option<ConnId> {
        let next = self.next_height()?;
        let (ready, by) = (self.recovery.ready_at()?, self.recovery.suspicion.as_ref()?.by);
        if ready > self.now || !self.importing.is_empty() || self.now < self.paused_until {
            return None;
        }
        // Claims alone do not hold it back for long.
        if ready.saturating_add(self.limits.claim_patience) > self.now && self.may_be_extended(next) {
            return None;
        }
        let in_session = self.session.as_ref().map(|session| session.peer);
        let waiting = self
            .peers
            .iter()
            .filter(|&(&id, peer)| in_session != Some(id) && peer.is_idle() && self.may_recover_with(id));
        waiting.min_by_key(|&(&id, peer)| (id == by, self.turn_due(peer), id)).map(|(&id, _)| id)
    }

    /// Begins to compare STAKEs with a peer.
    pub(super) fn begin_recovery(&mut self, peer: ConnId) {
        let Some(suspicion) = &mut self.recovery.suspicion else { return };
        let (ours, refused) = (suspicion.ours, suspicion.refused);
        suspicion.asked.insert(peer);
        self.recovery.had_turn = true;
        let mut session = Session::new(peer, ours, Stage::FindingStakes, self.now);
        session.recovery = Some(Recovering { refused, stakes: Vec::new() });
        self.session = Some(session);
        self.actions.push_back(SyncAction::FindStakes { below: refused });
    }

    /// A tip that moved ends the doubt.
    pub(super) fn end_old_doubts(&mut self) {
        self.recovery.suspicion.take_if(|suspicion| Some(suspicion.ours) != self.tip);
    }

    /// The comparison with a peer is cut short: it may be asked again.
    pub(super) fn recovery_cut(&mut self, id: ConnId) {
        let recovering = self.session.as_ref().is_some_and(|session| session.recovery.is_some());
        if let (true, Some(suspicion)) = (recovering, &mut self.recovery.suspicion) {
            suspicion.asked.remove(&id);
        }
    }

    /// Whether some peer may have the next block, and has not been tried in vain.
    pub(super) fn may_be_extended(&self, next: Height) -> bool {
        self.peers.values().any(|peer| {
            peer.is_open()
                && peer.has(next)
                && !peer.off_branch
                && !peer.distrusted
                && !peer.is_ruled_out()
                && peer.allowed(self.now).is_some_and(|allowed| allowed >= next)
        })
    }

    /// Our own STAKEs.
    pub(super) fn on_own_stakes(&mut self, below: Height, stakes: Vec<StakeBlock>) {
        let Some(session) = self.session.as_mut().filter(|session| session.stage == Stage::FindingStakes) else {
            return;
        };
        let ours = session.ours.height;
        let Some(recovering) = session.recovery.as_mut().filter(|recovering| recovering.refused == below) else {
            return;
        };
        // What undo records do not reach cannot be rolled back.
        let lowest = ours.saturating_sub(crate::store::UNDO_DEPTH - 1);
        let in_reach = |stake: &StakeBlock| (lowest..=ours).contains(&stake.link.height);
        recovering.stakes = stakes.into_iter().filter(in_reach).collect();
        if recovering.stakes.is_empty() {
            self.recovery_forbidden();
            self.fail_session(false);
            return;
        }
        session.stage = Stage::Comparing { next: 0 };
    }

    /// Asks for the peer's blocks from a STAKE of ours on, up to the one that was refused.
    pub(super) fn ask_for_stakes(&mut self, next: usize) {
        let Some(session) = &self.session else { return };
        let first = session.recovery.as_ref().and_then(|recovering| recovering.stakes.get(next));
        let Some(from) = first.map(|stake| stake.link.height) else {
            self.fail_session(false);
            return;
        };
        let (id, to) = (session.peer, session.ours.height.saturating_add(1));
        self.ask_for_branch(id, from, to);
    }

    /// Has it said what is staked in the blocks that came.
    pub(super) fn read_stakes(&mut self, next: usize, delivered: Delivered) {
        let Some(session) = &mut self.session else { return };
        session.stage = Stage::Reading { next, batch: delivered.batch };
        session.shown.push_back(delivered);
        self.actions.push_back(SyncAction::ReadStakes { batch: delivered.batch });
    }

    /// What is staked in the peer's blocks.
    pub(super) fn on_stakes(&mut self, batch: BatchId, theirs: &[StakeBlock]) {
        let Some(session) = &mut self.session else { return };
        let Stage::Reading { next, batch: read } = session.stage else { return };
        let Some(delivered) = (read == batch).then(|| session.shown.pop_front()).flatten() else { return };
        let ours = session.recovery.as_ref().map_or(&[][..], |recovering| &recovering.stakes);
        let covered = ours.iter().skip(next).take_while(|stake| stake.link.height <= delivered.last.height);
        let mut seen = next;
        for own in covered {
            let same_block = theirs.iter().find(|stake| stake.link == own.link);
            if same_block.is_some_and(|stake| stake.keys != own.keys) {
                let parent = Tip { height: own.link.height.saturating_sub(1), hash: own.link.prev_hash };
                let keep = (own.link.height > 0).then_some(parent);
                session.stage = Stage::Showing { keep: keep.map(|parent| parent.height) };
                session.shown_to = keep;
                if delivered.extends(keep.as_ref()) {
                    self.show(delivered);
                } else {
                    self.discard(delivered.batch);
                }
                return;
            }
            seen += 1;
        }
        self.discard(delivered.batch);
        // Its blocks in these places are those of another branch, or the same as ours: nothing is learnt from them.
        let Some(session) = &mut self.session else { return };
        let left = session.recovery.as_ref().is_some_and(|recovering| seen < recovering.stakes.len());
        if left && seen > next {
            session.stage = Stage::Comparing { next: seen };
        } else {
            self.fail_session(false);
        }
    }

    /// There is no way for a recovery from what is refused now.
    pub(super) fn recovery_forbidden(&mut self) {
        let recovering = self.session.as_ref().is_some_and(|session| session.recovery.is_some());
        if let (true, Some(suspicion)) = (recovering, &mut self.recovery.suspicion) {
            suspicion.hopeless = true;
        }
    }

    /// A reorganisation has ended, perhaps one that was a recovery.
    pub(super) fn recovery_ended(&mut self, recovering: Option<&Recovering>, recovered: bool) {
        let Some(recovering) = recovering else { return };
        if recovered {
            self.recovery = Recovery::default();
            // What was refused for our own fault may be fine now.
            for peer in
                self.peers.values_mut().filter(|peer| peer.refused.is_some_and(|(at, _)| at >= recovering.refused))
            {
                peer.refused = None;
            }
            return;
        }
        let doublings = self.recovery.failures.min(MOST_DOUBLINGS);
        let pause = self.limits.branch_pause.saturating_mul(1 << doublings).min(self.limits.branch_pause_most);
        self.recovery.failures = self.recovery.failures.saturating_add(1);
        self.recovery.not_before = self.now.saturating_add(pause);
    }

    /// A connection has ended.
    pub(super) fn recovery_peer_gone(&mut self, id: ConnId) {
        if let Some(suspicion) = &mut self.recovery.suspicion {
            suspicion.asked.remove(&id);
        }
    }
}
