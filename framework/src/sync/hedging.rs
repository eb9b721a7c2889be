//! Who is late with an answer, so that somebody else is asked as well, and what that says about both.
//!
//! A request's clock runs from when its peer could begin to work at it: from the request, or from the answer to the one before it.
//! Answers to later requests do not stop it. What bounds it is [`Pace::hedge_after`](super::pace::Pace::hedge_after): max(50 ms, 3 × the
//! median answer), doubled for a peer as often as it came first all the same, at most 64 s. The request of a peer that has delivered
//! lives for as long at least. Nothing of this keeps an open claim: it closes by [`SyncLimits`](super::SyncLimits), and a peer that takes
//! longer is asked on as soon as its blocks are imported.

use std::time::Duration;

use super::batch::{Asked, BatchSync, Purpose};
use super::fork::ForkRule;
use super::ranges::{Span, first_gap};
use super::{ConnId, RequestId};
use crate::types::Height;

impl<F: ForkRule> BatchSync<F> {
    /// What an answer with blocks says about how fast its peer is; how long it took, where that can be told.
    pub(super) fn note_pace(&mut self, id: ConnId, asked: &Asked, bytes: usize) -> Option<Duration> {
        let awaited = self.is_awaited(asked.from);
        let peer = self.peers.get_mut(&id)?;
        let took = peer.pace.answered(asked.since, asked.at, self.now, bytes)?;
        if !asked.hedged {
            peer.pace.was_in_time(took, &self.answers, &self.limits);
        } else if awaited {
            peer.pace.was_hedged_needlessly();
        } else {
            peer.pace.was_overtaken(self.now, &self.limits);
        }
        self.answers.came(took);
        Some(took)
    }

    /// A peer has answered a request: it works at the later ones from now on.
    pub(super) fn move_up(&mut self, id: ConnId, answered: RequestId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.pace.heard();
        for later in peer.requests.iter().filter(|&&request| request > answered) {
            if let Some(asked) = self.requests.get_mut(later) {
                asked.since = self.now;
            }
        }
    }

    /// The lowest blocks that somebody else is late with, for this peer to be asked for as well; any that were asked for where it
    /// was never probed.
    pub(super) fn late(&self, id: ConnId, next: Height, last: Height) -> Option<Span> {
        let probed = self.peers.get(&id)?.probed;
        let asked = || self.requests.values().filter(|asked| asked.purpose == Purpose::Range);
        let in_time = asked().filter(|asked| asked.peer == id || (probed && self.late_at(asked, next) > self.now));
        let in_time = in_time.map(|asked| Span { from: asked.from, to: asked.to });
        let mut covered: Vec<Span> = in_time.chain(self.buffer.spans()).collect();
        covered.sort_unstable();
        let open = (last >= next).then_some(Span { from: next, to: last })?;
        let gap = first_gap(&covered, open)?;
        let late = asked().find(|asked| asked.peer != id && asked.from <= gap.from && gap.from <= asked.to)?;
        Some(Span { from: gap.from, to: gap.to.min(late.to) })
    }

    /// When a request counts as late: with the next blocks once their peer has worked at them for longer than is usual, with others only
    /// after twice that time, since they are not needed yet.
    fn late_at(&self, asked: &Asked, next: Height) -> Duration {
        let Some(peer) = self.peers.get(&asked.peer) else { return Duration::ZERO };
        let after = peer.pace.hedge_after(&self.answers, &self.limits);
        let times = if asked.from <= next && next <= asked.to { 1 } else { 2 };
        asked.since.saturating_add(after.saturating_mul(times))
    }

    /// The times at which requests get late, where somebody could be asked instead.
    pub(super) fn lates(&self) -> Vec<Duration> {
        let Some(next) =
            self.next_height().filter(|_| self.peers.values().any(|peer| peer.is_open() && peer.has_room()))
        else {
            return Vec::new();
        };
        let asked = self.requests.values().filter(|asked| asked.purpose == Purpose::Range);
        asked.map(|asked| self.late_at(asked, next)).collect()
    }

    /// Notes that others are asked for this as well.
    pub(super) fn note_hedge(&mut self, span: Span, late: bool) {
        for asked in self.requests.values_mut().filter(|asked| late && asked.purpose == Purpose::Range) {
            asked.hedged |= asked.from <= span.to && span.from <= asked.to;
        }
    }

    /// Whether the block at this height is still to come.
    fn is_awaited(&self, height: Height) -> bool {
        let next = self.next_height();
        next.is_some_and(|next| height >= next)
            && !self.buffer.spans().any(|span| span.from <= height && height <= span.to)
    }
}
