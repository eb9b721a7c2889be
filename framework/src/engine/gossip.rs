use std::time::Duration;

use super::connection::Inbound;
use super::core::{Action, Core, ImportOrigin};
use super::fetching::Item;
use super::handshake::shown;
use super::peer::{Part, Wanted};
use super::requests::Size;
use super::weight::Weight;
use crate::chain::{ChainCommand, Stop, proposer_signed};
use crate::executor::accounts::state;
use crate::memory::MemoryShares;
use crate::mempool;
use crate::peers::Offence;
use crate::rules::HashedBlock;
use crate::sync::{ConnId, SyncEvent};
use crate::types::{Address, BlockLink, MessageKind};

impl Core {
    /// A message came.
    pub(crate) fn received(&mut self, now: Duration, conn: ConnId, inbound: Inbound) {
        let Some(peer) = self.peers.get(&conn) else { return };
        if peer.closing {
            return;
        }
        let ready = peer.is_ready();
        match inbound {
            Inbound::Handshake(handshake) => self.handshake_received(now, conn, handshake),
            Inbound::Foreign { error } => self.not_understood(now, conn, &error),
            Inbound::Unreadable { error } => {
                let (label, host) = (peer.label(), peer.host.clone());
                if let Some(more) = self.log.allow(&host, "unreadable", now) {
                    // It may repeat what the peer wrote.
                    let error = shown(&error.to_string());
                    tracing::info!(peer = %label, more, "{error}");
                }
                if !ready {
                    let inbound = Inbound::Unreadable { error };
                    self.before_handshake(now, conn, &inbound);
                }
            }
            other if !ready => self.before_handshake(now, conn, &other),
            Inbound::NewBlock(block) => self.block_announced(now, conn, block),
            Inbound::NewTxs(txs) => self.transactions_received(conn, txs),
            Inbound::NewHashes { blocks, txs } => self.hashes_announced(now, conn, &blocks, &txs),
            Inbound::GetData { blocks, txs } => self.data_asked(now, conn, &blocks, &txs),
            Inbound::Asked(wanted) => self.range_asked(now, conn, wanted),
            Inbound::Blocks { id, blocks, malformed, bytes, weight } => {
                self.blocks_received(now, conn, id, blocks, malformed.as_deref(), Size { bytes, weight });
            }
            Inbound::Headers { id, links, bytes } => self.headers_received(now, conn, id, links, bytes),
        }
    }

    fn block_announced(&mut self, now: Duration, conn: ConnId, block: HashedBlock) {
        let limits = self.config.limits.clone();
        let link = block.link;
        if self.is_importing(&link) {
            self.keep_spare(conn, block);
            return;
        }
        // So far below our tip a block is no news, on whatever branch it is.
        let old = self.tip.is_some_and(|tip| link.height.saturating_add(limits.new_block_ahead) < tip.height);
        let known = old || self.seen_blocks.contains(&link.hash);
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.known.insert_block(&link.hash);
        peer.progress.shows(Some(link.height));
        self.fetches.arrived(Item::Block(link.hash));
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if known {
            return;
        }
        let (legacy, importing) = (peer.is_legacy(), peer.importing);
        let next = self.tip.map_or(0, |tip| tip.height.saturating_add(1));
        if link.height >= next.saturating_add(limits.new_block_ahead) {
            // Too far ahead to be looked at: no more than a claim.
            self.sync_event(now, SyncEvent::PeerTip { peer: conn, height: Some(link.height), legacy });
            return;
        }
        // A header's hash says nothing of a body that is not its own: nothing is remembered under it, and nobody is blamed.
        if self.config.verifier.hasher().tx_root(&block.tx_hashes) != block.block.header.tx_root {
            let (label, host) = (peer.label(), peer.host.clone());
            if let Some(more) = self.log.allow(&host, "body mismatch", now) {
                tracing::info!(peer = %label, more, height = link.height, "new_block whose transactions are not those of its header");
            }
            return;
        }
        let signed = proposer_signed(&self.config.verifier, &self.config.keys, &block);
        match &signed {
            Some(Err(rejection)) => {
                if let Some(offence) = Offence::of_block(rejection, Some(link.hash)) {
                    self.penalise(now, conn, &offence);
                }
                return;
            }
            // Whose block this is cannot be told before execution: only the very next one is worth that.
            None if !link.extends(self.tip.as_ref()) => {
                self.sync_event(now, SyncEvent::PeerTip { peer: conn, height: Some(link.height), legacy });
                return;
            }
            Some(Ok(())) => self.compare_clocks(now, conn, &block),
            None => {}
        }
        let gossip = self.imports.values().filter(|origin| matches!(origin, ImportOrigin::Gossip { .. })).count();
        let (bytes, held) = (memory_of(&block), self.gossip_held());
        let sync_is_importing = self.imports.values().any(|origin| *origin == ImportOrigin::Sync);
        let fits = held == 0 || held.saturating_add(bytes) <= MemoryShares::of(limits.network_memory).gossip_blocks();
        // Below a checkpoint a block that extends our tip may lead away from it: the sync finds out.
        let free = importing < limits.new_block_queue_per_peer
            && gossip < limits.new_block_queue
            && fits
            && self.checkpoint_ahead().is_none();
        if link.extends(self.gossip_tip.as_ref()) && !sync_is_importing && !self.reorganising && free {
            self.gossip_tip = Some(link.tip());
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.importing += 1;
            }
            let batch = self.new_batch();
            self.imports.insert(batch, ImportOrigin::Gossip { conn, link, bytes });
            let blocks = vec![block];
            self.push(Action::Chain(match signed {
                Some(_) => ChainCommand::ImportSigned { batch, blocks },
                None => ChainCommand::Import { batch, blocks },
            }));
        } else {
            self.sync_event(now, SyncEvent::Announced { peer: conn, link });
        }
    }

    /// The memory of blocks of gossip under import, and of other copies of them.
    fn gossip_held(&self) -> usize {
        let imports = self.imports.values().map(|origin| match origin {
            ImportOrigin::Gossip { bytes, .. } => *bytes,
            ImportOrigin::Sync | ImportOrigin::Own => 0,
        });
        imports.chain(self.spares.iter().map(|(_, spare)| memory_of(spare))).fold(0, usize::saturating_add)
    }

    /// Whether a copy of this block is on its way through the chain; should it turn out bad, who else has one is asked.
    fn is_importing(&self, block: &BlockLink) -> bool {
        self.imports.values().any(|origin| matches!(origin, ImportOrigin::Gossip { link, .. } if link == block))
    }

    /// Keeps another copy of a block under import, should the first turn out bad: a header's hash covers no signature,
    /// and under v1 rules not the whole body. When there are too many, the newest is not kept: it can be asked for.
    fn keep_spare(&mut self, conn: ConnId, block: HashedBlock) {
        const SPARES: usize = 8;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.known.insert_block(&block.link.hash);
        }
        self.fetches.arrived(Item::Block(block.link.hash));
        let has_one = self.spares.iter().any(|(other, spare)| *other == conn && spare.link == block.link);
        let room = MemoryShares::of(self.config.limits.network_memory).gossip_blocks();
        let fits = self.gossip_held().saturating_add(memory_of(&block)) <= room;
        if self.spares.len() < SPARES && !has_one && fits {
            self.spares.push((conn, block));
        }
    }

    /// A block of a peer's gossip was applied, or was not.
    pub(super) fn gossip_imported(&mut self, now: Duration, conn: ConnId, link: BlockLink, stop: Option<&Stop>) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.importing = peer.importing.saturating_sub(1);
        }
        let Some(stop) = stop else {
            return self.guard.useful(conn);
        };
        if !self.imports.values().any(|origin| *origin != ImportOrigin::Sync) {
            self.gossip_tip = self.tip;
        }
        if let Stop::Rejected(rejection) = stop
            && let Some(offence) = Offence::of_block(rejection, None)
        {
            self.penalise(now, conn, &offence);
        }
        // One after the other: a spare may be bad at first sight, and must not be the last that is looked at.
        while let Some(at) = self.spares.iter().position(|(_, spare)| spare.link == link) {
            let (sender, spare) = self.spares.remove(at);
            self.block_announced(now, sender, spare);
            if self.is_importing(&link) {
                return;
            }
        }
        // Whoever else has this block may have a good copy of it.
        let holders = self.peers.iter().filter(|(_, peer)| peer.is_ready() && peer.known.knows_block(&link.hash));
        let holders: Vec<ConnId> = holders.map(|(conn, _)| *conn).collect();
        for peer in holders {
            self.sync_event(now, SyncEvent::Announced { peer, link });
        }
    }

    /// Accounts as of our tip. One that cannot be read counts as empty: the pool then refuses what it would send.
    pub(super) fn accounts(&self) -> impl Fn(&Address) -> mempool::Account + use<> {
        let view = self.config.store.state().ok();
        move |address| {
            let account = view.as_ref().and_then(|view| state::account(view.as_ref(), address).ok().flatten());
            account.map_or_else(Default::default, |account| mempool::Account {
                nonce: account.nonce,
                balance: account.balance,
            })
        }
    }
}

/// What a block takes, which keeps no more of its frame than itself.
fn memory_of(block: &HashedBlock) -> usize {
    Weight::of(std::slice::from_ref(block), 0).memory
}

impl Inbound {
    /// The message's type, where it could be read.
    pub(super) fn kind(&self) -> Option<MessageKind> {
        Some(match self {
            Self::Handshake(_) => MessageKind::Handshake,
            Self::NewBlock(_) => MessageKind::NewBlock,
            Self::NewTxs(_) => MessageKind::NewTx,
            Self::Asked(Wanted { part: Part::Block, .. }) => MessageKind::GetBlocks,
            Self::Asked(Wanted { part: Part::Header, .. }) => MessageKind::GetHeaderChain,
            Self::Headers { .. } => MessageKind::HeaderChain,
            Self::NewHashes { .. } => MessageKind::NewHashes,
            Self::GetData { .. } => MessageKind::GetData,
            Self::Blocks { .. } => MessageKind::BlocksResponse,
            Self::Unreadable { .. } | Self::Foreign { .. } => return None,
        })
    }
}
