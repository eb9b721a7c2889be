//! The memory of a node under attack: what waits stays within the budget, the process within a stated constant besides, and an honest
//! peer still brings the node to its tip.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a broken assumption of a test is a failed test")]

mod attackers;

use std::time::{Duration, Instant};

use cpc_framework::memory::RESIDENT_BESIDE;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{LOOK_AGAIN, until};
use cpc_tests::http::get;
use cpc_tests::process::{Output, Process};
use cpc_tests::vectors::Chain;

use crate::attackers::{Ammunition, Attack, Attackers, Target};

const NODE: &str = cpc_tests::node_binary!();
const MIB: u64 = 1 << 20;
/// The chain of the attacked node ends here at first.
const START: usize = 700;
/// How long the attack lasts before an honest peer comes: longer than whatever ends an attacker's connection.
const ALONE: Duration = Duration::from_secs(12);
/// How long the rest of the chain may take to come through the attack, on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(150);
/// What a node takes at most whatever is done to it, at default limits.
const RESIDENT: u64 = 160 * MIB;

/// What a node under attack did.
struct Outcome {
    /// Resident before the attack.
    before: u64,
    /// The most that was ever resident.
    peak: u64,
}

impl Outcome {
    fn growth(&self) -> u64 {
        self.peak - self.before
    }
}

/// Attacks a node over a link, and has an honest peer bring it to its tip meanwhile.
async fn attacked(link: &'static str, more: &[&str], attacks: &[(Attack, usize)]) -> Outcome {
    let chain = Chain::mainline();
    let dir = Datadir::holding(NODE, &chain.up_to(START)).await;
    let full = Datadir::holding(NODE, chain).await;
    let mut node = Process::run_over(NODE, dir.path(), &[link], more).await;
    let before = node.rss_kib().unwrap() * 1024;
    let target = Target { link, address: ([127, 0, 0, 1], node.port_of(link)).into() };
    let height = u64::try_from(START).unwrap();
    let ammunition = Ammunition::against(chain, height, link);
    let attackers = Attackers::start(&target, &ammunition, attacks);
    let start = Instant::now();
    while start.elapsed() < ALONE {
        assert!(node.is_running());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let alone = node.peak_rss_kib().unwrap() * 1024;
    let peer = format!("{link}://127.0.0.1:{}", target.address.port());
    let honest = Process::run_over(NODE, full.path(), &[link], &["--peers", &peer]).await;
    let asked = Instant::now();
    until(SYNC, "the tip of an honest peer", async || {
        (get(node.rpc_port(), "/status").await.json()["height"].as_u64() == Some(chain.height())).then_some(())
    })
    .await;
    let outcome = Outcome { before, peak: node.peak_rss_kib().unwrap() * 1024 };
    eprintln!(
        "{link} {more:?}: {} MiB before, {} MiB at most alone, {} MiB in the end; synced in {:?}; {} MiB taken over {:?} connections",
        before / MIB,
        alone / MIB,
        outcome.peak / MIB,
        asked.elapsed(),
        attackers.bytes() as u64 / MIB,
        attackers.connections(),
    );
    drop(attackers);
    let Output { stderr, .. } = node.stop().await;
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(stderr.contains("memory is short"), "the budget was never used up: the attack is none");
    honest.stop().await;
    outcome
}

async fn stays_within(link: &'static str, budget: u64) {
    let memory = budget.to_string();
    let outcome = attacked(link, &["--memory", &memory], &Attack::OF_THE_BUDGET).await;
    let bound = budget + RESIDENT_BESIDE as u64;
    assert!(outcome.growth() <= bound, "{} bytes more, {bound} allowed", outcome.growth());
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
async fn every_attack_at_once_leaves_a_node_below_160_mib_at_default_limits() {
    let outcome = attacked("tcp+json", &[], &Attack::ALL).await;
    assert!(outcome.peak < RESIDENT, "{} bytes", outcome.peak);
}
