use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::connection::NewTx;
use super::core::{Action, Core};
use super::fetching::Item;
use super::preparing::id_of;
use crate::chain::{SignedId, VerifiedTxs};
use crate::env::ComputePool;
use crate::mempool::{Accounts, Refusal};
use crate::peers::Offence;
use crate::rules::{TxFault, Verifier};
use crate::sync::ConnId;
use crate::types::{Hash32, Transaction};

/// Transactions of one peer that may be on their way to the pool; at more we stop reading from it. A full batch comes
/// while others are verified; all are fewer than what is remembered of what a peer knows, so that none is sent back.
pub(crate) const TXS_ON_THEIR_WAY: usize = (BATCHES + 1) * BATCH;
/// Transactions that are verified together, if so many wait. One core takes some twelve milliseconds for them, and each costs a tenth less
/// than in a batch of half the size.
const BATCH: usize = 1000;
/// Batches under way at a time: so two cores have work while the engine looks at results.
const BATCHES: usize = 3;

/// A transaction that passed the cheap checks.
#[derive(Debug)]
pub(crate) struct Unverified {
    pub(crate) tx: Arc<Transaction>,
    pub(crate) hash: Hash32,
    pub(crate) origin: TxOrigin,
    /// The sender's place among [`TXS_ON_THEIR_WAY`].
    pub(crate) _place: Option<OwnedSemaphorePermit>,
}

/// Where a transaction came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TxOrigin {
    /// A peer's `new_tx`.
    Peer(ConnId),
    /// Our own user, who waits for the answer under this number.
    Own(u64),
    /// The pool of our last run.
    Saved,
}

/// Transactions that wait to be verified, or are: bounded in number and bytes. When full, the newest is not taken, and not
/// remembered either, so that it may come again.
#[derive(Debug)]
pub(super) struct Verifying {
    queue: VecDeque<Unverified>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
    batches: usize,
}

impl Verifying {
    pub(super) fn new(limits: &crate::limits::Limits) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            most: limits.pool_txs,
            most_bytes: crate::memory::MemoryShares::of(limits.network_memory).verifying,
            batches: 0,
        }
    }

    fn push(&mut self, unverified: Unverified) -> Result<(), Refusal> {
        let bytes = crate::mempool::tx_bytes(&unverified.tx);
        // What the last run had in its pool was bounded then.
        let bounded = unverified.origin != TxOrigin::Saved;
        if bounded && (self.queue.len() >= self.most || self.bytes + bytes > self.most_bytes) {
            return Err(Refusal::Busy);
        }
        self.bytes += bytes;
        self.queue.push_back(unverified);
        Ok(())
    }

    /// At once where nothing is under way, so that a lone transaction does not wait; else once there is enough for a whole
    /// batch, or the one under way is done.
    fn next_batch(&mut self) -> Option<Vec<Unverified>> {
        let enough = if self.batches == 0 { 1 } else { BATCH };
        if self.queue.len() < enough || self.batches == BATCHES {
            return None;
        }
        self.batches += 1;
        Some(self.queue.drain(..self.queue.len().min(BATCH)).collect())
    }
}

/// What became of a batch.
pub(crate) type Verdicts = Vec<(Unverified, Result<(), TxFault>)>;

/// Verifies a batch, and notes what is good. A whole batch does not come alone, so that it is shared out no further than keeps all cores
/// busy; a smaller one is, to be done soonest.
pub(super) fn verify(
    verifier: &Verifier,
    pool: &ComputePool,
    verified: &VerifiedTxs,
    batch: Vec<Unverified>,
) -> Verdicts {
    let txs: Vec<(&Transaction, Hash32)> = batch.iter().map(|one| (one.tx.as_ref(), one.hash)).collect();
    let under_way = if txs.len() < BATCH { txs.len() } else { BATCHES * BATCH };
    let share = under_way.div_ceil(pool.width().max(1)).clamp(1, BATCH);
    let shares: Vec<&[(&Transaction, Hash32)]> = txs.chunks(share).collect();
    let shares = pool.map(&shares, |share| {
        let verdicts = verifier.verify_transactions(share);
        let good = share.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok());
        let ids: Vec<SignedId> = good.map(|((tx, hash), _)| SignedId::of(tx, hash)).collect();
        (verdicts, ids)
    });
    let (mut verdicts, mut ids) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (of_share, good) in shares {
        verdicts.extend(of_share);
        ids.extend(good);
    }
    verified.insert_all(ids);
    batch.into_iter().zip(verdicts).collect()
}

impl Core {
    /// A transaction of our own user; the answer comes as [`Action::Submitted`] under the same number.
    pub(crate) fn submit(&mut self, number: u64, tx: Arc<Transaction>) {
        let hash = self.config.verifier.hasher().transaction_hash(&tx);
        let unverified = Unverified { tx, hash, origin: TxOrigin::Own(number), _place: None };
        if let Err(refusal) = self.check_transaction(unverified, &self.accounts()) {
            self.push(Action::Submitted { number, result: Err(refusal) });
        }
        self.verify_next();
    }

    /// What was in the pool when the node was stopped.
    pub(crate) fn restore(&mut self, txs: Vec<Transaction>) {
        let accounts = self.accounts();
        for tx in txs {
            let hash = self.config.verifier.hasher().transaction_hash(&tx);
            let tx = Arc::new(tx);
            let unverified = Unverified { tx: Arc::clone(&tx), hash, origin: TxOrigin::Saved, _place: None };
            match self.check_transaction(unverified, &accounts) {
                Ok(()) => self.saving.restores(hash, tx),
                Err(refusal) => tracing::debug!(%hash, "saved transaction refused: {refusal}"),
            }
        }
        self.verify_next();
    }

    /// A peer's transactions.
    pub(super) fn transactions_received(&mut self, conn: ConnId, txs: Vec<NewTx>) {
        let accounts = self.accounts();
        for tx in txs {
            self.transaction_received(conn, tx, &accounts);
        }
        self.verify_next();
    }

    fn transaction_received(&mut self, conn: ConnId, tx: NewTx, accounts: Accounts<'_>) {
        let NewTx { tx, hash, id, place } = tx;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.known.insert_tx(&hash);
        }
        // By all its bytes: a bad copy under the same hash must not keep the good one out.
        if self.seen_txs.contains(&id) {
            self.fetches.arrived(Item::Tx(hash));
            return;
        }
        match self.check_transaction(Unverified { tx, hash, origin: TxOrigin::Peer(conn), _place: place }, accounts) {
            Ok(()) => {
                self.seen_txs.insert(id);
            }
            // There may be a good copy, or room later: who else announced it is asked in a while.
            Err(Refusal::Busy) => {}
            Err(Refusal::Fault(fault)) => {
                self.seen_txs.insert(id);
                tracing::debug!(%hash, "transaction refused: {fault}");
            }
            Err(refusal) => {
                self.fetches.arrived(Item::Tx(hash));
                tracing::debug!(%hash, "transaction refused: {refusal}");
            }
        }
    }

    /// The cheap checks, here; the dear ones elsewhere, with the next batch.
    fn check_transaction(&mut self, unverified: Unverified, accounts: Accounts<'_>) -> Result<(), Refusal> {
        self.pool.check(&unverified.tx, &unverified.hash, accounts)?;
        self.verifying.push(unverified)
    }

    fn verify_next(&mut self) {
        while let Some(batch) = self.verifying.next_batch() {
            self.push(Action::Verify(batch));
        }
    }

    /// Senders and signatures of a batch were checked.
    pub(crate) fn transactions_verified(&mut self, now: Duration, verdicts: Verdicts) {
        self.verifying.batches -= 1;
        self.verifying.bytes -= verdicts.iter().map(|(one, _)| crate::mempool::tx_bytes(&one.tx)).sum::<usize>();
        let accounts = self.accounts();
        let (mut added, mut restored, mut no_room) = (Vec::new(), Vec::new(), Vec::new());
        for (Unverified { tx, hash, origin, _place }, verdict) in verdicts {
            let inserted =
                verdict.map_err(Refusal::from).and_then(|()| self.pool.insert(Arc::clone(&tx), hash, &accounts, now));
            if inserted.is_ok() {
                self.good_txs.insert(hash);
                added.push((Arc::clone(&tx), hash));
            }
            if !matches!(inserted, Err(Refusal::Fault(_))) {
                self.fetches.arrived(Item::Tx(hash));
            }
            match (origin, inserted) {
                (TxOrigin::Own(number), inserted) => {
                    self.push(Action::Submitted { number, result: inserted.map(|()| hash) });
                }
                (TxOrigin::Peer(conn), Ok(())) => self.guard.useful(conn),
                (TxOrigin::Peer(conn), Err(refusal)) => {
                    if refusal.may_pass() {
                        no_room.push(id_of(&tx));
                    }
                    tracing::debug!(%hash, "transaction refused: {refusal}");
                    if let Some(offence) = Offence::of_transaction(&refusal, hash) {
                        self.penalise(now, conn, &offence);
                    }
                }
                (TxOrigin::Saved, inserted) => {
                    restored.push(hash);
                    if let Err(refusal) = inserted {
                        tracing::debug!(%hash, "saved transaction refused: {refusal}");
                    }
                }
            }
        }
        self.saving.restored(restored);
        self.seen_txs.forget(&no_room);
        self.fetch_more(now);
        self.relay_transactions(now, &added);
        self.verify_next();
    }
}
