//! The pool of a process: kept over its death, and told to peers who come late.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_framework::types::Transaction;
use cpc_tests::crowd::Crowd;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::Process;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Received};

const NODE: &str = cpc_tests::node_binary!();
/// For the whole of a wait: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn send(node: &Process, tx: &Transaction) {
    let answer = http::post(node.rpc_port(), "/tx/send", &serde_json::to_string(tx).unwrap()).await.expect(200);
    assert_eq!(answer.json()["status"], "received", "{}", answer.json());
}

/// Waits until so many transactions are in the pool.
async fn pooled(node: &Process, wanted: u64) {
    until(PATIENCE, &format!("{wanted} transactions in the pool"), async || {
        let pool = http::get(node.rpc_port(), "/mempool?limit=1").await.expect(200).json();
        (pool["size"].as_u64() == Some(wanted)).then_some(())
    })
    .await;
}

/// Waits until the pool's file has more bytes than this. Gives how many.
async fn saved(dir: &Datadir, before: u64) -> u64 {
    until(PATIENCE, "a larger file", async || {
        let bytes = std::fs::metadata(dir.path().join("mempool.bin")).map_or(0, |file| file.len());
        (bytes > before).then_some(bytes)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_time_after_a_start_loses_nothing_of_the_saved_pool() {
    const TXS: u64 = 50;
    let crowd = Crowd::new(2);
    let dir = Datadir::holding(NODE, &crowd.chain(&vec![Vec::new(); 3])).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    for nonce in 0..TXS {
        send(&node, &crowd.transfer(0, nonce)).await;
    }
    node.stop().await;
    // Not to wait for anything: while it is verified, and after that.
    for pause in [0, 20, 300] {
        let node = Process::run(NODE, dir.path(), &[]).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        node.kill().await;
    }
    // In order, but at once.
    Process::run(NODE, dir.path(), &[]).await.stop().await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    pooled(&node, TXS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_since_the_start_is_written_soon_and_survives_a_kill() {
    let crowd = Crowd::new(2);
    let dir = Datadir::holding(NODE, &crowd.chain(&vec![Vec::new(); 3])).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let mut bytes = 0;
    for nonce in 0..2 {
        send(&node, &crowd.transfer(0, nonce)).await;
        bytes = saved(&dir, bytes).await;
    }
    assert!(node.age() < Duration::from_secs(50), "written only once a minute");
    node.kill().await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    pooled(&node, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_peer_that_comes_late_is_sent_each_transaction_once_it_can_execute_it() {
    let crowd = Crowd::new(2);
    let txs = [0, 1].map(|nonce| crowd.transfer(1, nonce));
    let longer = crowd.chain(&[vec![], vec![], vec![], vec![txs[0].clone()]]);
    let chain: Chain = longer.up_to(2);
    let dir = Datadir::holding(NODE, &chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    for tx in &txs {
        send(&node, tx).await;
    }
    // From the file, too.
    node.stop().await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    pooled(&node, 2).await;
    let legacy = Peer::dial(node.port(), Script::legacy(&longer)).await;
    let is = |tx: &Transaction| {
        let signature = tx.signature.text().into_owned();
        move |message: &Received| (message.kind == "new_tx" && message.payload.contains(&*signature)).then_some(())
    };
    legacy.message(PATIENCE, "the first", is(&txs[0])).await;
    legacy.send(&wire::new_block(longer.lines.last().unwrap())).await;
    legacy.message(PATIENCE, "the second, now that it can be executed", is(&txs[1])).await;
    assert_eq!(legacy.received("new_tx").len(), 2);
}
