//! Datadirs with generated chains, made once and kept beside the build's other files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cpc_framework::env::ComputePool;
use cpc_framework::executor::Executor;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::store::file::FileStore;
use cpc_framework::store::{ChainStore, Commit};
use cpc_framework::testkit::chains::{Shape, ShapedChain};
use cpc_framework::types::{Genesis, Network};
use cpc_tests::datadir::Datadir;
use cpc_tests::process::Call;

use crate::NODE;

/// Raised when what the generator or the store writes changes: older chains are made anew.
const VERSION: u32 = 3;
/// Blocks that are committed together while a chain is made.
const GROUP: usize = 500;
/// The most that all kept chains may take, in bytes; the least recently used ones go first.
const MOST_BYTES: u64 = 6 << 30;

/// A datadir that holds a whole chain, from which nodes serve.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// The datadir.
    pub(crate) path: PathBuf,
    /// What its blocks are like.
    pub(crate) shape: Shape,
    /// How many there are.
    pub(crate) blocks: u64,
}

impl Served {
    /// The chain of a shape, made now if it is not there.
    pub(crate) async fn chain(shape: Shape, blocks: u64) -> Self {
        let Shape { rules, txs, accounts, new_accounts } = shape;
        let name = format!("v{VERSION}-{rules}-{txs}tx-{accounts}acc-{new_accounts}new-{blocks}");
        let path = folder().join(name);
        let served = Self { path, shape, blocks };
        if served.path.join("complete").exists() {
            // Read by `make_room`.
            fs::write(served.path.join("complete"), "").unwrap();
        } else {
            let _ = fs::remove_dir_all(&served.path);
            make_room(&served.path);
            eprintln!("making {blocks} blocks of {txs} transfers among {accounts} accounts ({rules})");
            served.make().await;
        }
        served
    }

    /// Its genesis.
    pub(crate) fn genesis(&self) -> Genesis {
        // The network is named by the file itself.
        Genesis::from_json(&fs::read(self.path.join("genesis.json")).unwrap(), Network::Devnet).unwrap()
    }

    /// Its last block, as `HEIGHT:HASH`.
    pub(crate) async fn tip(&self) -> String {
        let tip = FileStore::open(&self.path).unwrap().tip().await.unwrap().unwrap();
        format!("{}:{}", tip.height, tip.hash)
    }

    /// Signatures in each block.
    pub(crate) fn sigs_per_block(&self) -> f64 {
        f64::from(u32::try_from(self.shape.txs + 1).unwrap())
    }

    /// A fresh datadir of the same network.
    pub(crate) async fn empty(&self) -> Datadir {
        let dir = Datadir::absent();
        dir.call(NODE).arg("init").arg("--genesis").arg(self.path.join("genesis.json")).output().await.expect_code(0);
        dir
    }

    async fn make(&self) {
        let draft = self.path.with_extension("draft");
        let _ = fs::remove_dir_all(&draft);
        let mut chain = ShapedChain::new(self.shape, ComputePool::all_cores().unwrap()).unwrap();
        let genesis = folder().join("genesis-draft.json");
        fs::write(&genesis, chain.genesis().to_json()).unwrap();
        Call::at(NODE, &draft).arg("init").arg("--genesis").arg(&genesis).output().await.expect_code(0);
        fs::remove_file(genesis).unwrap();
        let store = open_store(&draft, &chain).await;
        let mut left = self.blocks;
        while left > 0 {
            let now = left.min(GROUP as u64);
            store.commit(next_commits(&mut chain, now)).await.unwrap();
            left -= now;
        }
        drop(store);
        fs::rename(draft, &self.path).unwrap();
        fs::write(self.path.join("complete"), "").unwrap();
    }
}

/// The file store of a datadir, bound to the chain's genesis.
pub(crate) async fn open_store(datadir: &Path, chain: &ShapedChain) -> Arc<FileStore> {
    let store = FileStore::open(datadir).unwrap();
    let state = AccountExecutor.genesis_state(chain.genesis()).unwrap();
    store.bind(chain.genesis().id(), state).await.unwrap();
    Arc::new(store)
}

/// The next blocks of a chain, ready to be stored.
pub(crate) fn next_commits(chain: &mut ShapedChain, count: u64) -> Vec<Commit> {
    let commit = |_| {
        let made = chain.next_block().unwrap();
        Commit { block: made.encoded(), changes: made.changes }
    };
    (0..count).map(commit).collect()
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sync-chains");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Removes kept chains, the longest unused first, until the rest is small enough.
fn make_room(but: &Path) {
    let mut kept: Vec<(std::time::SystemTime, u64, PathBuf)> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && path != but)
        .map(|path| {
            let used = fs::metadata(path.join("complete")).and_then(|file| file.modified());
            (used.unwrap_or(std::time::UNIX_EPOCH), bytes_in(&path), path)
        })
        .collect();
    kept.sort();
    let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, size, path) in kept {
        if bytes <= MOST_BYTES {
            break;
        }
        fs::remove_dir_all(path).unwrap();
        bytes -= size;
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => bytes_in(&entry.path()),
            metadata => metadata.len(),
        })
        .sum()
}
