use std::sync::Arc;

use crate::types::{Block, BlockLink, Genesis, Hash32, HashRules, Header, Transaction};

/// Computes hashes and roots under one chain's hash rules. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hasher {
    rules: HashRules,
    chain_id: Arc<str>,
}

/// A block with the hashes that everything after decoding needs, each computed once.
#[derive(Debug, Clone)]
pub struct HashedBlock {
    /// The block.
    pub block: Arc<Block>,
    /// Its place.
    pub link: BlockLink,
    /// The hashes of its transactions, in order.
    pub tx_hashes: Vec<Hash32>,
}

impl Hasher {
    /// The hasher of a chain.
    pub fn new(genesis: &Genesis) -> Self {
        Self { rules: genesis.hash_rules, chain_id: genesis.chain_id.as_str().into() }
    }

    /// The family of rules.
    pub fn rules(&self) -> HashRules {
        self.rules
    }

    /// The chain's name, which canonical transaction hashes cover.
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// A header's hash: what its proposer signs and the next block names as its parent.
    pub fn header_hash(&self, _header: &Header) -> Hash32 {
        todo!()
    }

    /// A transaction's hash: what its sender signs.
    pub fn transaction_hash(&self, _tx: &Transaction) -> Hash32 {
        todo!()
    }

    /// The root over transaction hashes, in order.
    pub fn tx_root(&self, _tx_hashes: &[Hash32]) -> Hash32 {
        todo!()
    }

    /// The root over the results of a block's SUBMIT_RESULT transactions, in order; `None` where there are none.
    ///
    /// # Errors
    /// The index of the first such transaction whose payload is no result, and why.
    pub fn compute_root(&self, _txs: &[Transaction]) -> Result<Option<Hash32>, (usize, String)> {
        todo!()
    }

    /// Hashes a block and its transactions.
    pub fn hash_block(&self, block: Arc<Block>) -> HashedBlock {
        let hash = self.header_hash(&block.header);
        let tx_hashes = block.txs.iter().map(|tx| self.transaction_hash(tx)).collect();
        let link = BlockLink { height: block.header.height, hash, prev_hash: block.header.prev_hash };
        HashedBlock { block, link, tx_hashes }
    }
}
