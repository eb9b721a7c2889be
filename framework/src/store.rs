//! The `ChainStore` plug point: blocks and state, kept together.
//!
//! A store keeps three things that change in one step: the blocks of one chain, a key-value *state* whose meaning is the
//! executor's, and for the last [`UNDO_DEPTH`] blocks what each changed in the state.
//!
//! # Contract
//! Each sentence is one case of the conformance suite in [`crate::testkit`].
//!
//! - A new store has no tip, no state and no genesis.
//! - `bind` keeps the first genesis and its state; with another one it fails and changes nothing.
//! - `commit` is all or nothing: a batch that does not link to the tip, or within itself, changes neither blocks nor state.
//! - A state key longer than [`MAX_STATE_KEY`] is refused, and nothing changes.
//! - After `commit` returned, tip, blocks and state are those of its last block, also for whoever opens the store again.
//! - `blocks` gives consecutive blocks from the first height asked for, as long as they exist and fit the budget, and at least one if it exists.
//! - Blocks come back with the very bytes that were committed.
//! - `height_of` finds exactly the hashes of the blocks on the chain.
//! - `rollback` puts the state back to what it was at that height, keeps the removed blocks, and reports each step.
//! - `rollback` deeper than the undo records reach, or above the tip, fails and changes nothing.
//! - `finish_reorg(PutBack)` restores chain and state to what they were before the first rollback, and reports each step.
//! - That holds also after a new branch longer than undo records reach, and after several rollbacks: blocks committed in between are dropped.
//! - `finish_reorg(KeepNew)` forgets the removed blocks.
//! - `finish_reorg` does nothing where no reorganisation is under way.
//! - A store that is opened in the middle of a reorganisation puts the removed blocks back.
//! - A state view is a snapshot: it never shows a half of a commit, and does not change under its reader.
//! - `scan` yields the keys with a prefix in order of their bytes.
//! - `replace_state` swaps the whole state at once, and leaves the blocks alone; during a reorganisation, or with more undo records than blocks, it fails.
//!
//! # Writing your own
//!
//! 1. Blocks are bytes to a store: it keeps what it is given and looks at [links](crate::types::BlockLink) only. [`check_linkage`] is the check of
//!    `commit`.
//! 2. State is keys and values in order. Keep with each of the last [`UNDO_DEPTH`] blocks the [changes](StateChange) that came with it: a rollback sets
//!    each key to its `old`, the last block first.
//! 3. A rollback begins a reorganisation: the blocks it removes are kept, on the disk too, until [`finish_reorg`](ChainStore::finish_reorg). Whoever
//!    opens the store before that puts them back. While it lasts, forget no undo record: putting back must undo the new branch first.
//! 4. [`state`](ChainStore::state) gives a snapshot. Commits go on while somebody reads, so share what is old or keep versions.
//! 5. Check everything before the first change, then write, then let others see it. [`Commit`], [`StateChange`] and
//!    [`EncodedBlock`] go through any serde format.
//! 6. Run `store_suite!` over it, with `LASTS` if it is to survive being closed.
//!
//! Watch for: methods run on the async runtime, so that what waits for a disk belongs into `spawn_blocking`; a call may be dropped while it
//! waits, and must then take effect as a whole or not at all; a full disk is [`StoreErrorKind::Full`], which is tried again.
//!
//! What a store is asked to do, step by step:
//!
//! ```
//! use bytes::Bytes;
//! use cpc_framework::store::memory::MemoryStore;
//! use cpc_framework::store::{ByteBudget, ChainStore, Commit, ReorgOutcome, StateChange, StoreErrorKind};
//! use cpc_framework::types::{BlockLink, EncodedBlock, Hash32};
//!
//! fn block(height: u64, hash: u8, parent: u8, old: Option<&'static str>, new: &'static str) -> Commit {
//!     let link = BlockLink { height, hash: Hash32([hash; 32]), prev_hash: Hash32([parent; 32]) };
//!     let (key, old, new) = ("balance".into(), old.map(Into::into), Some(new.into()));
//!     let bytes = Bytes::from(format!("the bytes of block {height}"));
//!     Commit { block: EncodedBlock { link, bytes }, changes: vec![StateChange { key, old, new }] }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! store.bind(Hash32([9; 32]), vec![]).await?;
//! store.commit(vec![block(0, 1, 0, None, "10"), block(1, 2, 1, Some("10"), "20")]).await?;
//! let before = store.state()?;
//!
//! // A block that does not link changes nothing.
//! let refused = store.commit(vec![block(2, 3, 77, Some("20"), "30")]).await.unwrap_err();
//! assert_eq!(refused.kind, StoreErrorKind::NotLinked);
//!
//! // Another branch is tried, and given up.
//! store.rollback(Some(0)).await?;
//! assert_eq!(store.state()?.get(b"balance")?.as_deref(), Some(&b"10"[..]));
//! store.commit(vec![block(1, 4, 1, Some("10"), "15")]).await?;
//! store.finish_reorg(ReorgOutcome::PutBack).await?;
//! assert_eq!(store.state()?.get(b"balance")?.as_deref(), Some(&b"20"[..]));
//! assert_eq!(store.height_of(Hash32([4; 32])).await?, None);
//!
//! // Whoever reads sees one moment, whatever happens meanwhile; and a budget gives one block at least.
//! assert_eq!(before.get(b"balance")?.as_deref(), Some(&b"20"[..]));
//! assert_eq!(store.blocks(0..=1, ByteBudget(0)).await?.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! A whole one, an append-only log: `examples/src/log_store.rs` in the repository.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::types::{BlockLink, EncodedBlock, Hash32, Height, Tip};

pub use self::state_bytes::StateBytes;

pub mod file;
mod fold;
pub mod memory;
mod state_bytes;
mod versions;

/// How many blocks below the tip can be rolled back.
pub const UNDO_DEPTH: u64 = 1024;

/// The longest key of the state, in bytes. Every engine can take so much; what is longer the executor hashes.
pub const MAX_STATE_KEY: usize = 1024;

/// Keeps a chain and its state. See the [module documentation](self) for the contract.
///
/// Only [`crate::chain`] writes, one call at a time; anybody may read at any time. No method is cancel-safe unless it says so:
/// a dropped call may or may not have taken effect as a whole, never in part.
#[async_trait]
pub trait ChainStore: Debug + Send + Sync + 'static {
    /// Ties the store to a genesis. A store without one takes it together with its first state; a store with the same one changes nothing.
    ///
    /// # Errors
    /// [`StoreErrorKind::GenesisMismatch`]: the store belongs to another genesis.
    async fn bind(&self, genesis: Hash32, state: Vec<(StateKey, StateValue)>) -> Result<(), StoreError>;

    /// The last block, or `None` for an empty chain. Cancel-safe.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn tip(&self) -> Result<Option<Tip>, StoreError>;

    /// The blocks of a range, as long as they exist and together have at most `budget` bytes; the first one always, if it exists. Cancel-safe.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn blocks(
        &self,
        heights: RangeInclusive<Height>,
        budget: ByteBudget,
    ) -> Result<Vec<EncodedBlock>, StoreError>;

    /// The height of the block with this hash, if it is on the chain. Cancel-safe.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn height_of(&self, hash: Hash32) -> Result<Option<Height>, StoreError>;

    /// Appends blocks with the state changes they make: all of them or none, and durably once this returns.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotLinked`]: the first block does not extend the tip, or another one its predecessor. [`StoreErrorKind::Full`]: no room.
    async fn commit(&self, batch: Vec<Commit>) -> Result<Tip, StoreError>;

    /// Removes the blocks above `keep` (all of them for `None`) and undoes their state changes. Begins a reorganisation, or
    /// deepens the one under way: all blocks removed since it began are kept until [`finish_reorg`](Self::finish_reorg).
    /// Blocks that were committed since it began are dropped for good.
    ///
    /// # Errors
    /// [`StoreErrorKind::NoUndo`]: `keep` is above the tip, or further below it than undo records reach.
    async fn rollback(&self, keep: Option<Height>) -> Result<Moved, StoreError>;

    /// Ends the reorganisation under way; does nothing where there is none.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn finish_reorg(&self, outcome: ReorgOutcome) -> Result<Moved, StoreError>;

    /// The state as of the tip: a snapshot, which later commits do not change.
    ///
    /// # Errors
    /// The store cannot be read.
    fn state(&self) -> Result<Arc<dyn StateView>, StoreError>;

    /// Replaces the whole state, and the undo records of the last blocks: `undo[i]` is what the block at `tip - i` changed.
    /// No rollback reaches deeper than these.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`]: a reorganisation is under way, or there are fewer blocks than undo records.
    async fn replace_state(
        &self,
        state: Vec<(StateKey, StateValue)>,
        undo: Vec<Vec<StateChange>>,
    ) -> Result<(), StoreError>;
}

/// The most bytes that an answer may have; the first block is exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteBudget(pub usize);

/// A key of the state, of at most [`MAX_STATE_KEY`] bytes.
pub type StateKey = StateBytes;

/// A value of the state.
pub type StateValue = StateBytes;

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// Which key.
    pub key: StateKey,
    /// Its value before; `None` where it was absent.
    pub old: Option<StateValue>,
    /// Its value after; `None` where it is removed.
    pub new: Option<StateValue>,
}

/// A block with all that it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The block.
    pub block: EncodedBlock,
    /// What it changes in the state; each key once, in order of the keys' bytes.
    pub changes: Vec<StateChange>,
}

/// Where a rollback or the end of a reorganisation led, and how the state got there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// The tip now.
    pub tip: Option<Tip>,
    /// One entry for each block that was taken off or put back, in the order in which that was done. In each change `old` is what
    /// the key has after the step and `new` what it had before it: the entry of a block taken off is the block's own changes,
    /// that of a block put back has the two swapped.
    pub steps: Vec<Vec<StateChange>>,
}

/// How a reorganisation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReorgOutcome {
    /// The new branch stays.
    KeepNew,
    /// The removed blocks come back.
    PutBack,
}

/// The state at one block. Reads may touch the disk: call them where blocking is fine.
pub trait StateView: Debug + Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// The store cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError>;

    /// Calls `visit` for every key that begins with `prefix`, in order of the keys' bytes, until it returns `false`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;
}

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What callers may branch on.
    pub kind: StoreErrorKind,
    /// What is wrong with which value, and what to do.
    pub message: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store belongs to another genesis.
    GenesisMismatch,
    /// Another process has it open.
    Locked,
    /// It was written by a release that this one does not know.
    FormatVersion,
    /// What is stored contradicts itself.
    Corrupt,
    /// A block does not link.
    NotLinked,
    /// A rollback reaches too far.
    NoUndo,
    /// What was given breaks the contract; the store is as it was.
    Invalid,
    /// The disk is full.
    Full,
    /// It cannot be read or written for another reason.
    Io,
}

impl StoreError {
    /// An error without a deeper cause.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn caused(
        kind: StoreErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// Whether another attempt may succeed, perhaps after room was made.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Full | StoreErrorKind::Io)
    }
}

/// Checks that a batch of commits links to `tip` and within itself, which every store must.
///
/// # Errors
/// [`StoreErrorKind::NotLinked`], with both links in the message.
pub fn check_linkage(tip: Option<Tip>, batch: &[Commit]) -> Result<(), StoreError> {
    let mut tip = tip;
    for commit in batch {
        let link: &BlockLink = &commit.block.link;
        if !link.extends(tip.as_ref()) {
            let at = tip.map_or_else(|| "the empty chain".to_owned(), |t| format!("block {} ({})", t.height, t.hash));
            return Err(StoreError::new(
                StoreErrorKind::NotLinked,
                format!("block {} ({}) with parent {} does not extend {at}", link.height, link.hash, link.prev_hash),
            ));
        }
        tip = Some(link.tip());
    }
    Ok(())
}

macro_rules! forward_store {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<S: ChainStore + ?Sized> ChainStore for $pointer<S> {
            async fn bind(&self, genesis: Hash32, state: Vec<(StateKey, StateValue)>) -> Result<(), StoreError> {
                (**self).bind(genesis, state).await
            }
            async fn tip(&self) -> Result<Option<Tip>, StoreError> {
                (**self).tip().await
            }
            async fn blocks(
                &self,
                heights: RangeInclusive<Height>,
                budget: ByteBudget,
            ) -> Result<Vec<EncodedBlock>, StoreError> {
                (**self).blocks(heights, budget).await
            }
            async fn height_of(&self, hash: Hash32) -> Result<Option<Height>, StoreError> {
                (**self).height_of(hash).await
            }
            async fn commit(&self, batch: Vec<Commit>) -> Result<Tip, StoreError> {
                (**self).commit(batch).await
            }
            async fn rollback(&self, keep: Option<Height>) -> Result<Moved, StoreError> {
                (**self).rollback(keep).await
            }
            async fn finish_reorg(&self, outcome: ReorgOutcome) -> Result<Moved, StoreError> {
                (**self).finish_reorg(outcome).await
            }
            fn state(&self) -> Result<Arc<dyn StateView>, StoreError> {
                (**self).state()
            }
            async fn replace_state(
                &self,
                state: Vec<(StateKey, StateValue)>,
                undo: Vec<Vec<StateChange>>,
            ) -> Result<(), StoreError> {
                (**self).replace_state(state, undo).await
            }
        }
    };
}
forward_store!(Arc);
forward_store!(Box);
