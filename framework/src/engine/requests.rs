use std::sync::Arc;
use std::time::Duration;

use super::core::{Action, Core};
use super::outbox::Class;
use super::outgoing::Outgoing;
use super::peer::{Forgiven, Outstanding, Part};
use super::weight::{Weight, let_go_of_frame};
use crate::peers::Offence;
use crate::rules::HashedBlock;
use crate::sync::{ConnId, IN_FLIGHT, RequestFailure, RequestId, SyncEvent};
use crate::types::{BlockLink, Height, Message};

/// Late answers that one connection may still owe.
const FORGIVEN: usize = 2 * IN_FLIGHT;
/// Requests that a legacy peer has missed and whose answers cost it nothing: it is asked one a minute at most while it answers nothing, so that
/// this is an hour.
const MISSED: usize = 64;

/// How much an answer with blocks is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Bytes on the wire.
    pub(super) bytes: usize,
    /// What they weigh once decoded.
    pub(super) weight: Weight,
}

impl Core {
    /// Asks a peer for blocks or headers; the event that says so where that cannot be.
    pub(super) fn send_request(&mut self, now: Duration, conn: ConnId, asked: Outstanding) -> Option<SyncEvent> {
        let response_max = self.config.limits.frame_response_max;
        let Some(peer) = self.peers.get_mut(&conn).filter(|peer| peer.may_be_asked(asked.part)) else {
            let why = RequestFailure::NotSent;
            return Some(SyncEvent::RequestFailed { peer: conn, request: asked.request, why });
        };
        let owed = peer.progress.give_up_check(now + self.config.limits.legacy_timeout);
        peer.owe(owed);
        let id = peer.numbers.then_some(asked.request.0);
        peer.outstanding.push(asked);
        self.figures.first_request.get_or_insert(now);
        self.push(Action::FrameCap { conn, cap: response_max });
        let Outstanding { from: from_height, to: to_height, .. } = asked;
        let message = match asked.part {
            Part::Block => Message::GetBlocks { from_height, to_height },
            Part::Header => Message::GetHeaderChain { from_height, to_height },
        };
        self.send(now, conn, Class::Needed, Arc::new(Outgoing::new(message.with_id(id))));
        None
    }

    /// The strategy wants no answer any more; one that comes all the same is forgiven.
    pub(super) fn cancel_request(&mut self, now: Duration, request: RequestId) {
        let until = now + self.config.limits.legacy_timeout;
        for peer in self.peers.values_mut() {
            if let Some(at) = peer.outstanding.iter().position(|asked| asked.request == request) {
                peer.give_up(at, until);
                return;
            }
        }
    }

    /// Gives up on answers that are overdue.
    pub(super) fn expire_requests(&mut self, now: Duration) {
        let until = now + self.config.limits.legacy_timeout;
        self.expire_forgiven(now);
        let overdue = |asked: &Outstanding| asked.deadline <= now;
        while let Some((conn, asked)) = self.peers.iter_mut().find_map(|(conn, peer)| {
            let at = peer.outstanding.iter().position(overdue)?;
            Some((*conn, peer.give_up(at, until)))
        }) {
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
                for owed in std::mem::take(&mut peer.forgiven) {
                    if lapsed(&owed) { peer.miss(owed.from) } else { peer.forgiven.push_back(owed) }
                }
            }
            self.lower_frame_cap(conn);
        }
    }

    /// An answer with blocks: it must be to a request outstanding on this connection, or to one that we gave up on.
    pub(super) fn blocks_received(
        &mut self,
        now: Duration,
        conn: ConnId,
        id: Option<u64>,
        mut blocks: Vec<HashedBlock>,
        malformed: Option<&str>,
        Size { bytes, mut weight }: Size,
    ) {
        let first = blocks.first().map(|block| block.link.height);
        let Some(asked) = self.answered(now, conn, id, Part::Block, first) else { return };
        let most = asked.to - asked.from + 1;
        let fits = first.is_none_or(|first| first == asked.from);
        if !fits || blocks.len() as u64 > most || !consecutive(&blocks) {
            self.wrong_range(now, conn, &asked, &described(&blocks));
            return;
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
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
        if broken {
            blocks.truncate(linked);
            let_go_of_frame(&mut blocks, bytes);
            weight = Weight::of(&blocks, bytes);
        }
        let links: Vec<BlockLink> = blocks.iter().map(|block| block.link).collect();
        let batch = self.new_batch();
        self.delivered.insert(batch, blocks);
        self.senders.insert(batch, (conn, links.clone()));
        let (request, malformed) = (asked.request, malformed.is_some() || broken);
        let event = SyncEvent::Blocks { peer: conn, request, batch, links, bytes, weight: weight.window, malformed };
        self.sync_event(now, event);
    }

    /// An answer with headers, which link to each other.
    pub(super) fn headers_received(
        &mut self,
        now: Duration,
        conn: ConnId,
        id: Option<u64>,
        links: Vec<BlockLink>,
        bytes: usize,
    ) {
        let Some(asked) = self.answered(now, conn, id, Part::Header, None) else { return };
        let (first, last) = (links.first().map(|link| link.height), links.last().map(|link| link.height));
        if first.is_some_and(|first| first < asked.from) || last.is_some_and(|last| last != asked.to) {
            let got = format!("headers from {} to {}", first.unwrap_or(0), last.unwrap_or(0));
            self.wrong_range(now, conn, &asked, &got);
            return;
        }
        self.lower_frame_cap(conn);
        self.sync_event(now, SyncEvent::Headers { peer: conn, request: asked.request, links, bytes });
    }

    /// Takes the request that an answer is to off the list. Where there is none, the answer is forgiven if we gave up on it, and
    /// else the connection is over (attacks.md row 7).
    fn answered(
        &mut self,
        now: Duration,
        conn: ConnId,
        id: Option<u64>,
        part: Part,
        first: Option<Height>,
    ) -> Option<Outstanding> {
        let peer = self.peers.get_mut(&conn)?;
        let of_number = |number: u64| id == Some(number);
        let (meant, late) = if peer.numbers {
            let meant = peer.outstanding.iter().position(|asked| of_number(asked.request.0) && asked.part == part);
            (meant, peer.forgiven.iter().position(|owed| owed.id.is_some_and(of_number)))
        } else if id.is_some() {
            (None, None)
        } else {
            // At most one is outstanding. An answer without blocks says nothing about its range: it is the oldest that is owed.
            let fits = |asked: &Outstanding| first.is_some_and(|first| first == asked.from);
            let meant_now = peer.outstanding.first().is_some_and(fits);
            let late = match first {
                Some(first) if !meant_now => {
                    let late = peer.forgiven.iter().position(|owed| owed.from == first);
                    if late.is_none() && !peer.progress.checks(first) && peer.makes_up_for(first) {
                        return None;
                    }
                    late
                }
                Some(_) => None,
                None => (!peer.forgiven.is_empty()).then_some(0),
            };
            ((late.is_none() && !peer.outstanding.is_empty()).then_some(0), late)
        };
        if let Some(at) = meant {
            return Some(peer.outstanding.remove(at));
        }
        if let Some(at) = late {
            peer.forgiven.remove(at);
            self.lower_frame_cap(conn);
        } else if id.is_some() || part != Part::Block || !self.check_answered(now, conn, first) {
            // An empty answer does not say to what: the oldest that was missed will do.
            let missed = |core: &mut Self| core.peers.get_mut(&conn).and_then(|peer| peer.missed.pop_front());
            if first.is_some() || missed(self).is_none() {
                self.penalise(now, conn, &Offence::UnaskedResponse { first });
            }
        }
        None
    }

    fn wrong_range(&mut self, now: Duration, conn: ConnId, asked: &Outstanding, got: &str) {
        let why = RequestFailure::BadAnswer;
        self.sync_event(now, SyncEvent::RequestFailed { peer: conn, request: asked.request, why });
        let detail = format!("got {got}");
        self.penalise(now, conn, &Offence::WrongRange { from: asked.from, to: asked.to, detail });
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
    fn may_be_asked(&self, part: Part) -> bool {
        let most = if self.numbers { IN_FLIGHT } else { 1 };
        self.is_ready() && self.outstanding.len() < most && (part == Part::Block || self.numbers)
    }

    /// Waits no longer for a request, and forgives its answer until then.
    fn give_up(&mut self, at: usize, until: Duration) -> Outstanding {
        let asked = self.outstanding.remove(at);
        let id = self.numbers.then_some(asked.request.0);
        self.owe(Some(Forgiven { id, from: asked.from, until }));
        asked
    }

    pub(super) fn owe(&mut self, answer: Option<Forgiven>) {
        let Some(answer) = answer else { return };
        if self.forgiven.len() == FORGIVEN
            && let Some(oldest) = self.forgiven.pop_front()
        {
            self.miss(oldest.from);
        }
        self.forgiven.push_back(answer);
    }

    /// The answer to a request is not waited for any more. A legacy peer may be that slow, and no worse for it (attacks.md, "Legacy peers").
    fn miss(&mut self, from: Height) {
        if self.is_legacy() {
            if self.missed.len() == MISSED {
                self.missed.pop_front();
            }
            self.missed.push_back(from);
        }
    }

    /// Whether an answer that begins there is to a request that was missed, if ever so long ago; each is so once.
    fn makes_up_for(&mut self, first: Height) -> bool {
        let at = self.missed.iter().position(|missed| *missed == first);
        at.is_some_and(|at| self.missed.remove(at).is_some())
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
