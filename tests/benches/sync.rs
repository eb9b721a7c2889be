//! Sync of a chain under the reference's rules from one process to another, over TCP and JSON, into the file store.
//!
//! `cargo bench -p cpc-tests --bench sync -- [--quick] [--blocks N] [--run]`: mainline as it is with `--quick`, else mainline gone
//! on to N blocks (100,000 unless said) of three transfers each. Prints one line: blocks per second as the syncing node
//! reports them, the most memory it used, and the processor time of both. With `--run` a second line: what the same sync takes by
//! `run`, which keeps the index of transactions meanwhile.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program of its own")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::generate::extend;
use cpc_tests::http::get;
use cpc_tests::process::{Call, Process};
use cpc_tests::vectors::Chain;

const NODE: &str = cpc_tests::node_binary!();

/// A sync of this many blocks takes more than ten seconds on two cores.
const BLOCKS: usize = 100_000;

/// Transactions in each block, as in mainline.
const TXS: usize = 3;

/// How often the memory of the syncing node is read.
const SAMPLE: Duration = Duration::from_millis(20);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = args.iter().position(|arg| arg == "--blocks").map(|at| args[at + 1].parse().unwrap());
    let quick = args.iter().any(|arg| arg == "--quick");
    let blocks = given.unwrap_or(if quick { Chain::mainline().lines.len() } else { BLOCKS });
    let run = args.iter().any(|arg| arg == "--run");
    tokio::runtime::Runtime::new().unwrap().block_on(sync(blocks, run));
}

async fn sync(blocks: usize, run: bool) {
    let chain = Chain::mainline();
    let there = Datadir::joined(NODE, chain).await;
    let file = chain_of(blocks);
    there.call(NODE).arg("import").arg(&file).output_within(Duration::from_secs(600)).await.expect_code(0);
    let here = Datadir::joined(NODE, chain).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let served_before = server.cpu_seconds().unwrap();

    let mut node = Call::sync(NODE, here.path(), &[server.address()]).start();
    let (mut peak, mut cpu) = (0, 0.0);
    while node.is_running() {
        peak = node.peak_rss_kib().unwrap_or(peak).max(peak);
        cpu = node.cpu_seconds().unwrap_or(cpu);
        tokio::time::sleep(SAMPLE).await;
    }
    let report = node.exit(Duration::from_secs(1)).await.expect_code(0).json();
    let served = server.cpu_seconds().unwrap() - served_before;
    let by_run = if run { Some(sync_by_run(&server.address(), blocks).await) } else { None };
    server.stop().await;
    assert_eq!(report["blocks"], blocks, "{report}");
    assert_eq!(here.tip(NODE).await, there.tip(NODE).await);
    println!(
        "sync of {blocks} blocks, {TXS} transactions each: {:.0} blocks/s in {:.2} s; \
         syncing node: peak {:.1} MiB, {cpu:.2} s of CPU; serving node: {served:.2} s of CPU",
        report["blocks_per_second"].as_f64().unwrap(),
        report["seconds"].as_f64().unwrap(),
        f64::from(u32::try_from(peak).unwrap()) / 1024.0,
    );
    if let Some((run_cpu, run_peak)) = by_run {
        println!(
            "by `run`, with the index of transactions: {run_cpu:.2} s of CPU, {:.3} of the above; peak {:.1} MiB",
            run_cpu / cpu,
            f64::from(u32::try_from(run_peak).unwrap()) / 1024.0,
        );
    }
}

/// Syncs by `run`, until the chain is there and every transaction of it is found. Gives processor time and most memory.
async fn sync_by_run(server: &str, blocks: usize) -> (f64, u64) {
    let here = Datadir::joined(NODE, Chain::mainline()).await;
    let node = Process::run_with_peers(NODE, here.path(), &[server]).await;
    until(Duration::from_secs(600), "the whole chain", async || {
        (get(node.rpc_port(), "/status").await.json()["height"] == blocks - 1).then_some(())
    })
    .await;
    until(Duration::from_secs(60), "the index to be at the tip", async || {
        (get(node.rpc_port(), &format!("/tx/{}", "0".repeat(64))).await.status == 404).then_some(())
    })
    .await;
    let figures = (node.cpu_seconds().unwrap(), node.peak_rss_kib().unwrap());
    node.stop().await;
    figures
}

/// A file with the chain, made once and kept beside the build's other files.
fn chain_of(blocks: usize) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("chain-{blocks}.jsonl"));
    if !path.exists() {
        let chain = Chain::mainline();
        let more = blocks.saturating_sub(chain.lines.len());
        let chain = if more > 0 { extend(chain, more, TXS, 1000) } else { chain.up_to(blocks - 1) };
        let draft = path.with_extension("draft");
        fs::write(&draft, chain.text()).unwrap();
        fs::rename(draft, &path).unwrap();
    }
    path
}
