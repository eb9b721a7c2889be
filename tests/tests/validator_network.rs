//! Three validators and a follower as processes, over each pair of transport and codec, through more than three epochs of
//! traffic: one validator is killed and comes back, one is frozen for several block times and comes back.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{ACCOUNT_PREFIX, VALIDATOR_PREFIX};
use cpc_framework::rules::schedule::{proposer_index, round};
use cpc_framework::types::{Address, Block, Genesis, Hash32, Transaction};
use cpc_tests::deadline::until;
use cpc_tests::http::{get, post};
use cpc_tests::network::{EPOCH, FIRST_BALANCE, Wallet, genesis, params, validator_key};
use cpc_tests::process::{Process, Signal, free_port};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

const NODE: &str = cpc_tests::node_binary!();
const VALIDATORS: u16 = 3;
/// The place of the follower among the nodes.
const FOLLOWER: usize = VALIDATORS as usize;
/// For the whole of a wait: blocks come every second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// What each of the first blocks earns its proposer (protocol.md section 4, block validity 7).
const REWARD: u128 = 10_000_000_000_000_000_000;
/// What each STAKE of these tests adds: together below the least stake, so that the three validators stay.
const STAKE: u128 = 100;
/// Blocks that a validator is away for: long enough that its turn comes.
const AWAY: u64 = 4;

/// Four nodes and what they need to be started again.
struct Network {
    genesis: Genesis,
    link: &'static str,
    dirs: Vec<TempDir>,
    ports: Vec<u16>,
    nodes: Vec<Option<Process>>,
}

impl Network {
    async fn start(link: &'static str) -> Self {
        let genesis = genesis(VALIDATORS, 4, params());
        let dirs: Vec<TempDir> = (0..=VALIDATORS).map(|_| tempfile::tempdir().unwrap()).collect();
        for (dir, number) in dirs.iter().zip(0..) {
            std::fs::write(dir.path().join("genesis.json"), genesis.to_json()).unwrap();
            if number < VALIDATORS {
                std::fs::write(dir.path().join("validator_key.hex"), validator_key(number).to_hex()).unwrap();
            }
        }
        let ports = dirs.iter().map(|_| free_port()).collect();
        let nodes = dirs.iter().map(|_| None).collect();
        let mut network = Self { genesis, link, dirs, ports, nodes };
        for node in 0..=FOLLOWER {
            network.run(node).await;
        }
        network
    }

    /// Starts a node, which knows all the others.
    async fn run(&mut self, node: usize) {
        let others = self.ports.iter().enumerate().filter(|(other, _)| *other != node);
        let peers: Vec<String> = others.map(|(_, port)| format!("127.0.0.1:{port}")).collect();
        let links = vec![(self.link.to_owned(), self.ports[node])];
        let more = ["--peers", &peers.join(",")];
        self.nodes[node] = Some(Process::run_at(NODE, self.dirs[node].path(), links, &more).await);
    }

    fn node(&self, node: usize) -> &Process {
        self.nodes[node].as_ref().unwrap()
    }

    async fn status(&self, node: usize) -> Status {
        serde_json::from_value(get(self.node(node).rpc_port(), "/status").await.expect(200).json()).unwrap()
    }

    /// Waits until a node has this height; gives its height then.
    async fn reaches(&self, node: usize, height: i64) -> i64 {
        until(PATIENCE, &format!("block {height} at node {node}"), async || {
            let at = self.status(node).await.height;
            (at >= height).then_some(at)
        })
        .await
    }

    /// Waits until all running nodes have one tip.
    async fn agree(&self) -> Status {
        until(PATIENCE, "one tip at all nodes", async || {
            let first = self.status(0).await;
            for node in 1..=FOLLOWER {
                if self.status(node).await != first {
                    return None;
                }
            }
            Some(first)
        })
        .await
    }

    async fn blocks(&self, node: usize, to: i64) -> Vec<Block> {
        #[derive(Deserialize)]
        struct Page {
            blocks: Vec<Block>,
        }
        let mut blocks = Vec::new();
        while i64::try_from(blocks.len()).unwrap() <= to {
            let path = format!("/blocks?from={}&to={to}", blocks.len());
            let page = get(self.node(node).rpc_port(), &path).await.expect(200).body;
            let page: Page = serde_json::from_str(&page).unwrap();
            assert!(!page.blocks.is_empty(), "node {node} has no block {}", blocks.len());
            blocks.extend(page.blocks);
        }
        blocks
    }

    /// Waits for a block of this validator above a height.
    async fn proposes(&self, validator: u16, above: i64) {
        let address = validator_key(validator).address(VALIDATOR_PREFIX);
        until(PATIENCE, &format!("a block of validator {validator} above {above}"), async || {
            let to = self.status(FOLLOWER).await.height;
            let blocks = self.blocks(FOLLOWER, to).await;
            let above = usize::try_from(above + 1).unwrap();
            blocks.iter().skip(above).any(|block| block.header.proposer_address == address).then_some(())
        })
        .await;
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Status {
    height: i64,
    last_hash: String,
    epoch: u64,
}

/// Accounts that send, and what they sent.
struct Traffic {
    hasher: Hasher,
    wallets: Vec<Wallet>,
    sent: Vec<Hash32>,
    staked: u128,
}

impl Traffic {
    fn new(genesis: &Genesis) -> Self {
        let hasher = Hasher::new(&Arc::new(genesis.clone()));
        Self { hasher, wallets: (0..4).map(Wallet::new).collect(), sent: Vec::new(), staked: 0 }
    }

    /// Some transactions of each type, each type to another node.
    async fn flow(&mut self, network: &Network, nodes: [usize; 3]) {
        let to = self.wallets[3].address.clone();
        for n in 0..6u128 {
            let transfer = self.wallets[0].transfer(&self.hasher, &to, 1 + n);
            self.send(network, nodes[0], &transfer).await;
            let result = self.wallets[1].result(&self.hasher, &format!("task {n}"));
            self.send(network, nodes[1], &result).await;
        }
        let stake = self.wallets[2].stake(&self.hasher, &validator_key(9).public_key(), STAKE);
        self.send(network, nodes[2], &stake).await;
        self.staked += STAKE;
    }

    async fn send(&mut self, network: &Network, node: usize, tx: &Transaction) {
        let text = serde_json::to_string(tx).unwrap();
        let answer = post(network.node(node).rpc_port(), "/tx/send", &text).await.expect(200).json();
        assert_eq!(answer["status"], "received", "{answer}");
        self.sent.push(self.hasher.transaction_hash(tx));
    }
}

/// Every block is by whom the schedule names. Gives the rounds.
fn assert_scheduled(blocks: &[Block]) -> Vec<u64> {
    let mut addresses: Vec<Address> =
        (0..VALIDATORS).map(|number| validator_key(number).address(VALIDATOR_PREFIX)).collect();
    addresses.sort();
    let mut rounds = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        let header = &block.header;
        let waited = if at == 0 { 0 } else { header.timestamp - blocks[at - 1].header.timestamp };
        let round = round(waited, params().block_time);
        let index = proposer_index(header.height, round, addresses.len()).unwrap();
        assert_eq!(header.proposer_address, addresses[index], "block {at}, round {round}");
        rounds.push(round);
    }
    rounds
}

/// What a validator that was away for the blocks above `from` shows in them: none is its own, and where it was its turn
/// another one went in, a round later.
fn assert_skipped(blocks: &[Block], rounds: &[u64], validator: u16, from: i64) {
    let address = validator_key(validator).address(VALIDATOR_PREFIX);
    // The block that was on its way when it went is nobody's fault.
    let first = usize::try_from(from + 2).unwrap();
    let away = first..first + usize::try_from(AWAY).unwrap();
    assert!(blocks[away.clone()].iter().all(|block| block.header.proposer_address != address));
    assert!(rounds[away.clone()].iter().any(|round| *round > 0), "no round was skipped in {away:?}: {rounds:?}");
}

fn signed_height(datadir: &Path) -> i64 {
    let text = std::fs::read(datadir.join("signed.json")).expect("blocks were made, so something was signed");
    serde_json::from_slice::<Value>(&text).unwrap()["height"].as_i64().unwrap()
}

async fn goes_through_epochs_a_kill_and_a_freeze(link: &'static str) {
    let away = i64::try_from(AWAY).unwrap();
    let mut network = Network::start(link).await;
    let mut traffic = Traffic::new(&network.genesis);
    network.reaches(FOLLOWER, 1).await;
    // What only the killed one has would be lost: it could not have told the others.
    traffic.flow(&network, [0, 1, FOLLOWER]).await;

    // Killed in the middle of whatever it was doing.
    let killed = 2;
    network.nodes[2].take().unwrap().kill().await;
    let without = network.status(0).await.height;
    traffic.flow(&network, [0, 1, FOLLOWER]).await;
    network.reaches(0, without + 1 + away).await;
    let signed = signed_height(network.dirs[2].path());
    network.run(2).await;
    let back = network.reaches(2, signed).await;
    traffic.flow(&network, [2, 1, FOLLOWER]).await;
    network.proposes(killed, back).await;

    // Frozen: its connections stay open, and nothing comes.
    let frozen = 1;
    network.node(1).signal(Signal::Stop);
    let stopped = network.status(0).await.height;
    traffic.flow(&network, [0, 2, FOLLOWER]).await;
    let ahead = network.reaches(0, stopped + 1 + away).await;
    network.node(1).signal(Signal::Cont);
    network.reaches(1, ahead).await;
    network.proposes(frozen, ahead).await;

    network.reaches(0, 3 * i64::try_from(EPOCH).unwrap()).await;
    let tip = network.agree().await;
    assert!(tip.epoch >= 3, "{tip:?}");
    let chain = network.blocks(FOLLOWER, tip.height).await;
    let rounds = assert_scheduled(&chain);
    assert_skipped(&chain, &rounds, killed, without);
    assert_skipped(&chain, &rounds, frozen, stopped);
    for node in 0..FOLLOWER {
        assert_eq!(network.blocks(node, tip.height).await, chain, "node {node} and the follower");
    }
    for hash in &traffic.sent {
        let mut places = Vec::new();
        for node in 0..=FOLLOWER {
            let found = get(network.node(node).rpc_port(), &format!("/tx/{hash}")).await;
            assert_eq!(found.status, 200, "{hash} at node {node}: {found:?}");
            let found = found.json();
            assert_eq!(found["status"], "included", "{hash} at node {node}");
            places.push((found["height"].clone(), found["block_hash"].clone()));
        }
        assert!(places.windows(2).all(|pair| pair[0] == pair[1]), "{hash} is at {places:?}");
    }
    for validator in 0..FOLLOWER {
        network.nodes[validator].take().unwrap().stop().await;
    }
    assert_money_adds_up(&network, &traffic).await;
    network.nodes[FOLLOWER].take().unwrap().stop().await;
}

/// Nothing is lost or made but rewards: allocations and one reward for each block are all balances and what was staked.
/// What gas cost is in the balances of the proposers.
async fn assert_money_adds_up(network: &Network, traffic: &Traffic) {
    let port = network.node(FOLLOWER).rpc_port();
    let proposers = (0..VALIDATORS).map(|number| validator_key(number).address(ACCOUNT_PREFIX));
    let accounts: Vec<Address> = traffic.wallets.iter().map(|wallet| wallet.address.clone()).chain(proposers).collect();
    let (tip, balances) = until(PATIENCE, "a tip that stands still", async || {
        let before = network.status(FOLLOWER).await;
        let mut sum = 0;
        for account in &accounts {
            let answer = get(port, &format!("/balance/{account}")).await.expect(200).json();
            sum += answer["balance"].as_str().unwrap().parse::<u128>().unwrap();
        }
        (network.status(FOLLOWER).await == before).then_some((before, sum))
    })
    .await;
    let blocks = u128::try_from(tip.height + 1).unwrap();
    assert_eq!(4 * FIRST_BALANCE + blocks * REWARD, balances + traffic.staked);
    let validators = get(port, "/validators").await.expect(200).json();
    let newcomer = validator_key(9).address(VALIDATOR_PREFIX).to_string();
    let found = validators["validators"].as_array().unwrap().iter().find(|one| one["address"] == newcomer.as_str());
    let found = found.unwrap_or_else(|| panic!("{newcomer} is not among {validators}"));
    assert_eq!(
        (found["power"].as_u64(), &found["is_active"]),
        (u64::try_from(traffic.staked).ok(), &Value::from(false))
    );
}

macro_rules! over_each_link {
    ($($name:ident: $link:literal,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            goes_through_epochs_a_kill_and_a_freeze($link).await;
        }
    )*};
}

over_each_link! {
    validators_over_tcp_and_json_go_through_epochs_a_kill_and_a_freeze: "tcp+json",
    validators_over_tcp_and_postcard_go_through_epochs_a_kill_and_a_freeze: "tcp+postcard",
    validators_over_quic_and_json_go_through_epochs_a_kill_and_a_freeze: "quic+json",
    validators_over_quic_and_postcard_go_through_epochs_a_kill_and_a_freeze: "quic+postcard",
}
