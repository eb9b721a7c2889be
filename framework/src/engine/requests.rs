use std::sync::Arc;
use std::time::Duration;

use super::core::{Action, Core};
use super::outbox::Class;
use super::outgoing::Outgoing;
use super::peer::{Forgiven, Outstanding};
use crate::peers::Offence;
use crate::rules::HashedBlock;
use crate::sync::{ConnId, RequestFailure, RequestId, SyncEvent};
use crate::types::{BlockLink, Height, Message};

/// Late answers that one connection may still owe.
const FORGIVEN: usize = 8;

impl Core {
    /// Asks a peer for blocks; the event that says so where that cannot be.
    pub(super) fn request_blocks(&mut self, now: Duration, conn: ConnId, asked: Outstanding) -> Option<SyncEvent> {
        let response_max = self.config.limits.frame_response_max;
        let until = now + self.config.limits.legacy_timeout;
        match self.peers.get_mut(&conn) {
            Some(peer) if peer.is_ready() && peer.outstanding.is_none() => {
                let owed = peer.progress.give_up_check(until);
                peer.owe(owed);
                peer.outstanding = Some(asked);
            }
            _ => {
                let why = RequestFailure::NotSent;
                return Some(SyncEvent::RequestFailed { peer: conn, request: asked.request, why });
            }
        }
        self.figures.first_request.get_or_insert(now);
        self.push(Action::FrameCap { conn, cap: response_max });
        let message = Message::GetBlocks { from_height: asked.from, to_height: asked.to };
        self.send(now, conn, Class::Needed, Arc::new(Outgoing::new(message)));
        None
    }

    /// The strategy wants no answer any more; one that comes all the same is forgiven.
    pub(super) fn cancel_request(&mut self, now: Duration, request: RequestId) {
        let until = now + self.config.limits.legacy_timeout;
        let asked_by = |asked: &Outstanding| asked.request == request;
        let Some(peer) = self.peers.values_mut().find(|peer| peer.outstanding.as_ref().is_some_and(asked_by)) else {
            return;
        };
        if let Some(asked) = peer.outstanding.take() {
            peer.forgive(asked, until);
        }
    }

    /// Gives up on answers that are overdue.
    pub(super) fn expire_requests(&mut self, now: Duration) {
        let until = now + self.config.limits.legacy_timeout;
        self.expire_forgiven(now);
        let overdue: Vec<ConnId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.outstanding.is_some_and(|asked| asked.deadline <= now))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in overdue {
            let Some(asked) = self.peers.get_mut(&conn).and_then(|peer| {
                let asked = peer.outstanding.take()?;
                peer.forgive(asked, until);
                Some(asked)
            }) else {
                continue;
            };
            let why = RequestFailure::TimedOut;
            self.sync_event(now, SyncEvent::RequestFailed { peer: conn, request: asked.request, why });
        }
    }

    /// Late answers that did not come within the longest deadline were dropped: they must neither keep the large frame
    /// cap nor be taken for another's answer.
    fn expire_forgiven(&mut self, now: Duration) {
        let lapsed = |owed: &Forgiven| owed.until <= now;
        let owing: Vec<ConnId> =
            self.peers.iter().filter(|(_, peer)| peer.forgiven.iter().any(lapsed)).map(|(conn, _)| *conn).collect();
        for conn in owing {
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.forgiven.retain(|owed| !lapsed(owed));
            }
            self.lower_frame_cap(conn);
        }
    }

    /// An answer: it must be to the one request outstanding on this connection, or to one that we gave up on.
    pub(super) fn blocks_received(
        &mut self,
        now: Duration,
        conn: ConnId,
        mut blocks: Vec<HashedBlock>,
        malformed: Option<&str>,
        bytes: usize,
    ) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let first = blocks.first().map(|block| block.link.height);
        let fits = |asked: &Outstanding| first.is_none_or(|first| first == asked.from);
        // An answer without blocks says nothing about its range: it is the oldest that is owed.
        let late = match first {
            Some(first) => {
                let meant_now = peer.outstanding.as_ref().is_some_and(fits);
                (!meant_now).then(|| peer.forgiven.iter().position(|owed| owed.from == first)).flatten()
            }
            None => (!peer.forgiven.is_empty()).then_some(0),
        };
        if let Some(at) = late {
            peer.forgiven.remove(at);
            self.lower_frame_cap(conn);
            return;
        }
        let Some(asked) = peer.outstanding else {
            if self.check_answered(now, conn, first) {
                return;
            }
            self.penalise(now, conn, &Offence::UnaskedResponse { first });
            return;
        };
        let most = asked.to - asked.from + 1;
        if !fits(&asked) || blocks.len() as u64 > most || !consecutive(&blocks) {
            let detail = format!("got {}", described(&blocks));
            peer.outstanding = None;
            let why = RequestFailure::BadAnswer;
            self.sync_event(now, SyncEvent::RequestFailed { peer: conn, request: asked.request, why });
            self.penalise(now, conn, &Offence::WrongRange { from: asked.from, to: asked.to, detail });
            return;
        }
        peer.outstanding = None;
        for block in &blocks {
            peer.known.insert_block(&block.link.hash);
        }
        peer.progress.shows(blocks.last().map(|block| block.link.height));
        if let Some(why) = malformed {
            let height = asked.from + blocks.len() as u64;
            let label = peer.label();
            let host = peer.host.clone();
            self.last_error = Some(format!("block {height} of {label} cannot be read: {why}"));
            if let Some(more) = self.log.allow(&host, "unreadable block", now) {
                tracing::warn!(peer = %label, more, "block {height} is invalid: encoding: {why}");
            }
        }
        self.lower_frame_cap(conn);
        self.note_fork(now, conn, blocks.first());
        // Blocks that do not follow one another cannot be one chain's: what links is kept.
        let linked = linked_prefix(&blocks);
        let broken = linked < blocks.len();
        blocks.truncate(linked);
        let links: Vec<BlockLink> = blocks.iter().map(|block| block.link).collect();
        let batch = self.new_batch();
        self.delivered.insert(batch, blocks);
        let malformed = malformed.is_some() || broken;
        let event = SyncEvent::Blocks { peer: conn, request: asked.request, batch, links, bytes, malformed };
        self.sync_event(now, event);
    }

    /// A peer's next block that is not on top of ours: worth a line, since operators look for its reason.
    fn note_fork(&mut self, now: Duration, conn: ConnId, first: Option<&HashedBlock>) {
        let (Some(tip), Some(block)) = (self.tip, first) else { return };
        let link = block.link;
        if link.height != tip.height + 1 || link.prev_hash == tip.hash {
            return;
        }
        let Some(peer) = self.peers.get(&conn) else { return };
        let (label, host) = (peer.label(), peer.host.clone());
        if let Some(more) = self.log.allow(&host, "fork", now) {
            let (parent, ours) = (link.prev_hash.short(), tip.hash.short());
            tracing::info!(peer = %label, more, "block {} has parent {parent}, our tip is {ours}: a fork", link.height);
        }
    }

    fn lower_frame_cap(&mut self, conn: ConnId) {
        let cap = self.config.limits.frame_max;
        if self.peers.get(&conn).is_some_and(|peer| !peer.awaits_answer()) {
            self.push(Action::FrameCap { conn, cap });
        }
    }
}

impl super::peer::Peer {
    fn forgive(&mut self, asked: Outstanding, until: Duration) {
        self.owe(Some(Forgiven { from: asked.from, until }));
    }

    pub(super) fn owe(&mut self, answer: Option<Forgiven>) {
        let Some(answer) = answer else { return };
        if self.forgiven.len() == FORGIVEN {
            self.forgiven.pop_front();
        }
        self.forgiven.push_back(answer);
    }
}

fn consecutive(blocks: &[HashedBlock]) -> bool {
    blocks.windows(2).all(|pair| pair[0].link.height.checked_add(1) == Some(pair[1].link.height))
}

fn linked_prefix(blocks: &[HashedBlock]) -> usize {
    let breaks = blocks.windows(2).position(|pair| pair[1].link.prev_hash != pair[0].link.hash);
    breaks.map_or(blocks.len(), |at| at + 1)
}

fn described(blocks: &[HashedBlock]) -> String {
    let height = |block: Option<&HashedBlock>| -> Height { block.map_or(0, |block| block.link.height) };
    match blocks.len() {
        0 => "none".into(),
        n => format!("{n} from {} to {}", height(blocks.first()), height(blocks.last())),
    }
}
