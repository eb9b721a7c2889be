//! From start to end: timeouts, signals, and what is there afterwards.

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Process, Signal};
use cpc_tests::raw::{self, PROMPT};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Received;

use super::{NODE, SOON, refused};

#[tokio::test(flavor = "multi_thread")]
async fn status_changes_no_file() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let before = dir.files();
    assert_eq!(dir.status(NODE).await["height"], 3);
    assert!(dir.files() == before, "a file has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_may_be_as_long_as_anybody_likes() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    for timeout in ["1e9", "1e19"] {
        let output = dir.call(NODE).args(["sync", "--timeout", timeout]).output_within(SOON).await;
        refused(output, 1, &["no peer is known"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_of_a_sync_also_ends_the_rebuilding_of_the_state() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let args = ["sync", "--rebuild-state", "--timeout", "0.001", "--peers", "127.0.0.1:9"];
    refused(dir.call(NODE).args(args).output_within(SOON).await, 1, &["not synced within 0.001 s"]);
    assert_eq!(dir.tip(NODE).await, (120, chain.tip_hash().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn term_and_ctrl_c_end_a_node_in_order_within_five_seconds() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(20)).await;
    for signal in [Signal::Term, Signal::Int] {
        let mut node = Process::run(NODE, dir.path(), &[]).await;
        // With a peer that asks for blocks and does not read.
        let peer = Peer::dial(node.port(), Script::modern(Chain::fork())).await;
        peer.message(PROMPT, "a handshake", Received::greeting).await;
        node.signal(signal);
        node.exit(Duration::from_secs(5)).await.expect_code(0);
    }
    assert!(dir.status(NODE).await["tip_hash"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_node_at_once() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let mut node = Process::run(NODE, dir.path(), &[]).await;
    node.signal(Signal::Int);
    node.signal(Signal::Int);
    node.exit(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_works_right_after_a_kill() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let peer = Peer::dial(node.port(), Script::legacy(chain)).await;
    let height = raw::reaches(&node, 120, SOON).await;
    assert_eq!(height, chain.tip_hash());
    drop(peer);
    node.kill().await;
    let status = dir.status(NODE).await;
    assert_eq!(status["height"], 120, "what was told to a peer is there after a kill");
    assert_eq!(status["tip_hash"], chain.tip_hash());
    assert_eq!(status["genesis_hash"], chain.genesis_hash());
    let text = dir.call(NODE).arg("status").output().await.expect_code(0).stdout;
    for part in ["120", chain.tip_hash(), "devnet"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_state_is_the_same_and_the_chain_goes_on() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(100)).await;
    for _ in 0..2 {
        let node = Process::run(NODE, dir.path(), &["--rebuild-state"]).await;
        assert_eq!(raw::reaches(&node, 100, SOON).await, chain.hashes[100]);
        node.stop().await;
    }
    dir.import(NODE, chain).await;
    assert_eq!(dir.tip(NODE).await, (120, chain.tip_hash().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_memory_leaves_no_chain_behind() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    let output =
        Call::sync(NODE, dir.path(), &[peer.address()]).args(["--store", "memory"]).output().await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], chain.tip_hash());
    assert!(dir.status(NODE).await["height"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_were_reached_are_known_after_a_restart() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    Call::sync(NODE, dir.path(), &[peer.address()]).output().await.expect_code(0);
    let saved: Vec<String> = serde_json::from_str(&dir.read("peers.json")).unwrap();
    assert_eq!(saved, [peer.address()]);
    assert_eq!(dir.status(NODE).await["peers_known"], 1);
    let before = peer.openings().len();
    let _node = Process::run(NODE, dir.path(), &[]).await;
    peer.wait(SOON, "the saved peer to be dialled", |_| (peer.openings().len() > before).then_some(())).await;
}
