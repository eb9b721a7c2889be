use std::sync::Arc;

use super::Mempool;
use crate::types::{Address, Hash32, Transaction};

/// What operators see of a pool, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// Transactions in the pool.
    pub size: usize,
    /// The bytes that they take, their bookkeeping included.
    pub bytes: usize,
    /// How many of them wait for a lower nonce, or for their sender to have what they cost.
    pub waiting: usize,
    /// Those that were asked for, in the order of the pool.
    pub txs: Vec<(Hash32, Arc<Transaction>)>,
}

impl Mempool {
    /// A look at the pool, with at most `most` transactions, of one sender or of all.
    pub fn snapshot(&self, sender: Option<&Address>, most: usize) -> PoolSnapshot {
        let asked = self.iter().filter(|(_, tx)| sender.is_none_or(|sender| tx.from_address == *sender));
        PoolSnapshot {
            size: self.len(),
            bytes: self.bytes(),
            waiting: self.waiting(),
            txs: asked.take(most).map(|(hash, tx)| (*hash, Arc::clone(tx))).collect(),
        }
    }
}
