//! A validator without a node: makes the blocks of one of our own networks as fast as they are asked for.

use std::sync::Arc;

use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::executor::{Executor, ProposalTemplate, StateMachine};
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::testkit::executor::MemoryState;
use cpc_framework::types::{Block, Genesis, Tip, Transaction};

/// The lone validator of a network, at the end of its chain.
#[derive(Debug)]
pub struct Maker {
    hasher: Hasher,
    view: MemoryState,
    machine: Box<dyn StateMachine>,
    key: SecretKey,
    tip: Option<Tip>,
    timestamp: u64,
    block_time: u64,
}

impl Maker {
    /// The validator of a genesis that has only this one. Its block 0 is of `timestamp`, each other one a block time
    /// after its parent.
    pub fn new(genesis: &Genesis, key: SecretKey, timestamp: u64) -> Self {
        let genesis = Arc::new(genesis.clone());
        let view = MemoryState(AccountExecutor.genesis_state(&genesis).unwrap().into_iter().collect());
        let block_time = genesis.params.block_time;
        Self {
            hasher: Hasher::new(&genesis),
            machine: AccountExecutor.open(genesis, &view).unwrap(),
            view,
            key,
            tip: None,
            timestamp: timestamp - block_time,
            block_time,
        }
    }

    /// The next block is of this time, in unix seconds.
    pub fn wait_until(&mut self, timestamp: u64) {
        self.timestamp = timestamp - self.block_time;
    }

    /// The next block, with exactly these transactions.
    pub fn block(&mut self, txs: Vec<Arc<Transaction>>) -> Block {
        self.timestamp += self.block_time;
        let count = txs.len();
        let template = ProposalTemplate {
            parent: self.tip,
            timestamp: self.timestamp,
            proposer: self.key.address(VALIDATOR_PREFIX),
            scheme_id: Scheme::Ed25519.id(),
            txs,
        };
        let mut block = self.machine.propose(&self.view, template).unwrap();
        assert_eq!(block.txs.len(), count, "a transaction cannot be included");
        block.pq_signature = self.key.sign(&self.hasher.header_hash(&block.header));
        let hashed = self.hasher.hash_block(Arc::new(block.clone()));
        let changes = self.machine.execute(&self.view, &hashed, 0).unwrap();
        self.view.apply(&changes);
        self.tip = Some(hashed.link.tip());
        block
    }
}
