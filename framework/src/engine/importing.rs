use std::collections::BTreeSet;
use std::time::Duration;

use super::core::{Action, Core, ImportOrigin, RELAYED_BLOCKS, Refused, TIP_UPDATE_INTERVAL};
use super::fetching::Item;
use crate::chain::{Applied, ChainEvent, ChainOutcome, Stop, genesis_hash_in};
use crate::executor::accounts::reward_address;
use crate::mempool::Returned;
use crate::node::NodeEvent;
use crate::peers::Host;
use crate::rules::{Rejection, Rule};
use crate::sync::{BatchId, ConnId, Mode, RejectKind, SyncEvent};
use crate::types::{Address, BlockLink, Height, Tip};

impl Core {
    /// What became of a command to the chain.
    pub(crate) fn chain_event(&mut self, now: Duration, event: ChainEvent) {
        match event {
            ChainEvent::Executed { batch, blocks } => return self.executed(now, batch, &blocks),
            ChainEvent::Imported { batch, outcome } => self.imported(now, batch, outcome),
            ChainEvent::RolledBack { tip, removed } => {
                self.moved(now, tip);
                self.pool.tip_moved();
                self.push(Action::Publish(NodeEvent::RolledBack { tip }));
                // A second rollback goes further down; of too many the highest are left out, which could not do without the others.
                self.removed.splice(..0, removed);
                self.removed.truncate(self.config.limits.pool_txs);
                self.sync_event(now, SyncEvent::RolledBack { tip });
            }
            ChainEvent::RollbackFailed { tip, why } => {
                self.reorganising = false;
                tracing::warn!("a rollback was not done: {why}");
                self.sync_event(now, SyncEvent::RollbackFailed { tip });
            }
            ChainEvent::ReorgFinished { tip } => {
                self.reorganising = false;
                self.moved(now, tip);
                self.tip_update_due.get_or_insert(now + TIP_UPDATE_INTERVAL);
                let accounts = self.accounts();
                let removed = std::mem::take(&mut self.removed);
                let Returned { back, dropped } = self.pool.return_txs(removed, &accounts, now);
                self.forget_transactions(&dropped);
                // Peers on the branch that we took may never have heard of what the other one had, or may have had no use for it then.
                self.forget_known(&back);
                self.relay_transactions(now, &back);
                self.offer_to_legacy_peers(now);
                self.sync_event(now, SyncEvent::ReorgFinished { tip });
            }
            ChainEvent::NextSlot { tip, slot } => self.producing.slot_known(tip, slot),
            ChainEvent::Produced { slot, result } => self.produced(now, slot, result),
            ChainEvent::Failed(error) => {
                tracing::error!("the chain cannot go on: {error}");
                self.fatal = Some(error.to_string());
            }
        }
        self.fetch_more(now);
        self.after_peers_changed(now);
    }

    /// A peer's news is valid: it is passed on before the disk has it. Ours is not, and waits: after a crash we must not
    /// know less of our own blocks than others do.
    fn executed(&mut self, now: Duration, batch: BatchId, blocks: &[Applied]) {
        if matches!(self.imports.get(&batch), Some(ImportOrigin::Gossip { .. })) {
            for block in blocks {
                self.relay_block(now, block, false);
                self.told_early = self.told_early.max(Some(block.link.height));
            }
        }
    }

    fn imported(&mut self, now: Duration, batch: BatchId, outcome: ChainOutcome) {
        let origin = self.imports.remove(&batch);
        let sender = self.senders.remove(&batch);
        let ChainOutcome { applied, stop, tip } = outcome;
        self.note_applied(now, &applied, tip);
        let last = applied.last().map(|last| last.link.height).or(tip.map(|tip| tip.height));
        let failed_at = last.map_or(0, |height| height.saturating_add(1));
        if let Some(stop) = &stop
            && !self.is_in_the_wake(origin, stop)
        {
            self.report_stop(now, origin, stop);
        }
        if origin == Some(ImportOrigin::Sync) {
            self.sync_stopped = stop.is_some();
            if let (Some((conn, links)), Some(Stop::Rejected(rejection))) = (sender, &stop) {
                self.note_refused(conn, &links, rejection.clone());
            }
        }
        match origin {
            Some(ImportOrigin::Sync) => {
                let event = match (&stop, tip) {
                    (None, Some(tip)) => SyncEvent::Imported { batch, tip },
                    (Some(Stop::Rejected(rejection)), tip) => {
                        SyncEvent::Rejected { batch, height: rejection.height, why: rejection.kind(), tip }
                    }
                    (_, tip) => SyncEvent::Rejected { batch, height: failed_at, why: RejectKind::Local, tip },
                };
                self.sync_event(now, event);
            }
            Some(ImportOrigin::Gossip { conn, link, .. }) => {
                self.gossip_imported(now, conn, link, stop.as_ref());
                self.sync_event(now, SyncEvent::LocalTip(tip));
            }
            Some(ImportOrigin::Own) => {
                if stop.is_some() {
                    self.producing.not_stored(now);
                }
                self.figures.proposed += applied.len() as u64;
                self.gossip_tip = self.tip;
                self.sync_event(now, SyncEvent::LocalTip(tip));
            }
            None => self.sync_event(now, SyncEvent::LocalTip(tip)),
        }
        let relay = origin != Some(ImportOrigin::Sync) || (self.mode == Mode::Synced && !self.reorganising);
        if relay && applied.len() <= RELAYED_BLOCKS {
            for block in &applied {
                self.relay_block(now, block, origin == Some(ImportOrigin::Own));
            }
        }
        if !applied.is_empty() {
            self.tip_update_due.get_or_insert(now + TIP_UPDATE_INTERVAL);
        }
        if self.told_early.is_some() {
            let more = self.imports.values().any(|origin| matches!(origin, ImportOrigin::Gossip { .. }));
            self.told_early = self.told_early.filter(|told| more && self.tip.is_none_or(|tip| tip.height < *told));
            self.serve_waiting(now);
        }
    }

    /// Keeps why a block that a peer delivered was refused: nobody else is to be blamed with it.
    pub(super) fn note_refused(&mut self, conn: ConnId, links: &[BlockLink], rejection: Rejection) {
        if self.peers.contains_key(&conn) {
            let hash = links.iter().find(|link| link.height == rejection.height).map(|link| link.hash);
            self.refused.insert(conn, Refused { rejection, hash });
        }
    }

    fn note_applied(&mut self, now: Duration, applied: &[Applied], tip: Option<Tip>) {
        if applied.is_empty() {
            self.moved(now, tip);
            return;
        }
        if let Some(hash) = genesis_hash_in(applied) {
            self.genesis_hash = Some(hash);
            self.refuse_other_chains(now);
        }
        self.pool.tip_moved();
        if !self.pool.is_empty() {
            for block in applied {
                self.pool.remove_included(&block.tx_hashes);
            }
            let touched = self.touched_senders(applied);
            let dropped = self.pool.revalidate(&touched, &self.accounts(), now);
            self.forget_transactions(&dropped);
            self.relay_executable(now, &touched);
        }
        // Only blocks near the tip are announced; an older one is known by its height.
        for block in &applied[applied.len().saturating_sub(RELAYED_BLOCKS)..] {
            self.seen_blocks.insert(block.link.hash);
        }
        for block in applied {
            self.figures.blocks += 1;
            self.figures.txs += block.tx_hashes.len() as u64;
            self.fetches.arrived(Item::Block(block.link.hash));
            if self.mode == Mode::Synced {
                for hash in &block.tx_hashes {
                    self.fetches.arrived(Item::Tx(*hash));
                    self.good_txs.insert(*hash);
                }
            }
            self.push(Action::Publish(NodeEvent::BlockApplied { link: block.link, txs: block.tx_hashes.len() }));
        }
        self.figures.last_commit = Some(now);
        self.moved(now, tip);
    }

    /// Whose accounts these blocks have changed, of those who have transactions in the pool: senders, those whom they paid, and
    /// whoever had the rewards.
    fn touched_senders(&self, applied: &[Applied]) -> Vec<Address> {
        let txs = || applied.iter().flat_map(|block| &block.block.txs);
        let proposers: BTreeSet<&Address> = applied.iter().map(|block| &block.block.header.proposer_address).collect();
        let rules = self.config.verifier.genesis().hash_rules;
        let rewarded: Vec<Address> = match self.config.store.state() {
            // Who owns more than before matters to what waits only.
            Ok(view) if self.pool.waiting() > 0 => {
                proposers.iter().filter_map(|proposer| reward_address(rules, view.as_ref(), proposer)).collect()
            }
            _ => Vec::new(),
        };
        let paid = txs().filter_map(|tx| tx.to_address.as_ref());
        let all = txs().map(|tx| &tx.from_address).chain(paid).chain(&rewarded);
        let touched: BTreeSet<&Address> = all.filter(|address| self.pool.has_sender(address)).collect();
        touched.into_iter().cloned().collect()
    }

    /// Our chain ends here now.
    fn moved(&mut self, _now: Duration, tip: Option<Tip>) {
        self.tip = tip;
        if !self.reorganising {
            self.settled_tip = tip;
        }
        if tip.is_none() {
            self.genesis_hash = None;
        }
        // However the block came in the end, its other copies must not take the room of others'.
        self.spares.retain(|(_, spare)| tip.is_none_or(|tip| spare.link.height > tip.height));
        if !self.imports.values().any(|origin| *origin != ImportOrigin::Sync) {
            self.gossip_tip = tip;
        }
    }

    /// Whether blocks could not be applied for no other reason than that those before them could not.
    fn is_in_the_wake(&self, origin: Option<ImportOrigin>, stop: &Stop) -> bool {
        let gap = matches!(stop, Stop::Rejected(rejection) if rejection.rule == Rule::Height);
        gap && self.sync_stopped && origin == Some(ImportOrigin::Sync)
    }

    pub(super) fn report_stop(&mut self, now: Duration, origin: Option<ImportOrigin>, stop: &Stop) {
        self.last_error = Some(stop.to_string());
        match (stop, origin) {
            (Stop::Local(error), _) => tracing::error!("blocks could not be applied: {error}"),
            // Nothing is wrong with it: our tip has moved since it was asked for, or it is of a fork.
            (Stop::Rejected(rejection), _) if rejection.kind() == RejectKind::NotLinked => {
                let (height, why) = (rejection.height, &rejection.detail);
                if let Some(more) = self.log.allow(&block_at(height), "not linked", now) {
                    tracing::info!(height, more, "a block does not follow our tip any more: {why}");
                }
            }
            (Stop::Rejected(rejection), Some(ImportOrigin::Gossip { conn, .. })) => {
                let Some(peer) = self.peers.get(&conn) else { return };
                if let Some(more) = self.log.allow(&peer.host, "rejected", now) {
                    tracing::warn!(peer = %peer.label(), more, "{rejection}");
                }
            }
            (Stop::Rejected(rejection), _) => {
                // Who delivered it is the strategy's business, and a new connection must not buy a line.
                if let Some(more) = self.log.allow(&block_at(rejection.height), "rejected", now) {
                    tracing::warn!(more, "{rejection}");
                }
            }
        }
    }
}

/// Whom log lines about a block count for, if not for a peer.
fn block_at(height: Height) -> Host {
    Host::Name(format!("block {height}"))
}
