//! The fork session: with one peer at a time, from the search for the branching point to the end of the reorganisation.
//!
//! Until the peer has shown blocks that link to ours and end higher, nothing of ours is touched and the sync with others goes on;
//! our tip may move on meanwhile. From the rollback on, nothing but that peer's branch is imported.
//!
//! Here is the life of a session; `search` finds the branching point, `recover` the block whose STAKE differs, `reorg` takes the branch.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::BatchSync;
use super::fork::ForkRule;
use super::linkage::MOST_UNLINKED;
use super::ranges::Delivered;
use super::{BatchId, ConnId, StakeBlock, SyncAction, SyncReport};
use crate::store::UNDO_DEPTH;
use crate::types::{BlockLink, Hash32, Height, Tip};

/// What is done about a fork.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: ConnId,
    /// Our tip when it began, where the search looks down from.
    pub(super) base: Tip,
    /// Our tip, which the peer's branch is to be better than. It may move on while the branch is looked for and shown: that changes
    /// nothing below `base`.
    pub(super) ours: Tip,
    /// Our own last blocks, as many as may be rolled back and the one below them.
    pub(super) own: Vec<BlockLink>,
    pub(super) stage: Stage,
    pub(super) began: Duration,
    /// No question before.
    pub(super) resume_at: Duration,
    pub(super) empties: u8,
    /// The peer's branch from the branching point on, as far as it was delivered and not yet imported.
    pub(super) shown: VecDeque<Delivered>,
    pub(super) shown_bytes: usize,
    /// Its last block that was delivered.
    pub(super) shown_to: Option<Tip>,
    /// How much of it has yet to be checked for signatures.
    pub(super) unchecked: usize,
    /// How many blocks of it known proposers signed.
    pub(super) signed: u64,
    /// Nothing more is imported on our branch: the rollback waits for what is under import.
    pub(super) drains: bool,
    /// Its first block, once our blocks are to be rolled back towards it.
    pub(super) branch: Option<Hash32>,
    /// Whether the peer was found to have sent an invalid block.
    pub(super) convicted: bool,
    /// What a recovery is about; nothing where the session is about a fork.
    pub(super) recovery: Option<Recovering>,
}

/// What a session looks for that compares STAKEs instead of links.
#[derive(Debug)]
pub(super) struct Recovering {
    /// The block whose proposer was refused.
    pub(super) refused: Height,
    /// Our own blocks with STAKEs below it, ascending.
    pub(super) stakes: Vec<StakeBlock>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waiting for our own links.
    LookingUp,
    /// Waiting for our own STAKEs.
    FindingStakes,
    /// Asking for the peer's block in place of our STAKE block of this index, and for what follows.
    Comparing { next: usize },
    /// Waiting to hear what is staked in the batch that came for it.
    Reading { next: usize, batch: BatchId },
    /// Looking for the branching point: `tried` blocks back in vain, `asking` now.
    Searching { tried: u64, asking: u64 },
    /// Collecting the peer's branch above `keep`.
    Showing { keep: Option<Height> },
    /// The rollback is under way.
    RollingBack { keep: Option<Height> },
    /// Importing the peer's branch; once `broken`, nothing more of it will come.
    Joining { keep: Option<Height>, broken: bool },
    /// The end is under way.
    Finishing { keep: Option<Height>, kept: bool },
}

impl Session {
    /// A session with a peer, which is not about anything yet.
    pub(super) fn new(peer: ConnId, ours: Tip, stage: Stage, now: Duration) -> Self {
        Self {
            peer,
            base: ours,
            ours,
            own: Vec::new(),
            stage,
            began: now,
            resume_at: now,
            empties: 0,
            shown: VecDeque::new(),
            shown_bytes: 0,
            shown_to: None,
            unchecked: 0,
            signed: 0,
            drains: false,
            branch: None,
            convicted: false,
            recovery: None,
        }
    }
}

impl<F: ForkRule> BatchSync<F> {
    /// Whether our blocks are rolled back, so that nothing but the session's branch may be imported.
    pub(super) fn reorganising(&self) -> bool {
        self.session.as_ref().is_some_and(|session| {
            matches!(session.stage, Stage::RollingBack { .. } | Stage::Joining { .. } | Stage::Finishing { .. })
        })
    }

    /// How many blocks a session may roll back: what the rule says, as far as undo records reach.
    ///
    /// A chain that is known not to be a checkpoint's is left however deep that is; while a checkpoint is ahead, what is not known to
    /// lead to it may be left, and what is known to is not.
    pub(super) fn bound(&self) -> u64 {
        if self.linkage.off_chain().is_some() {
            return UNDO_DEPTH;
        }
        let tip = self.tip.map(|tip| tip.height);
        let unlinked = self.linkage.unlinked(tip).min(MOST_UNLINKED);
        self.rule.bound().max(unlinked).min(tip.map_or(0, |tip| self.linkage.may_leave(tip))).min(UNDO_DEPTH)
    }

    /// When the session wants to be looked at.
    pub(super) fn session_deadline(&self) -> Option<Duration> {
        let session = self.session.as_ref()?;
        let resume = (session.resume_at > self.now).then_some(session.resume_at);
        // The limit is one of the search: once our blocks are rolled back it is past, and must not hide when to ask again.
        let searching = !self.reorganising();
        let end = searching.then(|| session.began.saturating_add(self.search_limit(session.peer)));
        let turn = self.turn_ends().filter(|&end| searching && end > self.now);
        resume.into_iter().chain(end).chain(turn).min()
    }

    /// Goes on with the session, or begins one where one is needed.
    pub(super) fn tend_session(&mut self) {
        self.follow_own_tip();
        let Some(session) = &self.session else {
            self.begin_any_session();
            return;
        };
        let (peer, stage) = (session.peer, session.stage);
        let too_long = session.began.saturating_add(self.search_limit(peer)) <= self.now;
        let busy = session.resume_at > self.now || self.peers.get(&peer).is_some_and(|peer| !peer.is_idle());
        match stage {
            _ if too_long && !self.reorganising() => self.fail_session(false),
            _ if !self.reorganising() && self.is_turn_over() => self.end_turn(),
            Stage::Searching { asking, tried } if !busy => self.ask_lower(tried, asking),
            Stage::Comparing { next } if !busy => self.ask_for_stakes(next),
            Stage::Showing { keep } if !busy => self.show_or_roll_back(keep),
            Stage::Joining { keep, broken } if self.importing.is_empty() => self.join(keep, broken, busy),
            _ => {}
        }
        // Where this one ended just now, no event will follow that begins the next.
        if self.session.is_none() {
            self.begin_any_session();
        }
    }

    /// Our tip may have moved: whoever makes it move must not end every search. What is not better any more is no fork to look at, and a doubt
    /// of our STAKEs ends with the tip that it was about.
    fn follow_own_tip(&mut self) {
        if self.reorganising() {
            return;
        }
        let Some(session) = self.session.as_mut().filter(|session| self.tip != Some(session.ours)) else { return };
        let best = self.peers.get(&session.peer).and_then(|peer| peer.best);
        let better = |tip: &Tip| best.is_some_and(|best| self.rule.is_better(best, tip.height));
        let higher = self.tip.filter(|tip| session.recovery.is_none() && tip.height > session.ours.height);
        match higher.filter(better) {
            Some(tip) => session.ours = tip,
            None => self.drop_session(),
        }
    }

    /// The chain refused a block of the branch.
    pub(super) fn session_rejected(&mut self, of: ConnId) {
        if let Some(session) = &mut self.session
            && let (true, Stage::Joining { broken, .. }) = (session.peer == of, &mut session.stage)
        {
            *broken = true;
        }
    }

    /// A question of a session was not answered: perhaps of one that was cut short since, while that of another peer is under way.
    pub(super) fn fork_request_failed(&mut self, id: ConnId) {
        if self.session.as_ref().is_some_and(|session| session.peer == id) {
            self.fail_session(false);
        } else {
            self.note_failed_turn(id);
        }
    }

    pub(super) fn session_peer_gone(&mut self, id: ConnId) {
        if self.session.as_ref().is_some_and(|session| session.peer == id) {
            self.fail_session(false);
        }
    }

    /// Ends a session that leads nowhere. After a rollback only the branch is over: what of it is under import decides.
    pub(super) fn fail_session(&mut self, too_deep: bool) {
        let Some(session) = &mut self.session else { return };
        match &mut session.stage {
            Stage::Joining { broken, .. } => {
                *broken = true;
                return;
            }
            Stage::RollingBack { .. } if !too_deep => return,
            Stage::Finishing { .. } => return,
            _ => {}
        }
        let (id, ours, about_fork) = (session.peer, session.ours, session.recovery.is_none());
        self.drop_session();
        self.note_failed_turn(id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if too_deep && about_fork && !peer.forks.too_deep {
            peer.forks.too_deep = true;
            let bound = self.bound();
            let below = ours.height.saturating_sub(bound);
            self.actions.push_back(SyncAction::Report(SyncReport::ForkTooDeep { peer: id, below, bound }));
        }
        self.give_up_on(id);
    }

    /// Forgets a session before its rollback.
    pub(super) fn drop_session(&mut self) {
        let Some(session) = self.session.take() else { return };
        for delivered in session.shown {
            self.discard(delivered.batch);
        }
    }

    fn search_limit(&self, id: ConnId) -> Duration {
        let legacy = self.peers.get(&id).is_some_and(|peer| peer.legacy);
        if legacy { self.limits.search_legacy } else { self.limits.search }
    }
}
