//! Chains under the rules of the reference, of any length: the test networks' keys go on where a chain ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cpc_framework::executor::accounts::{AccountExecutor, state};
use cpc_framework::executor::{Executor, ProposalTemplate, StateMachine};
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::rules::schedule::round;
use cpc_framework::rules::{HashedBlock, Hasher};
use cpc_framework::store::{StateChange, StateView, StoreError};
use cpc_framework::types::{Address, Block, Genesis, HexText, Network, Payload, Tip, Transaction, TxType};
use serde::Deserialize;

use crate::vectors::Chain;

/// The block time of devnet: blocks at this distance are all of round 0.
const BLOCK_TIME: u64 = 10;

/// `chain`, gone on for `blocks` more blocks of `txs` transfers each. `first_amount` tells one continuation from another.
pub fn extend(chain: &Chain, blocks: usize, txs: usize, first_amount: u128) -> Chain {
    let mut network = Replay::of(chain);
    let mut longer = chain.clone();
    for _ in 0..blocks {
        let (line, hash) = network.next(txs, first_amount);
        longer.lines.push(line);
        longer.hashes.push(hash);
        longer.txs.push(txs);
    }
    longer
}

/// `chain` with one block more, which has these transactions.
pub fn include(chain: &Chain, txs: &[String]) -> Chain {
    let read = |tx: &String| Arc::new(serde_json::from_str(tx).unwrap());
    let (line, hash) = Replay::of(chain).propose(txs.iter().map(read).collect());
    let mut longer = chain.clone();
    longer.lines.push(line);
    longer.hashes.push(hash);
    longer.txs.push(txs.len());
    longer
}

#[derive(Deserialize)]
struct Keys {
    validators: Vec<String>,
    accounts: Vec<String>,
}

/// A network whose keys we all have, at the end of its chain.
struct Replay {
    hasher: Hasher,
    view: State,
    machine: Box<dyn StateMachine>,
    tip: Tip,
    timestamp: u64,
    validators: BTreeMap<Address, SecretKey>,
    accounts: Vec<(Address, SecretKey)>,
    next_account: usize,
}

impl Replay {
    fn of(chain: &Chain) -> Self {
        let genesis = Arc::new(Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap());
        let keys = read_keys(&chain.genesis.with_file_name("keys.json"));
        let secret = |text: &String| SecretKey::from_hex(Scheme::Secp256k1, text).unwrap();
        let validators = keys.validators.iter().map(secret);
        let accounts = keys.accounts.iter().map(secret);
        let view = State::new(AccountExecutor.genesis_state(&genesis).unwrap());
        let mut replay = Self {
            hasher: Hasher::new(&genesis),
            machine: AccountExecutor.open(Arc::clone(&genesis), &view).unwrap(),
            view,
            tip: Tip { height: 0, hash: cpc_framework::types::Hash32::ZERO },
            timestamp: 0,
            validators: validators.map(|key| (key.address(VALIDATOR_PREFIX), key)).collect(),
            accounts: accounts.map(|key| (key.address(ACCOUNT_PREFIX), key)).collect(),
            next_account: 0,
        };
        for line in &chain.lines {
            let block: Block = serde_json::from_str(line).unwrap();
            replay.apply(block);
        }
        replay
    }

    fn next(&mut self, txs: usize, first_amount: u128) -> (String, String) {
        let txs = (0..txs as u128).map(|at| Arc::new(self.transfer(first_amount + at))).collect();
        self.propose(txs)
    }

    fn propose(&mut self, txs: Vec<Arc<Transaction>>) -> (String, String) {
        let height = self.tip.height + 1;
        let proposer = self.machine.proposer(height, 0).unwrap().address;
        let template = ProposalTemplate {
            parent: Some(self.tip),
            timestamp: self.timestamp + BLOCK_TIME,
            proposer: proposer.clone(),
            scheme_id: Scheme::Secp256k1.id(),
            txs,
        };
        let mut block = self.machine.propose(&self.view, template).unwrap();
        block.pq_signature = self.validators[&proposer].sign(&self.hasher.header_hash(&block.header));
        let line = serde_json::to_string(&block).unwrap();
        let hash = self.apply(block);
        (line, hash)
    }

    /// A transfer from each account in turn to the one after it: no account sends twice in a block of fewer than 20.
    fn transfer(&mut self, amount: u128) -> Transaction {
        let (from, key) = &self.accounts[self.next_account];
        self.next_account = (self.next_account + 1) % self.accounts.len();
        let to = &self.accounts[self.next_account].0;
        let gas = TxType::Transfer.base_gas().unwrap();
        let gas_price = 1000;
        let mut tx = Transaction {
            tx_type: TxType::Transfer,
            from_address: from.clone(),
            to_address: Some(to.clone()),
            amount,
            fee: (u128::from(gas) * gas_price).into(),
            nonce: state::account(&self.view, from).unwrap().map_or(0, |account| account.nonce),
            signature: HexText::default(),
            pub_key: key.public_key(),
            payload: Payload::new("{}").unwrap(),
            gas_price,
            gas_limit: gas.into(),
        };
        tx.signature = key.sign(&self.hasher.transaction_hash(&tx));
        tx
    }

    fn apply(&mut self, block: Block) -> String {
        let waited = if block.header.height == 0 { 0 } else { block.header.timestamp - self.timestamp };
        self.timestamp = block.header.timestamp;
        let block: HashedBlock = self.hasher.hash_block(Arc::new(block));
        let changes = self.machine.execute(&self.view, &block, round(waited, BLOCK_TIME)).unwrap();
        self.view.apply(changes);
        self.tip = block.link.tip();
        self.tip.hash.to_string()
    }
}

fn read_keys(path: &Path) -> Keys {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A state in memory.
#[derive(Debug)]
pub(crate) struct State(BTreeMap<bytes::Bytes, bytes::Bytes>);

impl State {
    pub(crate) fn new(entries: impl IntoIterator<Item = (bytes::Bytes, bytes::Bytes)>) -> Self {
        Self(entries.into_iter().collect())
    }

    pub(crate) fn apply(&mut self, changes: Vec<StateChange>) {
        for StateChange { key, new, .. } in changes {
            match new {
                Some(new) => self.0.insert(key, new),
                None => self.0.remove(&key),
            };
        }
    }
}

impl StateView for State {
    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let from = bytes::Bytes::copy_from_slice(prefix);
        for (key, value) in self.0.range(from..).take_while(|(key, _)| key.starts_with(prefix)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::BlockText;

    #[test]
    fn a_chain_that_goes_on_links_and_parts_from_another_continuation() {
        let start = Chain::fork().up_to(30);
        let (one, other) = (extend(&start, 12, 3, 1000), extend(&start, 12, 3, 2000));
        assert_eq!((one.height(), one.txs_from(31)), (42, 36));
        assert_eq!((&one.hashes[30], one.hashes[31] == other.hashes[31]), (&start.hashes[30], false));
        for (height, line) in one.lines.iter().enumerate().skip(31) {
            let block = BlockText::read(line);
            assert_eq!((block.height, &block.prev_hash), (height as u64, &one.hashes[height - 1]));
        }
    }
}
