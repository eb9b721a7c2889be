//! Where transactions stand on the chain.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use cpc_framework::rules::Hasher;
use cpc_framework::store::{ByteBudget, ChainStore, StoreError, StoreErrorKind};
use cpc_framework::types::{BlockLink, EncodedBlock, Hash32, Height, Tip, encoding};
use tokio::sync::Mutex;

/// Finds transactions on the chain.
#[async_trait]
pub(super) trait TxIndex: Debug + Send + Sync + 'static {
    /// Where the transaction with this hash stands, if it is known to stand anywhere.
    async fn find(&self, hash: Hash32) -> Result<Option<TxPlace>, StoreError>;
}

/// A transaction's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TxPlace {
    /// The height of its block.
    pub(super) height: Height,
    /// Which of the block's transactions it is.
    pub(super) index: usize,
}

/// Blocks that are remembered: with ten-second blocks the last three hours.
const MAX_BLOCKS: u64 = 1024;
/// Transactions that are remembered: some 20 MiB.
const MAX_TXS: usize = 200_000;
/// Bytes of the blocks that are read at a time.
const BATCH_BYTES: usize = 4 << 20;

/// Knows the transactions of the last blocks, in memory. It reads the chain when it is asked, and then only what it has
/// not read yet, so that a node of which nobody asks anything pays nothing.
#[derive(Debug)]
pub(super) struct RecentTxs {
    store: Arc<dyn ChainStore>,
    hasher: Hasher,
    window: Mutex<Window>,
}

impl RecentTxs {
    pub(super) fn new(store: Arc<dyn ChainStore>, hasher: Hasher) -> Self {
        Self { store, hasher, window: Mutex::default() }
    }

    /// Follows the chain to its tip. A dropped call has followed it a part of the way.
    async fn catch_up(&self, window: &mut Window) -> Result<(), StoreError> {
        while let Some(last) = window.last() {
            if self.store.height_of(last.hash).await? == Some(last.height) {
                break;
            }
            window.pop_back();
        }
        let Some(tip) = self.store.tip().await? else { return Ok(()) };
        let first = (tip.height + 1).saturating_sub(MAX_BLOCKS);
        let mut next = window.last().map_or(first, |last| last.height + 1);
        if next < first {
            window.clear();
            next = first;
        }
        while next <= tip.height {
            let blocks = self.store.blocks(next..=tip.height, ByteBudget(BATCH_BYTES)).await?;
            let hasher = self.hasher.clone();
            let read = tokio::task::spawn_blocking(move || blocks.iter().map(|block| hashes(&hasher, block)).collect());
            let read: Result<Vec<_>, StoreError> = read.await.map_err(|error| {
                StoreError::caused(StoreErrorKind::Io, "reading blocks for the index of transactions ended", error)
            })?;
            let read = read?;
            if read.is_empty() {
                break;
            }
            for (link, txs) in read {
                // The chain may change while it is read; the next call sorts it out.
                if window.last().is_some_and(|last| !link.extends(Some(&last))) {
                    return Ok(());
                }
                next = link.height + 1;
                window.push(link.tip(), txs);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl TxIndex for RecentTxs {
    async fn find(&self, hash: Hash32) -> Result<Option<TxPlace>, StoreError> {
        let mut window = self.window.lock().await;
        self.catch_up(&mut window).await?;
        Ok(window.places.get(&hash).copied())
    }
}

fn hashes(hasher: &Hasher, block: &EncodedBlock) -> Result<(BlockLink, Vec<Hash32>), StoreError> {
    let decoded = encoding::decode_block(&block.bytes).map_err(|error| {
        let message = format!("block {} cannot be read", block.link.height);
        StoreError::caused(StoreErrorKind::Corrupt, message, error)
    })?;
    Ok((block.link, decoded.txs.iter().map(|tx| hasher.transaction_hash(tx)).collect()))
}

/// The last blocks and their transactions.
#[derive(Debug, Default)]
struct Window {
    blocks: VecDeque<(Tip, Vec<Hash32>)>,
    places: HashMap<Hash32, TxPlace>,
}

impl Window {
    fn last(&self) -> Option<Tip> {
        self.blocks.back().map(|(tip, _)| *tip)
    }

    fn push(&mut self, tip: Tip, txs: Vec<Hash32>) {
        let places = txs.iter().enumerate().map(|(index, hash)| (*hash, TxPlace { height: tip.height, index }));
        self.places.extend(places);
        self.blocks.push_back((tip, txs));
        while self.blocks.len() as u64 > MAX_BLOCKS || (self.places.len() > MAX_TXS && self.blocks.len() > 1) {
            let gone = self.blocks.pop_front();
            self.forget(gone);
        }
    }

    fn pop_back(&mut self) {
        let gone = self.blocks.pop_back();
        self.forget(gone);
    }

    fn forget(&mut self, gone: Option<(Tip, Vec<Hash32>)>) {
        let Some((tip, txs)) = gone else { return };
        for hash in txs {
            if self.places.get(&hash).is_some_and(|place| place.height == tip.height) {
                self.places.remove(&hash);
            }
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
