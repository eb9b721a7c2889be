//! The `Executor` plug point: what blocks do to the state.
//!
//! An [`Executor`] describes a state machine; the chain opens one [`StateMachine`] at its tip and drives it: forwards
//! block by block, ahead of what is committed, and backwards with the undo records. The machine reads through a
//! [`StateView`] that shows the state *after all blocks executed so far*, and may keep what it likes in memory besides
//! (the leaves of a state tree, say), as long as `execute` and `revert` keep it in step.
//!
//! # Contract
//! Each sentence is one case of the conformance suite in [`crate::testkit`].
//!
//! - `genesis_state` depends on the genesis alone.
//! - `execute` depends on the state and the block alone: a machine opened there and one that ran there give the same changes.
//! - A rejected block leaves the machine as it was.
//! - `revert` with the changes of the last block leaves the machine as it was before that block.
//! - What `propose` makes, `execute` accepts.
//! - The changes of a block name each key once, in order, with the old value that the view showed.
//! - A block whose state root, compute root or gas differs from what execution gives is rejected.
//!
//! # Writing your own
//!
//! Blocks and transactions, their hashes and signatures stay what they are: an executor decides what they *do*. Often it is another one with something
//! around it.
//!
//! 1. [`genesis_state`](Executor::genesis_state) makes the first keys and values from the genesis, in order and from nothing else.
//! 2. [`execute`](StateMachine::execute) reads through the view and gives changes; it writes nothing. Keep what a block changes in a map over the
//!    view, so that it sees its own writes, and make the changes from that: each key once, in order, with the value that the view showed.
//! 3. Reject by a [`Rejection`] with the [rule](crate::rules::Rule) that is broken: the sync decides by it who is at fault. A rule that
//!    other nodes of the network do not have splits the network.
//! 4. What the machine keeps in memory follows in `execute` and in [`revert`](StateMachine::revert), and not at all where a block is rejected.
//! 5. [`propose`](StateMachine::propose) leaves out what `execute` would refuse. Choose by the same code.
//! 6. Run `executor_suite!` over it.
//!
//! Watch for: every node must decide alike, so that nothing may depend on a clock, a random number, the order of a hash map or the machine's word size;
//! arithmetic on amounts that overflows is a rejection, not a panic.
//!
//! A chain of rewards only, driven by hand:
//!
//! ```
//! use std::sync::Arc;
//!
//! use cpc_framework::executor::accounts::{AccountExecutor, state};
//! use cpc_framework::executor::{Executor, ProposalTemplate};
//! use cpc_framework::rules::{Hasher, keys};
//! use cpc_framework::store::memory::MemoryStore;
//! use cpc_framework::store::{ChainStore, Commit};
//! use cpc_framework::types::{EncodedBlock, Genesis, GenesisValidator, HashRules, Network, encoding};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = keys::SecretKey::generate(keys::Scheme::Ed25519);
//! let (validator, account) = (key.address(keys::VALIDATOR_PREFIX), key.address(keys::ACCOUNT_PREFIX));
//! let genesis = Arc::new(Genesis {
//!     network: "example".into(),
//!     chain_id: "example-1".into(),
//!     hash_rules: HashRules::Canonical,
//!     params: Network::Devnet.params(),
//!     checkpoints: vec![],
//!     alloc: [(account.clone(), 5)].into(),
//!     validators: vec![GenesisValidator {
//!         address: validator.clone(),
//!         pub_key: key.public_key(),
//!         power: 1000,
//!         is_active: true,
//!         reward_address: None,
//!     }],
//! });
//! let store = MemoryStore::new();
//! store.bind(genesis.id(), AccountExecutor.genesis_state(&genesis)?).await?;
//! let view = store.state()?;
//! let mut machine = AccountExecutor.open(Arc::clone(&genesis), view.as_ref())?;
//! assert_eq!(machine.proposer(0, 0).map(|proposer| proposer.address), Some(validator.clone()));
//!
//! let scheme_id = key.scheme().id();
//! let template = ProposalTemplate { parent: None, timestamp: 1, proposer: validator, scheme_id, txs: vec![] };
//! let block = machine.propose(view.as_ref(), template)?;
//! let block = Hasher::new(&genesis).hash_block(Arc::new(block));
//! let changes = machine.execute(view.as_ref(), &block, 0)?;
//!
//! // The changes are what the store commits; the view still shows the state before.
//! let bytes = encoding::encode_block(&block.block).into();
//! store.commit(vec![Commit { block: EncodedBlock { link: block.link, bytes }, changes: changes.clone() }]).await?;
//! let balance = |view: &dyn cpc_framework::store::StateView| {
//!     state::account(view, &account).map(|account| account.unwrap_or_default().balance)
//! };
//! assert!(balance(store.state()?.as_ref())? > balance(view.as_ref())?, "the proposer has its reward");
//!
//! machine.revert(view.as_ref(), &changes)?;
//! assert_eq!(machine.execute(view.as_ref(), &block, 0)?, changes);
//! # Ok(())
//! # }
//! ```
//!
//! A whole one, around the accounts: `examples/src/quota.rs` in the repository.

use std::fmt::Debug;
use std::sync::Arc;

use crate::rules::{HashedBlock, Rejection};
use crate::store::{StateChange, StateKey, StateValue, StateView, StoreError};
use crate::types::{Address, Block, Genesis, HexText, Transaction};

pub mod accounts;

/// Describes a state machine. See the [module documentation](self) for the contract.
pub trait Executor: Debug + Send + Sync + 'static {
    /// A short name, for logs.
    fn name(&self) -> &'static str;

    /// The state before block 0, in order of the keys.
    ///
    /// # Errors
    /// The genesis holds something that this executor cannot start from.
    fn genesis_state(&self, genesis: &Genesis) -> Result<Vec<(StateKey, StateValue)>, ExecutorError>;

    /// A machine at the state that `view` shows. May read all accounts, never all blocks.
    ///
    /// # Errors
    /// The state cannot be read, or is none of this executor's.
    fn open(&self, genesis: Arc<Genesis>, view: &dyn StateView) -> Result<Box<dyn StateMachine>, ExecutorError>;
}

/// A state machine at one block.
pub trait StateMachine: Debug + Send + Sync {
    /// The validator whose turn it is at a height and round, with the key that it must sign with; `None` where nobody is active.
    /// Depends on the blocks executed so far.
    fn proposer(&self, height: u64, round: u64) -> Option<Proposer>;

    /// The public key that a validator's address is registered with.
    ///
    /// # Errors
    /// The state cannot be read.
    fn validator_key(&self, view: &dyn StateView, address: &Address) -> Result<Option<HexText>, StoreError>;

    /// Applies a block whose header, links and signatures were checked already ([`crate::rules`]) and checks all that
    /// depends on the state: the proposer of its height and `round`, nonces, balances, state root.
    ///
    /// # Errors
    /// [`ExecuteError::Rejected`]: the block breaks a rule; the machine is as it was.
    fn execute(
        &mut self,
        view: &dyn StateView,
        block: &HashedBlock,
        round: u64,
    ) -> Result<Vec<StateChange>, ExecuteError>;

    /// Takes back the last executed block, given the changes that it made. `view` already shows the state before it.
    /// To put a block back without executing it again, the chain hands in its changes with `old` and `new` swapped
    /// ([`Moved`](crate::store::Moved)): the machine only has to follow the values to `old`.
    ///
    /// # Errors
    /// The state cannot be read.
    fn revert(&mut self, view: &dyn StateView, changes: &[StateChange]) -> Result<(), ExecutorError>;

    /// Fills in the header fields of an unsigned block that only execution knows: roots, gas. Leaves out transactions that
    /// cannot be included. The machine stays as it was.
    ///
    /// # Errors
    /// The state cannot be read.
    fn propose(&mut self, view: &dyn StateView, template: ProposalTemplate) -> Result<Block, ExecuteError>;
}

/// Whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposer {
    /// The validator's address.
    pub address: Address,
    /// Its registered public key, as text.
    pub pub_key: HexText,
}

/// What a proposer brings to a new block.
#[derive(Debug, Clone)]
pub struct ProposalTemplate {
    /// The parent; `None` for block 0.
    pub parent: Option<crate::types::Tip>,
    /// Unix seconds.
    pub timestamp: u64,
    /// Who proposes.
    pub proposer: Address,
    /// The signature scheme of the proposer's key.
    pub scheme_id: u32,
    /// Candidates in order of preference, at most as many as a block may have.
    pub txs: Vec<Arc<Transaction>>,
}

/// A block could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The block breaks a rule.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The state could not be read; the block may well be valid.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored state is none that this executor wrote.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// The state is none that this executor can work on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExecutorError {
    /// What is wrong with which value.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<StoreError>,
}

impl From<StoreError> for ExecutorError {
    fn from(source: StoreError) -> Self {
        Self { message: "the state cannot be read".into(), source: Some(source) }
    }
}

macro_rules! forward_executor {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        impl<E: Executor + ?Sized> Executor for $pointer<E> {
            fn name(&self) -> &'static str {
                (**self).name()
            }
            fn genesis_state(&self, genesis: &Genesis) -> Result<Vec<(StateKey, StateValue)>, ExecutorError> {
                (**self).genesis_state(genesis)
            }
            fn open(
                &self,
                genesis: Arc<Genesis>,
                view: &dyn StateView,
            ) -> Result<Box<dyn StateMachine>, ExecutorError> {
                (**self).open(genesis, view)
            }
        }
    };
}
forward_executor!(Arc);
forward_executor!(Box);
