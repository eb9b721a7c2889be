use std::time::Duration;

use super::connection::CloseReason;
use super::core::{Action, Core};
use super::peer::{Peer, Way};
use crate::codec::DecodeError;
use crate::node::NodeEvent;
use crate::peers::{Host, Offence, Penalty, Subject};
use crate::sync::{ConnId, SyncEvent};
use crate::transport::{Endpoint, PeerId};

impl Core {
    /// Whether an inbound connection may come in. If so, answer with [`connected`](Self::connected) or
    /// [`inbound_failed`](Self::inbound_failed).
    pub(crate) fn admit(&mut self, now: Duration, conn: ConnId, remote: &Endpoint) -> bool {
        let Err(refusal) = self.guard.admit(conn, remote, now) else { return true };
        if let Some(more) = self.log.allow(&Host::of(remote), refusal.kind(), now) {
            tracing::info!(peer = %remote.address, more, "connection refused: {refusal}");
        }
        false
    }

    /// An admitted connection came to nothing before it was one; `refused` says that one side does not want the other.
    pub(crate) fn inbound_failed(&mut self, now: Duration, conn: ConnId, remote: &Endpoint, refused: bool, why: &str) {
        self.guard.gone(conn);
        let kind = if refused { "link refused" } else { "upgrade" };
        if let Some(more) = self.log.allow(&Host::of(remote), kind, now) {
            tracing::info!(peer = %remote.address, more, "inbound connection failed: {why}");
        }
    }

    /// A dial came to nothing; `refused` says that somebody was reached there, and is not who was meant.
    pub(crate) fn dial_failed(&mut self, now: Duration, endpoint: &Endpoint, refused: bool, why: &str) {
        let mut rng = self.fork_rng();
        if refused {
            self.dialer.refused(endpoint, now, &mut rng);
        } else {
            self.dialer.failed(endpoint, now, &mut rng);
        }
        self.note_failed_dial(now, endpoint, why);
        self.after_peers_changed(now);
    }

    /// Whether a connection is proof enough that a feeler's address is good. A second handshake would upset a legacy
    /// peer that is connected already.
    pub(crate) fn connecting_suffices(&self, endpoint: &Endpoint) -> bool {
        self.peers.values().any(|peer| peer.is_legacy() && peer.dial_back.as_ref() == Some(endpoint))
    }

    /// A dial that was only to show that the address is good has shown it.
    pub(crate) fn feeler_succeeded(&mut self, now: Duration, endpoint: &Endpoint) {
        self.dialer.succeeded(endpoint, now);
        self.save_peers();
        self.after_peers_changed(now);
    }

    /// A connection is there.
    pub(crate) fn connected(
        &mut self,
        now: Duration,
        conn: ConnId,
        link: usize,
        remote: Endpoint,
        identity: Option<PeerId>,
        dialled: Option<(Endpoint, bool)>,
    ) {
        let out = dialled.is_some();
        let (way, feeler) = dialled.map_or((Way::In, false), |(endpoint, feeler)| (Way::Out(endpoint), feeler));
        let since = self.guard.admitted_at(conn).unwrap_or(now);
        let mut peer = Peer::new(link, remote, identity, way, &self.config.limits, since);
        (peer.feeler, peer.nonce) = (feeler, self.nonce());
        self.peers.insert(conn, peer);
        if !out {
            return;
        }
        let peer = &self.peers[&conn];
        // Whoever misbehaved from a configured peer's address need not have been that peer.
        let banned = self.guard.banned(&peer.remote, identity.as_ref(), now).filter(|_| !self.is_configured(peer));
        match banned {
            Some(left) => self.refuse(now, conn, &format!("it is banned for another {} s", left.as_secs())),
            None => self.send_handshake(now, conn),
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&mut self, now: Duration, conn: ConnId, why: &CloseReason) {
        let Some(peer) = self.peers.remove(&conn) else { return };
        self.guard.gone(conn);
        self.refused.remove(&conn);
        self.fetch_elsewhere(now, conn);
        self.spares.retain(|(by, _)| *by != conn);
        let told = peer.closing;
        // Whom we dialled may be something else than a node altogether, until its handshake shows otherwise; and the
        // reference bounds no line.
        if let CloseReason::Fatal(error) = why
            && !told
            && (peer.direction == Way::In || peer.handshake.is_some())
            && !peer.is_legacy()
            && let Some(offence) = Offence::of_frame(error)
        {
            self.punish(now, &peer, &offence);
        }
        let mut rng = self.fork_rng();
        match (&peer.direction, peer.handshake.is_some()) {
            (Way::Out(_), true) if peer.progress.renewing => {}
            (Way::Out(endpoint), true) => self.dialer.disconnected(endpoint, now, &mut rng),
            (Way::Out(endpoint), false) if !told => {
                let endpoint = endpoint.clone();
                if matches!(why, CloseReason::Fatal(DecodeError::Desync(_))) {
                    self.dialer.refused(&endpoint, now, &mut rng);
                } else {
                    self.dialer.failed(&endpoint, now, &mut rng);
                }
                let why = format!("{}: connected, but no handshake came: {why}", endpoint.address);
                self.note_failed_dial(now, &endpoint, &why);
            }
            (Way::Out(_), false) | (Way::In, _) => {}
        }
        if let Some(endpoint) = &peer.dial_back {
            self.dialer.inbound_gone(endpoint);
        }
        if peer.progress.renewing {
            self.connect_anew(now, &peer);
        }
        if peer.handshake.is_some() {
            if !told && let Some(more) = self.may_tell(now, &peer.host, "disconnected") {
                tracing::info!(peer = %peer.label(), more, "disconnected: {why}");
            }
            self.sync_event(now, SyncEvent::PeerGone { peer: conn });
            self.save_peers();
        } else if !told && matches!(why, CloseReason::Ended(_)) {
            // Nodes look like this that only check whether our address is good.
            tracing::debug!(peer = %peer.label(), "gone before the handshake: {why}");
        } else if !told && let Some(more) = self.log.allow(&peer.host, "no handshake", now) {
            tracing::info!(peer = %peer.label(), more, "gone before the handshake: {why}");
        }
        self.after_peers_changed(now);
    }

    /// A provable fault of a peer.
    pub(super) fn penalise(&mut self, now: Duration, conn: ConnId, offence: &Offence) {
        let Some(mut peer) = self.peers.remove(&conn) else { return };
        if self.punish(now, &peer, offence) {
            peer.closing = true;
            self.end(conn, offence.to_string());
        }
        self.peers.insert(conn, peer);
    }

    /// Says whether the peer has to go.
    pub(super) fn punish(&mut self, now: Duration, peer: &Peer, offence: &Offence) -> bool {
        let identity = peer.identity.as_ref();
        let subject = Subject::of(&peer.remote, identity);
        let penalty = self.scores.record(&subject, offence, now);
        self.penalties.note(&subject, &penalty, now);
        let backed_off = penalty.ban.is_some() && self.is_configured(peer);
        let due = penalty.ban.filter(|_| !backed_off);
        let banned = due.filter(|ban| self.guard.ban(&peer.remote, identity, now + *ban, now, &penalty));
        if let (true, Way::Out(endpoint)) = (backed_off, &peer.direction) {
            let mut rng = self.fork_rng();
            self.dialer.back_off(endpoint, now, &mut rng);
        }
        // A ban is always told of: it is rare, and explains what else stays away.
        let told = self.log.allow(&peer.host, offence.kind(), now).or(banned.map(|_| 0));
        if let Some(more) = told {
            let consequence = match (banned, penalty.close) {
                (Some(ban), _) => format!("banned for {} s", ban.as_secs()),
                (None, _) if backed_off => {
                    "connection closed; it is configured, and dialled again in a while".to_owned()
                }
                (None, true) => "connection closed".to_owned(),
                (None, false) => "noted".to_owned(),
            };
            let Penalty { score, proof, .. } = &penalty;
            tracing::warn!(peer = %peer.label(), score, more, "{proof}: {consequence}");
        }
        let close = penalty.close;
        // A ban that spares loopback is none.
        let penalty = Penalty { ban: banned, backed_off, ..penalty };
        self.push(Action::Publish(NodeEvent::Penalised { peer: peer.label(), penalty }));
        close
    }

    /// Whether the operator named this peer: by the address that we dialled, or by its key.
    fn is_configured(&self, peer: &Peer) -> bool {
        let by_address = matches!(&peer.direction, Way::Out(endpoint) if self.dialer.is_configured(endpoint));
        by_address || peer.identity.as_ref().is_some_and(|key| self.dialer.is_configured_key(key))
    }

    /// Whether a line about what several peers behind one address may do can be written; with the number of those held back.
    pub(super) fn may_tell(&mut self, now: Duration, host: &Host, kind: &'static str) -> Option<u64> {
        self.log.allow_some(host, kind, self.config.limits.log_burst, now)
    }

    /// Ends a connection, with a word to the log.
    pub(super) fn close(&mut self, now: Duration, conn: ConnId, reason: &str) {
        if let Some(peer) = self.peers.get_mut(&conn)
            && !std::mem::replace(&mut peer.closing, true)
        {
            let (label, host) = (peer.label(), peer.host.clone());
            if let Some(more) = self.may_tell(now, &host, "closing") {
                tracing::info!(peer = %label, more, "closing: {reason}");
            }
            self.end(conn, reason.to_owned());
        }
    }

    /// Ends a connection that counts for nothing any more, though what waits may still be sent.
    pub(super) fn end(&mut self, conn: ConnId, reason: String) {
        self.guard.gone(conn);
        self.push(Action::Close { conn, reason });
    }

    pub(super) fn remember_failed_dial(&mut self, endpoint: &Endpoint, why: String) {
        const REMEMBERED: usize = 64;
        if self.failed_dials.len() < REMEMBERED || self.failed_dials.contains_key(&endpoint.to_string()) {
            self.failed_dials.insert(endpoint.to_string(), why);
        }
    }

    pub(super) fn note_failed_dial(&mut self, now: Duration, endpoint: &Endpoint, why: &str) {
        self.remember_failed_dial(endpoint, why.to_owned());
        if let Some(more) = self.log.allow(&Host::Name(endpoint.address.clone()), "dial", now) {
            tracing::info!(more, "{why}");
        }
    }
}
