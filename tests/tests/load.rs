//! A load of transactions of every type, sent through the RPC of three validators and a follower, as processes.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cpc_framework::executor::accounts::state;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::ACCOUNT_PREFIX;
use cpc_framework::store::ChainStore as _;
use cpc_framework::store::file::FileStore;
use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::{Address, Block, Genesis, Hash32, Transaction};
use cpc_tests::deadline::until;
use cpc_tests::http::{get, post};
use cpc_tests::network::{FIRST_BALANCE, GAS_PRICE, MIN_STAKE, Wallet, genesis, params, validator_key};
use cpc_tests::process::Process;
use serde::Deserialize;
use serde_json::json;

const NODE: &str = cpc_tests::node_binary!();
/// For the whole of a wait: blocks come every second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);
const VALIDATORS: u16 = 3;
const SENDERS: u16 = 6;
/// Transactions of each sender: fewer than the pool takes of one.
const TXS: usize = 40;
/// What each of the first million blocks earns, in units (protocol.md section 4).
const SUBSIDY: u128 = 10_000_000_000_000_000_000;

/// The load: transactions in the order in which they are sent, each sender's by nonce, and what they do in all.
struct Load {
    txs: Vec<(Hash32, Transaction)>,
    /// Everybody who may own something in the end.
    accounts: BTreeSet<Address>,
    staked: u128,
}

impl Load {
    fn new(genesis: &Genesis, random: &mut Messages) -> Self {
        let hasher = Hasher::new(genesis);
        let mut wallets: Vec<Wallet> = (0..SENDERS).map(Wallet::new).collect();
        let validators = (0..VALIDATORS).map(|number| validator_key(number).address(ACCOUNT_PREFIX));
        let mut load = Self { txs: Vec::new(), accounts: validators.collect(), staked: 0 };
        load.accounts.extend(wallets.iter().map(|wallet| wallet.address.clone()));
        for at in 0..TXS {
            for sender in 0..wallets.len() {
                let tx = match random.below(8) {
                    0 => wallets[sender].result(&hasher, &format!("task {at} of {sender}")),
                    1 => {
                        // Validators gain power; a newcomer stays below what a validator needs, so that the three stay.
                        let number = if random.below(2) == 0 { 9 } else { 0 };
                        let amount = random.below(10) as u128;
                        load.staked += amount;
                        wallets[sender].stake(&hasher, &validator_key(number).public_key(), amount)
                    }
                    2 | 3 => {
                        let newcomer = Wallet::new(100 + u16::try_from(at * wallets.len() + sender).unwrap()).address;
                        load.accounts.insert(newcomer.clone());
                        wallets[sender].transfer(&hasher, &newcomer, random.below(1000) as u128)
                    }
                    _ => {
                        let to = wallets[random.below(usize::from(SENDERS))].address.clone();
                        wallets[sender].transfer(&hasher, &to, u128::from(random.bits()))
                    }
                };
                load.txs.push((hasher.transaction_hash(&tx), tx));
            }
        }
        load
    }
}

/// Asks a node for a transaction until it is in a block, and gives the answer.
async fn included(port: u16, hash: Hash32) -> String {
    until(PATIENCE, &format!("transaction {hash} in a block"), async || {
        let answer = get(port, &format!("/tx/{hash}")).await;
        (answer.status == 200 && answer.json()["status"] == "included").then_some(answer.body)
    })
    .await
}

/// All blocks of a node.
async fn blocks(port: u16) -> Vec<Block> {
    #[derive(Deserialize)]
    struct Answer {
        blocks: Vec<Block>,
    }
    let mut blocks = Vec::new();
    loop {
        let answer = get(port, &format!("/blocks?from={}", blocks.len())).await.expect(200);
        let more: Answer = serde_json::from_str(&answer.body).unwrap();
        if more.blocks.is_empty() {
            return blocks;
        }
        blocks.extend(more.blocks);
    }
}

/// What a block's transactions pay for gas, whatever they offer as `fee`.
fn fees(block: &Block) -> u128 {
    block.txs.iter().map(|tx| u128::from(tx.tx_type.base_gas().unwrap()) * tx.gas_price).sum()
}

/// That the sum is right to the last unit: balances + power = allocations + genesis power + subsidies − burnt fees, where
/// the fees of a block are burnt, and its subsidy is not paid, if its own end of an epoch made its proposer inactive
/// (protocol.md section 4). Here all validators stay active, so that nothing is burnt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transaction_of_a_load_is_found_at_every_node_and_the_balances_add_up() {
    let mut random = Messages::from_printed_seed();
    let genesis = genesis(VALIDATORS, SENDERS, params());
    let dirs = tempfile::tempdir().unwrap();
    let datadir = |name: usize| dirs.path().join(name.to_string());
    let mut nodes: Vec<Process> = Vec::new();
    for number in 0..=usize::from(VALIDATORS) {
        let dir = datadir(number);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("genesis.json"), genesis.to_json()).unwrap();
        if let Some(number) = u16::try_from(number).ok().filter(|number| *number < VALIDATORS) {
            std::fs::write(dir.join("validator_key.hex"), validator_key(number).to_hex()).unwrap();
        }
        let peers = nodes.iter().map(Process::address).collect::<Vec<_>>().join(",");
        let others: &[&str] = if peers.is_empty() { &[] } else { &["--peers", &peers] };
        nodes.push(Process::run(NODE, &dir, others).await);
    }
    for node in &nodes {
        until(PATIENCE, "a first block", async || {
            (get(node.rpc_port(), "/status").await.json()["height"].as_i64() >= Some(0)).then_some(())
        })
        .await;
    }

    let load = Load::new(&genesis, &mut random);
    for (hash, tx) in &load.txs {
        let node = &nodes[random.below(nodes.len())];
        let sent = post(node.rpc_port(), "/tx/send", &serde_json::to_string(tx).unwrap()).await.expect(200);
        assert_eq!(sent.json(), json!({ "tx_hash": hash, "status": "received" }));
    }
    let follower_port = nodes[3].rpc_port();
    let mut places = BTreeMap::new();
    for (hash, _) in &load.txs {
        places.insert(*hash, included(follower_port, *hash).await);
    }
    for node in &nodes[..3] {
        for (hash, place) in &places {
            assert_eq!(&included(node.rpc_port(), *hash).await, place);
        }
    }

    // One that is killed and started again finds them as before.
    let peers: Vec<String> = [0, 2, 3].map(|at: usize| nodes[at].address()).into();
    nodes.remove(1).kill().await;
    let restarted = Process::run_with_peers(NODE, &datadir(1), &peers).await;
    for (hash, place) in &places {
        assert_eq!(&included(restarted.rpc_port(), *hash).await, place);
    }
    get(restarted.rpc_port(), &format!("/tx/{}", Hash32::ZERO)).await.expect(404);

    // The follower alone makes no blocks: now everything stands still.
    let follower = nodes.pop().unwrap();
    for node in nodes.into_iter().chain([restarted]) {
        node.stop().await;
    }
    let chain = blocks(follower_port).await;
    let hasher = Hasher::new(&genesis);
    let on_chain: Vec<Hash32> = chain.iter().flat_map(|b| &b.txs).map(|tx| hasher.transaction_hash(tx)).collect();
    assert_eq!(on_chain.len(), places.len(), "each is included once");
    assert!(on_chain.iter().all(|hash| places.contains_key(hash)));

    let mut balances = BTreeMap::new();
    for address in &load.accounts {
        let account = get(follower_port, &format!("/balance/{address}")).await.expect(200).json();
        balances.insert(address.clone(), account["balance"].as_str().unwrap().parse::<u128>().unwrap());
    }
    let validators = get(follower_port, "/validators").await.expect(200).json();
    let validators = validators["validators"].as_array().unwrap();
    let power: u128 = validators.iter().map(|validator| u128::from(validator["power"].as_u64().unwrap())).sum();
    let active = validators.iter().filter(|validator| validator["is_active"] == true).count();
    assert_eq!(active, usize::from(VALIDATORS), "with all of them active nothing is burnt");
    assert_eq!(get(follower_port, "/status").await.json()["height"], chain.len() - 1, "the chain stood still");
    follower.stop().await;

    let subsidies = SUBSIDY * chain.len() as u128;
    let (allocations, genesis_power) = (u128::from(SENDERS) * FIRST_BALANCE, u128::from(VALIDATORS) * MIN_STAKE);
    assert_eq!(power, genesis_power + load.staked);
    assert_eq!(balances.values().sum::<u128>() + power, allocations + genesis_power + subsidies);
    // What gas cost is what the proposers got besides, and nobody else.
    let proposers: u128 = (0..VALIDATORS).map(|number| balances[&validator_key(number).address(ACCOUNT_PREFIX)]).sum();
    let paid: u128 = chain.iter().map(fees).sum();
    assert!(paid >= load.txs.len() as u128 * 21_000 * GAS_PRICE);
    assert_eq!(proposers, subsidies + paid);
    assert_eq!(stored_balances(&datadir(3)), balances.into_iter().collect(), "there are no other accounts");
}

/// All accounts of a stopped node, by the library.
fn stored_balances(datadir: &Path) -> BTreeMap<Address, u128> {
    let store = FileStore::open(datadir).unwrap();
    let view = store.state().unwrap();
    let mut balances = BTreeMap::new();
    state::accounts(view.as_ref(), &mut |address, account| {
        balances.insert(address, account.balance);
        true
    })
    .unwrap();
    balances
}
