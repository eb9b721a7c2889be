//! Stakes that change who proposes, while a network runs: whom they elect, and what their blocks pay and burn.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use cpc_framework::executor::accounts::state;
use cpc_framework::node::NodeHandle;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{SecretKey, VALIDATOR_PREFIX};
use cpc_framework::rules::schedule::{proposer_index, round};
use cpc_framework::types::{Address, Block, Hash32, NetworkParams};
use cpc_tests::deadline::until;
use cpc_tests::http::{get, normal};
use cpc_tests::network::{
    EPOCH, FIRST_BALANCE, GAS_PRICE, Links, MIN_STAKE, Wallet, agree, balances, blocks, builder, genesis, params,
    reaches, validator_key,
};
use cpc_tests::process::{Call, Process, free_port};
use serde::Deserialize;
use serde_json::{Value, json};

const NODE: &str = cpc_tests::node_binary!();
/// For the whole of a wait: blocks come every second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// What each of the first blocks earns its proposer (protocol.md section 4, block validity 7).
const REWARD: u128 = 10_000_000_000_000_000_000;
/// Validators of the genesis.
const FIRST: u16 = 3;
/// The number of the key that is elected later.
const NEWCOMER: u16 = 9;

fn write_key(path: &Path, key: &SecretKey) {
    std::fs::write(path, key.to_hex()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// All blocks of a node; fewer than an answer may have.
async fn chain_of(node: &Process) -> Vec<Block> {
    #[derive(Deserialize)]
    struct Page {
        blocks: Vec<Block>,
    }
    serde_json::from_str::<Page>(&get(node.rpc_port(), "/blocks").await.expect(200).body).unwrap().blocks
}

/// Every block is by whom the schedule names, where the newcomer is active after block `elected`.
fn assert_scheduled(chain: &[Block], elected: u64) {
    let address = |number: u16| validator_key(number).address(VALIDATOR_PREFIX);
    for (at, block) in chain.iter().enumerate().skip(1) {
        let header = &block.header;
        let mut active: Vec<Address> = (0..FIRST).map(address).collect();
        active.extend((header.height > elected).then(|| address(NEWCOMER)));
        active.sort();
        let round = round(header.timestamp - chain[at - 1].header.timestamp, params().block_time);
        let index = proposer_index(header.height, round, active.len()).unwrap();
        assert_eq!(header.proposer_address, active[index], "block {at}, round {round}, elected with {elected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_whose_stake_the_wallet_sends_is_elected_and_proposes_and_all_stay_on_one_chain() {
    let genesis = genesis(FIRST, 1, params());
    let dirs = tempfile::tempdir().unwrap();
    // The three, the newcomer, and one who only follows.
    let ports: Vec<u16> = (0..FIRST + 2).map(|_| free_port()).collect();
    let mut nodes = Vec::new();
    for (number, port) in (0..).zip(&ports) {
        let dir = dirs.path().join(format!("{number}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("genesis.json"), genesis.to_json()).unwrap();
        if number <= FIRST {
            let key = validator_key(if number == FIRST { NEWCOMER } else { number });
            write_key(&dir.join("validator_key.hex"), &key);
        }
        let others = ports.iter().filter(|other| *other != port);
        let peers: Vec<String> = others.map(|port| format!("127.0.0.1:{port}")).collect();
        let links = vec![("quic+postcard".to_owned(), *port)];
        nodes.push(Process::run_at(NODE, &dir, links, &["--peers", &peers.join(",")]).await);
    }
    let (newcomer, follower) = (&nodes[usize::from(FIRST)], &nodes[usize::from(FIRST) + 1]);

    let staker = Wallet::new(0).address;
    let key_file = dirs.path().join("staker.hex");
    write_key(&key_file, &Wallet::new(0).into_key());
    let url = format!("http://127.0.0.1:{}", follower.rpc_port());
    let wallet = |args: &[&str]| {
        let call = Call::at(NODE, &dirs.path().join(FIRST.to_string())).arg("tx").args(args).arg("--from");
        call.arg(&key_file).args(["--json", "--node", &url]).output()
    };
    // The datadir's validator key is the one that is staked on.
    let staked = wallet(&["stake", "--amount", "5000units"]).await.expect_code(0).json();
    let height = staked["height"].as_u64().unwrap();
    let expected = json!({
        "tx_hash": staked["tx_hash"], "status": "included", "height": height, "block_hash": staked["block_hash"],
        "from_address": staker, "nonce": 0, "amount": 5000, "fee": 40_000 * GAS_PRICE
    });
    assert_eq!(staked, expected);
    let found = get(follower.rpc_port(), &format!("/tx/{}", staked["tx_hash"].as_str().unwrap())).await.expect(200);
    assert_eq!(found.json()["height"], height);
    assert_eq!(found.json()["tx"]["payload"], json!({ "pub_key": validator_key(NEWCOMER).public_key() }));

    let elected = height / EPOCH * EPOCH + EPOCH - 1;
    let address = validator_key(NEWCOMER).address(VALIDATOR_PREFIX);
    let proposed = until(PATIENCE, "two blocks of the newcomer", async || {
        let chain = chain_of(follower).await;
        let by_it = chain.iter().filter(|block| block.header.proposer_address == address);
        by_it.map(|block| block.header.height).nth(1)
    })
    .await;
    assert!(proposed > elected + 1, "it proposed {proposed}, and was elected with {elected}");
    let sent = wallet(&["send", "--to", staker.as_str(), "--amount", "1.5"]).await.expect_code(0).json();
    assert_eq!((&sent["status"], &sent["nonce"], &sent["fee"]), (&json!("included"), &json!(1), &json!(21_000_000)));
    let last = sent["height"].as_u64().unwrap();
    let mut copies = BTreeSet::new();
    let mut validators = BTreeSet::new();
    for node in &nodes {
        let block = until(PATIENCE, "the last block at every node", async || {
            let answer = get(node.rpc_port(), &format!("/block/{last}")).await;
            (answer.status == 200).then_some(answer.body)
        });
        // The header has the state root, and the hash of the block below.
        copies.insert(normal(&block.await));
        validators.insert(get(node.rpc_port(), "/validators").await.expect(200).json()["validators"].to_string());
    }
    assert_eq!((copies.len(), validators.len()), (1, 1), "{copies:?} {validators:?}");
    let all = get(newcomer.rpc_port(), "/validators").await.expect(200).json();
    let of_newcomer = |one: &&Value| one["address"] == address.as_str();
    let elected_one = all["validators"].as_array().unwrap().iter().find(of_newcomer).unwrap().clone();
    assert_eq!(
        elected_one,
        json!({
            "address": address, "pq_pub_key": validator_key(NEWCOMER).public_key(), "power": 5000, "is_active": true,
            "reward_address": staker
        })
    );
    assert_scheduled(&chain_of(follower).await, elected);
    for node in nodes {
        node.stop().await;
    }
}

/// Two validators of which one is elected, blocks that each have a few transfers, and stakes.
struct Contest {
    hasher: Hasher,
    senders: [Wallet; 2],
    /// Which validator each stake is for, and how much it is.
    stakes: BTreeMap<Hash32, (u16, u128)>,
    power: [u128; 2],
}

impl Contest {
    const EPOCH: u64 = 2;

    /// Some transfers, and a stake that makes the weaker of the two validators the stronger one.
    async fn go_on(&mut self, node: &NodeHandle) {
        let to = self.senders[1].address.clone();
        for amount in 1..4 {
            node.submit(self.senders[0].transfer(&self.hasher, &to, amount)).await.unwrap();
        }
        let weaker = usize::from(self.power[0] >= self.power[1]);
        let amount = self.power[1 - weaker] - self.power[weaker] + 1;
        self.power[weaker] += amount;
        let number = u16::try_from(weaker).unwrap();
        let stake = self.senders[1].stake(&self.hasher, &validator_key(number).public_key(), amount);
        self.stakes.insert(node.submit(stake).await.unwrap(), (number, amount));
    }

    /// How many subsidies these blocks pay, and what of their fees burns, by the rules as they are written
    /// (protocol.md section 4, block validity 6 and 7).
    fn settle(&self, chain: &[Block]) -> Settled {
        let addresses = [0, 1].map(|number| validator_key(number).address(VALIDATOR_PREFIX));
        let mut power = [MIN_STAKE; 2];
        let mut active: Vec<&Address> = addresses.iter().collect();
        let mut settled = Settled::default();
        for block in chain {
            let mut fees = 0;
            for tx in &block.txs {
                fees += u128::from(tx.tx_type.base_gas().unwrap()) * tx.gas_price;
                if let Some((number, amount)) = self.stakes.get(&self.hasher.transaction_hash(tx)) {
                    power[usize::from(*number)] += amount;
                    settled.staked += amount;
                }
            }
            if (block.header.height + 1).is_multiple_of(Self::EPOCH) {
                // More power first, then the lesser address.
                let order = |number: &usize| (std::cmp::Reverse(power[*number]), &addresses[*number]);
                active = vec![&addresses[[0, 1].into_iter().min_by_key(order).unwrap()]];
            }
            if active.contains(&&block.header.proposer_address) {
                settled.subsidies += 1;
            } else {
                settled.unpaid += 1;
                settled.burnt += fees;
            }
        }
        settled
    }
}

#[derive(Debug, Default)]
struct Settled {
    subsidies: u128,
    unpaid: u128,
    staked: u128,
    burnt: u128,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fees_of_a_proposer_that_its_own_block_makes_inactive_burn_and_the_sum_is_exact() {
    let genesis = genesis(2, 2, NetworkParams { epoch_length: Contest::EPOCH, max_validators: 1, ..params() });
    let links = Links::default();
    let mut nodes = Vec::new();
    for (number, other) in [(0, "v1"), (1, "v0")] {
        let builder = builder(&genesis, &links, &format!("v{number}"), &[other]).validator(validator_key(number));
        nodes.push(builder.start().await.unwrap());
    }
    let mut contest = Contest {
        hasher: Hasher::new(&genesis),
        senders: [Wallet::new(0), Wallet::new(1)],
        stakes: BTreeMap::new(),
        power: [MIN_STAKE; 2],
    };
    for height in 0..8 {
        contest.go_on(&nodes[usize::from(height % 2 == 0)]).await;
        reaches(&nodes[0], PATIENCE, "a block", |status| status.tip.is_some_and(|tip| tip.height >= height)).await;
    }
    for node in &nodes {
        node.hold_proposals().await.unwrap();
    }
    // What was being proposed may still come.
    let both: Vec<&NodeHandle> = nodes.iter().collect();
    let (chain, balances, power) = until(PATIENCE, "a tip that stands still", async || {
        let tip = agree(&both, 7, PATIENCE).await;
        let chain = blocks(&nodes[0], tip.height).await;
        let balances: u128 = balances(&nodes[0]).values().sum();
        let validators = state::validators(nodes[0].store().state().unwrap().as_ref()).unwrap();
        let power: u128 = validators.iter().map(|validator| validator.power).sum();
        (nodes[0].store().tip().await.unwrap() == Some(tip)).then_some((chain, balances, power))
    })
    .await;
    let Settled { subsidies, unpaid, staked, burnt } = contest.settle(&chain);
    assert_eq!(subsidies + unpaid, chain.len() as u128);
    assert!(unpaid > 0 && burnt > 0, "nothing burnt in {} blocks", chain.len());
    assert_eq!(power, 2 * MIN_STAKE + staked);
    assert_eq!(balances + power, 2 * FIRST_BALANCE + 2 * MIN_STAKE + subsidies * REWARD - burnt);
    for node in nodes {
        node.shutdown().await;
    }
}
