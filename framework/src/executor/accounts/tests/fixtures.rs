//! Chains to test on: the reference's vectors, and ones made here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::executor::accounts::AccountExecutor;
use crate::executor::accounts::state;
use crate::executor::{ExecuteError, Executor, ProposalTemplate, StateMachine};
use crate::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use crate::rules::{HashedBlock, Hasher, Rejection};
use crate::store::StateChange;
use crate::testkit::executor::{MemoryState, Subject};
use crate::types::{
    Address, Block, Genesis, GenesisValidator, HashRules, HexText, Network, NetworkParams, Payload, Tip, Transaction,
    TxType,
};

/// How a gzip file begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file of the reference's vectors.
pub(super) fn vector(chain: &str, file: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1");
    let bytes = std::fs::read(root.join(chain).join(file)).unwrap();
    if !bytes.starts_with(&GZIP) {
        return bytes;
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text
}

pub(super) fn vector_genesis(chain: &str) -> Genesis {
    Genesis::from_json(&vector(chain, "genesis.json"), Network::Devnet).unwrap()
}

pub(super) fn vector_blocks(chain: &str, file: &str) -> Vec<Block> {
    let text = vector(chain, file);
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

pub(super) fn vector_summary(chain: &str) -> Value {
    serde_json::from_slice(&vector(chain, "summary.json")).unwrap()
}

/// A machine with its state in memory, and all that it executed.
pub(super) struct Chain {
    pub(super) genesis: Arc<Genesis>,
    pub(super) hasher: Hasher,
    pub(super) state: MemoryState,
    pub(super) machine: Box<dyn StateMachine>,
    pub(super) done: Vec<(HashedBlock, Vec<StateChange>)>,
}

impl Chain {
    pub(super) fn new(genesis: Genesis) -> Self {
        let state = MemoryState(AccountExecutor.genesis_state(&genesis).unwrap().into_iter().collect());
        let genesis = Arc::new(genesis);
        let machine = AccountExecutor.open(Arc::clone(&genesis), &state).unwrap();
        Self { hasher: Hasher::new(&genesis), genesis, state, machine, done: Vec::new() }
    }

    pub(super) fn tip(&self) -> Option<Tip> {
        self.done.last().map(|(block, _)| block.link.tip())
    }

    pub(super) fn next_height(&self) -> u64 {
        self.done.len() as u64
    }

    /// The round that a timestamp gives.
    pub(super) fn round(&self, timestamp: u64) -> u64 {
        self.done.last().map_or(0, |(parent, _)| {
            let distance = timestamp.saturating_sub(parent.block.header.timestamp);
            crate::rules::schedule::round(distance, self.genesis.params.block_time)
        })
    }

    pub(super) fn try_execute(&mut self, block: &Block) -> Result<Vec<StateChange>, Rejection> {
        let hashed = self.hasher.hash_block(Arc::new(block.clone()));
        let round = self.round(block.header.timestamp);
        match self.machine.execute(&self.state, &hashed, round) {
            Ok(changes) => {
                self.state.apply(&changes);
                self.done.push((hashed, changes.clone()));
                Ok(changes)
            }
            Err(ExecuteError::Rejected(rejection)) => Err(rejection),
            Err(other) => panic!("the state cannot be read: {other}"),
        }
    }

    pub(super) fn execute(&mut self, block: &Block) {
        self.try_execute(block).unwrap();
    }

    pub(super) fn execute_all(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.execute(block);
        }
    }

    /// Takes back the last block.
    pub(super) fn revert(&mut self) -> Block {
        let (block, changes) = self.done.pop().unwrap();
        self.state.undo(&changes);
        self.machine.revert(&self.state, &changes).unwrap();
        Block::clone(&block.block)
    }

    /// Proposes the next block and executes it.
    pub(super) fn grow(&mut self, txs: Vec<Arc<Transaction>>) -> Block {
        let block = self.propose(txs);
        self.execute(&block);
        block
    }

    pub(super) fn propose(&mut self, txs: Vec<Arc<Transaction>>) -> Block {
        let proposer = self.machine.proposer(self.next_height(), 0).unwrap().address;
        let template = ProposalTemplate {
            parent: self.tip(),
            timestamp: 1_700_000_000 + self.next_height() * self.genesis.params.block_time,
            proposer,
            scheme_id: Scheme::of(self.genesis.hash_rules).id(),
            txs,
        };
        self.machine.propose(&self.state, template).unwrap()
    }

    /// The root that the next block would have without transactions.
    pub(super) fn root(&mut self) -> crate::types::Hash32 {
        self.propose(Vec::new()).header.state_root
    }

    pub(super) fn account(&self, address: &Address) -> Option<state::Account> {
        state::account(&self.state, address).unwrap()
    }

    pub(super) fn accounts(&self) -> BTreeMap<Address, state::Account> {
        let mut all = BTreeMap::new();
        state::accounts(&self.state, &mut |address, account| all.insert(address, account).is_none()).unwrap();
        all
    }
}

/// Somebody with a key.
pub(super) struct User {
    key: SecretKey,
    rules: HashRules,
    pub(super) address: Address,
}

pub(super) const GAS_PRICE: u128 = 1000;
pub(super) const WEALTH: u128 = 1_000_000_000_000_000_000_000;

impl User {
    /// Always the same for the same number.
    pub(super) fn new(rules: HashRules, number: u32) -> Self {
        let key = SecretKey::from_hex(Scheme::of(rules), &format!("{:064x}", u64::from(number) + 1)).unwrap();
        Self { address: key.address(ACCOUNT_PREFIX), rules, key }
    }

    pub(super) fn validator(&self) -> Address {
        self.key.address(VALIDATOR_PREFIX)
    }

    pub(super) fn pub_key(&self) -> HexText {
        self.key.public_key()
    }

    pub(super) fn transfer(&self, genesis: &Genesis, nonce: u64, to: &Address, amount: u128) -> Arc<Transaction> {
        self.sign(genesis, TxType::Transfer, nonce, Some(to.clone()), amount, Payload::default())
    }

    /// A transfer that offers another fee than its gas costs.
    pub(super) fn transfer_for_fee(
        &self,
        genesis: &Genesis,
        nonce: u64,
        to: &Address,
        amount: u128,
        fee: u128,
    ) -> Arc<Transaction> {
        let mut tx = Transaction::clone(&self.transfer(genesis, nonce, to, amount));
        tx.fee = fee.into();
        tx.signature = self.key.sign(&Hasher::new(genesis).transaction_hash(&tx));
        Arc::new(tx)
    }

    pub(super) fn stake(&self, genesis: &Genesis, nonce: u64, validator: &HexText, amount: u128) -> Arc<Transaction> {
        let payload = Payload::new(&format!(r#"{{"pub_key":"{validator}"}}"#)).unwrap();
        self.sign(genesis, TxType::Stake, nonce, None, amount, payload)
    }

    pub(super) fn result(&self, genesis: &Genesis, nonce: u64) -> Arc<Transaction> {
        let payload = serde_json::json!({
            "task_id": format!("task {nonce}"), "worker_address": self.address.as_str(), "result_hash": "aa",
            "proof": "", "nonce": nonce, "signature": "",
        });
        self.sign(genesis, TxType::SubmitResult, nonce, None, 0, Payload::new(&payload.to_string()).unwrap())
    }

    fn sign(
        &self,
        genesis: &Genesis,
        tx_type: TxType,
        nonce: u64,
        to_address: Option<Address>,
        amount: u128,
        payload: Payload,
    ) -> Arc<Transaction> {
        assert_eq!(self.rules, genesis.hash_rules);
        let base_gas = tx_type.base_gas().unwrap();
        let mut tx = Transaction {
            tx_type,
            from_address: self.address.clone(),
            to_address,
            amount,
            fee: (u128::from(base_gas) * GAS_PRICE).into(),
            nonce,
            signature: HexText::default(),
            pub_key: self.pub_key(),
            payload,
            gas_price: GAS_PRICE,
            gas_limit: base_gas.into(),
        };
        tx.signature = self.key.sign(&Hasher::new(genesis).transaction_hash(&tx));
        Arc::new(tx)
    }
}

pub(super) fn users(rules: HashRules, count: u32) -> Vec<User> {
    (0..count).map(|number| User::new(rules, number)).collect()
}

/// A chain with short epochs, whose users are all rich and of whom the first one is its validator.
pub(super) fn genesis(rules: HashRules, users: &[User]) -> Genesis {
    Genesis {
        network: "local".into(),
        chain_id: "cpc-local-test".into(),
        hash_rules: rules,
        params: NetworkParams {
            block_time: 10,
            min_gas_price: GAS_PRICE,
            block_gas_limit: 10_000_000,
            max_txs_per_block: 100,
            epoch_length: 5,
            min_stake: 1000,
            max_validators: 3,
        },
        checkpoints: Vec::new(),
        alloc: users.iter().map(|user| (user.address.clone(), WEALTH)).collect(),
        validators: vec![GenesisValidator {
            address: users[0].validator(),
            pub_key: users[0].pub_key(),
            power: 5000,
            is_active: true,
            reward_address: None,
        }],
    }
}

/// For the conformance suite: transfers, stakes and results over two epochs, among them some that cannot be included.
pub(super) fn subject(rules: HashRules) -> Subject {
    let users = users(rules, 6);
    let genesis = genesis(rules, &users);
    let stranger = User::new(rules, 1000);
    let mut candidates = Vec::new();
    for (newcomer, height) in (100..).zip(0..12) {
        let mut txs = Vec::new();
        for (number, user) in users.iter().enumerate() {
            let to = &users[(number + 1) % users.len()].address;
            txs.push(match (number as u64 + height) % 4 {
                0 => user.transfer(&genesis, height, to, 5 + u128::from(height)),
                1 => user.stake(&genesis, height, &user.pub_key(), 700 * (number as u128)),
                2 => user.result(&genesis, height),
                _ => user.transfer(&genesis, height, &User::new(rules, newcomer).address, 0),
            });
        }
        txs.insert(2, users[0].transfer(&genesis, height + 7, &users[1].address, 1));
        txs.insert(4, stranger.transfer(&genesis, 0, &users[1].address, 1));
        candidates.push(txs);
    }
    Subject { executor: Arc::new(AccountExecutor), genesis: Arc::new(genesis), candidates }
}
