//! A devnet with many accounts that have money, whose keys are all known: for floods of transactions that are valid.

use std::sync::Arc;

use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::testkit::chains::{self, ChainBuilder};
use cpc_framework::types::{Address, Block, Genesis, Network, Transaction};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::vectors::Chain;

/// What each account has: enough for any number of transactions of these tests.
const BALANCE: &str = "1000000000000000000000000";
/// The time of the first block, in unix seconds: long ago.
const BEGINNING: u64 = 1_700_000_000;
/// The number of the validator's key.
const VALIDATOR: u16 = u16::MAX;

/// A network of v1 rules with one validator.
#[derive(Debug)]
pub struct Crowd {
    dir: TempDir,
    genesis: Arc<Genesis>,
    hasher: Hasher,
    accounts: Vec<SecretKey>,
}

impl Crowd {
    /// A network with so many accounts.
    pub fn new(accounts: u16) -> Self {
        let dir = tempfile::Builder::new().prefix("cpc-test-").tempdir().unwrap();
        let validator = key(VALIDATOR);
        let accounts: Vec<SecretKey> = (0..accounts).map(key).collect();
        let alloc: Map<String, Value> =
            accounts.iter().map(|key| (key.address(ACCOUNT_PREFIX).to_string(), BALANCE.into())).collect();
        let validators = json!([{
            "address": validator.address(VALIDATOR_PREFIX),
            "pub_key": validator.public_key().text(),
            "power": 1000,
        }]);
        let text = json!({ "alloc": alloc, "validators": validators }).to_string();
        std::fs::write(dir.path().join("genesis.json"), &text).unwrap();
        let genesis = Arc::new(Genesis::from_json(text.as_bytes(), Network::Devnet).unwrap());
        Self { dir, hasher: Hasher::new(&genesis), genesis, accounts }
    }

    /// A chain of blocks with these transactions; two chains part at the first block that differs.
    pub fn chain(&self, blocks: &[Vec<Transaction>]) -> Chain {
        let mut builder = ChainBuilder::new(Arc::clone(&self.genesis), vec![key(VALIDATOR)], BEGINNING).unwrap();
        let mut chain = Chain {
            genesis: self.dir.path().join("genesis.json"),
            lines: Vec::new(),
            hashes: Vec::new(),
            txs: Vec::new(),
        };
        for txs in blocks {
            let made = builder.produce(txs.iter().cloned().map(Arc::new).collect()).unwrap();
            chain.lines.push(serde_json::to_string(&made.block.block).unwrap());
            chain.hashes.push(made.block.link.hash.to_string());
            chain.txs.push(txs.len());
        }
        chain
    }

    /// A transfer of an account, which costs the least that is allowed.
    pub fn transfer(&self, account: u16, nonce: u64) -> Transaction {
        let price = self.genesis.params.min_gas_price;
        chains::transfer(&self.hasher, &self.accounts[usize::from(account)], self.address(0), nonce, price)
    }

    /// `tx` with a signature of `account` as it stands.
    pub fn sign(&self, account: u16, mut tx: Transaction) -> Transaction {
        tx.signature = self.accounts[usize::from(account)].sign(&self.hasher.transaction_hash(&tx));
        tx
    }

    /// `block` at another time, in unix seconds, signed anew.
    pub fn at_time(&self, mut block: Block, timestamp: u64) -> Block {
        block.header.timestamp = timestamp;
        block.pq_signature = key(VALIDATOR).sign(&self.hasher.header_hash(&block.header));
        block
    }

    /// The hash of a transaction, as text.
    pub fn hash(&self, tx: &Transaction) -> String {
        self.hasher.transaction_hash(tx).to_string()
    }

    /// The address of an account.
    pub fn address(&self, account: u16) -> Address {
        self.accounts[usize::from(account)].address(ACCOUNT_PREFIX)
    }
}

/// The key with this number; the same number gives the same key.
fn key(number: u16) -> SecretKey {
    let mut bytes = [9; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_hex(Scheme::Secp256k1, &hex::encode(bytes)).unwrap()
}
