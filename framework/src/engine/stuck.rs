//! Legacy peers that are stuck behind us (protocol.md section 2): v1 begins a sync only with the first handshake of a new connection, so
//! that one that fell behind after it connected stays there, and says nothing. We connect anew.
//!
//! The rule. A legacy peer that we can dial, and that has not shown to have a block which we have had for a while, with nothing
//! new shown meanwhile, is asked for that very block. Who sends it is well, and nothing follows: a healthy network sees no more of this than a
//! small question now and then. Who says that it has none is stuck: its connection is closed in order, and its address dialled next.
//! An address waits twice as long each time until its peer has caught up. One peer is asked or dialled at a time, and only
//! while we are SYNCED, ask nothing of it, and give it nothing. A peer that does not answer is busy, not stuck; it waits until all others
//! that have been behind for longer than since then had their turn.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::outbox::Class;
use super::outgoing::Outgoing;
use super::peer::{Forgiven, Peer, Way};
use crate::sync::{ConnId, Mode};
use crate::transport::Endpoint;
use crate::types::{Height, Message};

/// How far a legacy peer is, as far as it has shown.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The highest block that it is known to have.
    reached: Option<Height>,
    /// A block of ours that it has not shown to have, and since when it has shown nothing new and not been asked for it.
    behind: Option<(Height, Duration)>,
    /// It was asked for this block, and may answer until then.
    check: Option<(Height, Duration)>,
    /// It is being closed so that it can be dialled anew.
    pub(super) renewing: bool,
}

impl Progress {
    /// A handshake names the peer's height.
    pub(super) fn says(&mut self, height: Option<Height>) {
        if height > self.reached {
            self.behind = None;
        }
        self.reached = height;
    }

    /// The peer has a block, by what it sent or by what it asks for.
    pub(super) fn shows(&mut self, height: Option<Height>) {
        self.says(height.max(self.reached));
    }

    /// Whether the peer is asked whether it has this block.
    pub(super) fn checks(&self, height: Height) -> bool {
        self.check.is_some_and(|(asked, _)| asked == height)
    }

    /// Another question is asked instead of ours; the answer to it is owed all the same.
    pub(super) fn give_up_check(&mut self, until: Duration) -> Option<Forgiven> {
        self.check.take().map(|(from, _)| Forgiven { id: None, from, until })
    }
}

impl Core {
    /// Looks after legacy peers that do not move.
    pub(super) fn tend_stuck(&mut self, now: Duration) {
        self.expire_checks(now);
        let (first, tip) = (self.config.limits.legacy_reconnect.first, self.tip.map(|tip| tip.height));
        // A moment of syncing changes nothing of how long a peer has been behind: otherwise whoever brings one about could go on doing so.
        if !self.is_well() {
            return;
        }
        let mut caught_up = Vec::new();
        for peer in self.peers.values_mut().filter(|peer| peer.is_ready() && peer.is_legacy()) {
            let progress = &mut peer.progress;
            let Some(tip) = tip.filter(|&tip| progress.reached < Some(tip)) else {
                caught_up.extend(progress.behind.take().and(way_back(peer)));
                continue;
            };
            // What it is measured by is what we had then: the newest block may be on its way to it.
            if progress.behind.is_none_or(|(height, _)| progress.reached >= Some(height)) {
                progress.behind = Some((tip, now));
            }
        }
        for endpoint in caught_up {
            self.dialer.caught_up(&endpoint);
        }
        if !self.peers.values().any(|peer| peer.progress.check.is_some() || peer.progress.renewing) {
            let behind = self.peers.iter().filter_map(|(&conn, peer)| Some((peer.progress.behind?.1, conn, peer)));
            let due = behind.filter(|&(since, _, peer)| since + first <= now && self.may_connect_anew(now, peer));
            if let Some((_, conn, _)) = due.min_by_key(|&(since, conn, _)| (since, conn)) {
                self.check(now, conn);
            }
        }
    }

    /// When to look again.
    pub(super) fn stuck_deadline(&self) -> Option<Duration> {
        let limits = &self.config.limits;
        let asking = self.peers.values().any(|peer| peer.progress.check.is_some() || peer.progress.renewing);
        let checks = self.peers.values().filter_map(|peer| peer.progress.check.map(|(_, until)| until));
        let may_ask = self.is_well() && !asking;
        let behind = self.peers.values().filter(|peer| may_ask && peer.is_idle()).filter_map(|peer| {
            let (_, since) = peer.progress.behind?;
            let ready = self.dialer.connects_anew_at(&way_back(peer)?)?;
            Some(ready.max(since + limits.legacy_reconnect.first))
        });
        checks.chain(behind).min()
    }

    /// An answer that may be to our question whether a peer has a block; says whether it was.
    pub(super) fn check_answered(&mut self, now: Duration, conn: ConnId, first: Option<Height>) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let Some((height, _)) = peer.progress.check.filter(|&(height, _)| first.is_none_or(|first| first == height))
        else {
            return false;
        };
        peer.progress.check = None;
        if first.is_some() {
            peer.progress.shows(Some(height));
            if let Some(endpoint) = way_back(peer) {
                self.dialer.caught_up(&endpoint);
            }
        } else if self.peers.get(&conn).is_some_and(|peer| self.may_connect_anew(now, peer))
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.progress.renewing = true;
            let reached = peer.progress.reached.map_or(-1, i128::from);
            tracing::info!(peer = %peer.label(), reached, height, "a legacy peer is stuck behind us: connecting anew");
            peer.closing = true;
            self.end(conn, "connecting anew, so that it sees our height".to_owned());
        }
        true
    }

    /// A connection has ended that is to be made anew.
    pub(super) fn connect_anew(&mut self, now: Duration, peer: &Peer) {
        let mut rng = self.fork_rng();
        if let Some(endpoint) = way_back(peer) {
            self.dialer.connect_anew(&endpoint, now, &mut rng);
        }
    }

    fn is_well(&self) -> bool {
        self.mode == Mode::Synced && !self.reorganising
    }

    fn check(&mut self, now: Duration, conn: ConnId) {
        let until = now + self.config.limits.legacy_timeout;
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some((height, _)) = peer.progress.behind else { return };
        // Its next turn is after those of all others, whatever comes of this one: a question of the sync may take its place.
        (peer.progress.check, peer.progress.behind) = (Some((height, until)), Some((height, now)));
        let message = Message::GetBlocks { from_height: height, to_height: height };
        self.send(now, conn, Class::Needed, Arc::new(Outgoing::new(message)));
    }

    /// Who does not answer is busy: it has its time again.
    fn expire_checks(&mut self, now: Duration) {
        let until = now + self.config.limits.legacy_timeout;
        for peer in self.peers.values_mut().filter(|peer| peer.progress.check.is_some_and(|(_, end)| end <= now)) {
            let owed = peer.progress.give_up_check(until);
            peer.owe(owed);
            peer.progress.behind = None;
        }
    }

    fn may_connect_anew(&self, now: Duration, peer: &Peer) -> bool {
        peer.is_idle()
            && way_back(peer)
                .and_then(|endpoint| self.dialer.connects_anew_at(&endpoint))
                .is_some_and(|ready| ready <= now)
    }
}

impl Peer {
    /// Whether neither side asks the other for blocks.
    fn is_idle(&self) -> bool {
        self.is_ready() && self.outstanding.is_empty() && !self.serving.busy && self.serving.queue.is_empty()
    }
}

/// Where a peer can be dialled: where it was dialled, or where it says that it listens.
fn way_back(peer: &Peer) -> Option<Endpoint> {
    match &peer.direction {
        Way::Out(endpoint) => Some(endpoint.clone()),
        Way::In => peer.dial_back.clone(),
    }
}
