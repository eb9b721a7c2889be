//! What becomes of the pool as the chain moves and time passes.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::cost::tx_bytes;
use super::{Accounts, End, Entry, Mempool, PooledTx, SenderQueue};
use crate::types::{Address, Hash32, Transaction};

/// What became of the transactions of removed blocks.
#[derive(Debug, Default)]
pub struct Returned {
    /// Those that came back, in the order of the chain.
    pub back: Vec<PooledTx>,
    /// What went for want of room, theirs and others': it may come again.
    pub dropped: Vec<PooledTx>,
}

impl Mempool {
    /// Takes out what a block included. Follow it with [`revalidate`](Self::revalidate) for the senders of the block.
    pub fn remove_included(&mut self, hashes: &[Hash32]) {
        for hash in hashes {
            self.take(hash);
        }
    }

    /// Brings back the transactions of removed blocks, given in the order of the chain, once the chain stands where it
    /// will stay, and takes in what became of all senders' accounts. They come before all others; where there is no room
    /// the newest go. Left out is what the chain has used up.
    pub fn return_txs(&mut self, txs: Vec<Arc<Transaction>>, accounts: Accounts<'_>, now: Duration) -> Returned {
        self.tell_time(now);
        let mut outcome = Returned::default();
        for tx in txs.into_iter().rev() {
            let hash = self.verifier.hasher().transaction_hash(&tx);
            let account = accounts(&tx.from_address);
            if self.contains(&hash) || tx.nonce < account.nonce || self.check_addresses(&tx).is_err() {
                continue;
            }
            if let Some(old) = self.replaced_by(&tx) {
                if self.check_replacement(&tx, &old.tx, account).is_err() {
                    continue;
                }
                let old = self.senders.get(&tx.from_address).and_then(|queue| queue.get(tx.nonce));
                old.and_then(|old| self.take(&old));
            }
            if self.make_room(&tx, &mut outcome.dropped) {
                let place = self.place(End::Front);
                self.put(Arc::clone(&tx), hash, place, account);
                outcome.back.push((tx, hash));
            } else {
                outcome.dropped.push((tx, hash));
            }
        }
        outcome.dropped.extend(self.revalidate_all(accounts, now));
        outcome.back.retain(|(_, hash)| self.contains(hash));
        outcome.back.reverse();
        outcome
    }

    /// Our tip has moved: what was heard of accounts so far counts no more. [`revalidate`](Self::revalidate) says so as well.
    pub fn tip_moved(&mut self) {
        self.tips += 1;
        self.heard.clear();
    }

    /// Takes in what became of these senders' accounts with a new tip: drops used nonces, and counts anew what waits.
    /// Where too many wait now (`attacks.md` row 14), the newest of these senders' that do go, with the higher nonces;
    /// these are given back, since they may come again.
    pub fn revalidate<'a>(
        &mut self,
        senders: impl IntoIterator<Item = &'a Address>,
        accounts: Accounts<'_>,
        now: Duration,
    ) -> Vec<PooledTx> {
        self.tell_time(now);
        self.tip_moved();
        let senders: Vec<&Address> = senders.into_iter().collect();
        for sender in &senders {
            let Some(queue) = self.senders.get(*sender) else { continue };
            let account = accounts(sender);
            let used = queue.below(account.nonce);
            self.remove_included(&used);
            if self.has_sender(sender) {
                let (heard, now) = (self.tips, self.now);
                self.update_queue(sender, |queue| queue.set_account(account, heard, now));
            }
        }
        self.drop_surplus(&senders)
    }

    /// [`revalidate`](Self::revalidate) for every sender.
    pub fn revalidate_all(&mut self, accounts: Accounts<'_>, now: Duration) -> Vec<PooledTx> {
        let senders: Vec<Address> = self.senders.keys().cloned().collect();
        self.revalidate(&senders, accounts, now)
    }

    /// Drops what has waited too long, and gives it back, since it may come again. Call it now and then.
    pub fn expire(&mut self, now: Duration) -> Vec<PooledTx> {
        self.tell_time(now);
        if now < self.expires_at {
            return Vec::new();
        }
        let wait = self.limits.pool_wait;
        let began = now.saturating_sub(wait);
        let waiting = self.senders.values().filter(|queue| queue.waiting() > 0);
        let gone: Vec<Hash32> = waiting.flat_map(|queue| queue.waits_since(began)).collect();
        let gone = gone.into_iter().filter_map(|hash| Some((self.take(&hash)?.tx, hash))).collect();
        // What begins to wait from now on waits longer than all that is here.
        let next = self.senders.values().filter_map(SenderQueue::longest_waits_since).min();
        self.expires_at = next.unwrap_or(now).saturating_add(wait);
        gone
    }

    /// When to call [`expire`](Self::expire) next.
    pub fn expires_at(&self) -> Option<Duration> {
        (self.waiting > 0).then_some(self.expires_at)
    }

    /// Does without so many of its bytes, or as many as it can, until it is told of another number: what pays least for its gas goes, of those
    /// the newest first, with what could not be included without it. Gives what went, which may come again.
    pub fn lend(&mut self, bytes: usize) -> Vec<PooledTx> {
        self.lent = bytes.min(self.limits.pool_bytes / 8 * 7);
        if self.bytes <= self.most_bytes() {
            return Vec::new();
        }
        let line = self.entries.iter();
        let mut line: Vec<_> = line.map(|(hash, entry)| (Reverse(entry.tx.gas_price), entry.place, *hash)).collect();
        line.sort_unstable();
        let mut dropped = Vec::new();
        while self.bytes > self.most_bytes()
            && let Some((.., least)) = line.pop()
        {
            dropped.extend(self.evict(&least));
        }
        dropped
    }

    /// The most bytes that the transactions may take now.
    pub(super) fn most_bytes(&self) -> usize {
        self.limits.pool_bytes - self.lent
    }

    /// Where too many wait, the newest of these senders' that do go. These are those whose accounts have changed: nobody
    /// else's make more wait than did before.
    fn drop_surplus(&mut self, senders: &[&Address]) -> Vec<PooledTx> {
        let most = self.most_waiting();
        let mut dropped = Vec::new();
        if self.waiting <= most {
            return dropped;
        }
        let waiting = senders.iter().filter_map(|sender| self.senders.get(*sender));
        let waiting = waiting.flat_map(SenderQueue::waiting_hashes);
        let mut waiting: Vec<_> = waiting.filter_map(|hash| Some((self.entries.get(&hash)?.place, hash))).collect();
        waiting.sort_unstable();
        while self.waiting > most
            && let Some((_, newest)) = waiting.pop()
        {
            dropped.extend(self.evict(&newest));
        }
        dropped
    }

    fn replaced_by(&self, tx: &Transaction) -> Option<&Entry> {
        let old = self.senders.get(&tx.from_address)?.get(tx.nonce)?;
        self.entries.get(&old)
    }

    /// Drops the newest until there is room for a transaction; says whether there is.
    fn make_room(&mut self, tx: &Transaction, dropped: &mut Vec<PooledTx>) -> bool {
        if tx_bytes(tx) > self.limits.pool_tx_bytes {
            return false;
        }
        while let queue = self.senders.get(&tx.from_address)
            && self.check_room(tx, queue, None).is_err()
        {
            let newest = match queue.filter(|queue| queue.len() >= self.limits.pool_per_sender) {
                // Of a sender with too many, the highest nonce goes, if it is above this one.
                Some(queue) => queue.above(tx.nonce).pop(),
                None => self.order.last_key_value().map(|(_, hash)| *hash),
            };
            let gone = newest.map(|hash| self.evict(&hash)).unwrap_or_default();
            if gone.is_empty() {
                return false;
            }
            dropped.extend(gone);
        }
        true
    }

    /// Takes out a transaction and the higher nonces of its sender, which could not be included without it. Gives all of them.
    fn evict(&mut self, hash: &Hash32) -> Vec<PooledTx> {
        let Some(first) = self.entries.get(hash) else { return Vec::new() };
        let queue = self.senders.get(&first.tx.from_address);
        let higher = queue.map(|queue| queue.above(first.tx.nonce)).unwrap_or_default();
        // The highest first, so that none waits for another on the way.
        let gone = higher.into_iter().rev().chain([*hash]);
        gone.filter_map(|hash| Some((self.take(&hash)?.tx, hash))).collect()
    }
}
