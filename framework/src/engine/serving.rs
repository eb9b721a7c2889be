use std::time::Duration;

use super::core::{Action, Core};
use super::peer::{Part, Serving, Wanted};
use crate::sync::ConnId;
use crate::types::{Height, MAX_HEADERS};

/// Ranges served to one peer that are remembered; what is older is forgotten, and may be asked again at once.
const SERVED_RANGES: usize = 64;

impl Core {
    /// A peer asks for blocks or headers: answered in its turn, one at a time for each peer. Where more wait than may, the oldest
    /// question goes: whoever has the last ones outstanding has given up on it, as we do ourselves.
    pub(super) fn range_asked(&mut self, now: Duration, conn: ConnId, mut wanted: Wanted) {
        let limits = self.config.limits.clone();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        match wanted.part {
            Part::Block => wanted.to = wanted.to.min(wanted.from.saturating_add(limits.get_blocks_count - 1)),
            Part::Header => wanted.from = wanted.from.max(wanted.to.saturating_sub(MAX_HEADERS - 1)),
        }
        if wanted.part == Part::Block {
            peer.progress.shows(wanted.from.checked_sub(1));
        }
        if peer.serving.queue.len() >= limits.get_blocks_queue {
            peer.serving.queue.pop_front();
            let (label, host) = (peer.label(), peer.host.clone());
            if let Some(more) = self.log.allow(&host, "get_blocks dropped", now) {
                tracing::info!(peer = %label, more, "get_blocks dropped: {} newer ones wait", limits.get_blocks_queue);
            }
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.serving.queue.push_back(wanted);
        self.serve_next(now, conn);
    }

    /// An answer is in the outbox, or came to nothing.
    pub(crate) fn served(&mut self, now: Duration, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.serving.busy = false;
            peer.last_sent = now;
            self.serve_next(now, conn);
        }
    }

    /// A question could not be answered, since a block of ours cannot be read or is too long for its codec; whoever asked was given nothing. Peers
    /// could ask for it again and again (attacks.md row 26).
    pub(crate) fn not_answered(&mut self, now: Duration, conn: ConnId, wanted: Wanted, why: &str) {
        let Wanted { from, to, .. } = wanted;
        self.last_error = Some(format!("a request for {from}..={to} cannot be answered: {why}"));
        let Some(peer) = self.peers.get(&conn) else { return };
        if let Some(more) = self.log.allow(&peer.host, "not answered", now) {
            tracing::error!(peer = %peer.label(), more, "a request for {from}..={to} cannot be answered: {why}");
        }
    }

    /// What waited for the disk, or since it was served a moment ago, may have its turn now.
    pub(super) fn serve_waiting(&mut self, now: Duration) {
        let waiting: Vec<ConnId> =
            self.peers.iter().filter(|(_, peer)| !peer.serving.queue.is_empty()).map(|(conn, _)| *conn).collect();
        for conn in waiting {
            self.serve_next(now, conn);
        }
    }

    /// When something that was served a moment ago may be served again that a peer waits for.
    pub(super) fn serving_deadline(&self) -> Option<Duration> {
        self.peers.values().filter(|peer| !peer.closing).filter_map(|peer| peer.serving.resumes_at).min()
    }

    /// Whether this reaches into blocks that peers were told of and that the disk has in a moment: an answer without them would look
    /// like a claim that is not kept.
    fn waits_for_disk(&self, wanted: Wanted) -> bool {
        let tip = self.tip.map(|tip| tip.height);
        Some(wanted.to) > tip && self.told_early.is_some_and(|told| Some(told) > tip && wanted.from <= told)
    }

    /// Answers the first question that need not wait. Those without a number keep their order, since their answers name none.
    fn serve_next(&mut self, now: Duration, conn: ConnId) {
        let memory = self.config.limits.served_range_memory;
        let Some(peer) = self.peers.get(&conn).filter(|peer| !peer.serving.busy && !peer.closing) else { return };
        let (mut ready, mut resumes_at) = (None, None::<Duration>);
        for (place, &wanted) in peer.serving.queue.iter().enumerate() {
            let rests_until = peer.serving.rests_until(wanted, memory).filter(|&until| until > now);
            if rests_until.is_none() && !self.waits_for_disk(wanted) {
                ready = Some(place);
                break;
            }
            resumes_at = resumes_at.into_iter().chain(rests_until).min();
            if wanted.id.is_none() {
                break;
            }
        }
        let Some(serving) = self.peers.get_mut(&conn).map(|peer| &mut peer.serving) else { return };
        serving.resumes_at = resumes_at.filter(|_| ready.is_none());
        let Some(wanted) = ready.and_then(|place| serving.queue.remove(place)) else { return };
        if serving.served.len() == SERVED_RANGES {
            serving.served.pop_front();
        }
        serving.served.push_back((wanted.range(), now));
        serving.busy = true;
        self.push(Action::Serve { conn, wanted });
    }
}

impl Wanted {
    fn range(self) -> (Part, Height, Height) {
        (self.part, self.from, self.to)
    }
}

impl Serving {
    /// Until when a question waits that was answered a moment ago. Only who asks for the very same again waits: an honest sync at full
    /// speed never does.
    fn rests_until(&self, wanted: Wanted, memory: Duration) -> Option<Duration> {
        let served = self.served.iter().rev().find(|(range, _)| *range == wanted.range());
        served.map(|(_, when)| when.saturating_add(memory))
    }
}
