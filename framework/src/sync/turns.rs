//! Whose turn it is for a session: one peer after the other, so that nobody can keep another one from its turn.
//!
//! A peer may claim anything, answer slowly, uselessly or not at all, repeat itself, leave and come back, and there may be many of
//! them. So what they claim decides nothing but ties:
//!
//! - Everybody is due some time after it connected or had its last turn, and whoever is due first is next: after as many times its turn's length as
//!   there are peers. So of two with turns of one length the one that has waited longer is first, who comes anew comes last, and a
//!   short turn does not wait for many long ones.
//! - While somebody else waits a turn is cut short: the first after [`stall`](super::SyncLimits::stall) (a legacy peer's after
//!   [`claim_patience`](super::SyncLimits::claim_patience)), each further one of the same connection after twice as long, up to the limit of a
//!   search. So who is slow by nature comes to its end as well.
//! - A turn that failed is followed by a rest, which doubles. Whether the claim is open says nothing: a peer on another branch is looked
//!   at again for as long as it is there.
//! - Sessions about forks and about STAKEs take turns with each other.
//! - That somebody else may extend our tip, which is a claim too, holds sessions back no longer than
//!   [`claim_patience`](super::SyncLimits::claim_patience).
//!
//! Hence the bound. With `n` connections and a peer that needs the time `t` for its session and answers when it is asked, the session is over no
//! later than `claim_patience + 4 × n × max(t, first turn)` after its blocks were seen not to link, and one turn of somebody else for each
//! of its own: the turns of all others that are due before a peer's own fit into the time until that, and its turns double.

use std::cmp::Reverse;
use std::time::Duration;

use super::ConnId;
use super::batch::BatchSync;
use super::claim::Peer;
use super::fork::ForkRule;

/// How often a turn or a rest doubles at most; the limits end it long before.
const MOST_DOUBLINGS: u32 = 16;

impl<F: ForkRule> BatchSync<F> {
    /// Begins a session where somebody waits for one.
    pub(super) fn begin_any_session(&mut self) {
        self.end_old_doubts();
        let (recovery, fork) = (self.next_recovery(), self.next_fork());
        match (recovery, fork) {
            (Some(peer), None) => self.begin_recovery(peer),
            (Some(peer), Some(_)) if !self.recovery.had_turn => self.begin_recovery(peer),
            (_, Some(peer)) => self.begin_search(peer),
            (None, None) => {}
        }
    }

    /// Whether the session's peer has had its time, and others wait for theirs.
    pub(super) fn is_turn_over(&self) -> bool {
        self.turn_ends().is_some_and(|end| end <= self.now)
            && (self.next_recovery().is_some() || self.next_fork().is_some())
    }

    /// When the session's turn ends where others wait for theirs.
    pub(super) fn turn_ends(&self) -> Option<Duration> {
        let session = self.session.as_ref()?;
        let turn = self.peers.get(&session.peer).map_or(Duration::ZERO, |peer| self.turn_of(peer));
        Some(session.began.saturating_add(turn))
    }

    /// Ends the session for the sake of others. Its peer is to have a longer turn next time.
    pub(super) fn end_turn(&mut self) {
        let Some(id) = self.session.as_ref().map(|session| session.peer) else { return };
        self.recovery_cut(id);
        self.drop_session();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.forks.waits_since = self.now;
            peer.forks.cut = peer.forks.cut.saturating_add(1);
        }
    }

    /// Notes that the session with a peer failed: it rests before its next one.
    pub(super) fn note_failed_turn(&mut self, id: ConnId) {
        let (limits, now) = (&self.limits, self.now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let doubled = limits.distrust_pause.saturating_mul(1 << peer.forks.failed.min(MOST_DOUBLINGS));
        peer.forks.not_before = now.saturating_add(doubled.min(limits.branch_pause));
        peer.forks.failed = peer.forks.failed.saturating_add(1);
        peer.forks.waits_since = now;
    }

    /// When somebody may get a turn that cannot have it now.
    pub(super) fn turn_deadlines(&self) -> impl Iterator<Item = Duration> {
        let waiting = self.peers.values().filter(|peer| peer.off_branch);
        waiting.flat_map(|peer| [peer.forks.not_before, self.patience_of(peer)])
    }

    /// Whose branch is looked at next, unless another peer may extend our tip.
    fn next_fork(&self) -> Option<ConnId> {
        let (ours, next) = (self.tip?, self.next_height()?);
        // What the headers show decides between branches; until then none is left for another.
        if !self.importing.is_empty() || self.now < self.paused_until || self.awaits_headers() {
            return None;
        }
        let in_session = self.session.as_ref().map(|session| session.peer);
        let waiting = || {
            self.peers.iter().filter(|&(&id, peer)| {
                in_session != Some(id)
                    && peer.off_branch
                    && peer.is_idle()
                    && peer.may_fork(&self.limits)
                    && peer.forks.not_before <= self.now
                    && peer.best.is_some_and(|best| self.rule.is_better(best, ours.height))
            })
        };
        let patient = !waiting().any(|(_, peer)| self.patience_of(peer) <= self.now);
        if patient && self.may_be_extended(next) {
            return None;
        }
        let first = waiting().min_by_key(|&(&id, peer)| (self.turn_due(peer), Reverse(peer.best), id));
        first.map(|(&id, _)| id)
    }

    /// Until when the claims of others hold back a session with this peer.
    fn patience_of(&self, peer: &Peer) -> Duration {
        peer.forks.off_since.saturating_add(self.limits.claim_patience)
    }

    /// When the next turn of a peer is due.
    pub(super) fn turn_due(&self, peer: &Peer) -> Duration {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        peer.forks.waits_since.saturating_add(self.turn_of(peer).saturating_mul(peers))
    }

    /// How long the next turn of a peer is, or the one that it has, where others wait.
    fn turn_of(&self, peer: &Peer) -> Duration {
        let limits = &self.limits;
        let (first, most) =
            if peer.legacy { (limits.claim_patience, limits.search_legacy) } else { (limits.stall, limits.search) };
        first.saturating_mul(1 << peer.forks.cut.min(MOST_DOUBLINGS)).min(most)
    }
}
