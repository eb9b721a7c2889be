//! The index of transactions over a file store: how fast it follows, how fast it finds, what it takes.
//!
//! `cargo bench -p cpc-tests --bench tx_index -- [--txs N] [--per-block N]`: a store of N transactions (1,000,000 unless said),
//! so many in a block (3 unless said, as in the chains of the reference). What the index costs is set against bare reading,
//! decoding and hashing of the same blocks, in the same run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program of its own")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cpc_framework::rules::Hasher;
use cpc_framework::store::file::FileStore;
use cpc_framework::store::{ByteBudget, ChainStore, Commit};
use cpc_framework::testkit::messages::Messages;
use cpc_framework::tx_index::TxIndex;
use cpc_framework::types::{Block, BlockLink, EncodedBlock, Genesis, Hash32, Network, encoding};
use cpc_tests::vectors::Chain;

/// Blocks in one commit, as in a sync.
const COMMIT: u64 = 500;
/// Look-ups that are timed.
const LOOK_UPS: u32 = 20_000;
/// Bytes of blocks that are read at a time, as by the index.
const BATCH: usize = 1 << 20;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: u64| {
        args.iter().position(|arg| arg == name).map_or(default, |at| args[at + 1].parse().unwrap())
    };
    let (txs, per_block) = (option("--txs", 1_000_000), option("--per-block", 3));
    tokio::runtime::Runtime::new().unwrap().block_on(measure(txs, per_block));
}

async fn measure(txs: u64, per_block: u64) {
    let genesis = Genesis::from_json(&std::fs::read(&Chain::mainline().genesis).unwrap(), Network::Devnet).unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store: Arc<dyn ChainStore> = Arc::new(FileStore::open(dir.path()).unwrap());
    let some = fill(&store, &genesis, txs.div_ceil(per_block), per_block).await;

    let started = Instant::now();
    let hasher = Hasher::new(&genesis);
    let (mut next, mut hashed) = (0, 0);
    loop {
        let blocks = store.blocks(next..=u64::MAX, ByteBudget(BATCH)).await.unwrap();
        if blocks.is_empty() {
            break;
        }
        next += blocks.len() as u64;
        for block in blocks {
            let block = encoding::decode_block(&block.bytes).unwrap();
            hashed += block.txs.iter().filter(|tx| hasher.transaction_hash(tx) != Hash32::ZERO).count();
        }
    }
    let bare = started.elapsed().as_secs_f64();

    let memory = peak_mib();
    let folder = dir.path().join("tx_index");
    let index = TxIndex::open(&folder, Arc::clone(&store), &genesis).unwrap();
    let started = Instant::now();
    index.catch_up().await.unwrap();
    let built = started.elapsed().as_secs_f64();
    let memory = peak_mib() - memory;
    let (runs, bytes) = size(&folder);
    println!(
        "{hashed} transactions in {next} blocks: read into the index in {built:.2} s ({:.0} a second), {:.2} times bare reading and \
         hashing; {memory:.1} MiB more memory; {runs} runs, {:.1} MiB",
        f64::from(u32::try_from(hashed).unwrap()) / built,
        built / bare,
        mib(bytes),
    );

    drop(index);
    let started = Instant::now();
    let index = TxIndex::open(&folder, store, &genesis).unwrap();
    let opened = started.elapsed().as_secs_f64();
    let started = Instant::now();
    index.catch_up().await.unwrap();
    let caught_up = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for hash in some.iter().cycle().take(LOOK_UPS as usize) {
        assert_eq!(index.find(*hash).await.unwrap().len(), 1);
    }
    let present = started.elapsed().as_secs_f64() / f64::from(LOOK_UPS);
    let mut random = Messages::new(2);
    let started = Instant::now();
    for _ in 0..LOOK_UPS {
        assert!(index.find(Hash32(random.bytes(32).try_into().unwrap())).await.unwrap().is_empty());
    }
    let absent = started.elapsed().as_secs_f64() / f64::from(LOOK_UPS);
    println!(
        "opened in {:.1} ms, what was not written read again in {:.0} ms; a look-up takes {:.0} µs, {:.0} µs where there is none",
        opened * 1e3,
        caught_up * 1e3,
        present * 1e6,
        absent * 1e6,
    );
}

/// Fills the store with transfers that nobody checks, and gives the hashes of some.
async fn fill(store: &Arc<dyn ChainStore>, genesis: &Genesis, blocks: u64, per_block: u64) -> Vec<Hash32> {
    let template: Block = serde_json::from_str(Chain::mainline().lines.last().unwrap()).unwrap();
    let hasher = Hasher::new(genesis);
    let mut random = Messages::new(1);
    let (mut some, mut parent, mut number) = (Vec::new(), None, 0u128);
    store.bind(genesis.id(), Vec::new()).await.unwrap();
    for first in (0..blocks).step_by(usize::try_from(COMMIT).unwrap()) {
        let mut batch = Vec::new();
        for height in first..blocks.min(first + COMMIT) {
            let mut block = template.clone();
            block.header.height = height;
            block.txs = (0..per_block)
                .map(|at| {
                    number += 1;
                    let mut tx = template.txs[0].clone();
                    (tx.amount, tx.nonce) = (number, height * per_block + at);
                    tx
                })
                .collect();
            if random.below(100) == 0 {
                some.push(hasher.transaction_hash(&block.txs[0]));
            }
            let hash = Hash32(random.bytes(32).try_into().unwrap());
            let link = BlockLink { height, hash, prev_hash: parent.unwrap_or(Hash32::ZERO) };
            parent = Some(hash);
            let bytes = encoding::encode_block(&block).into();
            batch.push(Commit { block: EncodedBlock { link, bytes }, changes: Vec::new() });
        }
        store.commit(batch).await.unwrap();
    }
    some
}

fn size(folder: &Path) -> (usize, u64) {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    (files.len() - 1, files.iter().map(|file| file.metadata().unwrap().len()).sum())
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0
}
