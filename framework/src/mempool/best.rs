//! In which order transactions leave the pool: for a block, and for peers.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Mempool, PooledTx, SenderQueue};
use crate::types::{Address, Hash32, Transaction};

impl Mempool {
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

    /// The next transaction of each of these senders, where its account, as last heard, can execute it.
    pub(crate) fn next_of<'a>(&self, senders: impl IntoIterator<Item = &'a Address>) -> Vec<PooledTx> {
        let queues = senders.into_iter().filter_map(|sender| self.senders.get(sender));
        let next = queues.filter_map(|queue| queue.ready_hashes().next());
        next.filter_map(|hash| Some((Arc::clone(self.get(&hash)?), hash))).collect()
    }

    /// Transactions behind a place in the line, with their places; from its beginning where no place is given.
    pub(crate) fn line_behind(&self, place: Option<i64>) -> impl Iterator<Item = (i64, &Hash32, &Arc<Transaction>)> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        let line = self.order.range((from, Bound::Unbounded));
        line.filter_map(|(place, hash)| Some((*place, hash, self.get(hash)?)))
    }

    /// The last place in the line; none where the pool is empty.
    pub(crate) fn end_of_line(&self) -> Option<i64> {
        self.order.last_key_value().map(|(place, _)| *place)
    }

    fn offer(&self, hash: &Hash32, queue: usize) -> Option<Offer<'_>> {
        let entry = self.entries.get(hash)?;
        // A block's gas is what is scarce, so that its price is what a transaction offers, whatever its type.
        Some(Offer { gas_price: entry.tx.gas_price, place: Reverse(entry.place), queue, tx: &entry.tx })
    }
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
