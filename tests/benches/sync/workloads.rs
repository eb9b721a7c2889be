//! The chains that are synced. In a full run each takes ten seconds at least on two cores of 2026.

use cpc_framework::testkit::chains::Shape;
use cpc_framework::types::HashRules;

use crate::chains::Served;
use crate::options::Options;

/// Accounts of chains whose blocks have transfers. Their keys are met again and again, as on a chain in use: what a batch of signatures pays for
/// a key it pays once, while the keys of the limit are all distinct.
const ACCOUNTS: usize = 2000;
/// Accounts of the one whose batches meet few keys twice.
const MORE_ACCOUNTS: usize = 10_000;
/// Accounts of the chain that is rolled back.
const MANY_ACCOUNTS: usize = 100_000;
/// Accounts of chains without transfers.
const FEW_ACCOUNTS: usize = 1000;

/// Empty blocks; also the chain whose opening is measured.
pub(crate) async fn w1(options: &Options) -> Served {
    empty_blocks(options.size(1_000_000, 60_000)).await
}

/// Empty blocks, as many as wanted.
pub(crate) async fn empty_blocks(blocks: u64) -> Served {
    Served::chain(canonical(0, FEW_ACCOUNTS), blocks).await
}

/// 20 transfers a block.
pub(crate) async fn w2(options: &Options) -> Served {
    Served::chain(canonical(20, ACCOUNTS), options.size(65_000, 4500)).await
}

/// 100 transfers a block.
pub(crate) async fn w3(options: &Options) -> Served {
    Served::chain(canonical(100, ACCOUNTS), options.size(16_000, 1000)).await
}

/// 100 transfers a block among more accounts.
pub(crate) async fn w3_of_more(options: &Options) -> Served {
    Served::chain(canonical(100, MORE_ACCOUNTS), options.size(16_000, 1000)).await
}

/// Three transfers a block under the rules of the reference, among as many accounts as the vectors have.
pub(crate) async fn w4(options: &Options) -> Served {
    let shape = Shape { rules: HashRules::ComputechainV1, txs: 3, accounts: 20, new_accounts: 0.0 };
    Served::chain(shape, options.size(120_000, 10_000)).await
}

/// 20 transfers a block, for slow servers.
pub(crate) async fn slow(options: &Options) -> Served {
    Served::chain(canonical(20, ACCOUNTS), options.size(6000, 1200)).await
}

/// A long chain with many accounts, of which the last block is rolled back.
pub(crate) async fn long(options: &Options) -> Served {
    Served::chain(canonical(1, MANY_ACCOUNTS), options.size(100_001, 10_001)).await
}

/// How many empty blocks the two syncs have whose memory must be alike.
pub(crate) fn lengths(options: &Options) -> [u64; 2] {
    options.size([100_000, 400_000], [30_000, 120_000])
}

/// Makes the chains of all wanted rows.
pub(crate) async fn make(options: &Options) {
    if options.wants("W1") || options.wants("W5") || options.wants("opening") {
        w1(options).await;
    }
    if options.wants("W2") {
        w2(options).await;
    }
    if options.wants("W3") || options.wants("4 throttled servers") || options.wants("memory") {
        w3(options).await;
    }
    if options.wants("W3 of 10,000") {
        w3_of_more(options).await;
    }
    if options.wants("W4") {
        w4(options).await;
    }
    if options.wants("8 throttled servers") {
        slow(options).await;
    }
    if options.wants("memory") {
        for blocks in lengths(options) {
            empty_blocks(blocks).await;
        }
    }
    if options.wants("rollback") {
        long(options).await;
    }
}

/// Chains under canonical rules whose transfers go between accounts that are there already.
fn canonical(txs: usize, accounts: usize) -> Shape {
    Shape { rules: HashRules::Canonical, txs, accounts, new_accounts: 0.0 }
}
