//! The memory of a node under attack: what waits stays within the budget, the process within a stated constant besides, and an honest
//! peer still brings the node to its tip.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a broken assumption of a test is a failed test")]

mod attackers;
mod every_row;

use std::time::{Duration, Instant};

use cpc_framework::memory::RESIDENT_BESIDE;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{LOOK_AGAIN, until};
use cpc_tests::http::get;
use cpc_tests::process::{Output, Process, free_port};
use cpc_tests::vectors::Chain;

use crate::attackers::{Ammunition, Attack, Attackers, Plan, Target, txs_of};
use crate::every_row::{LINKS, Scene};

const NODE: &str = cpc_tests::node_binary!();
const MIB: u64 = 1 << 20;
/// The chain of the attacked node ends here at first.
const START: usize = 700;
/// How long the attack lasts before an honest peer comes: longer than whatever ends an attacker's connection.
const ALONE: Duration = Duration::from_secs(12);
/// How long the rest of the chain may take to come through the attack, on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(240);
/// What a node takes at most whatever is done to it, at default limits.
const RESIDENT: u64 = 160 * MIB;
/// So much more of its own program a build without optimisation has resident than the released one: 18 MiB and 11 MiB were measured.
const UNOPTIMISED: u64 = if cfg!(debug_assertions) { 7 * MIB } else { 0 };

/// A node under attack, before an honest peer comes.
struct Attacked {
    node: Process,
    attackers: Attackers,
    what: String,
    /// Resident before the attack.
    before: u64,
}

impl Attacked {
    async fn begin(mut node: Process, targets: &[Target], attacks: &[(Attack, usize)], what: String) -> Self {
        let before = node.rss_kib().unwrap() * 1024;
        let attackers = Attackers::start(targets, attacks);
        let start = Instant::now();
        while start.elapsed() < ALONE {
            assert!(node.is_running());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let alone = node.peak_rss_kib().unwrap() * 1024;
        eprintln!("{what}: {} MiB before, {} MiB at most alone", before / MIB, alone / MIB);
        Self { node, attackers, what, before }
    }

    /// Waits until the honest peer has given the node all it has. Gives the most that was ever resident.
    async fn synced(&self, chain: &Chain) -> u64 {
        let asked = Instant::now();
        until(SYNC, "the tip of an honest peer", async || {
            (get(self.node.rpc_port(), "/status").await.json()["height"].as_u64() == Some(chain.height())).then_some(())
        })
        .await;
        let synced = asked.elapsed();
        eprintln!("{}: synced in {synced:?}; so far {:?}", self.what, self.attackers.done());
        // Those who find no slot at first get one once others are cut off.
        until(SYNC, "every attack to come to something", async || {
            self.attackers.done().iter().all(|(_, _, done)| *done > 0).then_some(())
        })
        .await;
        let peak = self.node.peak_rss_kib().unwrap() * 1024;
        eprintln!(
            "{}: {} MiB at most in the end; synced in {:?}; {} MiB taken; connections, done: {:?}",
            self.what,
            peak / MIB,
            synced,
            self.attackers.bytes() as u64 / MIB,
            self.attackers.done(),
        );
        peak
    }

    async fn end(self) {
        drop(self.attackers);
        let Output { stderr, .. } = self.node.stop().await;
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(stderr.contains("memory is short"), "the budget was never used up: the attack is none");
    }
}

async fn stays_within(link: &'static str, budget: u64) {
    let chain = Chain::mainline();
    let dir = Datadir::holding(NODE, &chain.up_to(START)).await;
    let full = Datadir::holding(NODE, chain).await;
    let node = Process::run_over(NODE, dir.path(), &[link], &["--memory", &budget.to_string()]).await;
    let plan = Plan { height: START, txs: txs_of(chain), ..Plan::default() };
    let address = ([127, 0, 0, 1], node.port_of(link)).into();
    let target = Target { link, address, ammunition: Ammunition::against(chain, link, &plan) };
    let what = format!("{link}, {} MiB", budget / MIB);
    let attacked = Attacked::begin(node, &[target], &Attack::OF_THE_BUDGET, what).await;
    let honest = Process::run_over(NODE, full.path(), &[link], &["--peers", &format!("{link}://{address}")]).await;
    let growth = attacked.synced(chain).await - attacked.before;
    attacked.end().await;
    honest.stop().await;
    let bound = budget + RESIDENT_BESIDE as u64;
    assert!(growth <= bound, "{growth} bytes more, {bound} allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_together_stay_within_the_default_budget_over_tcp_and_json() {
    stays_within("tcp+json", 64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_together_stay_within_a_small_budget_over_tcp_and_json() {
    stays_within("tcp+json", 16 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_together_stay_within_the_default_budget_over_quic_and_postcard() {
    stays_within("quic+postcard", 64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_at_once_over_three_links_with_a_full_pool_stays_within_the_sum_of_all_parts() {
    // All inbound places are fought for: the node dials its honest peer.
    const HONEST: &str = "tcp+postcard";
    let port = free_port();
    let scene = Scene::new(format!("127.0.0.1:{port}"));
    let dir = Datadir::holding(NODE, &scene.start()).await;
    let full = Datadir::holding(NODE, &scene.chain).await;
    let peer = format!("{HONEST}://127.0.0.1:{port}");
    let node = Process::run_over(NODE, dir.path(), &LINKS, &["--peers", &peer]).await;
    scene.fill_pool(&node).await;
    let targets = LINKS.map(|link| Target {
        link,
        address: ([127, 0, 0, 1], node.port_of(link)).into(),
        ammunition: Ammunition::against(&scene.chain, link, &scene.plan),
    });
    let attacked = Attacked::begin(node, &targets, &Attack::ALL, "every row".to_owned()).await;
    let honest = Process::run_at(NODE, full.path(), vec![(HONEST.to_owned(), port)], &[]).await;
    let peak = attacked.synced(&scene.chain).await;
    attacked.end().await;
    honest.stop().await;
    assert!(peak < RESIDENT + UNOPTIMISED, "{peak} bytes");
}
