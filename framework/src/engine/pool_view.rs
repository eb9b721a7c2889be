use std::sync::Arc;

use super::core::Core;
use crate::mempool::PoolSnapshot;
use crate::types::{Address, Hash32, Transaction};

impl Core {
    /// A transaction in the pool.
    pub(crate) fn pooled(&self, hash: &Hash32) -> Option<Arc<Transaction>> {
        self.pool.get(hash).cloned()
    }

    /// A look at the pool.
    pub(crate) fn pool_snapshot(&self, sender: Option<&Address>, most: usize) -> PoolSnapshot {
        self.pool.snapshot(sender, most)
    }
}
