use std::time::Duration;

use super::core::{Action, Core};
use super::peer::{Part, Wanted};
use crate::sync::ConnId;
use crate::types::MAX_HEADERS;

/// Ranges served to one peer that are remembered; what is older is forgotten, and may be asked again at once.
const SERVED_RANGES: usize = 64;

impl Core {
    /// A peer asks for blocks or headers: answered in its turn, one at a time for each peer and in the order of its questions.
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
            let (label, host) = (peer.label(), peer.host.clone());
            if let Some(more) = self.log.allow(&host, "get_blocks dropped", now) {
                tracing::info!(peer = %label, more, "get_blocks dropped: {} wait already", limits.get_blocks_queue);
            }
            return;
        }
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

    /// What waited for the disk may have its turn now.
    pub(super) fn serve_waiting(&mut self, now: Duration) {
        let waiting: Vec<ConnId> =
            self.peers.iter().filter(|(_, peer)| !peer.serving.queue.is_empty()).map(|(conn, _)| *conn).collect();
        for conn in waiting {
            self.serve_next(now, conn);
        }
    }

    /// Whether this reaches into blocks that peers were told of and that the disk has in a moment: an answer without them would look
    /// like a claim that is not kept.
    fn waits_for_disk(&self, wanted: Wanted) -> bool {
        let tip = self.tip.map(|tip| tip.height);
        Some(wanted.to) > tip && self.told_early.is_some_and(|told| Some(told) > tip && wanted.from <= told)
    }

    fn serve_next(&mut self, now: Duration, conn: ConnId) {
        let memory = self.config.limits.served_range_memory;
        let Some(wanted) = self.peers.get(&conn).and_then(|peer| peer.serving.queue.front().copied()) else { return };
        if self.waits_for_disk(wanted) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&conn).filter(|peer| !peer.serving.busy && !peer.closing) else { return };
        peer.serving.queue.pop_front();
        let range = (wanted.part, wanted.from, wanted.to);
        let serving = &mut peer.serving;
        while serving.served.front().is_some_and(|(_, when)| *when + memory <= now) {
            serving.served.pop_front();
        }
        // Only who asks for the very same again waits: an honest sync at full speed never does.
        let again = serving.served.iter().rev().find(|(served, _)| *served == range).map(|(_, when)| *when);
        let after = again.map_or(Duration::ZERO, |when| (when + memory).saturating_sub(now));
        if serving.served.len() == SERVED_RANGES {
            serving.served.pop_front();
        }
        serving.served.push_back((range, now + after));
        serving.busy = true;
        self.push(Action::Serve { conn, wanted, after });
    }
}
