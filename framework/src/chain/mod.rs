//! The single writer of a chain: verifies, executes, commits; rolls back; proposes.
//!
//! [`Chain`] does it step by step, for tools. A running node drives the same parts as a [pipeline](ChainHandle), in which
//! the next batch is verified on all cores while the one before it is executed and the one before that is committed.
//!
//! # A chain by hand
//!
//! ```
//! use std::sync::Arc;
//!
//! use cpc_framework::chain::Chain;
//! use cpc_framework::env::Env;
//! use cpc_framework::executor::ProposalTemplate;
//! use cpc_framework::prelude::*;
//! use cpc_framework::rules::{Hasher, keys};
//! use cpc_framework::store::ReorgOutcome;
//! use cpc_framework::types::{GenesisValidator, HashRules};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = keys::SecretKey::generate(keys::Scheme::Ed25519);
//! let genesis = Arc::new(Genesis {
//!     network: "example".into(),
//!     chain_id: "example-1".into(),
//!     hash_rules: HashRules::Canonical,
//!     params: Network::Devnet.params(),
//!     checkpoints: vec![],
//!     alloc: [(key.address(keys::ACCOUNT_PREFIX), 1_000_000)].into(),
//!     validators: vec![GenesisValidator {
//!         address: key.address(keys::VALIDATOR_PREFIX),
//!         pub_key: key.public_key(),
//!         power: 1000,
//!         is_active: true,
//!         reward_address: None,
//!     }],
//! });
//! let (store, executor) = (Arc::new(MemoryStore::new()), Arc::new(AccountExecutor));
//! let mut chain = Chain::open(genesis.clone(), store, executor, Env::system()?).await?;
//!
//! let hasher = Hasher::new(&genesis);
//! for height in 0..3 {
//!     let template = ProposalTemplate {
//!         parent: chain.tip(),
//!         timestamp: 1_700_000_000 + height * genesis.params.block_time,
//!         proposer: key.address(keys::VALIDATOR_PREFIX),
//!         scheme_id: key.scheme().id(),
//!         txs: vec![],
//!     };
//!     let mut block = chain.propose(template).await?;
//!     block.pq_signature = key.sign(&hasher.header_hash(&block.header));
//!     let report = chain.import(vec![Arc::new(block)]).await?;
//!     assert!(report.stop.is_none(), "a valid block is applied, and durable");
//! }
//! let before = chain.tip();
//!
//! chain.rollback(Some(0)).await?;
//! assert_eq!(chain.tip().map(|tip| tip.height), Some(0));
//! chain.finish_reorg(ReorgOutcome::PutBack).await?;
//! assert_eq!(chain.tip(), before);
//! # Ok(())
//! # }
//! ```

mod audit;
#[cfg(test)]
mod audit_tests;
mod core;
#[cfg(test)]
mod failing_store_tests;
#[cfg(test)]
mod length_tests;
mod overlay;
mod pipeline;
mod produce;
#[cfg(test)]
mod produce_tests;
mod rebuild;
#[cfg(test)]
mod repeat_tests;
mod replay;
mod verified_txs;
mod verify;

use std::sync::{Arc, Mutex};

use bytes::Bytes;

pub use audit::{AuditReport, audit};
pub use pipeline::{ChainCommand, ChainEvent, ChainHandle, ChainOutcome};
pub(crate) use pipeline::{TOLD_EARLY, genesis_hash_in};
pub use produce::ProduceError;
pub(crate) use verified_txs::{SignedId, VerifiedTxs};
pub(crate) use verify::{ANY_LENGTH, BatchVerifier, KeyBook, Known, learn_staked, proposer_signed};

use self::core::Core;
use crate::env::Env;
use crate::executor::{ExecuteError, Executor, ExecutorError, ProposalTemplate, Proposer};
use crate::mempool::tx_bytes;
use crate::producer::Signer;
use crate::rules::{Parent, Rejection, Verifier};
use crate::store::{ByteBudget, ChainStore, Moved, ReorgOutcome, StoreError, StoreErrorKind};
use crate::sync::RejectKind;
use crate::types::{Block, BlockLink, Genesis, Hash32, Height, Tip, Transaction, encoding};

/// A chain and its state, written by nobody else.
#[derive(Debug)]
pub struct Chain {
    store: Arc<dyn ChainStore>,
    verifier: Verifier,
    keys: KeyBook,
    env: Env,
    /// Lent to a blocking thread while it works; back before any method returns.
    core: Option<Box<Core>>,
    genesis_hash: Option<Hash32>,
    commits: u64,
    /// Whoever signs our blocks, where this node is a validator's.
    signer: Option<Arc<Mutex<Signer>>>,
    verified_txs: VerifiedTxs,
    /// In bytes as JSON.
    longest_block: usize,
}

/// A block that was applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its place.
    pub link: BlockLink,
    /// The hashes of its transactions.
    pub tx_hashes: Vec<Hash32>,
    /// The block.
    pub block: Arc<Block>,
    /// The block in the framework's encoding, as it was committed.
    pub bytes: Bytes,
}

/// Why an import went no further.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A block breaks a rule.
    #[error(transparent)]
    Rejected(Rejection),
    /// Our own store or state failed; the block may well be valid.
    #[error(transparent)]
    Local(ChainError),
}

impl Stop {
    /// What follows from it for a sync.
    pub fn kind(&self) -> RejectKind {
        match self {
            Self::Rejected(rejection) => rejection.kind(),
            Self::Local(_) => RejectKind::Local,
        }
    }
}

impl From<ExecuteError> for Stop {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Rejected(rejection) => Self::Rejected(rejection),
            ExecuteError::Store(error) => Self::Local(error.into()),
            ExecuteError::Executor(error) => Self::Local(error.into()),
        }
    }
}

/// A chain cannot go on: not a matter of any block.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state is none that the executor can work on.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A stored block breaks a rule or does not give the state it commits to.
    #[error("the stored chain is damaged at {0}; nothing was changed")]
    StoredBlock(Rejection),
    /// The stored chain does not have the block of a checkpoint.
    #[error(
        "the stored chain contradicts the checkpoint at height {height}: its block there is {found}, the checkpoint {expected}; \
         check the checkpoint, or sync into a new datadir"
    )]
    OffCheckpoint {
        /// The checkpoint's height.
        height: Height,
        /// The checkpoint's hash.
        expected: Hash32,
        /// The hash of the stored block.
        found: Hash32,
    },
    /// The stored state is not what the stored blocks give.
    #[error(
        "the stored state at height {} is not what the blocks give: {detail}; \
         'run --rebuild-state' computes it again from the blocks",
        height.map_or(-1, i128::from)
    )]
    StoredState {
        /// The height of the last block; `None` for an empty chain.
        height: Option<Height>,
        /// The first difference.
        detail: String,
    },
    /// A rollback would go below a checkpoint.
    #[error("a rollback to height {keep:?} is forbidden by the checkpoint at height {checkpoint}")]
    BelowCheckpoint {
        /// Where the rollback would end.
        keep: Option<Height>,
        /// The checkpoint.
        checkpoint: Height,
    },
}

/// What an import did.
#[derive(Debug)]
pub struct ImportReport {
    /// The blocks applied, all durable.
    pub applied: Vec<Applied>,
    /// Why the block after them was not.
    pub stop: Option<Stop>,
}

impl Chain {
    /// Opens the chain of a store, and ties the store to the genesis if it is new. Reads the accounts at most, never all blocks.
    ///
    /// # Errors
    /// The store belongs to another genesis, or cannot be read.
    pub async fn open(
        genesis: Arc<Genesis>,
        store: Arc<dyn ChainStore>,
        executor: Arc<dyn Executor>,
        env: Env,
    ) -> Result<Self, ChainError> {
        store.bind(genesis.id(), executor.genesis_state(&genesis)?).await?;
        let verifier = Verifier::new(genesis);
        let keys = KeyBook::default();
        let parent = stored_parent(store.as_ref()).await?;
        let genesis_hash = stored_link(store.as_ref(), 0).await?.map(|link| link.hash);
        for point in &verifier.genesis().checkpoints {
            let found = stored_link(store.as_ref(), point.height).await?.map(|link| link.hash);
            if let Some(found) = found.filter(|found| *found != point.hash) {
                return Err(ChainError::OffCheckpoint { height: point.height, expected: point.hash, found });
            }
        }
        let base = store.state()?;
        let core = {
            let (verifier, keys) = (verifier.clone(), keys.clone());
            env.pool.blocking(move || Core::open(verifier, keys, executor, base, parent)).await?
        };
        Ok(Self {
            store,
            verifier,
            keys,
            env,
            core: Some(Box::new(core)),
            genesis_hash,
            commits: 0,
            signer: None,
            verified_txs: VerifiedTxs::default(),
            longest_block: crate::limits::longest_block(),
        })
    }

    /// Has this chain take no block that is longer than so many bytes as JSON: 32 MiB, unless told otherwise, which is the longest answer that a
    /// node reads. What is stored already stays, however long it is.
    #[must_use]
    pub fn with_longest_block(mut self, bytes: usize) -> Self {
        self.longest_block = bytes;
        self
    }

    /// Has this chain propose blocks of a validator.
    #[must_use]
    pub fn with_signer(mut self, signer: Signer) -> Self {
        self.signer = Some(Arc::new(Mutex::new(signer)));
        self
    }

    /// Has this chain remember so many transactions whose signatures need no second check.
    pub(crate) fn remembering_txs(mut self, count: usize) -> Self {
        self.verified_txs = VerifiedTxs::new(count);
        self
    }

    /// The last applied block.
    pub fn tip(&self) -> Option<Tip> {
        self.core().parent().map(|parent| parent.tip)
    }

    /// The hash of block 0, once there is one.
    pub fn genesis_hash(&self) -> Option<Hash32> {
        self.genesis_hash
    }

    /// The rules.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The keys of proposers, as far as they are known. Shared with the chain.
    pub(crate) fn keys(&self) -> KeyBook {
        self.keys.clone()
    }

    /// Transactions that need no second check of their signatures. Shared with the chain.
    pub(crate) fn verified_txs(&self) -> VerifiedTxs {
        self.verified_txs.clone()
    }

    /// The store. Reading it is fine; only the chain writes.
    pub fn store(&self) -> &Arc<dyn ChainStore> {
        &self.store
    }

    fn batch_verifier(&self) -> BatchVerifier {
        BatchVerifier {
            verifier: self.verifier.clone(),
            keys: self.keys.clone(),
            verified: self.verified_txs.clone(),
            pool: self.env.pool.clone(),
            longest: self.longest_block,
        }
    }

    /// Applies blocks in order, as far as they are valid. What the report calls applied is durable.
    ///
    /// # Errors
    /// The store failed in a way that leaves the chain unusable; what was committed before is kept.
    pub async fn import(&mut self, blocks: Vec<Arc<Block>>) -> Result<ImportReport, ChainError> {
        let all = self.batch_verifier();
        let verified = self
            .env
            .pool
            .blocking(move || {
                let hasher = all.verifier.hasher();
                let hashed = all.pool.map(&blocks, |block| hasher.hash_block(Arc::clone(block)));
                all.verify(hashed, Known::Nothing)
            })
            .await;
        let number = self.next_commit();
        let now = self.env.clock.unix_seconds();
        let executed = self.with_core(move |core| core.execute_batch(number, verified, now)).await;
        let mut stop = executed.stop;
        let mut applied = executed.applied;
        if !executed.commits.is_empty() {
            match self.store.commit(executed.commits).await {
                Ok(_) => {
                    let base = self.store.state()?;
                    self.core_mut().rebase(number, base);
                }
                Err(error) => {
                    self.reset().await?;
                    applied = Vec::new();
                    stop = Some(Stop::Local(error.into()));
                }
            }
        }
        self.note_applied(&applied);
        Ok(ImportReport { applied, stop })
    }

    /// Removes the blocks above `keep` and keeps them aside; begins or deepens a reorganisation. Gives the removed transactions,
    /// oldest first.
    ///
    /// # Errors
    /// A checkpoint forbids it, or undo records do not reach so far: nothing changed.
    pub async fn rollback(&mut self, keep: Option<Height>) -> Result<Vec<Arc<Transaction>>, ChainError> {
        self.rollback_within(keep, usize::MAX).await
    }

    /// [`rollback`](Self::rollback), which gives no more removed transactions than take `room` bytes in memory: peers fill blocks.
    ///
    /// # Errors
    /// The same.
    pub async fn rollback_within(
        &mut self,
        keep: Option<Height>,
        room: usize,
    ) -> Result<Vec<Arc<Transaction>>, ChainError> {
        if let Some(checkpoint) = self.checkpoint_above(keep) {
            return Err(ChainError::BelowCheckpoint { keep, checkpoint });
        }
        let removed = self.transactions_above(keep, room).await?;
        let moved = self.store.rollback(keep).await?;
        self.follow(moved).await?;
        Ok(removed)
    }

    /// Ends the reorganisation under way.
    ///
    /// # Errors
    /// The store failed.
    pub async fn finish_reorg(&mut self, outcome: ReorgOutcome) -> Result<(), ChainError> {
        let moved = self.store.finish_reorg(outcome).await?;
        self.follow(moved).await
    }

    /// Whose turn it is at a height and round, on top of the tip.
    pub fn proposer(&self, height: Height, round: u64) -> Option<Proposer> {
        self.core().proposer(height, round)
    }

    /// Makes an unsigned block on top of the tip.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn propose(&mut self, template: ProposalTemplate) -> Result<Block, ExecuteError> {
        self.with_core(move |core| core.propose(template)).await
    }

    fn checkpoint_above(&self, keep: Option<Height>) -> Option<Height> {
        let tip = self.tip()?.height;
        let from = keep.map_or(0, |keep| keep.saturating_add(1));
        if from > tip {
            return None;
        }
        self.core().checkpoints().range(from..=tip).next_back().map(|(height, _)| *height)
    }

    async fn transactions_above(
        &self,
        keep: Option<Height>,
        mut room: usize,
    ) -> Result<Vec<Arc<Transaction>>, ChainError> {
        let mut transactions = Vec::new();
        let Some(tip) = self.tip() else { return Ok(transactions) };
        let mut next = keep.map_or(0, |keep| keep.saturating_add(1));
        while next <= tip.height {
            let blocks = self.store.blocks(next..=tip.height, ByteBudget(1 << 20)).await?;
            let Some(last) = blocks.last() else { break };
            next = last.link.height + 1;
            for stored in &blocks {
                for tx in decode_stored(stored)?.txs {
                    // Under v1 rules anybody may have padded one; that must not keep the others out.
                    if let Some(rest) = room.checked_sub(tx_bytes(&tx)) {
                        room = rest;
                        transactions.push(Arc::new(tx));
                    }
                }
            }
        }
        Ok(transactions)
    }

    async fn follow(&mut self, moved: Moved) -> Result<(), ChainError> {
        let parent = stored_parent(self.store.as_ref()).await?;
        let base = self.store.state()?;
        self.with_core(move |core| core.follow(moved.steps, base, parent)).await?;
        if moved.tip.is_none() {
            self.genesis_hash = None;
        } else if self.genesis_hash.is_none() {
            self.genesis_hash = stored_link(self.store.as_ref(), 0).await?.map(|link| link.hash);
        }
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), ChainError> {
        let parent = stored_parent(self.store.as_ref()).await?;
        let base = self.store.state()?;
        Ok(self.with_core(move |core| core.reset(base, parent)).await?)
    }

    fn note_applied(&mut self, applied: &[Applied]) {
        if let Some(first) = applied.first().filter(|first| first.link.height == 0) {
            self.genesis_hash = Some(first.link.hash);
        }
    }

    fn next_commit(&mut self) -> u64 {
        self.commits += 1;
        self.commits
    }

    fn core(&self) -> &Core {
        self.core.as_deref().expect("the core is lent only within a method that has the chain for itself")
    }

    fn core_mut(&mut self) -> &mut Core {
        self.core.as_deref_mut().expect("the core is lent only within a method that has the chain for itself")
    }

    /// Runs `work` on the core where it may block.
    async fn with_core<R: Send + 'static>(&mut self, work: impl FnOnce(&mut Core) -> R + Send + 'static) -> R {
        let mut core = self.core.take().expect("the core is lent only within a method that has the chain for itself");
        let (core, result) = self
            .env
            .pool
            .blocking(move || {
                let result = work(&mut core);
                (core, result)
            })
            .await;
        self.core = Some(core);
        result
    }
}

/// What the next block needs of the stored tip.
async fn stored_parent(store: &dyn ChainStore) -> Result<Option<Parent>, ChainError> {
    let Some(tip) = store.tip().await? else { return Ok(None) };
    let blocks = store.blocks(tip.height..=tip.height, ByteBudget(0)).await?;
    let stored = blocks.first().ok_or_else(|| damaged(tip.height, "is missing"))?;
    let timestamp = decode_stored(stored)?.header.timestamp;
    Ok(Some(Parent { tip, timestamp }))
}

async fn stored_link(store: &dyn ChainStore, height: Height) -> Result<Option<BlockLink>, ChainError> {
    let blocks = store.blocks(height..=height, ByteBudget(0)).await?;
    Ok(blocks.first().map(|stored| stored.link))
}

pub(crate) fn decode_stored(stored: &crate::types::EncodedBlock) -> Result<Block, ChainError> {
    encoding::decode_block(&stored.bytes)
        .map_err(|error| damaged(stored.link.height, &format!("cannot be read ({error})")).into())
}

fn damaged(height: Height, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("the stored block {height} {what}: the datadir is damaged; sync into a new one"),
    )
}
