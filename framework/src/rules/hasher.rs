use std::sync::Arc;

use bytes::Bytes;

use super::payload::{self, TaskResult};
use super::{hash_canonical, hash_v1, merkle};
use crate::types::encoding::BlockDecodeError;
use crate::types::{Block, BlockLink, Genesis, Hash32, HashRules, Header, Transaction, TxType, WireBlock};

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
    /// The block in the framework's encoding, where it came in it: who stores it need not encode it again.
    pub encoded: Option<Bytes>,
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
    pub fn header_hash(&self, header: &Header) -> Hash32 {
        match self.rules {
            HashRules::ComputechainV1 => hash_v1::header(header),
            HashRules::Canonical => hash_canonical::header(header),
        }
    }

    /// A transaction's hash: what its sender signs.
    pub fn transaction_hash(&self, tx: &Transaction) -> Hash32 {
        match self.rules {
            HashRules::ComputechainV1 => hash_v1::transaction(tx),
            HashRules::Canonical => hash_canonical::transaction(&self.chain_id, tx),
        }
    }

    /// The root over transaction hashes, in order.
    pub fn tx_root(&self, tx_hashes: &[Hash32]) -> Hash32 {
        self.root(tx_hashes)
    }

    /// The root over the results of a block's `SUBMIT_RESULT` transactions, in order; `None` where there are none.
    ///
    /// # Errors
    /// The index of the first such transaction whose payload is no result, and why.
    pub fn compute_root(&self, txs: &[Transaction]) -> Result<Option<Hash32>, (usize, String)> {
        let leaves = txs
            .iter()
            .enumerate()
            .filter(|(_, tx)| tx.tx_type == TxType::SubmitResult)
            .map(
                |(i, tx)| Ok(self.result_hash(&payload::task_result(self.rules, &tx.payload).map_err(|why| (i, why))?)),
            )
            .collect::<Result<Vec<_>, (usize, String)>>()?;
        Ok((!leaves.is_empty()).then(|| self.root(&leaves)))
    }

    fn result_hash(&self, result: &TaskResult) -> Hash32 {
        match self.rules {
            HashRules::ComputechainV1 => hash_v1::result(result),
            HashRules::Canonical => hash_canonical::result(result),
        }
    }

    fn root(&self, leaves: &[Hash32]) -> Hash32 {
        match self.rules {
            HashRules::ComputechainV1 => merkle::v1_root(leaves),
            HashRules::Canonical => merkle::rfc6962_root(leaves),
        }
    }

    /// Decodes, where it must be, and hashes a block and its transactions.
    ///
    /// # Errors
    /// The bytes encode no block.
    pub fn hash_wire_block(&self, block: &WireBlock) -> Result<HashedBlock, BlockDecodeError> {
        let encoded = match block {
            WireBlock::Decoded(_) => None,
            // A value has one encoding that decodes: what was read is what would be written.
            WireBlock::Encoded(bytes) | WireBlock::Both(_, bytes) => Some(bytes.clone()),
        };
        Ok(HashedBlock { encoded, ..self.hash_block(block.decode()?) })
    }

    /// Hashes a block and its transactions.
    pub fn hash_block(&self, block: Arc<Block>) -> HashedBlock {
        let hash = self.header_hash(&block.header);
        let tx_hashes = block.txs.iter().map(|tx| self.transaction_hash(tx)).collect();
        let link = BlockLink { height: block.header.height, hash, prev_hash: block.header.prev_hash };
        HashedBlock { block, link, tx_hashes, encoded: None }
    }
}
