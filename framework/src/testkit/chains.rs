//! Chains to test and measure with: grown block by block by whoever has the keys, or made of a given [`Shape`].
//!
//! ```
//! use cpc_framework::env::ComputePool;
//! use cpc_framework::testkit::chains::{Shape, ShapedChain};
//! use cpc_framework::types::HashRules;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shape = Shape { rules: HashRules::Canonical, txs: 20, accounts: 1000, new_accounts: 0.5 };
//! let mut chain = ShapedChain::new(shape, ComputePool::all_cores()?)?;
//! for height in 0..3 {
//!     assert_eq!(chain.next_block()?.block.link.height, height);
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::executor::accounts::{AccountExecutor, state};
use crate::executor::{ExecuteError, Executor, ExecutorError, ProposalTemplate, StateMachine};
use crate::rules::keys::{KeyError, SecretKey, VALIDATOR_PREFIX};
use crate::rules::schedule::round;
use crate::rules::{HashedBlock, Hasher};
use crate::store::{StateChange, StoreError};
use crate::testkit::executor::MemoryState;
use crate::types::{Address, Block, EncodedBlock, Genesis, Hash32, Tip, Transaction, encoding};

mod shaped;

pub use shaped::{Shape, ShapedChain, transfer};

/// A block and what it changed in the state: what a store commits.
#[derive(Debug, Clone)]
pub struct Made {
    /// The block.
    pub block: HashedBlock,
    /// What it changed.
    pub changes: Vec<StateChange>,
}

impl Made {
    /// The block in the framework's encoding.
    pub fn encoded(&self) -> EncodedBlock {
        EncodedBlock { link: self.block.link, bytes: encoding::encode_block(&self.block.block).into() }
    }
}

/// A chain could not be made; says why.
#[derive(Debug, thiserror::Error)]
pub enum ChainMakerError {
    /// The state cannot be started from this genesis.
    #[error(transparent)]
    Genesis(#[from] ExecutorError),
    /// A block does not fit the chain.
    #[error(transparent)]
    Block(#[from] ExecuteError),
    /// A key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It is the turn of somebody whose key is not given.
    #[error("block {height} is to be proposed by {proposer}, whose key is not given")]
    NoKey {
        /// The block's height.
        height: u64,
        /// Whose turn it is.
        proposer: String,
    },
    /// Some of the transactions do not fit a block.
    #[error("block {height} took {took} of {given} transactions")]
    DoNotFit {
        /// The block's height.
        height: u64,
        /// How many the block has.
        took: usize,
        /// How many it was to have.
        given: usize,
    },
}

/// Grows a chain, whose state it holds in memory, with the keys of its validators. Blocks keep the block time, so that all
/// are of round 0.
#[derive(Debug)]
pub struct ChainBuilder {
    genesis: Arc<Genesis>,
    hasher: Hasher,
    state: MemoryState,
    machine: Box<dyn StateMachine>,
    validators: BTreeMap<Address, SecretKey>,
    tip: Option<Tip>,
    timestamp: u64,
}

impl ChainBuilder {
    /// An empty chain, whose first block will be made at `beginning` (unix seconds).
    ///
    /// # Errors
    /// The genesis holds something that the account executor cannot start from.
    pub fn new(genesis: Arc<Genesis>, validators: Vec<SecretKey>, beginning: u64) -> Result<Self, ChainMakerError> {
        let state = MemoryState(AccountExecutor.genesis_state(&genesis)?.into_iter().collect());
        Ok(Self {
            hasher: Hasher::new(&genesis),
            machine: AccountExecutor.open(Arc::clone(&genesis), &state)?,
            state,
            validators: validators.into_iter().map(|key| (key.address(VALIDATOR_PREFIX), key)).collect(),
            tip: None,
            timestamp: beginning.saturating_sub(genesis.params.block_time),
            genesis,
        })
    }

    /// The genesis.
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    /// The hasher of the chain.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The last block.
    pub fn tip(&self) -> Option<Tip> {
        self.tip
    }

    /// How many transactions an account has made.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn nonce(&self, address: &Address) -> Result<u64, StoreError> {
        Ok(state::account(&self.state, address)?.map_or(0, |account| account.nonce))
    }

    /// Makes the next block, with all of these transactions.
    ///
    /// # Errors
    /// A transaction cannot be included, or it is the turn of somebody whose key is not given.
    pub fn produce(&mut self, txs: Vec<Arc<Transaction>>) -> Result<Made, ChainMakerError> {
        let height = self.tip.map_or(0, |tip| tip.height + 1);
        let proposer = self.machine.proposer(height, 0).map(|proposer| proposer.address);
        let Some((proposer, key)) = proposer.as_ref().and_then(|address| self.validators.get_key_value(address)) else {
            let proposer = proposer.map_or_else(|| "nobody".to_owned(), |address| address.to_string());
            return Err(ChainMakerError::NoKey { height, proposer });
        };
        let given = txs.len();
        let template = ProposalTemplate {
            parent: self.tip,
            timestamp: self.timestamp + self.genesis.params.block_time,
            proposer: proposer.clone(),
            scheme_id: key.scheme().id(),
            txs,
        };
        let mut block = self.machine.propose(&self.state, template)?;
        if block.txs.len() != given {
            return Err(ChainMakerError::DoNotFit { height, took: block.txs.len(), given });
        }
        block.pq_signature = key.sign(&self.hasher.header_hash(&block.header));
        self.apply(block)
    }

    /// Takes a block that somebody else made. Its signatures are not looked at.
    ///
    /// # Errors
    /// It does not fit the state.
    pub fn apply(&mut self, block: Block) -> Result<Made, ChainMakerError> {
        let timestamp = block.header.timestamp;
        let waited = if self.tip.is_none() { 0 } else { timestamp.saturating_sub(self.timestamp) };
        let block = self.hasher.hash_block(Arc::new(block));
        let changes = self.machine.execute(&self.state, &block, round(waited, self.genesis.params.block_time))?;
        self.state.apply(&changes);
        self.timestamp = timestamp;
        self.tip = Some(block.link.tip());
        Ok(Made { block, changes })
    }

    /// The hash of the last block; zeros where there is none.
    pub fn tip_hash(&self) -> Hash32 {
        self.tip.map_or(Hash32::ZERO, |tip| tip.hash)
    }
}

#[cfg(test)]
mod tests;
