//! Transactions that wait for a block.
//!
//! Taken out by what they pay for gas, first come first served among equals, with the nonces of one sender in order;
//! bounded in number, in bytes, per sender, and in what waits for a lower nonce or for funds (`attacks.md` rows 12 to
//! 15). Nothing is in the pool that could not be in a
//! block one day: what breaks a rule of its type, or has a nonce that is used up, is refused.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use crate::fast_map::FastMap;
use crate::limits::Limits;
use crate::rules::Verifier;
use crate::types::{Address, Hash32, HashRules, Transaction};

mod cost;
mod refusal;
pub(crate) mod saved;
mod sender;
mod snapshot;

pub(crate) use cost::tx_bytes;
use cost::{cost, gas_cost};
pub use refusal::Refusal;
use sender::SenderQueue;
pub use snapshot::PoolSnapshot;

/// What the pool needs to know of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// The nonce that its next transaction must have.
    pub nonce: u64,
    /// What it can spend.
    pub balance: u128,
}

/// Gives the accounts as of our tip; an account that does not exist has nothing and has sent nothing.
pub type Accounts<'a> = &'a dyn Fn(&Address) -> Account;

/// The pool. Pure: time and accounts are passed in.
#[derive(Debug)]
pub struct Mempool {
    verifier: Verifier,
    limits: Limits,
    entries: FastMap<Hash32, Entry>,
    /// The order in which transactions came; those returned from removed blocks are before all others.
    order: BTreeMap<i64, Hash32>,
    senders: FastMap<Address, SenderQueue>,
    /// How often our tip has moved: what was heard of accounts before counts no more.
    tips: u64,
    /// Accounts of senders without a queue, as heard at this tip. When there are as many as the pool has places, they are forgotten.
    heard: FastMap<Address, Account>,
    bytes: usize,
    waiting: usize,
}

#[derive(Debug)]
struct Entry {
    tx: Arc<Transaction>,
    place: i64,
    bytes: usize,
    since: Duration,
}

/// The next transaction of a sender: better ones are greater.
#[derive(Debug, Clone, Copy)]
struct Offer<'a> {
    gas_price: u128,
    place: Reverse<i64>,
    queue: usize,
    tx: &'a Arc<Transaction>,
}

impl Offer<'_> {
    fn rank(&self) -> (u128, Reverse<i64>) {
        (self.gas_price, self.place)
    }
}

impl Ord for Offer<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Offer<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Offer<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Offer<'_> {}

/// What a transaction was found to be that may be added.
#[derive(Debug, Clone, Copy)]
struct Checked {
    /// Its sender's account.
    account: Account,
    /// Which one it replaces.
    replaced: Option<Hash32>,
}

/// Which end of the line a transaction joins.
#[derive(Debug, Clone, Copy)]
enum End {
    Front,
    Back,
}

impl Mempool {
    /// An empty pool.
    pub fn new(verifier: Verifier, limits: &Limits) -> Self {
        Self {
            verifier,
            limits: limits.clone(),
            entries: FastMap::default(),
            order: BTreeMap::new(),
            senders: FastMap::default(),
            tips: 0,
            heard: FastMap::default(),
            bytes: 0,
            waiting: 0,
        }
    }

    /// Admits a transaction: all checks, cheap ones first, and the signature last. Gives its hash.
    ///
    /// Whoever verifies on other threads calls [`check`](Self::check), then there
    /// [`Verifier::check_transaction_sender`] and [`Verifier::verify_transaction`], then [`insert`](Self::insert).
    ///
    /// # Errors
    /// The first check that fails, in the reference's order as far as it has such a check.
    pub fn admit(&mut self, tx: Arc<Transaction>, accounts: Accounts<'_>, now: Duration) -> Result<Hash32, Refusal> {
        let hash = self.verifier.hasher().transaction_hash(&tx);
        self.check(&tx, &hash, accounts)?;
        self.verifier.check_transaction_sender(&tx)?;
        self.verifier.verify_transaction(&tx, &hash)?;
        self.insert(tx, hash, accounts, now)?;
        Ok(hash)
    }

    /// The checks that need neither key nor signature, and cost next to nothing.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(&mut self, tx: &Transaction, hash: &Hash32, accounts: Accounts<'_>) -> Result<(), Refusal> {
        self.checked(tx, hash, accounts).map(|_| ())
    }

    /// [`check`](Self::check), which gives the account that it looked up, and what would be replaced.
    fn checked(&mut self, tx: &Transaction, hash: &Hash32, accounts: Accounts<'_>) -> Result<Checked, Refusal> {
        if self.contains(hash) {
            return Err(Refusal::AlreadyInPool);
        }
        self.verifier.check_transaction_limits(tx)?;
        let queue = self.senders.get(&tx.from_address);
        let replaced = queue.and_then(|queue| queue.get(tx.nonce));
        let old = replaced.and_then(|old| self.entries.get(&old));
        self.check_room(tx, queue, old)?;
        self.check_addresses(tx)?;
        let account = match queue.filter(|queue| queue.heard == self.tips) {
            Some(queue) => queue.account(),
            None => hear(&mut self.heard, self.limits.pool_txs, &tx.from_address, accounts),
        };
        if tx.nonce < account.nonce {
            return Err(Refusal::NonceUsed { nonce: tx.nonce, next: account.nonce });
        }
        if tx.nonce - account.nonce > self.limits.pool_nonce_gap {
            let most = self.limits.pool_nonce_gap;
            return Err(Refusal::NonceGap { nonce: tx.nonce, next: account.nonce, most });
        }
        if let Some(old) = old {
            return self.check_replacement(tx, &old.tx, account).map(|()| Checked { account, replaced });
        }
        let ready = match queue {
            Some(queue) => queue.would_be_ready(account, tx.nonce, cost(tx)),
            None => tx.nonce == account.nonce && cost(tx) <= account.balance,
        };
        let most = percent_of(self.limits.pool_txs, self.limits.pool_waiting_percent);
        if !ready && self.waiting >= most {
            return Err(Refusal::WaitingFull { most });
        }
        Ok(Checked { account, replaced })
    }

    /// Adds a transaction whose sender and signature were verified. What [`check`](Self::check) looks at is looked at
    /// again, since the pool may have changed meanwhile.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn insert(
        &mut self,
        tx: Arc<Transaction>,
        hash: Hash32,
        accounts: Accounts<'_>,
        now: Duration,
    ) -> Result<(), Refusal> {
        let Checked { account, replaced } = self.checked(&tx, &hash, accounts)?;
        // Whoever replaces a transaction takes its place in the line.
        let place = replaced.and_then(|old| self.take(&old)).map_or_else(|| self.place(End::Back), |old| old.place);
        self.put(tx, hash, place, now, account);
        Ok(())
    }

    /// Takes out what a block included. Follow it with [`revalidate`](Self::revalidate) for the senders of the block.
    pub fn remove_included(&mut self, hashes: &[Hash32]) {
        for hash in hashes {
            self.take(hash);
        }
    }

    /// Brings back the transactions of removed blocks, given in the order of the chain, once the chain stands where it
    /// will stay. They come before all others; where there is no room the newest go. Left out is what the chain has
    /// used up. Gives the number that came back.
    pub fn return_txs(&mut self, txs: Vec<Arc<Transaction>>, accounts: Accounts<'_>, now: Duration) -> usize {
        let mut returned = Vec::new();
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
            if self.make_room(&tx) {
                let place = self.place(End::Front);
                self.put(tx, hash, place, now, account);
                returned.push(hash);
            }
        }
        returned.iter().filter(|hash| self.contains(hash)).count()
    }

    /// Our tip has moved: what was heard of accounts so far counts no more. [`revalidate`](Self::revalidate) says so as well.
    pub fn tip_moved(&mut self) {
        self.tips += 1;
        self.heard.clear();
    }

    /// Takes in what became of these senders' accounts with a new tip: drops used nonces, and counts anew what waits.
    pub fn revalidate<'a>(&mut self, senders: impl IntoIterator<Item = &'a Address>, accounts: Accounts<'_>) {
        self.tip_moved();
        for sender in senders {
            let Some(queue) = self.senders.get(sender) else { continue };
            let account = accounts(sender);
            let used = queue.below(account.nonce);
            self.remove_included(&used);
            if self.senders.contains_key(sender) {
                let heard = self.tips;
                self.update_queue(sender, |queue| queue.set_account(account, heard));
            }
        }
    }

    /// [`revalidate`](Self::revalidate) for every sender: after a rollback.
    pub fn revalidate_all(&mut self, accounts: Accounts<'_>) {
        let senders: Vec<Address> = self.senders.keys().cloned().collect();
        self.revalidate(&senders, accounts);
    }

    /// Drops what has waited too long. Call it now and then.
    pub fn expire(&mut self, now: Duration) {
        let wait = self.limits.pool_wait;
        let too_long = |hash: &Hash32| self.entries.get(hash).is_some_and(|e| now.saturating_sub(e.since) >= wait);
        let gone: Vec<Hash32> = self.senders.values().flat_map(SenderQueue::waiting_hashes).filter(too_long).collect();
        self.remove_included(&gone);
    }

    /// The transactions that can follow each other in a block, as far as nonces and balances of our tip go: of all
    /// senders' next ones always the one that pays most for its gas, and among equals the one that came first. At most
    /// `most`.
    pub fn ready(&self, most: usize) -> Vec<Arc<Transaction>> {
        let mut queues: Vec<_> = self.senders.values().map(SenderQueue::ready_hashes).collect();
        let mut next = BinaryHeap::with_capacity(queues.len());
        for (at, queue) in queues.iter_mut().enumerate() {
            next.extend(queue.next().and_then(|hash| self.offer(&hash, at)));
        }
        let mut ready = Vec::new();
        while ready.len() < most
            && let Some(best) = next.pop()
        {
            ready.push(Arc::clone(best.tx));
            let following = queues.get_mut(best.queue).and_then(Iterator::next);
            next.extend(following.and_then(|hash| self.offer(&hash, best.queue)));
        }
        ready
    }

    fn offer(&self, hash: &Hash32, queue: usize) -> Option<Offer<'_>> {
        let entry = self.entries.get(hash)?;
        // A block's gas is what is scarce, so that its price is what a transaction offers, whatever its type.
        Some(Offer { gas_price: entry.tx.gas_price, place: Reverse(entry.place), queue, tx: &entry.tx })
    }

    /// Whether a pooled transaction is the very next one of its sender's account, and paid for: only such may go to
    /// legacy peers, whose proposer fails for ever over any other (protocol.md section 2).
    pub fn is_executable_next(&self, hash: &Hash32, accounts: Accounts<'_>) -> bool {
        self.entries.get(hash).is_some_and(|entry| {
            let account = accounts(&entry.tx.from_address);
            entry.tx.nonce == account.nonce && cost(&entry.tx) <= account.balance
        })
    }

    /// A pooled transaction.
    pub fn get(&self, hash: &Hash32) -> Option<&Arc<Transaction>> {
        self.entries.get(hash).map(|entry| &entry.tx)
    }

    /// Whether a transaction is in the pool.
    pub fn contains(&self, hash: &Hash32) -> bool {
        self.entries.contains_key(hash)
    }

    /// All transactions, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&Hash32, &Arc<Transaction>)> {
        self.order.values().filter_map(|hash| Some((hash, self.get(hash)?)))
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that the transactions take, their bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many transactions wait for a lower nonce, or for their sender to have what they cost.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn replaced_by(&self, tx: &Transaction) -> Option<&Entry> {
        let old = self.senders.get(&tx.from_address)?.get(tx.nonce)?;
        self.entries.get(&old)
    }

    fn check_room(
        &self,
        tx: &Transaction,
        queue: Option<&SenderQueue>,
        replaced: Option<&Entry>,
    ) -> Result<(), Refusal> {
        let limits = &self.limits;
        let bytes = tx_bytes(tx);
        if bytes > limits.pool_tx_bytes {
            return Err(Refusal::TooLarge { bytes, most: limits.pool_tx_bytes });
        }
        let others = self.bytes - replaced.map_or(0, |old| old.bytes);
        if (replaced.is_none() && self.entries.len() >= limits.pool_txs) || others + bytes > limits.pool_bytes {
            return Err(Refusal::PoolFull);
        }
        let of_sender = queue.map_or(0, SenderQueue::len);
        if replaced.is_none() && of_sender >= limits.pool_per_sender {
            return Err(Refusal::SenderLimit);
        }
        Ok(())
    }

    /// An address with a colon gives reference v1 another state root after its restart (protocol.md section 4).
    fn check_addresses(&self, tx: &Transaction) -> Result<(), Refusal> {
        let v1 = self.verifier.hasher().rules() == HashRules::ComputechainV1;
        let mut addresses = std::iter::once(&tx.from_address).chain(&tx.to_address);
        match addresses.find(|address| v1 && address.as_str().contains(':')) {
            Some(address) => Err(Refusal::Colon { address: address.as_str().chars().take(100).collect() }),
            None => Ok(()),
        }
    }

    /// Neither the fee that the sender signed nor what the gas pays may fall, one of them must rise by a tenth, and the
    /// account must have the fee: so a transaction is replaced a few hundred times at most, whatever its sender holds.
    fn check_replacement(&self, new: &Transaction, old: &Transaction, account: Account) -> Result<(), Refusal> {
        let old_fee = old.fee.to_u128().unwrap_or(u128::MAX);
        let needed = self.raised(old_fee);
        let refused = Err(Refusal::Replacement { nonce: new.nonce, needed });
        let (Some(fee), Some(pays)) = (new.fee.to_u128(), gas_cost(new)) else { return refused };
        let old_pays = gas_cost(old).unwrap_or(u128::MAX);
        let affordable = new.amount.checked_add(fee).is_some_and(|cost| cost <= account.balance);
        let rises = fee >= needed || pays >= self.raised(old_pays);
        if affordable && rises && fee >= old_fee && pays >= old_pays { Ok(()) } else { refused }
    }

    /// A price with what a replacement must pay more.
    fn raised(&self, price: u128) -> u128 {
        let percent = self.limits.pool_replacement_percent;
        let more =
            (price / 100).saturating_mul(percent).saturating_add((price % 100).saturating_mul(percent).div_ceil(100));
        price.saturating_add(more.max(1))
    }

    /// Drops the newest until there is room for a transaction; says whether there is.
    fn make_room(&mut self, tx: &Transaction) -> bool {
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
            if newest.is_none_or(|hash| !self.evict(&hash)) {
                return false;
            }
        }
        true
    }

    fn place(&self, end: End) -> i64 {
        match end {
            End::Front => self.order.first_key_value().map_or(0, |(first, _)| first.saturating_sub(1)),
            End::Back => self.order.last_key_value().map_or(0, |(last, _)| last.saturating_add(1)),
        }
    }

    fn put(&mut self, tx: Arc<Transaction>, hash: Hash32, place: i64, now: Duration, account: Account) {
        let bytes = tx_bytes(&tx);
        let (sender, nonce, cost) = (tx.from_address.clone(), tx.nonce, cost(&tx));
        self.bytes += bytes;
        self.order.insert(place, hash);
        self.entries.insert(hash, Entry { tx, place, bytes, since: now });
        let heard = self.tips;
        self.heard.remove(&sender);
        self.update_queue(&sender, |queue| {
            queue.set_account(account, heard);
            queue.insert(nonce, hash, cost);
        });
    }

    fn take(&mut self, hash: &Hash32) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        self.order.remove(&entry.place);
        self.bytes -= entry.bytes;
        self.update_queue(&entry.tx.from_address, |queue| queue.remove(entry.tx.nonce));
        Some(entry)
    }

    /// Takes out a transaction and the higher nonces of its sender, which could not be included without it. Says
    /// whether it was there.
    fn evict(&mut self, hash: &Hash32) -> bool {
        let Some(entry) = self.take(hash) else { return false };
        let queue = self.senders.get(&entry.tx.from_address);
        let higher = queue.map(|queue| queue.above(entry.tx.nonce)).unwrap_or_default();
        self.remove_included(&higher);
        true
    }

    /// Changes a sender's queue and keeps the count of what waits.
    fn update_queue(&mut self, sender: &Address, change: impl FnOnce(&mut SenderQueue)) {
        let queue = self.senders.entry(sender.clone()).or_default();
        let before = queue.waiting();
        change(queue);
        self.waiting = self.waiting - before + queue.waiting();
        if queue.len() == 0 {
            self.senders.remove(sender);
        }
    }
}

/// The account of a sender without a queue: looked up once a tip.
fn hear(heard: &mut FastMap<Address, Account>, most: usize, sender: &Address, accounts: Accounts<'_>) -> Account {
    if let Some(account) = heard.get(sender) {
        return *account;
    }
    let account = accounts(sender);
    if heard.len() >= most {
        heard.clear();
    }
    heard.insert(sender.clone(), account);
    account
}

fn percent_of(whole: usize, percent: usize) -> usize {
    whole / 100 * percent + whole % 100 * percent / 100
}

#[cfg(test)]
mod tests;
