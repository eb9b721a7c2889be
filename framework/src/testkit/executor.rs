//! The conformance suite of [`Executor`]: a case for each sentence of [its contract](crate::executor#contract).
//!
//! The cases drive the executor along a short chain that it proposes itself, from transactions that a [`Subject`] brings.
//! [`executor_suite!`](crate::executor_suite) makes a test of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::executor::{ExecuteError, Executor, ProposalTemplate, Proposer, StateMachine};
use crate::rules::keys::Scheme;
use crate::rules::{HashedBlock, Hasher, Rule};
use crate::store::{StateChange, StateKey, StateValue, StateView, StoreError};
use crate::types::{Block, Genesis, Hash32, Tip, Transaction};

/// An executor with what it takes to put it through the suite.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The executor.
    pub executor: Arc<dyn Executor>,
    /// Where its chain starts.
    pub genesis: Arc<Genesis>,
    /// The transactions offered to blocks 0, 1, 2 and so on: some that it includes, perhaps some that it cannot.
    /// At least three blocks, and at least one of them must include something.
    pub candidates: Vec<Vec<Arc<Transaction>>>,
}

/// Makes a module of tests, one for each case, from an expression that gives a new [`Subject`](crate::testkit::executor::Subject).
///
/// ```
/// # mod example {
/// use std::sync::Arc;
///
/// use cpc_framework::executor::accounts::AccountExecutor;
/// use cpc_framework::rules::Hasher;
/// use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
/// use cpc_framework::testkit::executor::Subject;
/// use cpc_framework::types::{Genesis, GenesisValidator, HashRules, Network, Transaction, TxType};
///
/// fn subject() -> Subject {
///     // Subjects must be alike, so the key is written down.
///     let key = SecretKey::from_hex(Scheme::Ed25519, &"07".repeat(32)).unwrap();
///     let genesis = Genesis {
///         network: "example".into(),
///         chain_id: "example-1".into(),
///         hash_rules: HashRules::Canonical,
///         params: Network::Devnet.params(),
///         checkpoints: vec![],
///         alloc: [(key.address(ACCOUNT_PREFIX), 10u128.pow(18))].into(),
///         validators: vec![GenesisValidator {
///             address: key.address(VALIDATOR_PREFIX),
///             pub_key: key.public_key(),
///             power: 1000,
///             is_active: true,
///             reward_address: None,
///         }],
///     };
///     let candidates = (0..4).map(|nonce| vec![Arc::new(transfer(&genesis, &key, nonce))]).collect();
///     Subject { executor: Arc::new(AccountExecutor), genesis: Arc::new(genesis), candidates }
/// }
///
/// fn transfer(genesis: &Genesis, key: &SecretKey, nonce: u64) -> Transaction {
///     let (gas, gas_price) = (21_000u64, genesis.params.min_gas_price);
///     let mut tx = Transaction {
///         tx_type: TxType::Transfer,
///         from_address: key.address(ACCOUNT_PREFIX),
///         to_address: Some(key.address(ACCOUNT_PREFIX)),
///         amount: 1,
///         fee: (u128::from(gas) * gas_price).into(),
///         nonce,
///         signature: Default::default(),
///         pub_key: key.public_key(),
///         payload: Default::default(),
///         gas_price,
///         gas_limit: gas.into(),
///     };
///     tx.signature = key.sign(&Hasher::new(genesis).transaction_hash(&tx));
///     tx
/// }
///
/// cpc_framework::executor_suite!(accounts, subject());
/// # }
/// ```
#[macro_export]
macro_rules! executor_suite {
    ($name:ident, $subject:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::executor_suite!(@cases $subject;
                genesis_state_depends_on_the_genesis_alone
                execute_depends_on_the_state_and_the_block_alone
                a_rejected_block_leaves_the_machine_as_it_was
                revert_leaves_the_machine_as_it_was_before_the_block
                what_propose_makes_execute_accepts
                propose_leaves_the_machine_as_it_was
                changes_name_each_key_once_in_order_with_its_old_value
                a_block_with_another_root_or_gas_is_rejected
            );
        }
    };
    (@cases $subject:expr; $($case:ident)*) => {$(
        #[test]
        fn $case() {
            $crate::testkit::executor::$case(&|| $subject);
        }
    )*};
}

/// Makes a new subject; all that it makes are alike.
pub type Factory<'f> = &'f dyn Fn() -> Subject;

/// `genesis_state` depends on the genesis alone.
pub fn genesis_state_depends_on_the_genesis_alone(subject: Factory<'_>) {
    let (one, other) = (subject(), subject());
    let state = genesis_state(&one);
    assert_eq!(state, genesis_state(&one), "the same executor gives another state the second time");
    assert_eq!(state, genesis_state(&other), "another executor gives another state");
    assert!(state.is_sorted_by(|(a, _), (b, _)| a < b), "keys must be in order, each once");
}

/// `execute` depends on the state and the block alone.
pub fn execute_depends_on_the_state_and_the_block_alone(subject: Factory<'_>) {
    let mut chain = Chain::new(subject());
    for candidates in chain.candidates() {
        let block = chain.propose(&candidates);
        let mut opened = chain.open();
        assert_eq!(chain.turns(&*opened), chain.turns(&*chain.machine), "proposers before {}", block.link.height);
        let fresh = opened.execute(&chain.state, &block, 0).expect("a proposed block must be accepted");
        assert_eq!(fresh, chain.execute(&block), "changes of block {}", block.link.height);
    }
}

/// A rejected block leaves the machine as it was.
pub fn a_rejected_block_leaves_the_machine_as_it_was(subject: Factory<'_>) {
    let mut chain = Chain::new(subject());
    for candidates in chain.candidates() {
        let block = chain.propose(&candidates);
        let before = chain.turns(&*chain.machine);
        for (_, bad) in chain.spoilt(&block) {
            chain.rejected(&bad, 0);
            assert_eq!(before, chain.turns(&*chain.machine), "proposers after a rejection at {}", block.link.height);
        }
        let expected = chain.open().execute(&chain.state, &block, 0).expect("a proposed block must be accepted");
        assert_eq!(expected, chain.execute(&block), "changes of block {} after rejections", block.link.height);
    }
}

/// `revert` with the changes of the last block leaves the machine as it was before that block.
pub fn revert_leaves_the_machine_as_it_was_before_the_block(subject: Factory<'_>) {
    let mut chain = Chain::new(subject());
    let mut done = Vec::new();
    for candidates in chain.candidates() {
        let block = chain.propose(&candidates);
        let turns = chain.turns(&*chain.machine);
        let changes = chain.execute(&block);
        done.push((block, turns, changes));
    }
    for keep in (0..done.len()).rev() {
        for (block, turns, changes) in done[keep..].iter().rev() {
            chain.revert(changes);
            assert_eq!(*turns, chain.turns(&*chain.machine), "proposers after taking back {}", block.link.height);
        }
        for (block, _, changes) in &done[keep..] {
            assert_eq!(*changes, chain.execute(block), "changes of block {} the second time", block.link.height);
        }
    }
}

/// What `propose` makes, `execute` accepts.
pub fn what_propose_makes_execute_accepts(subject: Factory<'_>) {
    let mut chain = Chain::new(subject());
    let mut included = 0;
    for candidates in chain.candidates() {
        let block = chain.propose(&candidates);
        included += block.block.txs.len();
        chain.execute(&block);
    }
    assert!(included > 0, "no candidate of the subject was ever included");
}

/// The machine stays as it was when it proposes.
pub fn propose_leaves_the_machine_as_it_was(subject: Factory<'_>) {
    let mut chain = Chain::new(subject());
    for candidates in chain.candidates() {
        let turns = chain.turns(&*chain.machine);
        let block = chain.propose(&candidates);
        assert_eq!(turns, chain.turns(&*chain.machine), "proposers after proposing {}", block.link.height);
        assert_eq!(block.block, chain.propose(&candidates).block, "the same proposal made again");
        chain.execute(&block);
    }
}

/// The changes of a block name each key once, in order, with the old value that the view showed.
pub fn changes_name_each_key_once_in_order_with_its_old_value(subject: Factory<'_>) {
    let mut chain = Chain::new(subject());
    for candidates in chain.candidates() {
        let block = chain.propose(&candidates);
        let changes = chain.machine.execute(&chain.state, &block, 0).expect("a proposed block must be accepted");
        assert!(changes.is_sorted_by(|a, b| a.key < b.key), "keys must be in order, each once");
        for change in &changes {
            assert_eq!(change.old.as_ref(), chain.state.0.get(&change.key), "old value of {:?}", change.key);
        }
        chain.advance(&block, &changes);
    }
}

/// A block whose state root, compute root or gas differs from what execution gives is rejected.
pub fn a_block_with_another_root_or_gas_is_rejected(subject: Factory<'_>) {
    let mut chain = Chain::new(subject());
    for candidates in chain.candidates() {
        let block = chain.propose(&candidates);
        for (rule, bad) in chain.spoilt(&block) {
            assert_eq!(rule, chain.rejected(&bad, 0), "the rule that block {} breaks", block.link.height);
        }
        chain.execute(&block);
    }
}

/// A state in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryState(pub BTreeMap<StateKey, StateValue>);

impl MemoryState {
    /// Takes changes in.
    pub fn apply(&mut self, changes: &[StateChange]) {
        for change in changes {
            self.set(&change.key, change.new.as_ref());
        }
    }

    /// Takes changes back.
    pub fn undo(&mut self, changes: &[StateChange]) {
        for change in changes {
            self.set(&change.key, change.old.as_ref());
        }
    }

    fn set(&mut self, key: &StateKey, value: Option<&StateValue>) {
        match value {
            Some(value) => self.0.insert(key.clone(), value.clone()),
            None => self.0.remove(key),
        };
    }
}

impl StateView for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let from_prefix = self.0.range(StateKey::copy_from_slice(prefix)..);
        for (key, value) in from_prefix.take_while(|(key, _)| key.starts_with(prefix)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

/// How many heights and rounds ahead the cases compare proposers.
const TURNS: u64 = 12;

/// A machine with its state, driven block by block.
#[derive(Debug)]
struct Chain {
    subject: Subject,
    hasher: Hasher,
    state: MemoryState,
    machine: Box<dyn StateMachine>,
    tip: Option<Tip>,
    tips: Vec<Option<Tip>>,
}

impl Chain {
    fn new(subject: Subject) -> Self {
        let state = MemoryState(genesis_state(&subject).into_iter().collect());
        let machine = open(&subject, &state);
        Self { hasher: Hasher::new(&subject.genesis), state, machine, tip: None, tips: Vec::new(), subject }
    }

    fn candidates(&self) -> Vec<Vec<Arc<Transaction>>> {
        assert!(self.subject.candidates.len() >= 3, "the subject must bring candidates for three blocks or more");
        self.subject.candidates.clone()
    }

    fn open(&self) -> Box<dyn StateMachine> {
        open(&self.subject, &self.state)
    }

    fn height(&self) -> u64 {
        self.tip.map_or(0, |tip| tip.height + 1)
    }

    /// All that a machine says without a block.
    fn turns(&self, machine: &dyn StateMachine) -> Vec<(Option<Proposer>, Option<String>)> {
        let turn = |ahead| {
            let proposer = machine.proposer(self.height() + ahead, ahead % 3);
            let key = proposer.as_ref().and_then(|proposer| {
                machine.validator_key(&self.state, &proposer.address).expect("the state can be read")
            });
            (proposer, key.map(|key| key.to_string()))
        };
        (0..TURNS).map(turn).collect()
    }

    fn propose(&mut self, candidates: &[Arc<Transaction>]) -> HashedBlock {
        let height = self.height();
        let proposer = self.machine.proposer(height, 0).expect("somebody must be active").address;
        let genesis = &self.subject.genesis;
        let template = ProposalTemplate {
            parent: self.tip,
            timestamp: 1_700_000_000 + height * genesis.params.block_time,
            proposer,
            scheme_id: Scheme::of(genesis.hash_rules).id(),
            txs: candidates.to_vec(),
        };
        let block = self.machine.propose(&self.state, template).expect("a block can always be proposed");
        self.hasher.hash_block(Arc::new(block))
    }

    fn execute(&mut self, block: &HashedBlock) -> Vec<StateChange> {
        let changes = self.machine.execute(&self.state, block, 0).expect("a proposed block must be accepted");
        self.advance(block, &changes);
        changes
    }

    fn advance(&mut self, block: &HashedBlock, changes: &[StateChange]) {
        self.state.apply(changes);
        self.tips.push(self.tip.replace(block.link.tip()));
    }

    fn revert(&mut self, changes: &[StateChange]) {
        self.state.undo(changes);
        self.tip = self.tips.pop().expect("a block to take back");
        self.machine.revert(&self.state, changes).expect("the last block can be taken back");
    }

    fn rejected(&mut self, block: &HashedBlock, round: u64) -> Rule {
        match self.machine.execute(&self.state, block, round) {
            Err(ExecuteError::Rejected(rejection)) => rejection.rule,
            other => panic!("a bad block must be rejected, got {other:?}"),
        }
    }

    /// The block with one thing wrong at a time, and the rule that this breaks.
    fn spoilt(&self, block: &HashedBlock) -> Vec<(Rule, HashedBlock)> {
        const OTHER: Hash32 = Hash32([0x12; 32]);
        let spoil = |rule, change: &dyn Fn(&mut Block)| {
            let mut bad = Block::clone(&block.block);
            change(&mut bad);
            (rule, self.hasher.hash_block(Arc::new(bad)))
        };
        vec![
            spoil(Rule::StateRoot, &|bad| bad.header.state_root = OTHER),
            spoil(Rule::ComputeRoot, &|bad| bad.header.compute_root = Some(OTHER)),
            spoil(Rule::GasUsed, &|bad| bad.header.gas_used += 1),
        ]
    }
}

fn genesis_state(subject: &Subject) -> Vec<(StateKey, StateValue)> {
    subject.executor.genesis_state(&subject.genesis).expect("the subject's genesis must be one to start from")
}

fn open(subject: &Subject, state: &MemoryState) -> Box<dyn StateMachine> {
    subject.executor.open(Arc::clone(&subject.genesis), state).expect("the state is this executor's")
}
