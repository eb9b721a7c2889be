//! The fork session: with one peer at a time, from the search for the branching point to the end of the reorganisation.
//!
//! Until the peer has shown blocks that link to ours and end higher, nothing of ours is touched and the sync with others goes on;
//! if our tip changes meanwhile, the session is dropped. From the rollback on, nothing but that peer's branch is imported.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::{BatchSync, Purpose};
use super::fork::{Branching, ForkRule, branching};
use super::ranges::{Delivered, Span};
use super::sizing::range_for;
use super::{BatchId, ConnId, SyncAction, SyncReport};
use crate::store::UNDO_DEPTH;
use crate::types::{BlockLink, Hash32, Height, Tip};

/// What is done about a fork.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: ConnId,
    /// Our tip when it began.
    ours: Tip,
    /// Our own last blocks, as many as may be rolled back and the one below them.
    own: Vec<BlockLink>,
    stage: Stage,
    began: Duration,
    /// No question before.
    resume_at: Duration,
    empties: u8,
    /// The peer's branch from the branching point on, as far as it was delivered and not yet imported.
    shown: VecDeque<Delivered>,
    shown_bytes: usize,
    /// Its last block that was delivered.
    shown_to: Option<Tip>,
    /// How much of it has yet to be checked for signatures.
    unchecked: usize,
    /// How many blocks of it known proposers signed.
    signed: u64,
    /// Its first block, once our blocks are to be rolled back towards it.
    branch: Option<Hash32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waiting for our own links.
    LookingUp,
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

impl<F: ForkRule> BatchSync<F> {
    /// Whether our blocks are rolled back, so that nothing but the session's branch may be imported.
    pub(super) fn reorganising(&self) -> bool {
        self.session.as_ref().is_some_and(|session| {
            matches!(session.stage, Stage::RollingBack { .. } | Stage::Joining { .. } | Stage::Finishing { .. })
        })
    }

    /// How many blocks a session may roll back: what the rule says, as far as undo records reach.
    ///
    /// A chain that is known not to be a checkpoint's is left however deep that is.
    fn bound(&self) -> u64 {
        if self.linkage.is_off_chain() { UNDO_DEPTH } else { self.rule.bound().min(UNDO_DEPTH) }
    }

    fn next_depth(&self, tried: u64) -> Option<u64> {
        let beyond = self.linkage.is_off_chain().then(|| tried.saturating_mul(2).clamp(1, UNDO_DEPTH));
        self.rule.next_depth(tried).or(beyond)
    }

    /// When the session wants to be looked at.
    pub(super) fn session_deadline(&self) -> Option<Duration> {
        let session = self.session.as_ref()?;
        let resume = (session.resume_at > self.now).then_some(session.resume_at);
        // The limit is one of the search: once our blocks are rolled back it is past, and must not hide when to ask again.
        let searching = !self.reorganising();
        let end = searching.then(|| session.began.saturating_add(self.search_limit(session.peer)));
        resume.into_iter().chain(end).min()
    }

    /// Goes on with the session, or begins one where one is needed.
    pub(super) fn tend_session(&mut self) {
        let stale = self.session.as_ref().is_some_and(|session| self.tip != Some(session.ours));
        if stale && !self.reorganising() {
            self.drop_session();
        }
        let Some(session) = &self.session else {
            self.begin_session();
            return;
        };
        let (peer, stage) = (session.peer, session.stage);
        let too_long = session.began.saturating_add(self.search_limit(peer)) <= self.now;
        let busy = session.resume_at > self.now || self.peers.get(&peer).is_some_and(|peer| !peer.is_idle());
        match stage {
            Stage::LookingUp | Stage::Searching { .. } | Stage::Showing { .. } if too_long => self.fail_session(false),
            Stage::Searching { asking, tried } if !busy => self.ask_lower(tried, asking),
            Stage::Showing { keep } if !busy => self.show_or_roll_back(keep),
            Stage::Joining { keep, broken } if self.importing.is_empty() => self.join(keep, broken, busy),
            _ => {}
        }
        // Where this one ended just now, no event will follow that begins the next.
        if self.session.is_none() {
            self.begin_session();
        }
    }

    pub(super) fn on_own_links(&mut self, links: Vec<BlockLink>) {
        let bound = self.bound();
        let Some(session) = &mut self.session else { return };
        if session.stage != Stage::LookingUp {
            return;
        }
        let (last, ours) = (links.last().map(BlockLink::tip), session.ours);
        if last != Some(ours) {
            // A higher or another tip is news that is on its way to us; fewer blocks cannot be read, now as a moment ago.
            let readable = last.is_some_and(|last| last.height >= ours.height);
            let pause = if readable { self.limits.empty_pause } else { self.limits.local_pause };
            self.drop_session();
            self.postpone_sessions(pause);
            return;
        }
        let lowest = session.ours.height.saturating_sub(bound);
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
            // A short answer ended below the branching point.
            Stage::Showing { .. } if session.shown.is_empty() && delivered.extends(session.shown_to.as_ref()) => {
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
            self.fail_session(true);
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
            self.actions.push_back(SyncAction::Report(SyncReport::Reorganised { removed: depth }));
            return;
        }
        self.actions.push_back(SyncAction::Report(SyncReport::PutBack { restored: depth }));
        if let Some(first) = session.branch {
            self.branches.failed(keep, first, self.now, &self.limits);
        }
        let pause = self.now.saturating_add(self.limits.distrust_pause);
        if let Some(peer) = self.peers.get_mut(&session.peer) {
            peer.forks.tried.insert(keep);
            peer.forks.not_before = pause;
        }
        self.give_up_on(session.peer);
    }

    /// The chain refused a block of the branch.
    pub(super) fn session_rejected(&mut self, of: ConnId) {
        if let Some(session) = &mut self.session
            && let (true, Stage::Joining { broken, .. }) = (session.peer == of, &mut session.stage)
        {
            *broken = true;
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
        let (id, ours) = (session.peer, session.ours);
        self.drop_session();
        let pause = self.now.saturating_add(self.limits.distrust_pause);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.forks.not_before = pause;
        if too_deep && !peer.forks.too_deep {
            peer.forks.too_deep = true;
            let bound = self.bound();
            let below = ours.height.saturating_sub(bound);
            self.actions.push_back(SyncAction::Report(SyncReport::ForkTooDeep { peer: id, below, bound }));
        }
        self.give_up_on(id);
    }

    /// Begins a session with the peer of the highest claim among those whose blocks do not link, unless another peer may extend our tip.
    fn begin_session(&mut self) {
        let (Some(ours), Some(next)) = (self.tip, self.next_height()) else { return };
        let extends = self.peers.values().any(|peer| {
            peer.is_open() && peer.has(next) && !peer.off_branch && !peer.distrusted && !peer.is_ruled_out()
        });
        if extends || !self.importing.is_empty() || self.now < self.paused_until {
            return;
        }
        let candidate = self.peers.iter().filter(|(_, peer)| {
            peer.is_open()
                && peer.off_branch
                && peer.is_idle()
                && peer.may_fork(&self.limits)
                && peer.forks.not_before <= self.now
                && peer.best.is_some_and(|best| self.rule.is_better(best, ours.height))
        });
        let Some((&peer, _)) = candidate.max_by_key(|&(&id, peer)| (peer.best, std::cmp::Reverse(id))) else { return };
        self.session = Some(Session {
            peer,
            ours,
            own: Vec::new(),
            stage: Stage::LookingUp,
            began: self.now,
            resume_at: self.now,
            empties: 0,
            shown: VecDeque::new(),
            shown_bytes: 0,
            shown_to: None,
            unchecked: 0,
            signed: 0,
            branch: None,
        });
        let from = ours.height.saturating_sub(self.bound());
        self.actions.push_back(SyncAction::LookUp { from, to: ours.height });
    }

    /// Begins no session for a while with any peer that is on another branch now.
    fn postpone_sessions(&mut self, pause: Duration) {
        let at = self.now.saturating_add(pause);
        for peer in self.peers.values_mut().filter(|peer| peer.off_branch) {
            peer.forks.not_before = peer.forks.not_before.max(at);
        }
    }

    /// Forgets a session before its rollback.
    fn drop_session(&mut self) {
        let Some(session) = self.session.take() else { return };
        for delivered in session.shown {
            self.discard(delivered.batch);
        }
    }

    /// Doubts more of our blocks, after `tried` of them.
    fn search_deeper(&mut self, tried: u64) {
        let bound = self.bound();
        let next = self.next_depth(tried);
        let Some(session) = &mut self.session else { return };
        let most = bound.min(session.ours.height.saturating_add(1));
        match next.map(|depth| depth.min(most)).filter(|&depth| depth > tried) {
            Some(asking) => session.stage = Stage::Searching { tried, asking },
            None => self.fail_session(true),
        }
    }

    /// Asks for the peer's blocks in place of those of ours that are doubted now.
    fn ask_lower(&mut self, tried: u64, asking: u64) {
        let Some(session) = &self.session else { return };
        let (id, ours) = (session.peer, session.ours.height);
        let from = ours.saturating_add(1).saturating_sub(asking);
        // The block above our tip comes with the first question: where only our tip is to go, nothing more is needed.
        let to = if tried == 0 { ours.saturating_add(1) } else { ours.saturating_sub(tried) };
        self.ask_for_branch(id, from, to);
    }

    fn ask_for_branch(&mut self, id: ConnId, from: Height, to: Height) {
        let Some(peer) = self.peers.get(&id) else { return };
        let len = range_for(&self.limits, peer.legacy, &peer.sizing, &self.seen);
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
        let (id, ours) = (session.peer, session.ours);
        if keep == Some(ours.height) {
            // No fork: the peer has our tip after all.
            self.discard(delivered.batch);
            self.drop_session();
            let pause = self.now.saturating_add(self.limits.distrust_pause);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.off_branch = false;
                peer.forks.not_before = pause;
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

    /// Adds to what the peer has shown of its branch, and has it checked.
    fn show(&mut self, delivered: Delivered) {
        let Some(session) = &mut self.session else { return };
        session.shown_to = Some(delivered.last);
        session.shown_bytes = session.shown_bytes.saturating_add(delivered.bytes);
        session.shown.push_back(delivered);
        session.unchecked = session.unchecked.saturating_add(1);
        self.actions.push_back(SyncAction::Check { batch: delivered.batch });
    }

    /// Rolls back once the branch is seen to be better, or fills the buffer; asks for more of it until then.
    ///
    /// To name an unknown proposer costs nothing, so only signed blocks count: there must be enough of them for a better branch.
    /// Where the branch does not fit in the buffer, half of what fits must be signed.
    fn show_or_roll_back(&mut self, keep: Option<Height>) {
        let Some(session) = &mut self.session else { return };
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
        if again || self.branches.is_paused(keep, first, self.now) {
            self.fail_session(false);
            return;
        }
        let blocks = session.shown.iter().map(Delivered::blocks).fold(0, u64::saturating_add);
        let half_signed = session.signed >= blocks.div_ceil(2);
        let signed_to = height_after(keep, session.signed);
        let is_better = |height: Option<Height>| height.is_some_and(|height| self.rule.is_better(height, ours));
        let full = session.shown_bytes >= self.limits.window_bytes;
        if is_better(signed_to) || (full && half_signed) {
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

    /// Decides after what was handed over is imported.
    fn join(&mut self, keep: Option<Height>, broken: bool, busy: bool) {
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

    fn search_limit(&self, id: ConnId) -> Duration {
        let legacy = self.peers.get(&id).is_some_and(|peer| peer.legacy);
        if legacy { self.limits.search_legacy } else { self.limits.search }
    }
}

/// The last common block of ours and these, which link to one of ours.
fn branching_above(session: &Session, links: &[BlockLink]) -> Option<Height> {
    match branching(&session.own, links) {
        Branching::After(keep) => keep,
        Branching::Lower => session.shown_to.map(|tip| tip.height),
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
