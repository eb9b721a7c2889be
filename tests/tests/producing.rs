//! Validators and a follower in one process: blocks in turn, past dead validators, and through a partition.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use cpc_framework::executor::accounts::state;
use cpc_framework::node::{NodeBuilder, NodeHandle, StartError};
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{Scheme, VALIDATOR_PREFIX};
use cpc_framework::rules::schedule::{proposer_index, round};
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::types::{Block, Genesis};
use cpc_tests::deadline::until;
use cpc_tests::network::{
    EPOCH, FIRST_BALANCE, Links, Wallet, agree, balances, blocks, builder, genesis, included, key, params, reaches,
    validator_key,
};

/// What each of the first blocks earns.
const REWARD: u128 = 10_000_000_000_000_000_000;
/// For the whole of a wait: blocks come every second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

async fn validator(genesis: &Genesis, links: &Links, number: u16, peers: &[&str]) -> NodeHandle {
    start(builder(genesis, links, &format!("v{number}"), peers).validator(validator_key(number))).await
}

async fn start(builder: NodeBuilder) -> NodeHandle {
    builder.start().await.unwrap()
}

/// Every block is by whom the schedule names, given the validators that are active all the time.
fn assert_scheduled(blocks: &[Block], validators: u16) {
    let mut addresses: Vec<_> = (0..validators).map(|number| validator_key(number).address(VALIDATOR_PREFIX)).collect();
    addresses.sort();
    for (at, block) in blocks.iter().enumerate() {
        let header = &block.header;
        let waited = if at == 0 { 0 } else { header.timestamp - blocks[at - 1].header.timestamp };
        assert!(at == 0 || waited >= params().block_time, "block {at} came {waited} s after its parent");
        let index = proposer_index(header.height, round(waited, params().block_time), addresses.len()).unwrap();
        assert_eq!(header.proposer_address, addresses[index], "block {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_validator_makes_a_chain() {
    let genesis = genesis(1, 1, params());
    let node = validator(&genesis, &Links::default(), 0, &[]).await;
    reaches(&node, PATIENCE, "block 3", |status| status.tip.is_some_and(|tip| tip.height >= 3)).await;
    assert_scheduled(&blocks(&node, 3).await, 1);
    assert!(node.status().figures.proposed >= 4);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_validators_and_a_follower_stay_on_one_chain_for_three_epochs_of_traffic() {
    let genesis = genesis(3, 4, params());
    let hasher = Hasher::new(&Arc::new(genesis.clone()));
    let links = Links::default();
    let v0 = validator(&genesis, &links, 0, &["v1", "v2"]).await;
    let v1 = validator(&genesis, &links, 1, &["v2"]).await;
    let v2 = validator(&genesis, &links, 2, &["v0"]).await;
    let follower = start(builder(&genesis, &links, "f", &["v1"])).await;
    let mut wallets: Vec<Wallet> = (0..4).map(Wallet::new).collect();
    let newcomer = validator_key(9).public_key();
    let (mut sent, mut staked) = (Vec::new(), 0);
    for n in 0..20u128 {
        let to = wallets[1].address.clone();
        sent.push(follower.submit(wallets[0].transfer(&hasher, &to, 1 + n)).await.unwrap());
        sent.push(v1.submit(wallets[2].result(&hasher, &format!("task {n}"))).await.unwrap());
        if n % 4 == 0 {
            sent.push(v2.submit(wallets[3].stake(&hasher, &newcomer, 100)).await.unwrap());
            staked += 100;
        }
    }
    let nodes = [&v0, &v1, &v2, &follower];
    reaches(&v0, PATIENCE, "three epochs", |status| status.tip.is_some_and(|tip| tip.height >= 3 * EPOCH)).await;
    let tip = agree(&nodes, 3 * EPOCH, PATIENCE).await;
    let chain = blocks(&v0, tip.height).await;
    // The newcomer's stake stays below the least, so that the three stay.
    assert_scheduled(&chain, 3);
    let found = included(&hasher, &chain);
    for hash in &sent {
        assert!(found.contains_key(hash), "{hash} was not included");
    }
    for node in nodes {
        assert_eq!(included(&hasher, &blocks(node, tip.height).await), found);
        assert_eq!(node.status().pool, 0);
    }
    // Nothing is lost or made but one reward for each block: what gas cost went to the proposers, what was staked left the balances.
    let (made, last) = until(PATIENCE, "balances of one tip", async || {
        let before = follower.store().tip().await.unwrap().unwrap();
        let made = balances(&follower).values().sum::<u128>() + staked - 4 * FIRST_BALANCE;
        (follower.store().tip().await.unwrap() == Some(before)).then_some((made, before))
    })
    .await;
    assert_eq!(made, u128::from(last.height + 1) * REWARD);
    let power =
        state::validator(follower.store().state().unwrap().as_ref(), &validator_key(9).address(VALIDATOR_PREFIX));
    assert_eq!(power.unwrap().unwrap().power, staked);
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_validator_is_skipped_by_rounds_and_catches_up_when_it_is_back() {
    let genesis = genesis(3, 1, params());
    let links = Links::default();
    let v0 = validator(&genesis, &links, 0, &["v1", "v2"]).await;
    let v1 = validator(&genesis, &links, 1, &["v2", "v0"]).await;
    let store = Arc::new(MemoryStore::default());
    let third =
        |peers: &[&str]| builder(&genesis, &links, "v2", peers).validator(validator_key(2)).store(Arc::clone(&store));
    let v2 = start(third(&["v0", "v1"])).await;
    let met = agree(&[&v0, &v1, &v2], 3, PATIENCE).await;
    v2.shutdown().await;
    reaches(&v0, PATIENCE, "blocks without the third", |status| {
        status.tip.is_some_and(|tip| tip.height >= met.height + 5)
    })
    .await;
    let chain = blocks(&v0, met.height + 5).await;
    assert_scheduled(&chain, 3);
    let skipped = chain.windows(2).any(|pair| pair[1].header.timestamp - pair[0].header.timestamp >= 2);
    assert!(skipped, "no round was skipped");
    let back = start(third(&["v0", "v1"])).await;
    let tip = agree(&[&v0, &v1, &back], met.height + 8, PATIENCE).await;
    assert_scheduled(&blocks(&back, tip.height).await, 3);
    for node in [v0, v1, back] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_heals_to_the_higher_chain_and_loses_no_transaction() {
    let genesis = genesis(3, 4, params());
    let hasher = Hasher::new(&Arc::new(genesis.clone()));
    let links = Links::default();
    let v0 = validator(&genesis, &links, 0, &["v1", "v2"]).await;
    let v1 = validator(&genesis, &links, 1, &["v2", "v0"]).await;
    let v2 = validator(&genesis, &links, 2, &["v0", "v1"]).await;
    let before = agree(&[&v0, &v1, &v2], 2, PATIENCE).await;
    links.cut(&["v0"], &["v1", "v2"]);
    let mut wallets: Vec<Wallet> = (0..4).map(Wallet::new).collect();
    let to = wallets[3].address.clone();
    // Some on either side, one on both, and one sender who says one thing here and another there.
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for amount in 11..14 {
        alone.push(v0.submit(wallets[0].transfer(&hasher, &to, amount)).await.unwrap());
        together.push(v1.submit(wallets[1].transfer(&hasher, &to, amount)).await.unwrap());
    }
    let both = wallets[1].transfer(&hasher, &to, 44);
    let spent_alone = v0.submit(wallets[2].transfer(&hasher, &to, 55)).await.unwrap();
    let spent_together = v1.submit(Wallet::new(2).transfer(&hasher, &to, 66)).await.unwrap();
    together.extend([v1.submit(both.clone()).await.unwrap(), spent_together]);
    // Here it waits for nonces that only the other side has.
    v0.submit(both).await.unwrap();
    let grown = |by: u64| {
        move |status: &cpc_framework::node::NodeStatus| status.tip.is_some_and(|tip| tip.height >= before.height + by)
    };
    reaches(&v1, PATIENCE, "the majority's blocks", grown(6)).await;
    reaches(&v0, PATIENCE, "the minority's blocks", grown(2)).await;
    let (lost, surviving) = (v0.status().tip.unwrap(), v1.status().tip.unwrap());
    assert!(surviving.height > lost.height, "two of three validators are slower than one");
    let lost = included(&hasher, &blocks(&v0, lost.height).await);
    assert!(alone.iter().chain([&spent_alone]).all(|hash| lost.contains_key(hash)), "{lost:?}");
    assert!(together.iter().all(|hash| !lost.contains_key(hash)), "the halves were not apart");
    let surviving = blocks(&v1, surviving.height).await;
    let survived = included(&hasher, &surviving);
    assert!(together.iter().all(|hash| survived.contains_key(hash)), "{survived:?}");
    links.mend();
    let healed = agree(&[&v0, &v1, &v2], before.height + 8, PATIENCE).await;
    assert!(v0.status().rolled_back > 0);
    let healed = reaches(&v0, PATIENCE, "the transactions of the lost branch", |status| {
        status.tip.is_some_and(|tip| tip.height >= healed.height + 3)
    })
    .await;
    let tip = agree(&[&v0, &v1, &v2], healed.tip.unwrap().height, PATIENCE).await;
    let chain = blocks(&v0, tip.height).await;
    assert_scheduled(&chain, 3);
    assert_eq!(chain[..surviving.len()], surviving, "the higher branch is the one that stays");
    let found = included(&hasher, &chain);
    for hash in &alone {
        // Nobody handed it in again, and the others never had it: it came back from the removed block by the pool.
        let height = found.get(hash).expect("lost what the other branch had");
        assert!(*height >= surviving.len() as u64, "{hash} is in block {height} already");
    }
    assert!(!found.contains_key(&spent_alone), "one nonce was used twice");
    let count: usize = chain.iter().map(|block| block.txs.len()).sum();
    assert_eq!(count, found.len(), "a transaction was included twice");
    for node in [v0, v1, v2] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_is_kept_over_a_restart_and_checked_again() {
    let genesis = genesis(1, 3, params());
    let hasher = Hasher::new(&Arc::new(genesis.clone()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mempool.bin");
    let (links, store) = (Links::default(), Arc::new(MemoryStore::default()));
    let follower = || start(builder(&genesis, &links, "f", &[]).store(Arc::clone(&store)).mempool_file(&file));
    let mut wallets: Vec<Wallet> = (0..3).map(Wallet::new).collect();
    let to = wallets[0].address.clone();
    let first = follower().await;
    for wallet in &mut wallets {
        for amount in 1..=10 {
            first.submit(wallet.transfer(&hasher, &to, amount)).await.unwrap();
        }
    }
    first.shutdown().await;
    // One of them is tampered with on the disk.
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let broken = wallets[2].nonce - 1;
    std::fs::write(&file, bytes).unwrap();
    let second = follower().await;
    reaches(&second, PATIENCE, "the pool of the last run", |status| status.pool >= 29).await;
    let last = second.pool(Some(wallets[2].address.clone()), 100).await.unwrap();
    assert!(last.txs.iter().all(|(_, tx)| tx.nonce != broken) && last.txs.len() == 9);
    second.shutdown().await;
}

#[tokio::test]
async fn a_key_of_another_scheme_is_refused_with_both_names() {
    let error = NodeBuilder::new(genesis(1, 1, params())).validator(key(Scheme::Secp256k1, 0)).start().await;
    let error = error.err().unwrap();
    assert!(matches!(error, StartError::ValidatorScheme { .. }));
    let text = error.to_string();
    assert!(text.contains("Ed25519") && text.contains("Secp256k1") && text.contains("canonical"), "{text}");
}
