//! The chains of the vectors, gone on: the test networks' keys go on where a chain ends. Chains of any other shape are made by
//! [`cpc_framework::testkit::chains`].

use std::path::Path;
use std::sync::Arc;

use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
use cpc_framework::testkit::chains::{self, ChainBuilder};
use cpc_framework::types::{Address, Block, Genesis, Network, Transaction};
use serde::Deserialize;

use crate::vectors::Chain;

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
    builder: ChainBuilder,
    accounts: Vec<(Address, SecretKey)>,
    next_account: usize,
}

impl Replay {
    fn of(chain: &Chain) -> Self {
        let genesis = Arc::new(Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap());
        let keys = read_keys(&chain.genesis.with_file_name("keys.json"));
        let secret = |text: &String| SecretKey::from_hex(Scheme::Secp256k1, text).unwrap();
        let accounts = keys.accounts.iter().map(secret);
        let mut replay = Self {
            builder: ChainBuilder::new(genesis, keys.validators.iter().map(secret).collect(), 0).unwrap(),
            accounts: accounts.map(|key| (key.address(ACCOUNT_PREFIX), key)).collect(),
            next_account: 0,
        };
        for line in &chain.lines {
            let block: Block = serde_json::from_str(line).unwrap();
            replay.builder.apply(block).unwrap();
        }
        replay
    }

    fn next(&mut self, txs: usize, first_amount: u128) -> (String, String) {
        let txs = (0..txs as u128).map(|at| Arc::new(self.transfer(first_amount + at))).collect();
        self.propose(txs)
    }

    fn propose(&mut self, txs: Vec<Arc<Transaction>>) -> (String, String) {
        let made = self.builder.produce(txs).unwrap();
        (serde_json::to_string(&made.block.block).unwrap(), made.block.link.hash.to_string())
    }

    /// A transfer from each account in turn to the one after it: no account sends twice in a block of fewer than 20.
    fn transfer(&mut self, amount: u128) -> Transaction {
        let (from, key) = &self.accounts[self.next_account];
        self.next_account = (self.next_account + 1) % self.accounts.len();
        let to = self.accounts[self.next_account].0.clone();
        let (hasher, nonce) = (self.builder.hasher(), self.builder.nonce(from).unwrap());
        let price = self.builder.genesis().params.min_gas_price;
        let mut tx = Transaction { amount, ..chains::transfer(hasher, key, to, nonce, price) };
        tx.signature = key.sign(&hasher.transaction_hash(&tx));
        tx
    }
}

fn read_keys(path: &Path) -> Keys {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
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
