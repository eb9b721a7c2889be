//! A new peer is told of what waits in our pool, in portions, as it takes them: it may come from another part of the network.

use std::sync::Arc;
use std::time::Duration;

use super::announcing::Bodies;
use super::core::Core;
use super::fetching;
use crate::mempool::{PooledTx, tx_bytes};
use crate::sync::ConnId;
use crate::types::MAX_ANNOUNCED_TXS;

/// Transactions of the pool that are looked at for a portion: also all that one message can name.
const LOOKED_AT: usize = MAX_ANNOUNCED_TXS;
/// Bytes in memory of what is named in a portion, though always one transaction: all may be asked for at once, and must find room
/// in an outbox.
const NAMED_BYTES: usize = 2 << 20;
/// The next portion goes at once where no more of what was named than this is still to be fetched.
const ALL_BUT_TAKEN: usize = LOOKED_AT / 2;
/// The next portion goes after this, to a peer that fetches: what it did not ask for by then it has, or has given up.
const PAUSE_OF_NAMES: Duration = fetching::PATIENCE;
/// Bodies in a portion, for a peer that does not fetch: the reference takes some milliseconds for each.
const BODIES: usize = 100;
/// Bytes in memory of the bodies in a portion, though always one body: the reference reads long input in quadratic time.
const BODY_BYTES: usize = 256 << 10;
/// The next portion of bodies goes after this.
const PAUSE_OF_BODIES: Duration = Duration::from_secs(1);

/// How far a peer was told of our pool. What came to the pool after the peer is passed on as it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offering {
    /// The place in the pool's line up to which it was told; none at the beginning.
    after: Option<i64>,
    /// The place at which it ends.
    until: i64,
    /// When to go on at the latest.
    pub(super) due: Duration,
}

impl Core {
    /// Tells a peer of all that waits in our pool, and that it may have.
    pub(super) fn offer_pool(&mut self, now: Duration, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.offering = self.pool.end_of_line().map(|until| Offering { after: None, until, due: now });
        self.continue_offer(now, conn);
    }

    /// A reorganisation may have made executable what legacy peers were not to hear of before.
    pub(super) fn offer_to_legacy_peers(&mut self, now: Duration) {
        for conn in self.legacy_peers() {
            self.offer_pool(now, conn);
        }
    }

    /// A peer has fetched of what it was told.
    pub(super) fn offer_taken(&mut self, now: Duration, conn: ConnId) {
        if self.peers.get(&conn).is_some_and(|peer| peer.offering.is_some() && peer.offered.len() <= ALL_BUT_TAKEN) {
            self.continue_offer(now, conn);
        }
    }

    /// Goes on where it is time to.
    pub(super) fn continue_offers(&mut self, now: Duration) {
        let due = self.peers.iter().filter(|(_, peer)| peer.offering.is_some_and(|offering| offering.due <= now));
        for conn in due.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.continue_offer(now, conn);
        }
    }

    fn continue_offer(&mut self, now: Duration, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let Some(offering) = peer.offering.take().filter(|_| !peer.closing) else { return };
        let (fetches, pause) = (peer.fetches, if peer.fetches { PAUSE_OF_NAMES } else { PAUSE_OF_BODIES });
        if !fetches && self.reorganising {
            // What can be executed shows once the chain stands where it will stay.
            peer.offering = Some(Offering { due: now + pause, ..offering });
            return;
        }
        let (portion, after) = self.portion_behind(conn, offering);
        if fetches {
            self.offer_transactions(now, conn, portion.iter().map(|(_, hash)| *hash).collect());
        } else {
            self.send_bodies(now, conn, &portion, &mut Bodies::default());
        }
        if let Some(peer) = self.peers.get_mut(&conn)
            && after < offering.until
        {
            peer.offering = Some(Offering { after: Some(after), due: now + pause, ..offering });
        }
    }

    /// The next transactions that a peer may have and does not know, and the place behind which to go on.
    fn portion_behind(&self, conn: ConnId, offering: Offering) -> (Vec<PooledTx>, i64) {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        let Some(peer) = self.peers.get(&conn) else { return (portion, offering.until) };
        let (most, most_bytes) = if peer.fetches { (LOOKED_AT, NAMED_BYTES) } else { (BODIES, BODY_BYTES) };
        let accounts = self.accounts();
        let line = self.pool.line_behind(offering.after).take_while(|(place, ..)| *place <= offering.until);
        for (looked_at, (place, hash, tx)) in (1..).zip(line) {
            if !peer.known.knows_tx(hash) && (!peer.is_legacy() || self.pool.is_executable_next(hash, &accounts)) {
                bytes += tx_bytes(tx);
                portion.push((Arc::clone(tx), *hash));
            }
            if looked_at == LOOKED_AT || portion.len() == most || bytes >= most_bytes {
                return (portion, place);
            }
        }
        (portion, offering.until)
    }
}
