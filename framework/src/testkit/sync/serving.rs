//! What peers of a simulated network answer, and when.

use std::time::Duration;

use super::world::{Batch, Happening, Rule, World};
use crate::sync::{BatchId, ConnId, RejectKind, RequestId, SyncEvent};
use crate::types::{BlockLink, Height};

impl World {
    pub(super) fn send(
        &mut self,
        id: ConnId,
        request: RequestId,
        from: Height,
        to: Height,
        timeout: Duration,
        headers: bool,
    ) {
        if !self.used.insert(request) {
            self.breach(Rule::RequestSize, format!("{request:?} used again"));
        }
        let before = self.outstanding.values().filter(|&&(peer, ..)| peer == id).count();
        let Some(peer) = self.peers.get(&id) else {
            self.breach(Rule::GonePeer, format!("{request:?} to {id:?}"));
            return;
        };
        let (most, leaves) = (peer.requests, peer.leaves_at.is_some_and(|height| to >= height));
        let takes = self.answer_takes(id, from, to, headers).filter(|_| headers || !self.withholds(id, from));
        if before >= most {
            self.breach(Rule::RequestsPerPeer, format!("{request:?} to {id:?}, which has {before} already"));
        }
        self.outstanding.insert(request, (id, from, to));
        if leaves {
            self.schedule(takes.unwrap_or_default(), Happening::Leave(id));
        } else if let Some(takes) = takes {
            let answer = if headers {
                Happening::Headers { peer: id, request, from, to }
            } else {
                Happening::Answer { peer: id, request, from, to }
            };
            self.schedule(takes, answer);
        }
        self.schedule(timeout, Happening::TimeOut { peer: id, request });
    }

    pub(super) fn answer(&mut self, id: ConnId, request: RequestId, from: Height, to: Height) {
        let Some(peer) = self.peers.get(&id) else { return };
        let to = to.min(from.saturating_add(self.most_in_an_answer() - 1));
        let Some((links, malformed)) = peer.answer(from, to) else { return };
        if self.outstanding.remove(&request).is_none() {
            return;
        }
        let mut faults = peer.faults.clone();
        if peer.makes_up {
            // Made-up blocks are signed by nobody; where they link by chance of an empty chain, that is found out.
            faults.extend(links.first().map(|link| (link.height, RejectKind::NotLinked)));
        }
        let nothing_signed = (peer.unsigned || peer.makes_up).then_some(from.saturating_sub(1));
        let (unsigned_above, forged_at) = (nothing_signed.or(peer.unsigned_above), peer.forged_at);
        let (stakes, staked) = (peer.stakes.clone(), peer.staked.clone());
        let bytes = links.len() * peer.block_bytes.unwrap_or(self.block_bytes);
        let batch = BatchId(self.serial());
        self.prove(&links);
        self.held.insert(
            batch,
            Batch {
                peer: id,
                links: links.clone(),
                bytes,
                faults,
                handed_over: false,
                checked: false,
                unsigned_above,
                forged_at,
                stakes,
                staked,
            },
        );
        self.tell(SyncEvent::Blocks { peer: id, request, batch, links, bytes, weight: bytes, malformed });
    }

    /// Whether this is the one request that a peer does not answer.
    fn withholds(&mut self, id: ConnId, from: Height) -> bool {
        self.peers.get_mut(&id).and_then(|peer| peer.withholds_above.take_if(|above| from > *above)).is_some()
    }

    /// How long this answer takes, behind those before it; `None` where it never comes.
    fn answer_takes(&mut self, id: ConnId, from: Height, to: Height, headers: bool) -> Option<Duration> {
        const HEADER_BYTES: usize = 150;
        let peer = self.peers.get(&id).filter(|peer| peer.latency < Duration::MAX)?;
        let Some(rate) = peer.bytes_per_second else {
            return peer.freezes_at.is_none_or(|at| self.now + peer.latency < at).then_some(peer.latency);
        };
        let bytes = if headers {
            peer.header_answer(from, to).map_or(0, |links| links.len() * HEADER_BYTES)
        } else {
            let to = to.min(from.saturating_add(self.most_in_an_answer() - 1));
            peer.answer(from, to).map_or(0, |(links, _)| links.len() * self.block_bytes)
        };
        let sending = Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate.max(1));
        let begins = self.busy_until.get(&id).copied().unwrap_or_default().max(self.now);
        let ends = begins + sending;
        let comes = (ends + peer.latency, peer.freezes_at);
        self.busy_until.insert(id, ends);
        comes.1.is_none_or(|at| comes.0 < at).then(|| comes.0.saturating_sub(self.now))
    }

    /// What a server puts in an answer at most: a mebibyte (attacks.md row 9).
    fn most_in_an_answer(&self) -> u64 {
        ((1 << 20) / self.block_bytes as u64).max(1)
    }

    pub(super) fn give_headers(&mut self, id: ConnId, request: RequestId, from: Height, to: Height) {
        let Some(links) = self.peers.get(&id).and_then(|peer| peer.header_answer(from, to)) else { return };
        if self.outstanding.remove(&request).is_none() {
            return;
        }
        self.prove(&links);
        let bytes = links.len();
        self.tell(SyncEvent::Headers { peer: id, request, links, bytes });
    }

    /// Notes what links to a checkpoint by what was just delivered.
    fn prove(&mut self, links: &[BlockLink]) {
        for link in links.iter().rev() {
            if self.proven.contains(&link.hash) {
                self.proven.insert(link.prev_hash);
            }
        }
    }
}
