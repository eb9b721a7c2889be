use std::time::Duration;

use super::connection::Inbound;
use super::core::{Action, Core, FEELER};
use super::peer::{Peer, Way};
use crate::codec::DecodeError;
use crate::peers::{Host, Offence};
use crate::sync::{Abilities, ConnId, SyncEvent};
use crate::transport::Endpoint;
use crate::types::{ANNOUNCE, Handshake, REQUEST_ID};

/// Two connections that came to be within this time were dialled by both sides before either knew of the other's.
pub(super) const AT_ONCE: Duration = Duration::from_secs(10);

impl Core {
    /// A message came before the handshake was done. Says whether that is the end of it.
    pub(super) fn before_handshake(&mut self, now: Duration, conn: ConnId, inbound: &Inbound) {
        let limits = self.config.limits.clone();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        // A v1 acceptor broadcasts to every socket, so its blocks may come before its handshake.
        peer.skipped += 1;
        match &peer.direction {
            Way::In => self.penalise(now, conn, &Offence::BeforeHandshake { kind: inbound.kind() }),
            Way::Out(_) if peer.skipped <= limits.legacy_frames_skipped => {}
            Way::Out(_) => {
                let why = format!("{}: {} other messages came before its handshake", peer.label(), peer.skipped);
                self.no_handshake(now, conn, &why);
            }
        }
    }

    /// A handshake: the first one opens the connection, any other is a tip update.
    pub(super) fn handshake_received(&mut self, now: Duration, conn: ConnId, theirs: Handshake) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.handshake.is_some() {
            let legacy = peer.is_legacy();
            let height = theirs.best_height;
            peer.progress.says(height);
            if let Some(known) = &mut peer.handshake {
                known.best_height = theirs.best_height;
                known.best_hash = theirs.best_hash;
                known.genesis_hash = theirs.genesis_hash;
            }
            if let Some(why) = self.mismatch(&theirs) {
                self.refuse(now, conn, &why);
                return;
            }
            self.sync_event(now, SyncEvent::PeerTip { peer: conn, height, legacy });
            self.tend_stuck(now);
            return;
        }
        if let Some(ours) = theirs.nonce.and_then(|nonce| self.connection_with(nonce)) {
            self.met_ourselves(now, conn, ours);
            return;
        }
        if let Some(why) = self.mismatch(&theirs) {
            self.refuse(now, conn, &why);
            return;
        }
        if self.is_feeler(now, conn, &theirs) {
            return;
        }
        if let Some(other) = self.second_connection(conn) {
            self.settle_second_connection(now, conn, other, &theirs);
            if self.peers.get(&conn).is_none_or(|peer| peer.closing) {
                return;
            }
        }
        self.accept(now, conn, theirs);
    }

    /// Whether the connection is there only to check an address: then it ends with this handshake, and is nobody's peer.
    fn is_feeler(&mut self, now: Duration, conn: ConnId, theirs: &Handshake) -> bool {
        let Some(peer) = self.peers.get(&conn) else { return false };
        match &peer.direction {
            Way::Out(endpoint) if peer.feeler => {
                let endpoint = endpoint.clone();
                self.feeler_succeeded(now, &endpoint);
            }
            Way::In if theirs.features.iter().flatten().any(|feature| feature == FEELER) => {
                self.send_handshake(now, conn);
            }
            _ => return false,
        }
        self.close_quietly(conn, "only to see whether this address is good");
        true
    }

    /// The connection on which we have shown this nonce, and on no other.
    fn connection_with(&self, nonce: u64) -> Option<ConnId> {
        self.peers.iter().find(|(_, peer)| peer.nonce == nonce).map(|(conn, _)| *conn)
    }

    /// On `conn` came what we have shown on `shown`, which is the other end of it, unless somebody has copied it: that costs only who did.
    /// One whose handshake is done is with somebody else, and stays; and so is one with another key: both ends of ours have proven the same, or none.
    fn met_ourselves(&mut self, now: Duration, conn: ConnId, shown: ConnId) {
        let key = |end: &ConnId| self.peers.get(end).map(|peer| peer.identity);
        let is_other_end = |end: &ConnId| *end != conn && !self.peers[end].is_ready() && key(end) == key(&conn);
        let other_end = Some(shown).filter(is_other_end);
        for end in other_end.into_iter().chain([conn]) {
            match self.peers.get(&end).map(|peer| peer.direction.clone()) {
                Some(Way::Out(endpoint)) => self.is_our_own(now, &endpoint),
                Some(Way::In) if end == conn => self.send_handshake(now, conn),
                Some(Way::In) | None => continue,
            }
            self.close_quietly(end, "this is ourselves");
        }
    }

    fn is_our_own(&mut self, now: Duration, endpoint: &Endpoint) {
        let mut rng = self.fork_rng();
        let configured = self.dialer.is_configured(endpoint);
        self.dialer.mark_self(endpoint, now, &mut rng);
        if let Some(more) = self.log.allow(&Host::Name(endpoint.address.clone()), "ourselves", now) {
            let then = if configured { "it is configured, and dialled again in a while" } else { "it is forgotten" };
            tracing::info!(address = %endpoint, more, "the address is our own: {then}");
        }
    }

    fn accept(&mut self, now: Duration, conn: ConnId, theirs: Handshake) {
        let height = theirs.best_height;
        let legacy = theirs.is_legacy();
        let mut rng = self.fork_rng();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let inbound = peer.direction == Way::In;
        if inbound {
            match self.guard.establish(conn, peer.identity.as_ref(), now) {
                Ok(None) => {}
                Ok(Some(evicted)) => self.close(now, evicted, "its slot goes to a new peer"),
                Err(refusal) => {
                    let why = refusal.to_string();
                    self.close(now, conn, &why);
                    return;
                }
            }
            let Some(peer) = self.peers.get_mut(&conn) else { return };
            let from = Endpoint { identity: peer.identity, ..peer.remote.clone() };
            peer.dial_back = self.dialer.inbound(&from, theirs.p2p_port, now, &mut rng);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if let Way::Out(endpoint) = &peer.direction {
            self.dialer.succeeded(endpoint, now);
            self.failed_dials.remove(&endpoint.to_string());
        }
        // Not `may_tell`, since the peer is lent.
        if let Some(more) = self.log.allow_some(&peer.host, "connected", self.config.limits.log_burst, now) {
            tracing::info!(
                peer = %peer.label(),
                link = peer.remote.link.as_ref().map(tracing::field::display),
                node_id = ?shown(&theirs.node_id),
                height = theirs.best_height.map_or(-1, i128::from),
                legacy,
                more,
                "connected"
            );
        }
        peer.fetches = theirs.has_feature(ANNOUNCE);
        peer.progress.says(height);
        peer.numbers = theirs.has_feature(REQUEST_ID);
        let abilities = Abilities::of(&theirs);
        peer.handshake = Some(theirs);
        self.reached_anyone = true;
        self.push(Action::FrameCap { conn, cap: self.config.limits.frame_max });
        if legacy {
            self.push(Action::Patient { conn });
        }
        if inbound {
            self.send_handshake(now, conn);
        }
        self.save_peers();
        self.offer_pool(now, conn);
        // The claim first: a node is not SYNCED for a moment only because nothing is claimed yet.
        self.sync_event(now, SyncEvent::PeerTip { peer: conn, height, legacy });
        if abilities != Abilities::default() {
            self.sync_event(now, SyncEvent::PeerAbilities { peer: conn, abilities });
        }
        self.tend_stuck(now);
        self.after_peers_changed(now);
    }

    /// What an inbound peer says first cannot be read at all: most likely it speaks another codec. It hears our handshake,
    /// so that its log can say so too. That is nobody's fault, and costs no points: a ban of its address would keep it out
    /// once its operator has chosen the right codec, and everybody else there.
    pub(super) fn not_understood(&mut self, now: Duration, conn: ConnId, error: &DecodeError) {
        self.send_handshake(now, conn);
        let Some(peer) = self.peers.get(&conn) else { return };
        let (host, label) = (peer.host.clone(), peer.label());
        if let Some(more) = self.log.allow(&host, "not understood", now) {
            tracing::warn!(peer = %label, more, "what it says cannot be read: {error}: connection closed");
        }
        self.close_quietly(conn, &error.to_string());
    }

    /// Why a peer is none of ours (protocol.md section 1, handshake checks).
    fn mismatch(&self, theirs: &Handshake) -> Option<String> {
        let ours = &self.config.verifier.genesis().network;
        if theirs.network != *ours {
            return Some(format!("it is of network {:?}, this node of {ours:?}", shown(&theirs.network)));
        }
        match (theirs.genesis_hash, self.genesis_hash) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                Some(format!("its genesis block is {theirs}, ours {ours}: another chain"))
            }
            _ => None,
        }
    }

    /// We have a block 0 now: who has another one is of another chain.
    pub(super) fn refuse_other_chains(&mut self, now: Duration) {
        let others = self.peers.iter().filter(|(_, peer)| peer.is_ready()).filter_map(|(conn, peer)| {
            let why = self.mismatch(peer.handshake.as_ref()?)?;
            Some((*conn, why))
        });
        for (conn, why) in others.collect::<Vec<_>>() {
            self.refuse(now, conn, &why);
        }
    }

    pub(super) fn refuse(&mut self, now: Duration, conn: ConnId, why: &str) {
        let mut rng = self.fork_rng();
        // Whoever dialled us learns from our handshake why it is refused.
        if self.peers.get(&conn).is_some_and(|peer| peer.direction == Way::In) {
            self.send_handshake(now, conn);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.closing = true;
        let (label, direction) = (peer.label(), peer.direction.clone());
        let host = peer.host.clone();
        if let Some(more) = self.may_tell(now, &host, "peer refused") {
            tracing::warn!(peer = %label, more, "peer refused: {why}");
        }
        if let Way::Out(endpoint) = direction {
            self.dialer.refused(&endpoint, now, &mut rng);
            self.remember_failed_dial(&endpoint, format!("{} was refused: {why}", endpoint.address));
        }
        self.last_error = Some(format!("peer {label} refused: {why}"));
        self.end(conn, why.to_owned());
    }

    /// Another connection to the same node, which only its key proves: where there is none, the connection is the identity (attacks.md
    /// row 20), and two operators who name each other have two connections.
    fn second_connection(&self, conn: ConnId) -> Option<ConnId> {
        let key = self.peers.get(&conn)?.identity?;
        let same = |peer: &Peer| peer.is_ready() && peer.identity == Some(key);
        self.peers.iter().find(|(other, peer)| **other != conn && same(peer)).map(|(other, _)| *other)
    }

    /// Of two connections that both sides dialled at about the same time, they keep the one whose dialler showed the smaller nonce; of two that
    /// we dialled, we keep the first. Any other first one may be dead without our knowledge, if its node was restarted: both stay.
    fn settle_second_connection(&mut self, now: Duration, new: ConnId, old: ConnId, theirs: &Handshake) {
        let (Some(new_peer), Some(old_peer)) = (self.peers.get(&new), self.peers.get(&old)) else { return };
        let new_is_out = matches!(new_peer.direction, Way::Out(_));
        let old_is_out = matches!(old_peer.direction, Way::Out(_));
        let at_once = now.saturating_sub(old_peer.since) <= AT_ONCE && new_is_out != old_is_out;
        let ours_both = new_is_out && old_is_out;
        if !at_once && !ours_both {
            return;
        }
        let diallers =
            |peer: &Peer, theirs: Option<u64>| if peer.direction == Way::In { theirs } else { Some(peer.nonce) };
        let dialled_new = diallers(new_peer, theirs.nonce);
        let dialled_old = diallers(old_peer, old_peer.handshake.as_ref().and_then(|theirs| theirs.nonce));
        let keep_new = at_once && dialled_new < dialled_old;
        // The dial did lead to the node that it was meant for.
        if let Way::Out(endpoint) = &new_peer.direction {
            let endpoint = endpoint.clone();
            self.dialer.succeeded(&endpoint, now);
            if !keep_new {
                let mut rng = self.fork_rng();
                self.dialer.disconnected(&endpoint, now, &mut rng);
            }
        }
        self.close_quietly(if keep_new { old } else { new }, "a second connection to the same node");
    }

    /// Ends a connection that nobody need hear of.
    fn close_quietly(&mut self, conn: ConnId, reason: &str) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.closing = true;
            tracing::debug!(peer = %peer.label(), "closing: {reason}");
            self.end(conn, reason.to_owned());
        }
    }

    /// Ends connections whose handshake takes too long.
    pub(super) fn expire_handshakes(&mut self, now: Duration) {
        let timeout = self.config.limits.handshake_timeout;
        let late: Vec<ConnId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.handshake.is_none() && !peer.closing && peer.since + timeout <= now)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in late {
            let Some(peer) = self.peers.get(&conn) else { continue };
            let why = format!("{}: no handshake within {} s", peer.label(), timeout.as_secs());
            self.no_handshake(now, conn, &why);
        }
    }

    /// Ends a connection whose handshake is not waited for any longer. It may be no node at all that we have dialled.
    fn no_handshake(&mut self, now: Duration, conn: ConnId, why: &str) {
        let mut rng = self.fork_rng();
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.closing = true;
        let (host, direction) = (peer.host.clone(), peer.direction.clone());
        if let Way::Out(endpoint) = direction {
            self.dialer.failed(&endpoint, now, &mut rng);
            self.remember_failed_dial(&endpoint, why.to_owned());
        }
        if let Some(more) = self.log.allow(&host, "handshake timeout", now) {
            tracing::info!(more, "closing {why}");
        }
        self.end(conn, "no handshake in time".into());
    }
}

/// Characters of a peer's text in a log line.
const SHOWN: usize = 200;

/// A peer's text, short enough for a log line.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
