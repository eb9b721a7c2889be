//! The parts below the network: what a block costs in execution and commit by the number of accounts, what a rollback
//! costs, how soon a long chain is open, and how fast the store takes blocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpc_framework::chain::Chain;
use cpc_framework::env::{ComputePool, Env};
use cpc_framework::executor::Executor;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::store::file::FileStore;
use cpc_framework::store::{ByteBudget, ChainStore, Commit, ReorgOutcome, StateKey, StateValue, StateView, StoreError};
use cpc_framework::testkit::chains::{Made, Shape, ShapedChain};
use cpc_framework::types::HashRules;

use crate::chains::{Served, open_store};
use crate::options::Options;
use crate::report::{Report, Row, Target};
use crate::workloads;

/// Transfers in each block whose cost is measured.
const TRANSFERS: usize = 100;
/// Blocks that are committed together, as a sync does with answers of a mebibyte.
const GROUP: usize = 50;
/// The longest that a rollback of one block may take.
const ROLLBACK: Duration = Duration::from_millis(2);
/// The longest that opening may take.
const OPENING: Duration = Duration::from_secs(1);

/// All rows of this kind.
pub(crate) async fn measure(options: &Options, report: &mut Report) {
    if options.wants("cost by accounts") {
        cost_by_accounts(options, report).await;
    }
    if options.wants("rollback") {
        rollback(options, report).await;
    }
    if options.wants("opening") {
        opening(options, report).await;
    }
}

/// Executes and commits blocks whose signatures count as verified, in stores that begin with more and more accounts.
async fn cost_by_accounts(options: &Options, report: &mut Report) {
    let blocks = options.size(1000, 200);
    let mut first = None;
    for exponent in options.size(3..=6u32, 3..=5u32) {
        let accounts = 10usize.pow(exponent);
        let shape = Shape { rules: HashRules::Canonical, txs: TRANSFERS, accounts, new_accounts: 0.5 };
        let mut chain = ShapedChain::new(shape, ComputePool::all_cores().unwrap()).unwrap();
        let dir = tempfile::Builder::new().prefix("cpc-bench-").tempdir().unwrap();
        let store = open_store(dir.path(), &chain).await;
        let mut machine = AccountExecutor.open(Arc::clone(chain.genesis()), store.state().unwrap().as_ref()).unwrap();
        let mut spent = Duration::ZERO;
        for _ in 0..blocks / GROUP {
            let made: Vec<Made> = (0..GROUP).map(|_| chain.next_block().unwrap()).collect();
            let begun = Instant::now();
            let mut view = Over { base: store.state().unwrap(), changed: HashMap::new() };
            let mut commits = Vec::with_capacity(GROUP);
            for made in made {
                let changes = machine.execute(&view, &made.block, 0).unwrap();
                view.changed.extend(changes.iter().map(|change| (change.key.clone(), change.new.clone())));
                commits.push(Commit { block: made.encoded(), changes });
            }
            store.commit(commits).await.unwrap();
            spent += begun.elapsed();
        }
        let per_block = spent.as_secs_f64() / f64::from(u32::try_from(blocks).unwrap());
        let base = *first.get_or_insert(per_block);
        // Each power of ten adds as many levels to the tree; a log grows by as much.
        let log = f64::from(exponent) / 3.0;
        let what =
            format!("{:.2} ms a block to execute and commit, by log-fold {:.2} ms", per_block * 1e3, base * log * 1e3);
        let row = Row::new(
            &format!("cost by accounts, 10^{exponent}"),
            "",
            &what,
            per_block / base / log,
            Target::AtMost(1.0),
        );
        report.add(Row { blocks_per_second: Some(1.0 / per_block), ..row });
    }
}

/// The state after blocks that are not committed yet.
#[derive(Debug)]
struct Over {
    base: Arc<dyn StateView>,
    changed: HashMap<StateKey, Option<StateValue>>,
}

impl StateView for Over {
    fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError> {
        self.changed.get(key).map_or_else(|| self.base.get(key), |value| Ok(value.clone()))
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        // Only elections scan, over candidates, and transfers make none.
        assert!(!self.changed.keys().any(|key| key.starts_with(prefix)));
        self.base.scan(prefix, visit)
    }
}

/// Takes the last block off a long chain, and puts it back.
async fn rollback(options: &Options, report: &mut Report) {
    let chain = workloads::long(options).await;
    let store = Arc::new(FileStore::open(&chain.path).unwrap());
    let genesis = chain.genesis();
    let mut node =
        Chain::open(Arc::new(genesis), store.clone(), Arc::new(AccountExecutor), Env::system().unwrap()).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..options.size(20, 5) {
        let begun = Instant::now();
        node.rollback(Some(chain.blocks - 2)).await.unwrap();
        took.push(begun.elapsed());
        node.finish_reorg(ReorgOutcome::PutBack).await.unwrap();
    }
    took.sort();
    let median = took[took.len() / 2];
    let what = format!(
        "ms to roll back a block, the median; the longest took {:.2}",
        took[took.len() - 1].as_secs_f64() * 1e3
    );
    let (ms, most) = (median.as_secs_f64() * 1e3, ROLLBACK.as_secs_f64() * 1e3);
    let name = format!("rollback at {}", chain.blocks - 1);
    report.add(Row::new(&name, "", &what, ms, Target::AtMost(most)));
}

/// Opens a chain of a million blocks, as a node does when it starts.
async fn opening(options: &Options, report: &mut Report) {
    let chain = workloads::w1(options).await;
    let begun = Instant::now();
    let store = Arc::new(FileStore::open(&chain.path).unwrap());
    let node =
        Chain::open(Arc::new(chain.genesis()), store, Arc::new(AccountExecutor), Env::system().unwrap()).await.unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert_eq!(node.tip().map(|tip| tip.height + 1), Some(chain.blocks));
    let name = format!("opening {} blocks", chain.blocks);
    report.add(Row::new(&name, "", "seconds until the chain is open", took, Target::AtMost(OPENING.as_secs_f64())));
}

/// Blocks a second that the store takes in group commits, with nothing else to do: the blocks of a chain, with what they
/// changed.
pub(crate) async fn commits_per_second(chain: &Served) -> f64 {
    /// As a sync commits them where it does not wait for signatures.
    const BLOCKS_PER_COMMIT: u64 = 500;
    let mut made = ShapedChain::new(chain.shape, ComputePool::all_cores().unwrap()).unwrap();
    let from = FileStore::open(&chain.path).unwrap();
    let dir = tempfile::Builder::new().prefix("cpc-bench-").tempdir().unwrap();
    let store = open_store(dir.path(), &made).await;
    let mut spent = Duration::ZERO;
    let mut next = 0;
    while next < chain.blocks {
        let last = (next + BLOCKS_PER_COMMIT).min(chain.blocks) - 1;
        let blocks = from.blocks(next..=last, ByteBudget(usize::MAX)).await.unwrap();
        let commits = blocks.into_iter().map(|block| Commit { block, changes: made.next_block().unwrap().changes });
        let commits: Vec<Commit> = commits.collect();
        let begun = Instant::now();
        store.commit(commits).await.unwrap();
        spent += begun.elapsed();
        next = last + 1;
    }
    f64::from(u32::try_from(chain.blocks).unwrap()) / spent.as_secs_f64()
}
