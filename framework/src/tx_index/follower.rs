//! Following the chain: which blocks were read, and which are next.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedMutexGuard, watch};

use super::entry::Entry;
use super::files::{Fault, Files};
use super::{Inner, Shelf, TxIndex, TxIndexError, TxIndexErrorKind, blocking, blocks_to};
use crate::node::NodeStatus;
use crate::store::{ByteBudget, UNDO_DEPTH};
use crate::types::{Block, BlockLink, EncodedBlock, Tip, encoding};

/// Bytes of the blocks that are read at a time.
const BATCH_BYTES: usize = 1 << 20;

/// When entries move from memory to a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// So many entries stay in memory.
    pub(super) pending: usize,
    /// So many bytes of blocks are read before what they gave is written, however little it is: what is read again after a kill.
    pub(super) unwritten: usize,
}

impl Default for Bounds {
    /// A MiB and a half of memory, and less than half a second of reading.
    fn default() -> Self {
        Self { pending: 65_536, unwritten: 32 << 20 }
    }
}

/// So many of the blocks that were read last are remembered one by one: as deep as a store rolls back.
const DENSE: usize = 1024;
const _: () = assert!(DENSE as u64 == UNDO_DEPTH);

/// A chain that is so far ahead is a matter for the log.
const WORTH_TELLING: u64 = 20_000;

/// What whoever reads the chain goes by.
#[derive(Debug)]
pub(super) struct Follower {
    files: Option<Files>,
    bounds: Bounds,
    /// Blocks that were read, in order: the last ones all, older ones ever more sparsely. All entries of each one and of its
    /// ancestors are in the index. The last of them that is on the chain is where it goes on.
    trail: Vec<Tip>,
    /// Bytes of the blocks whose entries are not in runs.
    unwritten: usize,
}

impl Follower {
    pub(super) fn new(files: Option<Files>, trail: Vec<Tip>, bounds: Bounds) -> Self {
        Self { files, bounds, trail, unwritten: 0 }
    }

    fn push(&mut self, tip: Tip) {
        self.trail.push(tip);
        if self.trail.len() > 2 * DENSE {
            let mut at = 0;
            self.trail.retain(|_| {
                at += 1;
                at > DENSE || at % 2 == 0
            });
        }
    }

    fn write_is_due(&self, shelf: &Shelf) -> bool {
        self.files.is_some() && (shelf.pending.len() >= self.bounds.pending || self.unwritten >= self.bounds.unwritten)
    }
}

/// See [`TxIndex::follow`].
pub(super) async fn follow(index: TxIndex, status: &mut watch::Receiver<NodeStatus>) {
    let behind = blocks_to(status.borrow().tip).saturating_sub(blocks_to(index.mark()));
    if behind > WORTH_TELLING {
        tracing::info!(
            "the index of transactions reads {behind} blocks; until then it cannot say that there is no such transaction"
        );
    }
    let mut told = behind <= WORTH_TELLING;
    let mut last_error = None;
    loop {
        status.mark_unchanged();
        match index.catch_up().await {
            Ok(()) => {
                last_error = None;
                if !told {
                    tracing::info!("the index of transactions has read all blocks");
                    told = true;
                }
            }
            Err(error) => {
                let cause = error.source.as_ref().map_or_else(String::new, |source| format!(": {source}"));
                let said = format!("{error}{cause}");
                if last_error.as_ref() != Some(&said) {
                    tracing::warn!("{said}");
                    last_error = Some(said);
                }
            }
        }
        tokio::select! {
            changed = status.changed() => if changed.is_err() {
                return;
            },
            () = index.inner.wanted.notified() => {}
        }
    }
}

pub(super) fn decode(block: &EncodedBlock) -> Result<Block, TxIndexError> {
    Ok(encoding::decode_block(&block.bytes)?)
}

impl Inner {
    /// Reads some blocks. Says whether there may be more. Dropped, it has read them or not.
    pub(super) async fn step(self: &Arc<Self>) -> Result<bool, TxIndexError> {
        let mut follower = Arc::clone(&self.follower).lock_owned().await;
        if self.damaged.load(Ordering::Acquire) {
            (follower, ()) = self.with(follower, Inner::begin_again).await?;
        }
        self.leave_other_branches(&mut follower).await?;
        let Some(tip) = self.store.tip().await?.filter(|tip| follower.trail.last() != Some(tip)) else {
            return Ok(false);
        };
        let next = blocks_to(follower.trail.last().copied());
        let blocks = self.store.blocks(next..=tip.height, ByteBudget(BATCH_BYTES)).await?;
        if blocks.is_empty() {
            return Ok(false);
        }
        let (_, went_on) = self.with(follower, move |inner, follower| inner.add(follower, &blocks)).await?;
        Ok(went_on)
    }

    /// Does work that blocks and must not be left half done: it runs to its end even where nobody waits for it any more.
    async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        mut follower: OwnedMutexGuard<Follower>,
        work: impl FnOnce(&Self, &mut Follower) -> Result<T, TxIndexError> + Send + 'static,
    ) -> Result<(OwnedMutexGuard<Follower>, T), TxIndexError> {
        let inner = Arc::clone(self);
        blocking(move || work(&inner, &mut follower).map(|done| (follower, done))).await
    }

    /// Goes back to the last block that was read and is on the chain.
    async fn leave_other_branches(&self, follower: &mut Follower) -> Result<(), TxIndexError> {
        let before = follower.trail.len();
        while let Some(last) = follower.trail.last() {
            if self.store.height_of(last.hash).await? == Some(last.height) {
                break;
            }
            follower.trail.pop();
        }
        if follower.trail.len() < before {
            self.show().mark = follower.trail.last().copied();
        }
        Ok(())
    }

    /// Adds the transactions of blocks, as far as they go on where the last ones ended: the chain may have
    /// changed. Says whether there was any.
    fn add(&self, follower: &mut Follower, blocks: &[EncodedBlock]) -> Result<bool, TxIndexError> {
        if follower.write_is_due(&self.shown()) {
            // The last attempt to write failed.
            self.write(follower)?;
        }
        let (mut entries, mut read) = (Vec::new(), 0);
        for block in blocks {
            let link: BlockLink = block.link;
            if !link.extends(follower.trail.last()) {
                break;
            }
            read += 1;
            for (at, tx) in decode(block)?.txs.iter().enumerate() {
                let entry = Entry::new(self.hasher.transaction_hash(tx), link.height, at).ok_or_else(|| {
                    let message =
                        format!("block {} cannot be indexed: its height or its size has no bound", link.height);
                    TxIndexError::new(TxIndexErrorKind::Chain, message)
                })?;
                entries.push(entry);
            }
            follower.push(link.tip());
            follower.unwritten += block.bytes.len();
        }
        {
            let mut shelf = self.show();
            shelf.pending.extend(entries);
            shelf.mark = follower.trail.last().copied();
        }
        if follower.write_is_due(&self.shown()) {
            self.write(follower)?;
        }
        Ok(read > 0)
    }

    /// Moves the entries in memory to a run.
    fn write(&self, follower: &mut Follower) -> Result<(), TxIndexError> {
        let Some(files) = &mut follower.files else { return Ok(()) };
        let outcome = files.append(self.shown().pending.iter().copied(), &follower.trail);
        self.noticed(outcome)?;
        follower.unwritten = 0;
        {
            let mut shelf = self.show();
            shelf.pending.clear();
            shelf.runs = files.runs().to_vec();
        }
        while self.noticed(files.merge())? {
            self.show().runs = files.runs().to_vec();
        }
        Ok(())
    }

    fn begin_again(&self, follower: &mut Follower) -> Result<(), TxIndexError> {
        tracing::warn!("a file of the index of transactions is not as it was written: the index is made again");
        follower.trail.clear();
        follower.unwritten = 0;
        *self.show() = Shelf::default();
        if let Some(files) = &mut follower.files {
            files.clear()?;
        }
        self.damaged.store(false, Ordering::Release);
        Ok(())
    }

    fn noticed<T>(&self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if matches!(outcome, Err(Fault::Damaged(_))) {
            self.damaged.store(true, Ordering::Release);
        }
        outcome
    }
}
