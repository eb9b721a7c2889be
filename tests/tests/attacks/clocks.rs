//! Row 25: clocks that differ.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cpc_framework::rules::Hasher;
use cpc_framework::types::Genesis;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::maker::Maker;
use cpc_tests::network::{genesis, params, validator_key};
use cpc_tests::peer::{Peer, Script, honest as serving};
use cpc_tests::process::Process;
use cpc_tests::raw::PROMPT;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Received};
use serde_json::json;
use tempfile::TempDir;

use crate::{NODE, SYNC};

/// How far ahead of our clock a block may be, in seconds.
const AHEAD: u64 = 15;

/// How old the last block of a fresh [`Timed`] is, in seconds.
const AGE: u64 = 80;

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A network of our own, whose lone validator has any clock that we like.
struct Timed {
    _dir: TempDir,
    genesis: Genesis,
    maker: Maker,
    chain: Chain,
}

impl Timed {
    /// With blocks 0 to 20.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (genesis, file) = (genesis(1, 0, params()), dir.path().join("genesis.json"));
        std::fs::write(&file, genesis.to_json()).unwrap();
        let first = unix_now() - AGE - 20;
        let chain = Chain { genesis: file, lines: Vec::new(), hashes: Vec::new(), txs: Vec::new() };
        let mut timed = Self { maker: Maker::new(&genesis, validator_key(0), first), genesis, chain, _dir: dir };
        for height in 0..=20 {
            timed.push(first + height);
        }
        timed
    }

    /// One block more, of this time.
    fn push(&mut self, timestamp: u64) {
        self.maker.wait_until(timestamp);
        let block = self.maker.block(Vec::new());
        assert_eq!(block.header.timestamp, timestamp);
        self.chain.lines.push(serde_json::to_string(&block).unwrap());
        let hash = Hasher::new(&self.genesis).hash_block(Arc::new(block)).link.hash;
        self.chain.hashes.push(hash.to_string());
        self.chain.txs.push(0);
    }

    /// A peer with all of it.
    fn script(&self) -> Script {
        let mut script = Script::modern(&self.chain);
        script.hello.network.clone_from(&self.genesis.network);
        script
    }

    /// The last block, as news of `peer`, which has all of it from now on.
    async fn announce(&self, peer: &Peer) {
        let Script { hello, .. } = self.script();
        peer.change(|script| {
            script.answer = serving(&self.chain);
            script.hello = hello;
        });
        peer.send(&wire::new_block(self.chain.lines.last().unwrap())).await;
    }

    /// A node that holds it.
    async fn held(&self) -> (Datadir, Process) {
        let dir = Datadir::holding(NODE, &self.chain).await;
        let node = Process::run(NODE, dir.path(), &[]).await;
        (dir, node)
    }
}

async fn reaches(node: &Process, chain: &Chain) {
    until(SYNC, &format!("block {}", chain.height()), async || {
        let status = http::get(node.rpc_port(), "/status").await.expect(200).json();
        (status["last_hash"] == chain.tip_hash()).then_some(())
    })
    .await;
}

async fn nobody_is_blamed(node: &Process) {
    let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    assert_eq!((&shown["penalties"], &shown["banned"]), (&json!([]), &json!(0)));
    assert!(shown["peers"].as_array().unwrap().iter().all(|peer| peer["score"] == 0), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_25_a_block_up_to_15_s_ahead_is_taken_and_a_clock_that_is_10_s_behind_is_warned_of() {
    let mut timed = Timed::new();
    let (_dir, node) = timed.held().await;
    let peer = Peer::dial(node.port(), timed.script()).await;
    peer.message(PROMPT, "a handshake", Received::greeting).await;
    timed.push(unix_now() + AHEAD - 1);
    timed.announce(&peer).await;
    reaches(&node, &timed.chain).await;
    let line = node.line("check the time of this machine", PROMPT).await;
    let seconds: u64 =
        line.split("our clock is ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
    assert!((11..AHEAD).contains(&seconds) && line.contains("behind"), "{line}");
    nobody_is_blamed(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_25_a_block_further_ahead_waits_without_blame_and_is_then_taken() {
    let mut timed = Timed::new();
    let (_dir, node) = timed.held().await;
    let early = Peer::dial_from("127.0.0.2", node.port(), timed.script()).await;
    early.message(PROMPT, "a handshake", Received::greeting).await;
    let time = unix_now() + AHEAD + 5;
    timed.push(time);
    timed.announce(&early).await;
    node.line("timestamp ahead of the clock", SYNC).await;
    nobody_is_blamed(&node).await;
    reaches(&node, &timed.chain).await;
    assert!(unix_now() + AHEAD >= time, "taken when it was more than {AHEAD} s ahead");
    // It is asked for once in five seconds, not again and again.
    assert!(early.requests().len() <= 10, "{:?}", early.requests());
    nobody_is_blamed(&node).await;
    assert_eq!(early.open_connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_25_an_honest_peer_syncs_the_node_while_others_send_blocks_of_the_future() {
    let mut timed = Timed::new();
    let (_dir, node) = timed.held().await;
    let early = Peer::dial_from("127.0.0.2", node.port(), timed.script()).await;
    early.message(PROMPT, "a handshake", Received::greeting).await;
    // The same validator, with a clock that is right: blocks 21 to 25.
    let mut right =
        Timed { maker: Maker::new(&timed.genesis, validator_key(0), unix_now() - AGE - 20), ..Timed::new() };
    right.chain = Chain { lines: Vec::new(), hashes: Vec::new(), txs: Vec::new(), ..timed.chain.clone() };
    for line in &timed.chain.lines {
        let block: cpc_framework::types::Block = serde_json::from_str(line).unwrap();
        right.push(block.header.timestamp);
    }
    assert_eq!(right.chain.hashes, timed.chain.hashes);
    for ago in (0..5).rev() {
        right.push(unix_now() - 10 - ago);
    }
    timed.push(unix_now() + 3600);
    timed.announce(&early).await;
    node.line("timestamp ahead of the clock", SYNC).await;
    let honest = Peer::dial(node.port(), right.script()).await;
    reaches(&node, &right.chain).await;
    assert_eq!((honest.open_connections(), early.open_connections()), (1, 1));
    nobody_is_blamed(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_25_a_clock_that_is_10_s_ahead_is_warned_of_once_three_blocks_in_a_row_are_late() {
    const BETWEEN: Duration = Duration::from_millis(1100);
    let mut timed = Timed::new();
    let (_dir, node) = timed.held().await;
    let peer = Peer::dial(node.port(), timed.script()).await;
    peer.message(PROMPT, "a handshake", Received::greeting).await;
    for late in [32, 31, 30] {
        assert!(!node.stderr().contains("our clock is"), "two may have been on their way for long");
        timed.push(unix_now() - late);
        timed.announce(&peer).await;
        reaches(&node, &timed.chain).await;
        // As far apart as blocks are that come as they are made.
        tokio::time::sleep(BETWEEN).await;
    }
    let line = node.line("check the time of this machine", PROMPT).await;
    assert!(line.contains("ahead of the proposers'"), "{line}");
    nobody_is_blamed(&node).await;
}
