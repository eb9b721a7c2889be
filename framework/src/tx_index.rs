//! Where transactions stand on the chain: an index that follows a store.
//!
//! A [`ChainStore`] finds blocks, by height and hash. [`TxIndex`] finds transactions, by their hash: every one that any block
//! of the chain has, however old. It is no part of the store: it reads the blocks that were committed, in order, and works
//! over any store. Whoever asks nobody for transactions keeps none and pays nothing.
//!
//! - **A block that is committed is found**, whatever kills the process and when: the index knows up to which block it has
//!   read, and goes on from there. While it is far behind the chain, what it has read is found already; for a hash that it
//!   has not met it says that it is [`Behind`](TxIndexErrorKind::Behind), never that there is no such transaction.
//! - **A block that is rolled back is not.** An entry is a hint: it names a height and a position, and counts only if the
//!   transaction that stands there *now* has the hash.
//! - **The index can always be made again.** Damaged or foreign files are set aside with a warning, and it begins anew.
//! - **A hash may be that of several transactions** under the rules of v1, which join decimal numbers with nothing between
//!   them (protocol.md section 4): [`find`](TxIndex::find) gives all that the chain has, the newest first. Under canonical
//!   rules there is at most one.
//!
//! # How it is kept
//!
//! An entry has 16 bytes: 8 of the hash, height and position. The newest are in memory; when there are enough they are sorted
//! and appended to the directory as one *run*, a file that never changes; eight runs of a size are merged into one. So
//! entries are written about three times in all, in order, wherever their hashes lie, and a look-up reads two or
//! three pages of each run. What a kill takes from memory is read again from the chain, some 32 MiB of blocks at most.
//!
//! ```
//! use std::sync::Arc;
//!
//! use cpc_framework::prelude::*;
//! # use cpc_framework::rules::{Hasher, keys};
//! # use cpc_framework::types::{GenesisValidator, HashRules, HexText, NetworkParams, Payload, TxType};
//! # fn genesis(validator: &keys::SecretKey, sender: &keys::SecretKey) -> Genesis {
//! #     Genesis {
//! #         network: "example".into(),
//! #         chain_id: "example-1".into(),
//! #         hash_rules: HashRules::Canonical,
//! #         params: NetworkParams { block_time: 1, ..Network::Devnet.params() },
//! #         checkpoints: vec![],
//! #         alloc: [(sender.address(keys::ACCOUNT_PREFIX), 1_000_000_000_000)].into(),
//! #         validators: vec![GenesisValidator {
//! #             address: validator.address(keys::VALIDATOR_PREFIX),
//! #             pub_key: validator.public_key(),
//! #             power: 1000,
//! #             is_active: true,
//! #             reward_address: None,
//! #         }],
//! #     }
//! # }
//! # fn transfer(genesis: &Genesis, key: &keys::SecretKey) -> Transaction {
//! #     let mut tx = Transaction {
//! #         tx_type: TxType::Transfer,
//! #         from_address: key.address(keys::ACCOUNT_PREFIX),
//! #         to_address: Some(key.address(keys::ACCOUNT_PREFIX)),
//! #         amount: 5,
//! #         fee: 21_000_000u128.into(),
//! #         nonce: 0,
//! #         signature: HexText::default(),
//! #         pub_key: key.public_key(),
//! #         payload: Payload::default(),
//! #         gas_price: 1000,
//! #         gas_limit: 21_000u64.into(),
//! #     };
//! #     tx.signature = key.sign(&Hasher::new(genesis).transaction_hash(&tx));
//! #     tx
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (validator, sender) = (keys::SecretKey::generate(keys::Scheme::Ed25519), keys::SecretKey::generate(keys::Scheme::Ed25519));
//! # let genesis = genesis(&validator, &sender);
//! # let tx = transfer(&genesis, &sender);
//! # let datadir = tempfile::tempdir()?;
//! // A validator alone, whose blocks we want to look transactions up in.
//! let node = NodeBuilder::new(genesis).validator(validator).start().await?;
//! let index = TxIndex::open(&datadir.path().join("tx_index"), Arc::clone(node.store()), node.genesis())?;
//! tokio::spawn(index.clone().follow(node.watch()));
//!
//! let hash = node.submit(tx).await?;
//! let mut status = node.watch();
//! let found = loop {
//!     match index.find(hash).await?.pop() {
//!         Some(found) => break found,
//!         None => status.changed().await?,
//!     }
//! };
//! assert_eq!((found.index, found.tx.amount), (0, 5));
//! # node.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use self::entry::Entry;
use self::files::{Fault, Files};
use self::follower::{Bounds, Follower};
use self::run::Run;
use crate::node::NodeStatus;
use crate::rules::Hasher;
use crate::store::{ByteBudget, ChainStore, StoreError};
use crate::types::{Genesis, Hash32, Height, Tip, Transaction, encoding};

mod entry;
mod files;
mod follower;
mod run;

/// A look-up catches up with so many blocks by itself; where more are missing it says so at once. The largest network's
/// blocks are read at some ten milliseconds each.
const NEAR: u64 = 128;

/// How often a look-up begins again where the chain changes meanwhile.
const ATTEMPTS: usize = 4;

/// Transactions with one hash that a look-up gives. The rules of v1 allow a sender no more than a few (a nonce of so many
/// digits takes as many transactions before it).
const MAX_FOUND: usize = 16;

/// A transaction in a block of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludedTx {
    /// The height of its block.
    pub height: Height,
    /// The hash of its block.
    pub block_hash: Hash32,
    /// Which of the block's transactions it is, from 0 on.
    pub index: usize,
    /// The transaction.
    pub tx: Transaction,
}

/// Finds the transactions of a store's blocks. See the [module documentation](self). Clones are of the same index.
///
/// It takes some 10 MiB of memory at most, whatever the chain's length, but where it is [in memory](Self::in_memory) alone. Its async
/// methods need a tokio runtime, on whose threads for blocking work they read.
#[derive(Debug, Clone)]
pub struct TxIndex {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ChainStore>,
    hasher: Hasher,
    shelf: RwLock<Shelf>,
    follower: Arc<tokio::sync::Mutex<Follower>>,
    /// A look-up met a file that is not as it was written.
    damaged: AtomicBool,
    /// Somebody asked for what may be in blocks that were not read.
    wanted: Notify,
}

/// What look-ups see.
#[derive(Debug, Default)]
struct Shelf {
    /// The last block that was read: all transactions up to it are here.
    mark: Option<Tip>,
    /// Entries that are in no run yet.
    pending: BTreeSet<Entry>,
    runs: Vec<Arc<Run>>,
}

/// Why the index gives no answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TxIndexError {
    /// What callers may branch on.
    pub kind: TxIndexErrorKind,
    /// What is wrong with which value, and what to do.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of [`TxIndexError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxIndexErrorKind {
    /// The chain is ahead of the index: ask again later.
    Behind,
    /// The chain cannot be read.
    Chain,
    /// The index's own files cannot be read or written. What it has read is found all the same.
    Files,
}

impl TxIndex {
    /// Opens the index in a directory of its own; makes it where there is none. Only one process may have it open: where
    /// the store locks its datadir, a folder in there is safe. Takes no time that grows with the chain; blocks briefly.
    ///
    /// # Errors
    /// [`Files`](TxIndexErrorKind::Files): the directory cannot be used.
    pub fn open(directory: &Path, store: Arc<dyn ChainStore>, genesis: &Genesis) -> Result<Self, TxIndexError> {
        Self::open_with(directory, store, genesis, Bounds::default())
    }

    /// Opens the index as [`open`](Self::open) does, and holds at most so many transactions in memory before they go to a file (at
    /// least one, at most the 65,536 of `open`): some 25 bytes each.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_holding(
        directory: &Path,
        store: Arc<dyn ChainStore>,
        genesis: &Genesis,
        transactions: usize,
    ) -> Result<Self, TxIndexError> {
        let usual = Bounds::default();
        let bounds = Bounds { pending: transactions.clamp(1, usual.pending), ..usual };
        Self::open_with(directory, store, genesis, bounds)
    }

    fn open_with(
        directory: &Path,
        store: Arc<dyn ChainStore>,
        genesis: &Genesis,
        bounds: Bounds,
    ) -> Result<Self, TxIndexError> {
        let (files, trail) = Files::open(directory)?;
        let shelf = Shelf { mark: trail.last().copied(), pending: BTreeSet::new(), runs: files.runs().to_vec() };
        Ok(Self::new(store, genesis, shelf, Follower::new(Some(files), trail, bounds)))
    }

    /// An index that lies in memory, some 25 bytes for each transaction: for a store that does so too.
    pub fn in_memory(store: Arc<dyn ChainStore>, genesis: &Genesis) -> Self {
        Self::new(store, genesis, Shelf::default(), Follower::new(None, Vec::new(), Bounds::default()))
    }

    fn new(store: Arc<dyn ChainStore>, genesis: &Genesis, shelf: Shelf, follower: Follower) -> Self {
        let inner = Inner {
            store,
            hasher: Hasher::new(genesis),
            shelf: RwLock::new(shelf),
            follower: Arc::new(tokio::sync::Mutex::new(follower)),
            damaged: AtomicBool::new(false),
            wanted: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The transactions with this hash in blocks of the chain, the newest first; none where no block has one, as of the tip
    /// that the store has. Reads the last blocks first where the index has not met them yet. Cancel-safe.
    ///
    /// # Errors
    /// [`Behind`](TxIndexErrorKind::Behind): it is in none of the blocks that were read, and many were not: [`follow`](Self::follow)
    /// or [`catch_up`](Self::catch_up) reads them.
    /// [`Chain`](TxIndexErrorKind::Chain), [`Files`](TxIndexErrorKind::Files).
    pub async fn find(&self, hash: Hash32) -> Result<Vec<IncludedTx>, TxIndexError> {
        for _ in 0..ATTEMPTS {
            let tip = self.inner.store.tip().await?;
            let read_all = self.mark() == tip;
            let found = self.look_up(hash).await.inspect_err(|_| self.inner.wanted.notify_one())?;
            if !found.is_empty() || (read_all && self.inner.store.tip().await? == tip) {
                return Ok(found);
            }
            if self.lag(tip) > NEAR {
                break;
            }
            self.catch_up().await?;
        }
        self.inner.wanted.notify_one();
        let (read, all) = (blocks_to(self.mark()), blocks_to(self.inner.store.tip().await?));
        Err(TxIndexError::new(
            TxIndexErrorKind::Behind,
            format!(
                "the index of transactions has read {read} of {all} blocks, and this one is not in them: ask again"
            ),
        ))
    }

    /// Reads the blocks that the index has not met yet, up to the store's tip. Cancel-safe.
    ///
    /// # Errors
    /// [`Chain`](TxIndexErrorKind::Chain), [`Files`](TxIndexErrorKind::Files); the next call goes on where this one stopped.
    pub async fn catch_up(&self) -> Result<(), TxIndexError> {
        while Inner::step(&self.inner).await? {}
        Ok(())
    }

    /// Keeps up with a node, until it stops. Errors go to the log: once each, and the next block is another attempt.
    pub async fn follow(self, mut status: watch::Receiver<NodeStatus>) {
        follower::follow(self, &mut status).await;
    }

    /// The last block that was read: the transactions of all blocks up to it are found.
    pub fn mark(&self) -> Option<Tip> {
        self.inner.shown().mark
    }

    /// How many blocks the chain is ahead.
    fn lag(&self, tip: Option<Tip>) -> u64 {
        blocks_to(tip).abs_diff(blocks_to(self.mark()))
    }

    /// The transactions that the entries for a hash lead to, the newest first.
    async fn look_up(&self, hash: Hash32) -> Result<Vec<IncludedTx>, TxIndexError> {
        let inner = Arc::clone(&self.inner);
        let entries = blocking(move || inner.entries(hash)).await?;
        let mut found = Vec::new();
        for entry in entries {
            let (height, index) = entry.place();
            let Some(block) = self.inner.store.blocks(height..=height, ByteBudget(0)).await?.pop() else { continue };
            let inner = Arc::clone(&self.inner);
            let read = blocking(move || {
                let block_hash = block.link.hash;
                let tx = follower::decode(&block)?.txs.into_iter().nth(index);
                let tx = tx.filter(|tx| inner.hasher.transaction_hash(tx) == hash);
                Ok(tx.map(|tx| IncludedTx { height, block_hash, index, tx }))
            });
            found.extend(read.await?);
            if found.len() == MAX_FOUND {
                break;
            }
        }
        Ok(found)
    }
}

impl Inner {
    /// All entries for a hash, the newest first.
    fn entries(&self, hash: Hash32) -> Result<Vec<Entry>, TxIndexError> {
        let prefix = entry::prefix(hash);
        let (mut entries, runs) = {
            let shelf = self.shown();
            let pending: Vec<Entry> = shelf.pending.range(Entry::all_of(prefix)).copied().collect();
            (pending, shelf.runs.clone())
        };
        for run in runs {
            if let Err(fault) = run.find(prefix, &mut entries) {
                if matches!(fault, Fault::Damaged(_)) {
                    self.damaged.store(true, Ordering::Release);
                }
                return Err(fault.into());
            }
        }
        entries.sort_unstable_by(|one, other| other.cmp(one));
        entries.dedup();
        Ok(entries)
    }

    fn shown(&self) -> RwLockReadGuard<'_, Shelf> {
        // Whoever panics in there has changed nothing by halves: entries too many are harmless.
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.shelf.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many blocks a chain with this tip has.
fn blocks_to(tip: Option<Tip>) -> u64 {
    tip.map_or(0, |tip| tip.height.saturating_add(1))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TxIndexError> + Send + 'static,
) -> Result<T, TxIndexError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        let message = "work on the index of transactions was stopped".into();
        Err(TxIndexError { kind: TxIndexErrorKind::Chain, message, source: Some(Box::new(error)) })
    })
}

impl TxIndexError {
    fn new(kind: TxIndexErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }
}

impl From<StoreError> for TxIndexError {
    fn from(error: StoreError) -> Self {
        let message = "the chain cannot be read for the index of transactions".into();
        Self { kind: TxIndexErrorKind::Chain, message, source: Some(Box::new(error)) }
    }
}

impl From<encoding::BlockDecodeError> for TxIndexError {
    fn from(error: encoding::BlockDecodeError) -> Self {
        let message = "a block of the chain cannot be read".into();
        Self { kind: TxIndexErrorKind::Chain, message, source: Some(Box::new(error)) }
    }
}

impl From<Fault> for TxIndexError {
    fn from(fault: Fault) -> Self {
        let kind = TxIndexErrorKind::Files;
        match fault {
            Fault::Io(message, error) => Self { kind, message, source: Some(Box::new(error)) },
            Fault::Damaged(what) => {
                Self::new(TxIndexErrorKind::Behind, format!("{what}: the index of transactions is made again"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
