//! Whom to ask for what, and when to look again.

use std::time::Duration;

use super::batch::{Asked, BatchSync, Purpose};
use super::claim::Peer;
use super::fork::ForkRule;
use super::ranges::{Span, first_gap};
use super::sizing::range_for;
use super::{ConnId, Mode, SyncAction};
use crate::types::Height;

impl<F: ForkRule> BatchSync<F> {
    /// Gives every free peer with an open claim something to do: the next blocks, where somebody is late with them; the lowest
    /// that nobody was asked for; or others that somebody is late with. A peer that was not yet asked for what it claims gets a small part
    /// of what others were asked for, so that all claims are probed in parallel.
    pub(super) fn schedule(&mut self) {
        let Some(next) = self.next_height() else { return };
        let usual = self.usual();
        let mut free: Vec<(bool, bool, usize, Duration, ConnId)> = self
            .peers
            .iter()
            .filter(|&(&id, peer)| self.is_free(id, peer, next))
            .filter(|(_, peer)| !peer.pace.is_slow(usual) || self.may_be_slow(peer))
            .map(|(&id, peer)| (!peer.proven, peer.legacy, peer.requests.len(), peer.asked, id))
            .collect();
        free.sort_unstable();
        for (.., id) in free {
            let Some(peer) = self.peers.get(&id) else { continue };
            let allowed = peer.best.unwrap_or(0).min(peer.allowed(self.now).unwrap_or(0));
            let len = self.range_of(peer);
            let probed = peer.probed;
            let late = self.late(id, next, allowed);
            if late.is_none_or(|late| late.from > next || !probed)
                && let Some(gap) = self.gap(next, allowed)
            {
                let to = gap.to.min(gap.from.saturating_add(len - 1));
                let span = Span { from: gap.from, to: self.linkage.align(gap.from, to) };
                if self.fits(id, next, span) {
                    self.ask(id, span, Purpose::Range);
                    continue;
                }
            }
            if let Some(late) = late {
                let len = if probed { len } else { len.min(self.limits.least_share) };
                let to = late.to.min(allowed).min(late.from.saturating_add(len.max(1) - 1));
                let span = Span { from: late.from, to };
                self.note_hedge(span, probed);
                self.ask(id, span, Purpose::Range);
            }
        }
    }

    /// Now and then asks one of the peers that would not tell of their progress, or could not show it in time, for what is above our tip.
    pub(super) fn probe(&mut self) {
        if self.mode != Mode::Synced || self.now < self.next_probe {
            return;
        }
        let Some(next) = self.next_height() else { return };
        let worth =
            self.peers.iter().filter(|&(&id, peer)| self.may_probe(id, peer, next) && peer.not_before <= self.now);
        // In turn, where who comes anew comes last: otherwise those who come and go could keep it from one who stays.
        let Some((&id, peer)) = worth.min_by_key(|&(&id, peer)| (peer.probed_at, id)) else { return };
        let len = range_for(&self.limits, peer.legacy, &peer.sizing, &self.usual_size);
        let claimed = peer.best.filter(|&best| best >= next).unwrap_or(Height::MAX);
        let to = claimed.min(peer.allowed(self.now).unwrap_or(next)).min(next.saturating_add(len - 1));
        self.ask(id, Span { from: next, to: to.max(next) }, Purpose::Probe);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.probed_at = self.now;
        }
        self.next_probe = self.now.saturating_add(self.limits.probe_interval);
    }

    /// Sends a request. The peer must be free.
    pub(super) fn ask(&mut self, id: ConnId, span: Span, purpose: Purpose) {
        let request = self.new_request();
        let (limits, now) = (&self.limits, self.now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let timeout = match purpose {
            // With a search under way everything else of this peer waits, so its patience is that of a claim.
            Purpose::Fork if !peer.legacy => limits.claim_patience,
            // Who delivers, but slowly, must not have it cut short before anybody else is asked.
            Purpose::Range if peer.proven => peer.timeout(limits).max(peer.pace.hedge_after(&self.answers, limits)),
            _ => peer.timeout(limits),
        };
        peer.requests.push(request);
        peer.asked = now;
        if purpose == Purpose::Range {
            peer.probed = true;
            peer.waiting = peer.waiting.or(Some(now));
        }
        let Span { from, to } = span;
        self.requests.insert(request, Asked { peer: id, from, to, at: now, since: now, purpose, hedged: false });
        self.actions.push_back(match purpose {
            Purpose::Headers => SyncAction::RequestHeaders { peer: id, request, from, to, timeout },
            _ => SyncAction::Request { peer: id, request, from, to, timeout },
        });
    }

    /// The times at which something is to be done, past ones among them.
    pub(super) fn deadlines(&self) -> Vec<Duration> {
        let mut at = vec![self.paused_until];
        at.extend(self.session_deadline());
        at.extend(self.headers_deadlines());
        at.extend(self.lates());
        at.extend(self.recovery_deadlines());
        at.extend(self.turn_deadlines());
        for peer in self.peers.values().filter(|peer| peer.is_open()) {
            at.extend(peer.patience_ends(&self.limits));
            at.push(peer.not_before);
            at.push(peer.pace.rests_until());
        }
        if self.mode == Mode::Syncing && self.peers.values().any(Peer::counts) {
            at.extend(self.progress.map(|last| last.saturating_add(self.limits.no_progress)));
        }
        at.extend(
            self.peers
                .values()
                .filter_map(|peer| peer.refused)
                .map(|(_, until)| until)
                .filter(|&at| at < Duration::MAX),
        );
        if self.mode == Mode::Synced {
            let next = self.next_height();
            let mut ready = self
                .peers
                .iter()
                .filter(|&(&id, peer)| next.is_some_and(|next| self.may_probe(id, peer, next)))
                .map(|(_, peer)| peer.not_before);
            at.extend(ready.by_ref().min().map(|first| first.max(self.next_probe)));
        }
        at
    }

    fn is_free(&self, id: ConnId, peer: &Peer, next: Height) -> bool {
        peer.is_open()
            && peer.has_room()
            && !peer.is_ruled_out()
            && !peer.off_branch
            && peer.not_before <= self.now
            && peer.has(next)
            && peer.allowed(self.now).is_some_and(|allowed| allowed >= next)
            && self.session.as_ref().is_none_or(|session| session.peer != id)
    }

    fn may_probe(&self, id: ConnId, peer: &Peer, next: Height) -> bool {
        (peer.legacy || peer.has(next))
            && self.session.as_ref().is_none_or(|session| session.peer != id)
            && !peer.is_open()
            && !peer.is_ruled_out()
            && peer.is_idle()
            && peer.allowed(self.now).is_some_and(|allowed| allowed >= next)
    }

    /// How many blocks to ask a peer for: as many as it sends in the time that an answer should take, and as leave a share of the window
    /// to every other request.
    fn range_of(&self, peer: &Peer) -> u64 {
        let slots = self.all_slots();
        let share = self.limits.window_blocks / u64::try_from(slots).unwrap_or(u64::MAX);
        let most = range_for(&self.limits, peer.legacy, &peer.sizing, &self.usual_size)
            .min(share.max(self.limits.least_share))
            .max(1);
        // Legacy peers have a care of their own: they are busy for long, whatever they are asked for.
        let by_pace = if peer.legacy { None } else { peer.pace.bytes_in(self.limits.answer_time) };
        let by_share = self.share_of(slots);
        let bytes = by_pace.map_or(by_share, |bytes| bytes.min(by_share));
        peer.sizing.blocks_in(bytes, &self.usual_size).map_or(most, |blocks| blocks.min(most))
    }

    /// How many requests may be under way with all peers.
    fn all_slots(&self) -> usize {
        let helpers = self.peers.values().filter(|peer| peer.is_open() && !peer.off_branch);
        helpers.map(Peer::slots).sum::<usize>().max(1)
    }

    /// How many bytes of the window one of so many requests may have: the other half is for what was delivered.
    fn share_of(&self, slots: usize) -> usize {
        self.limits.window_bytes / 2 / slots
    }

    /// Whether a peer that is slow beside the others is asked for more: more than one answer would only be waited for, and after one that
    /// others were sooner with it rests. What it claims is looked at in any case.
    fn may_be_slow(&self, peer: &Peer) -> bool {
        peer.is_idle() && (!peer.probed || peer.pace.rests_until() <= self.now)
    }

    /// How long answers usually take: the median of the peers' who can be asked instead of each other, the lower of two.
    fn usual(&self) -> Option<Duration> {
        let helpers = self.peers.values().filter(|peer| peer.is_open() && !peer.off_branch && peer.proven);
        let mut all: Vec<Duration> = helpers.filter_map(|peer| peer.pace.usual()).collect();
        all.sort_unstable();
        all.get(all.len().saturating_sub(1) / 2).copied()
    }

    /// The lowest blocks up to `last` within the window that nobody was asked for.
    fn gap(&self, next: Height, last: Height) -> Option<Span> {
        let base = self.tip.map_or(0, |tip| tip.height);
        let to = last.min(base.saturating_add(self.limits.window_blocks));
        if to < next {
            return None;
        }
        let asked = self.requests.values().filter(|asked| asked.purpose == Purpose::Range);
        let asked = asked.map(|asked| Span { from: asked.from, to: asked.to });
        let mut covered: Vec<Span> = asked.chain(self.buffer.spans()).collect();
        covered.sort_unstable();
        first_gap(&covered, Span { from: next, to })
    }

    /// Whether there is room for these blocks of a peer. There always is for those that everything else waits for.
    fn fits(&self, id: ConnId, next: Height, span: Span) -> bool {
        if span.from == next && self.importing.is_empty() {
            return true;
        }
        let share = self.share_of(self.all_slots());
        let expected = |id: ConnId, from: Height, to: Height| {
            let sizing = self.peers.get(&id).map(|peer| &peer.sizing);
            let blocks = (to - from).saturating_add(1);
            sizing.map_or(0, |sizing| sizing.estimate(blocks, &self.usual_size, share))
        };
        let asked = self.requests.values().filter(|asked| asked.purpose != Purpose::Headers);
        let asked = asked.map(|asked| expected(asked.peer, asked.from, asked.to));
        let held = asked.fold(self.held_bytes(), usize::saturating_add);
        held.saturating_add(expected(id, span.from, span.to)) <= self.limits.window_bytes
    }
}
