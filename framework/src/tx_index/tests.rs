use std::fs;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{Commit, ReorgOutcome};
use crate::testkit::messages::Messages;
use crate::types::{Block, BlockLink, EncodedBlock, HashRules, Network};

mod kill;

/// So small that a few blocks make a run, and a few runs are merged.
const SMALL: Bounds = Bounds { pending: 20, unwritten: 1 << 20 };

fn genesis() -> Genesis {
    Genesis {
        network: "devnet".into(),
        chain_id: "cpc-devnet-1".into(),
        hash_rules: HashRules::ComputechainV1,
        params: Network::Devnet.params(),
        checkpoints: Vec::new(),
        alloc: std::collections::BTreeMap::new(),
        validators: Vec::new(),
    }
}

fn hash(tx: &Transaction) -> Hash32 {
    Hasher::new(&genesis()).transaction_hash(tx)
}

/// Blocks above a tip, and what they have. Nobody checks them: a store looks at links only.
fn blocks(random: &mut Messages, parent: Option<Tip>, count: usize, txs: usize) -> Vec<(Commit, Vec<Transaction>)> {
    let mut parent = parent;
    (0..count).map(|_| block(random, &mut parent, txs)).collect()
}

fn block(random: &mut Messages, parent: &mut Option<Tip>, txs: usize) -> (Commit, Vec<Transaction>) {
    static AMOUNT: AtomicU64 = AtomicU64::new(1_000_000);
    let mut made = random.block();
    let transactions = (0..txs).map(|_| {
        let mut tx = random.transaction();
        // No two are the same.
        tx.amount = AMOUNT.fetch_add(1, Ordering::Relaxed).into();
        tx
    });
    made.txs = transactions.collect();
    let txs = made.txs.clone();
    (commit(random, parent, &made), txs)
}

fn commit(random: &mut Messages, parent: &mut Option<Tip>, block: &Block) -> Commit {
    let hash = Hash32(random.bytes(32).try_into().unwrap());
    let prev_hash = parent.map_or(Hash32::ZERO, |tip| tip.hash);
    let link = BlockLink { height: blocks_to(*parent), hash, prev_hash };
    *parent = Some(link.tip());
    Commit { block: EncodedBlock { link, bytes: Bytes::from(encoding::encode_block(block)) }, changes: Vec::new() }
}

async fn extend(store: &dyn ChainStore, chain: Vec<(Commit, Vec<Transaction>)>) -> Vec<(Tip, Vec<Transaction>)> {
    let (commits, txs): (Vec<Commit>, Vec<_>) = chain.into_iter().unzip();
    let tips: Vec<Tip> = commits.iter().map(|commit| commit.block.link.tip()).collect();
    store.commit(commits).await.unwrap();
    tips.into_iter().zip(txs).collect()
}

async fn store() -> Arc<dyn ChainStore> {
    let store = MemoryStore::default();
    store.bind(Hash32::ZERO, Vec::new()).await.unwrap();
    Arc::new(store)
}

/// Everything that is on the chain is found where it is.
async fn assert_all_found(index: &TxIndex, chain: &[(Tip, Vec<Transaction>)]) {
    for (tip, txs) in chain {
        for (at, tx) in txs.iter().enumerate() {
            let found = index.find(hash(tx)).await.unwrap();
            let expected = IncludedTx { height: tip.height, block_hash: tip.hash, index: at, tx: tx.clone() };
            assert_eq!(found, [expected], "transaction {at} of block {}", tip.height);
        }
    }
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Chains grow and are rolled back, indices are opened and dropped at any time: what is on the chain is found, nothing else.
#[tokio::test]
async fn whatever_happens_it_finds_what_is_on_the_chain_and_nothing_else() {
    let mut random = Messages::from_printed_seed();
    let (dir, store) = (tempfile::tempdir().unwrap(), store().await);
    let open = || TxIndex::open_with(dir.path(), Arc::clone(&store), &genesis(), SMALL).unwrap();
    let mut index = open();
    let (mut chain, mut gone): (Vec<(Tip, Vec<Transaction>)>, Vec<Transaction>) = (Vec::new(), Vec::new());
    for _ in 0..150 {
        match random.below(10) {
            0..5 => {
                let (count, txs) = (1 + random.below(8), random.below(6));
                let more = blocks(&mut random, chain.last().map(|(tip, _)| *tip), count, txs);
                chain.extend(extend(store.as_ref(), more).await);
            }
            5..7 => index.catch_up().await.unwrap(),
            7 => index = open(),
            _ if !chain.is_empty() => {
                let keep = chain.len() - 1 - random.below(chain.len().min(20));
                store.rollback(keep.checked_sub(1).map(|keep| keep as u64)).await.unwrap();
                let put_back = random.below(2) == 0;
                if random.below(2) == 0 {
                    index.catch_up().await.unwrap();
                }
                if !put_back {
                    gone.extend(chain.drain(keep..).flat_map(|(_, txs)| txs));
                }
                let outcome = if put_back { ReorgOutcome::PutBack } else { ReorgOutcome::KeepNew };
                store.finish_reorg(outcome).await.unwrap();
            }
            _ => {}
        }
        if let Some(tx) = gone.last() {
            assert_eq!(index.find(hash(tx)).await.unwrap(), [], "it was rolled back");
        }
        if let Some((tip, txs)) = chain.last() {
            assert_all_found(&index, &[(*tip, txs.clone())]).await;
        }
    }
    for index in [index, open()] {
        assert_all_found(&index, &chain).await;
        for tx in &gone {
            assert_eq!(index.find(hash(tx)).await.unwrap(), [], "it was rolled back");
        }
        assert_eq!(index.find(Hash32::ZERO).await.unwrap(), []);
    }
}

#[tokio::test]
async fn many_runs_are_merged_into_few_and_nothing_is_lost() {
    let mut random = Messages::from_printed_seed();
    let (dir, store) = (tempfile::tempdir().unwrap(), store().await);
    let open = || TxIndex::open_with(dir.path(), Arc::clone(&store), &genesis(), SMALL).unwrap();
    let index = open();
    let mut chain = Vec::new();
    for _ in 0..100 {
        let more = blocks(&mut random, chain.last().map(|(tip, _): &(Tip, _)| *tip), 1, 25);
        chain.extend(extend(store.as_ref(), more).await);
        index.catch_up().await.unwrap();
        assert!(index.inner.shown().pending.is_empty());
    }
    // 64 + 4 * 8 + 4 runs of the first level, and the file that names them.
    assert_eq!(index.inner.shown().runs.len(), 1 + 4 + 4);
    assert_eq!(files(dir.path()), 1 + 4 + 4 + 1);
    fs::write(dir.path().join("5000.run"), "left by a kill").unwrap();
    drop(index);
    let index = open();
    assert_eq!(files(dir.path()), 1 + 4 + 4 + 1);
    assert_eq!(index.mark(), chain.last().map(|(tip, _)| *tip));
    let some: Vec<_> = chain.into_iter().step_by(3).collect();
    assert_all_found(&index, &some).await;
}

#[tokio::test]
async fn one_far_behind_finds_what_it_has_read_and_does_not_call_the_rest_absent() {
    let mut random = Messages::from_printed_seed();
    let store = store().await;
    let index = TxIndex::in_memory(Arc::clone(&store), &genesis());
    let first = extend(store.as_ref(), blocks(&mut random, None, 10, 2)).await;
    index.catch_up().await.unwrap();
    let more = blocks(&mut random, first.last().map(|(tip, _)| *tip), usize::try_from(NEAR).unwrap() + 1, 1);
    let more = extend(store.as_ref(), more).await;
    assert_all_found(&index, &first).await;
    let error = index.find(hash(&more[0].1[0])).await.unwrap_err();
    assert_eq!(error.kind, TxIndexErrorKind::Behind);
    assert!(error.to_string().contains("10 of 139 blocks"), "{error}");
    index.catch_up().await.unwrap();
    assert_all_found(&index, &more).await;
}

#[tokio::test]
async fn several_transactions_with_one_hash_are_all_given_the_newest_first() {
    let mut random = Messages::from_printed_seed();
    let store = store().await;
    let index = TxIndex::in_memory(Arc::clone(&store), &genesis());
    let older = Transaction { amount: 1, fee: 234u64.into(), nonce: 5, ..random.transaction() };
    let newer = Transaction { amount: 12, fee: 3u64.into(), nonce: 45, ..older.clone() };
    assert_eq!(hash(&older), hash(&newer), "the rules of v1 join decimal numbers");
    let mut parent = None;
    for tx in [&older, &newer] {
        let block = Block { txs: vec![tx.clone()], ..random.block() };
        store.commit(vec![commit(&mut random, &mut parent, &block)]).await.unwrap();
    }
    let found = index.find(hash(&older)).await.unwrap();
    assert_eq!(found.iter().map(|found| (found.height, &found.tx)).collect::<Vec<_>>(), [(1, &newer), (0, &older)]);
}

#[tokio::test]
async fn damaged_files_are_noticed_and_made_again() {
    let mut random = Messages::from_printed_seed();
    let (dir, store) = (tempfile::tempdir().unwrap(), store().await);
    let open = || TxIndex::open_with(dir.path(), Arc::clone(&store), &genesis(), SMALL).unwrap();
    let chain = extend(store.as_ref(), blocks(&mut random, None, 5, 30)).await;
    open().catch_up().await.unwrap();
    let flip = |name: &str| {
        let path = dir.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip("index");
    let index = open();
    assert_eq!(index.mark(), None);
    index.catch_up().await.unwrap();
    assert_all_found(&index, &chain).await;

    // While it is open: the answer is that there is none yet, and then it is there again.
    let run = fs::read_dir(dir.path()).unwrap().flatten().find(|file| file.path().extension().is_some()).unwrap();
    flip(run.file_name().to_str().unwrap());
    let error = index.find(hash(&chain[0].1[0])).await.unwrap_err();
    assert_eq!(error.kind, TxIndexErrorKind::Behind, "{error}");
    index.catch_up().await.unwrap();
    assert_all_found(&index, &chain).await;

    let run = fs::read_dir(dir.path()).unwrap().flatten().find(|file| file.path().extension().is_some()).unwrap();
    fs::remove_file(run.path()).unwrap();
    let index = open();
    assert_eq!(index.mark(), None);
    index.catch_up().await.unwrap();
    assert_all_found(&index, &chain).await;
}

#[tokio::test]
async fn where_it_cannot_write_it_keeps_what_it_has_and_goes_on_later() {
    let mut random = Messages::from_printed_seed();
    let (dir, store) = (tempfile::tempdir().unwrap(), store().await);
    let directory = dir.path().join("tx_index");
    let index = TxIndex::open_with(&directory, Arc::clone(&store), &genesis(), SMALL).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "in the way").unwrap();
    let mut chain = extend(store.as_ref(), blocks(&mut random, None, 3, 30)).await;
    let error = index.catch_up().await.unwrap_err();
    assert_eq!(error.kind, TxIndexErrorKind::Files);
    assert!(error.to_string().contains("cannot write"), "{error}");
    assert_all_found(&index, &chain).await;
    chain.extend(extend(store.as_ref(), blocks(&mut random, chain.last().map(|(tip, _)| *tip), 3, 30)).await);
    index.catch_up().await.unwrap_err();
    assert_all_found(&index, &chain[..3]).await;
    assert!(index.inner.shown().pending.len() <= 90, "what it keeps in memory has a bound");
    fs::remove_file(&directory).unwrap();
    // That its directory is gone it takes for damage.
    let _ = index.catch_up().await;
    index.catch_up().await.unwrap();
    assert_all_found(&index, &chain).await;
}

#[tokio::test]
async fn an_index_of_another_chain_begins_anew() {
    let mut random = Messages::from_printed_seed();
    let (dir, one, other) = (tempfile::tempdir().unwrap(), store().await, store().await);
    let old = extend(one.as_ref(), blocks(&mut random, None, 10, 10)).await;
    TxIndex::open_with(dir.path(), one, &genesis(), SMALL).unwrap().catch_up().await.unwrap();
    let chain = extend(other.as_ref(), blocks(&mut random, None, 3, 10)).await;
    let index = TxIndex::open_with(dir.path(), other, &genesis(), SMALL).unwrap();
    assert_all_found(&index, &chain).await;
    assert_eq!(index.find(hash(&old[1].1[0])).await.unwrap(), []);
}

/// The trail stays short, and a branch that goes off anywhere is met.
#[tokio::test]
async fn a_branch_that_goes_off_far_below_is_followed() {
    let mut random = Messages::from_printed_seed();
    let (dir, one, other) = (tempfile::tempdir().unwrap(), store().await, store().await);
    let mut parent = None;
    let common = blocks(&mut random, None, 3000, 1);
    for (commit, _) in &common {
        parent = Some(commit.block.link.tip());
    }
    let copy = common.iter().map(|(commit, _)| commit.clone()).collect();
    let mut chain = extend(one.as_ref(), common).await;
    other.commit(copy).await.unwrap();
    extend(one.as_ref(), blocks(&mut random, parent, 5000, 1)).await;
    chain.extend(extend(other.as_ref(), blocks(&mut random, parent, 4000, 1)).await);
    TxIndex::open(dir.path(), Arc::clone(&one), &genesis()).unwrap().catch_up().await.unwrap();
    let bounds = Bounds { pending: 500, ..Bounds::default() };
    let index = TxIndex::open_with(dir.path(), one, &genesis(), bounds).unwrap();
    index.catch_up().await.unwrap();
    drop(index);
    let index = TxIndex::open_with(dir.path(), other, &genesis(), bounds).unwrap();
    assert!(Files::open(dir.path()).unwrap().1.len() <= 2048);
    index.catch_up().await.unwrap();
    let some: Vec<_> = chain.iter().step_by(97).cloned().collect();
    assert_all_found(&index, &some).await;
}
