//! Transactions that wait for a block.
//!
//! Taken out by what they pay for gas, first come first served among equals, with the nonces of one sender in order;
//! bounded in number, in bytes, per sender, and in what waits for a lower nonce or for funds (`attacks.md` rows 12 to
//! 15). A full pool takes nothing new, whatever it pays, as the reference's does. Nothing is in the pool that could not
//! be in a block one day: what breaks a rule of its type, or has a nonce that is used up, is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::fast_map::FastMap;
use crate::limits::Limits;
use crate::rules::Verifier;
use crate::types::{Address, Hash32, Transaction};

mod best;
mod checks;
mod cost;
mod moving;
mod refusal;
pub(crate) mod saved;
mod sender;
mod snapshot;

use checks::Checked;
use cost::cost;
pub(crate) use cost::tx_bytes;
pub use moving::Returned;
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

/// A transaction of a pool, with its hash.
pub type PooledTx = (Arc<Transaction>, Hash32);

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
    /// So many of its bytes are lent.
    lent: usize,
    waiting: usize,
    /// The latest time that was heard of.
    now: Duration,
    /// Nothing that waits has waited too long before.
    expires_at: Duration,
    /// How often a transaction was added or taken out.
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    tx: Arc<Transaction>,
    place: i64,
    bytes: usize,
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
            lent: 0,
            waiting: 0,
            now: Duration::ZERO,
            expires_at: limits.pool_wait,
            changes: 0,
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
        self.tell_time(now);
        let Checked { account, replaced } = self.checked(&tx, &hash, accounts)?;
        // Whoever replaces a transaction takes its place in the line.
        let place = replaced.and_then(|old| self.take(&old)).map_or_else(|| self.place(End::Back), |old| old.place);
        self.put(tx, hash, place, account);
        Ok(())
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

    /// How often a transaction was added or taken out: where two looks find the same number, the pool is the same.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether a sender has a transaction in the pool.
    pub fn has_sender(&self, sender: &Address) -> bool {
        self.senders.contains_key(sender)
    }

    /// How many transactions wait for a lower nonce, or for their sender to have what they cost.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn place(&self, end: End) -> i64 {
        match end {
            End::Front => self.order.first_key_value().map_or(0, |(first, _)| first.saturating_sub(1)),
            End::Back => self.order.last_key_value().map_or(0, |(last, _)| last.saturating_add(1)),
        }
    }

    fn put(&mut self, tx: Arc<Transaction>, hash: Hash32, place: i64, account: Account) {
        let bytes = tx_bytes(&tx);
        let (sender, nonce, cost) = (tx.from_address.clone(), tx.nonce, cost(&tx));
        self.bytes += bytes;
        self.changes += 1;
        self.order.insert(place, hash);
        self.entries.insert(hash, Entry { tx, place, bytes });
        let (heard, now) = (self.tips, self.now);
        self.heard.remove(&sender);
        self.update_queue(&sender, |queue| {
            queue.set_account(account, heard, now);
            queue.insert(nonce, hash, cost, now);
        });
    }

    fn take(&mut self, hash: &Hash32) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        self.order.remove(&entry.place);
        self.bytes -= entry.bytes;
        self.changes += 1;
        let now = self.now;
        self.update_queue(&entry.tx.from_address, |queue| queue.remove(entry.tx.nonce, now));
        Some(entry)
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

#[cfg(test)]
mod tests;
