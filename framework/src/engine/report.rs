use std::time::Duration;

use super::core::Core;
use super::peer::{Peer, Way};
use crate::node::{CheckpointAhead, NodeStatus};
use crate::peers::penalties::BANS_SHOWN;
use crate::peers::{Direction, PeerInfo, Standing, Subject};
use crate::sync::{ConnId, Connectivity};
use crate::types::Checkpoint;

impl Core {
    /// How the node stands now.
    pub(crate) fn status(&self) -> NodeStatus {
        let sync = self.sync.status();
        let peers = self.peers.values().filter(|peer| peer.is_ready()).count();
        NodeStatus {
            mode: sync.mode,
            tip: self.settled_tip,
            genesis_hash: self.genesis_hash,
            target: sync.target,
            outstanding: sync.outstanding,
            peers,
            reached_anyone: self.reached_anyone,
            knows_peers: self.dialer.connectivity(peers > 0) != Connectivity::NoPeersKnown,
            failed_dials: self.failed_dials.clone(),
            refused_everywhere: peers == 0 && self.dialer.refused_everywhere(),
            pool: self.pool.len(),
            rolled_back: sync.rolled_back,
            figures: self.figures,
            last_error: self.last_error.clone(),
            checkpoint_ahead: self
                .checkpoint_ahead()
                .map(|checkpoint| CheckpointAhead { checkpoint, trouble: self.checkpoint_trouble.clone() }),
            fatal: self.fatal.clone(),
        }
    }

    /// The lowest checkpoint above our tip. Until it is reached our chain is not known to be the one that was demanded.
    pub(super) fn checkpoint_ahead(&self) -> Option<Checkpoint> {
        let above = |point: &&Checkpoint| self.tip.is_none_or(|tip| tip.height < point.height);
        self.config.verifier.genesis().checkpoints.iter().filter(above).min_by_key(|point| point.height).copied()
    }

    /// The peers whose handshake is done. `traffic` knows a connection's link and its bytes in and out.
    pub(crate) fn peer_infos(
        &self,
        now: Duration,
        unix_now: u64,
        traffic: impl Fn(ConnId) -> (String, (u64, u64)),
    ) -> Vec<PeerInfo> {
        let ready = self.peers.iter().filter(|(_, peer)| peer.is_ready());
        ready
            .filter_map(|(conn, peer)| {
                let handshake = peer.handshake.as_ref()?;
                let (link, (bytes_in, bytes_out)) = traffic(*conn);
                let subject = Subject::of(&peer.remote, peer.identity.as_ref());
                Some(PeerInfo {
                    id: conn.0,
                    address: peer.remote.address.clone(),
                    direction: if peer.direction == Way::In { Direction::Inbound } else { Direction::Outbound },
                    link,
                    identity: peer.identity.map(|identity| identity.to_string()),
                    node_id: handshake.node_id.clone(),
                    height: handshake.best_height,
                    features: handshake.features.clone().unwrap_or_default(),
                    legacy: Peer::is_legacy(peer),
                    bytes_in,
                    bytes_out,
                    score: self.scores.score(&subject, now),
                    penalties: self.penalties.shown(Some(&subject), now, unix_now),
                    connected_since: unix_now.saturating_sub(now.saturating_sub(peer.since).as_secs()),
                })
            })
            .collect()
    }

    /// The bans that hold and the last penalties.
    pub(crate) fn standing(&self, now: Duration, unix_now: u64) -> Standing {
        let (bans, banned) = self.guard.bans(BANS_SHOWN, now, unix_now);
        Standing { bans, banned, penalties: self.penalties.shown(None, now, unix_now) }
    }

    /// The node cannot go on.
    pub(crate) fn fail(&mut self, why: String) {
        self.fatal.get_or_insert(why);
    }
}
