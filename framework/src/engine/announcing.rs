//! The extension `announce-1`: bodies are fetched by who lacks them, not sent to who may have them.
//!
//! A transaction is always announced. A block is announced too, except that the node that made it pushes it to all its
//! peers, since nobody can have it yet, and that the smallest are pushed, since an announcement with its question costs
//! as many bytes and a round trip besides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::fetching::Item;
use super::outbox::Class;
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::preparing::id_of;
use crate::chain::Applied;
use crate::codec::EncodeError;
use crate::fast_map::FastMap;
use crate::limits::Limits;
use crate::memory::MemoryShares;
use crate::mempool::PooledTx;
use crate::peers::Host;
use crate::sync::{ConnId, SyncEvent};
use crate::types::{Address, BlockLink, Hash32, Height, MAX_ANNOUNCED_BLOCKS, MAX_ANNOUNCED_TXS, Message, WireBlock};

/// A block of up to so many bytes is pushed: an announcement and its question take some 400 in JSON.
const SMALL_BLOCK: usize = 1024;
/// Bodies of transactions, each made once for all peers.
#[derive(Debug, Default)]
pub(super) struct Bodies(FastMap<Hash32, Arc<Outgoing>>);

/// The longest frame that is sent to whoever has not asked for it: what a receiver takes then, and what our own share for gossip has room for.
pub(super) fn gossip_frame_max(limits: &Limits) -> usize {
    limits.frame_max.min(MemoryShares::of(limits.network_memory).gossip())
}

impl Core {
    /// Passes a block on to those who do not know it.
    pub(super) fn relay_block(&mut self, now: Duration, applied: &Applied, is_ours: bool) {
        let link = applied.link;
        let receivers: Vec<(ConnId, bool)> = self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.is_ready())
            .filter_map(|(conn, peer)| peer.known.insert_block(&link.hash).then_some((*conn, peer.fetches)))
            .collect();
        if receivers.is_empty() {
            return;
        }
        // No codec makes a frame shorter than the block is stored: what is too long for gossip in any need not be framed.
        if applied.bytes.len() > gossip_frame_max(&self.config.limits) {
            for (conn, _) in receivers {
                self.name_height(now, conn, link.height);
            }
            return;
        }
        let push = is_ours || applied.bytes.len() <= SMALL_BLOCK;
        let block = WireBlock::Both(Arc::clone(&applied.block), applied.bytes.clone());
        let body = Arc::new(Outgoing::new(Message::NewBlock(block)));
        let name = Arc::new(Outgoing::new(Message::NewHashes { blocks: vec![link], txs: Vec::new() }));
        for (conn, fetches) in receivers {
            if push || !fetches {
                self.send(now, conn, Class::Gossip, Arc::clone(&body));
            } else if self.recent_blocks.keep(applied) {
                self.offer(conn, Item::Block(link.hash));
                self.send(now, conn, Class::Gossip, Arc::clone(&name));
            } else {
                self.name_height(now, conn, link.height);
            }
        }
    }

    /// A message could not be framed. A block that is too long for gossip can be asked for as an answer: the peer hears of our height.
    pub(crate) fn not_sent(&mut self, now: Duration, conn: ConnId, message: &Message, error: &EncodeError) {
        if let (Message::NewBlock(block), EncodeError::TooLarge { .. }) = (message, error) {
            let height = block.decode().map_or(0, |block| block.header.height);
            return self.name_height(now, conn, height);
        }
        let Some(peer) = self.peers.get(&conn) else { return };
        if let Some(more) = self.log.allow(&peer.host, "not sent", now) {
            tracing::warn!(peer = %peer.label(), kind = message.kind().name(), more, "not sent: {error}");
        }
    }

    /// Tells a peer of our height instead of a block: now, or as soon as the disk has it.
    fn name_height(&mut self, now: Duration, conn: ConnId, height: Height) {
        if self.settled_tip.is_some_and(|tip| tip.height >= height) {
            self.send_handshake(now, conn);
        } else if let Some(peer) = self.peers.get_mut(&conn) {
            peer.wants_tip = true;
        }
    }

    /// Passes transactions of our pool on to those who do not know them.
    pub(super) fn relay_transactions(&mut self, now: Duration, txs: &[PooledTx]) {
        if txs.is_empty() || self.peers.is_empty() {
            return;
        }
        let conns: Vec<(ConnId, bool)> =
            self.peers.iter().filter(|(_, peer)| peer.is_ready()).map(|(conn, peer)| (*conn, peer.fetches)).collect();
        let mut bodies = Bodies::default();
        for (conn, fetches) in conns {
            if fetches {
                self.offer_transactions(now, conn, txs.iter().map(|(_, hash)| *hash).collect());
            } else {
                self.send_bodies(now, conn, txs, &mut bodies);
            }
        }
    }

    /// Passes on to legacy peers what these senders can execute next, and could not before.
    pub(super) fn relay_executable(&mut self, now: Duration, senders: &[Address]) {
        let legacy = self.legacy_peers();
        if legacy.is_empty() {
            return;
        }
        let next = self.pool.next_of(senders);
        let mut bodies = Bodies::default();
        for conn in legacy {
            self.send_bodies(now, conn, &next, &mut bodies);
        }
    }

    pub(super) fn legacy_peers(&self) -> Vec<ConnId> {
        let legacy = self.peers.iter().filter(|(_, peer)| peer.is_ready() && peer.is_legacy());
        legacy.map(|(conn, _)| *conn).collect()
    }

    /// Sends a peer that does not fetch what it does not know.
    pub(super) fn send_bodies(&mut self, now: Duration, conn: ConnId, txs: &[PooledTx], bodies: &mut Bodies) {
        let legacy = self.peers.get(&conn).is_some_and(Peer::is_legacy);
        let accounts = self.accounts();
        for (tx, hash) in txs {
            // v1's proposer stops for ever at a transaction that it cannot execute.
            if legacy && !self.pool.is_executable_next(hash, &accounts) {
                continue;
            }
            if self.peers.get_mut(&conn).is_some_and(|peer| peer.known.insert_tx(hash)) {
                let body = bodies.0.entry(*hash).or_insert_with(|| Arc::new(Outgoing::new(Message::NewTx(tx.clone()))));
                let body = Arc::clone(body);
                self.send(now, conn, Class::Gossip, body);
            }
        }
    }

    /// Names to a peer what it does not know.
    pub(super) fn offer_transactions(&mut self, now: Duration, conn: ConnId, mut hashes: Vec<Hash32>) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        hashes.retain(|hash| peer.known.insert_tx(hash));
        for hash in &hashes {
            peer.offered.add(Item::Tx(*hash));
        }
        for txs in hashes.chunks(MAX_ANNOUNCED_TXS) {
            let message = Message::NewHashes { blocks: Vec::new(), txs: txs.to_vec() };
            self.send(now, conn, Class::Gossip, Arc::new(Outgoing::new(message)));
        }
    }

    fn offer(&mut self, conn: ConnId, item: Item) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.offered.add(item);
        }
    }

    /// A peer names what it has.
    pub(super) fn hashes_announced(&mut self, now: Duration, conn: ConnId, blocks: &[BlockLink], txs: &[Hash32]) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let legacy = peer.is_legacy();
        for hash in txs {
            peer.known.insert_tx(hash);
        }
        for link in blocks {
            peer.known.insert_block(&link.hash);
        }
        let mut asked = Vec::new();
        for link in blocks {
            if self.seen_blocks.contains(&link.hash) {
                continue;
            }
            let item = Item::Block(link.hash);
            if !link.extends(self.gossip_tip.as_ref()) {
                // A place that nobody has signed: no more than a claim, and only if it is above us.
                if self.tip.is_none_or(|tip| link.height > tip.height) {
                    self.sync_event(now, SyncEvent::PeerTip { peer: conn, height: Some(link.height), legacy });
                }
            } else if self.fetches.announced(now, conn, item) {
                asked.push((conn, item));
            } else if !self.fetches.knows(item) {
                // No room to fetch it: the strategy looks for it then, since a block is worth more than what fills the room.
                self.sync_event(now, SyncEvent::PeerTip { peer: conn, height: Some(link.height), legacy });
            }
        }
        for hash in txs {
            let item = Item::Tx(*hash);
            if self.lacks_transaction(hash) && self.fetches.announced(now, conn, item) {
                asked.push((conn, item));
            }
        }
        self.ask_for(now, asked);
    }

    /// A peer asks for what we named.
    pub(super) fn data_asked(&mut self, now: Duration, conn: ConnId, blocks: &[Hash32], txs: &[Hash32]) {
        let may_have = |core: &mut Self, item| core.peers.get_mut(&conn).is_some_and(|peer| peer.offered.take(item));
        for hash in blocks {
            let found = self.recent_blocks.get(hash);
            if may_have(self, Item::Block(*hash))
                && let Some(body) = found
            {
                self.send(now, conn, Class::Gossip, body);
            }
        }
        for hash in txs {
            if may_have(self, Item::Tx(*hash))
                && let Some(tx) = self.pool.get(hash)
            {
                let body = Arc::new(Outgoing::new(Message::NewTx(Arc::clone(tx))));
                self.send(now, conn, Class::Gossip, body);
            }
        }
        self.offer_taken(now, conn);
    }

    fn lacks_transaction(&self, hash: &Hash32) -> bool {
        !self.good_txs.contains(hash) && !self.pool.contains(hash)
    }

    /// Asks others for what was not delivered in time.
    pub(super) fn expire_fetches(&mut self, now: Duration) {
        let again = self.fetches.expired(now);
        self.ask_for(now, again);
        self.fetch_more(now);
    }

    /// Asks for what was announced when there was no room to fetch it.
    pub(super) fn fetch_more(&mut self, now: Duration) {
        let mut asked = Vec::new();
        while let Some((conn, hash)) = self.fetches.next_postponed() {
            if self.lacks_transaction(&hash) && self.fetches.announced(now, conn, Item::Tx(hash)) {
                asked.push((conn, Item::Tx(hash)));
            }
        }
        self.ask_for(now, asked);
    }

    /// So many of the pool's bytes are needed for an answer that is being read: what pays least goes.
    pub(crate) fn lend_from_pool(&mut self, now: Duration, bytes: usize) {
        let dropped = self.pool.lend(bytes);
        if !dropped.is_empty()
            && let Some(more) = self.log.allow(&Host::Name("pool".into()), "lent", now)
        {
            let dropped = dropped.len();
            tracing::warn!(
                dropped,
                more,
                "a long answer needs memory: the pool drops what pays least, which may come again"
            );
        }
        self.forget_transactions(&dropped);
    }

    /// What left our pool without a block may come again: it is fetched, taken and passed on as if it were new.
    pub(super) fn forget_transactions(&mut self, dropped: &[PooledTx]) {
        if dropped.is_empty() {
            return;
        }
        let hashes: Vec<Hash32> = dropped.iter().map(|(_, hash)| *hash).collect();
        self.good_txs.forget(&hashes);
        self.seen_txs.forget(&dropped.iter().map(|(tx, _)| id_of(tx)).collect::<Vec<_>>());
        self.forget_known(dropped);
    }

    /// What peers were told of these transactions they may not know any more, or never have taken.
    pub(super) fn forget_known(&mut self, txs: &[PooledTx]) {
        if txs.is_empty() {
            return;
        }
        let hashes: Vec<Hash32> = txs.iter().map(|(_, hash)| *hash).collect();
        for peer in self.peers.values_mut() {
            peer.known.forget_txs(&hashes);
        }
    }

    /// Asks others for what a peer that is gone was asked for.
    pub(super) fn fetch_elsewhere(&mut self, now: Duration, gone: ConnId) {
        let again = self.fetches.gone(now, gone);
        self.ask_for(now, again);
    }

    fn ask_for(&mut self, now: Duration, items: Vec<(ConnId, Item)>) {
        let mut by_peer: BTreeMap<ConnId, (Vec<Hash32>, Vec<Hash32>)> = BTreeMap::new();
        for (conn, item) in items {
            let (blocks, txs) = by_peer.entry(conn).or_default();
            match item {
                Item::Block(hash) => blocks.push(hash),
                Item::Tx(hash) => txs.push(hash),
            }
        }
        for (conn, (mut blocks, mut txs)) in by_peer {
            while !blocks.is_empty() || !txs.is_empty() {
                let rest_of_blocks = blocks.split_off(blocks.len().min(MAX_ANNOUNCED_BLOCKS));
                let rest_of_txs = txs.split_off(txs.len().min(MAX_ANNOUNCED_TXS));
                let message = Message::GetData {
                    blocks: std::mem::replace(&mut blocks, rest_of_blocks),
                    txs: std::mem::replace(&mut txs, rest_of_txs),
                };
                self.send(now, conn, Class::Needed, Arc::new(Outgoing::new(message)));
            }
        }
    }
}
