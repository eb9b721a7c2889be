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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cpc_framework::store::memory::MemoryStore;
    use cpc_framework::store::{Commit, ReorgOutcome};
    use cpc_framework::types::{Genesis, Network};

    use super::*;
    use crate::lines::BlockLines;

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/computechain-v1/fork");

    fn hasher() -> Hasher {
        let genesis = std::fs::read(Path::new(VECTORS).join("genesis.json")).unwrap();
        Hasher::new(&Genesis::from_json(&genesis, Network::Devnet).unwrap())
    }

    /// Blocks of a chain of the reference, and the hashes of their transactions.
    fn chain(file: &str) -> (Vec<Commit>, Vec<Vec<Hash32>>) {
        let lines = BlockLines::open(&Path::new(VECTORS).join(file)).unwrap();
        let block = |line: crate::lines::BlockLine| {
            let bytes = encoding::encode_block(&line.block).into();
            let hashed = hasher().hash_block(Arc::new(line.block));
            let block = EncodedBlock { link: hashed.link, bytes };
            (Commit { block, changes: Vec::new() }, hashed.tx_hashes)
        };
        lines.map(|line| block(line.unwrap())).unzip()
    }

    #[tokio::test]
    async fn follows_the_chain_forwards_and_onto_another_branch() {
        let store = Arc::new(MemoryStore::default());
        store.bind(Hash32::ZERO, Vec::new()).await.unwrap();
        let index = RecentTxs::new(Arc::clone(&store) as Arc<dyn ChainStore>, hasher());
        let (fork, fork_txs) = chain("blocks.jsonl.gz");
        let (branch, branch_txs) = chain("branch.jsonl.gz");
        assert_eq!(index.find(fork_txs[120][0]).await.unwrap(), None, "an empty chain");

        for half in [0..60, 60..121] {
            store.commit(fork[half.clone()].to_vec()).await.unwrap();
            for height in half {
                for (at, hash) in fork_txs[height].iter().enumerate() {
                    let place = TxPlace { height: height as u64, index: at };
                    assert_eq!(index.find(*hash).await.unwrap(), Some(place), "block {height}");
                }
            }
        }
        let branch_only = |hash: &Hash32| !fork_txs.iter().flatten().any(|other| other == hash);
        let new: Vec<Hash32> = branch_txs[101..].iter().flatten().copied().filter(branch_only).collect();
        assert!(!new.is_empty());
        assert_eq!(index.find(new[0]).await.unwrap(), None);

        store.rollback(Some(100)).await.unwrap();
        store.commit(branch[101..].to_vec()).await.unwrap();
        store.finish_reorg(ReorgOutcome::KeepNew).await.unwrap();
        for hash in new {
            assert!(index.find(hash).await.unwrap().is_some(), "{hash}");
        }
        let gone = fork_txs[101..].iter().flatten().filter(|hash| !branch_txs.iter().flatten().any(|h| h == *hash));
        for hash in gone {
            assert_eq!(index.find(*hash).await.unwrap(), None, "{hash}");
        }
    }

    #[test]
    fn forgets_the_oldest_beyond_its_bounds() {
        let mut window = Window::default();
        let hash = |number: u64| {
            let mut hash = Hash32::ZERO;
            hash.0[..8].copy_from_slice(&number.to_be_bytes());
            hash
        };
        for height in 0..MAX_BLOCKS + 5 {
            window.push(Tip { height, hash: hash(height) }, vec![hash(height)]);
        }
        assert_eq!((window.blocks.len() as u64, window.places.len() as u64), (MAX_BLOCKS, MAX_BLOCKS));
        assert!(!window.places.contains_key(&hash(4)) && window.places.contains_key(&hash(5)));
        let many = |from: u64| (from..from + MAX_TXS as u64 * 2 / 3).map(hash).collect::<Vec<_>>();
        window.push(Tip { height: 5000, hash: hash(1) }, many(1_000_000));
        window.push(Tip { height: 5001, hash: hash(2) }, many(2_000_000));
        assert_eq!(window.blocks.len(), 1, "two such blocks are too many");
        assert_eq!(window.places.len(), MAX_TXS * 2 / 3);
    }
}
