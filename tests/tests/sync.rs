//! Nodes that sync from nodes: processes, sockets and files, nothing scripted but where a fault is needed.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::process::{Call, Output, Process, Signal, free_port};
use cpc_tests::raw;
use cpc_tests::vectors::Chain;

const NODE: &str = cpc_tests::node_binary!();

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);

async fn sync(dir: &Datadir, peers: &[String]) -> Output {
    Call::sync(NODE, dir.path(), peers).output_within(SYNC).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_chain_goes_from_one_process_to_another_and_on_to_a_third() {
    let chain = Chain::mainline();
    let first = Datadir::holding(NODE, chain).await;
    let second = Datadir::joined(NODE, chain).await;
    let third = Datadir::joined(NODE, chain).await;

    let server = Process::run(NODE, first.path(), &[]).await;
    let output = sync(&second, &[server.address()]).await.expect_code(0);
    let report = output.json();
    assert_eq!(report["height"], chain.height());
    assert_eq!(report["tip_hash"], chain.tip_hash());
    assert_eq!(report["blocks"], chain.lines.len());
    assert_eq!(report["txs"], chain.txs_from(0));
    assert_eq!(report["rolled_back"], 0);
    let (seconds, rate) = (report["seconds"].as_f64().unwrap(), report["blocks_per_second"].as_f64().unwrap());
    assert!(seconds > 0.0 && seconds < output.took.as_secs_f64(), "{report}");
    let expected_rate = 1210.0 / seconds;
    assert!((rate / expected_rate - 1.0).abs() < 0.05, "{rate} is not 1210 / {seconds}");
    assert_eq!(output.stdout.lines().count(), 1, "one line on stdout: {output:?}");
    assert_eq!(second.tip(NODE).await, (chain.height(), chain.tip_hash().to_owned()));
    server.stop().await;

    let server = Process::run(NODE, second.path(), &[]).await;
    let report = sync(&third, &[server.address()]).await.expect_code(0).json();
    assert_eq!(report["tip_hash"], chain.tip_hash());
    server.stop().await;
    assert_eq!(third.export(NODE).await, first.export(NODE).await);
    rebuilds_to(&third, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_branch_is_taken_by_rolling_back_to_where_it_parts() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let here = Datadir::holding(NODE, fork).await;
    let there = Datadir::holding(NODE, branch).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let report = sync(&here, &[server.address()]).await.expect_code(0).json();
    assert_eq!(report["height"], 135);
    assert_eq!(report["tip_hash"], branch.tip_hash());
    assert_eq!(report["rolled_back"], 20, "120 down to 100: {report}");
    server.stop().await;
    assert_eq!(here.export(NODE).await, there.export(NODE).await);
    rebuilds_to(&here, branch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_branch_costs_nothing() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    for height in [101, 119, 120] {
        let here = Datadir::holding(NODE, fork).await;
        let before = here.export(NODE).await;
        let there = Datadir::holding(NODE, &branch.up_to(height)).await;
        let server = Process::run(NODE, there.path(), &[]).await;
        let report = sync(&here, &[server.address()]).await.expect_code(0).json();
        assert_eq!(report["height"], 120, "a branch of {height}");
        assert_eq!(report["tip_hash"], fork.tip_hash());
        server.stop().await;
        assert_eq!(here.export(NODE).await, before);
        rebuilds_to(&here, fork).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_breaks_half_way_costs_nothing_and_the_own_chain_goes_on() {
    let (fork, branch) = (Chain::fork(), Chain::branch());
    let start = fork.up_to(118);
    // Broken below our own height, and above it.
    for broken_at in [105, 117, 119, 125] {
        let here = Datadir::holding(NODE, &start).await;
        let before = here.export(NODE).await;
        let mut lines = branch.lines.clone();
        lines[broken_at] = with_another_signature(&lines[broken_at]);
        let script = Script::modern(branch).answering(move |request| Answer::Blocks(cut(&lines, request)));
        let liar = Peer::listen(script).await;
        let output =
            Call::sync(NODE, here.path(), &[liar.address()]).args(["--timeout", "45"]).output_within(SYNC).await;
        let (height, hash) = here.tip(NODE).await;
        // A branch that is valid up to a block above our tip may be taken as far as it is valid.
        if broken_at > 119 && height == 124 {
            assert_eq!(hash, branch.hashes[124], "broken at {broken_at}: {output:?}");
            rebuilds_to(&here, &branch.up_to(124)).await;
            continue;
        }
        assert_eq!((height, hash.as_str()), (118, start.tip_hash()), "broken at {broken_at}: {output:?}");
        assert!(output.says_any(&["signature"]), "the fault is named: {output:?}");
        assert_eq!(here.export(NODE).await, before);
        here.import(NODE, fork).await;
        assert_eq!(here.tip(NODE).await, (120, fork.tip_hash().to_owned()));
        rebuilds_to(&here, fork).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_killed_at_any_time_goes_on_from_what_was_kept() {
    let chain = Chain::mainline();
    let there = Datadir::holding(NODE, chain).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let here = Datadir::joined(NODE, chain).await;
    let mut kept = 0;
    for delay in [20, 60, 120, 180, 240] {
        let node = Call::sync(NODE, here.path(), &[server.address()]).start();
        // Not a wait for anything: the kill shall come at whatever the node is doing then.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        node.kill().await;
        let status = here.status(NODE).await;
        if let Some(height) = status["height"].as_u64() {
            assert!(height >= kept, "lost {kept} and has {height}");
            assert_eq!(status["tip_hash"], chain.hashes[usize::try_from(height).unwrap()].as_str());
            kept = height;
        }
    }
    let report = sync(&here, &[server.address()]).await.expect_code(0).json();
    assert_eq!(report["tip_hash"], chain.tip_hash());
    rebuilds_to(&here, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_frozen_for_a_while_only_delays_the_sync() {
    let chain = Chain::mainline();
    let there = Datadir::holding(NODE, chain).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let here = Datadir::joined(NODE, chain).await;
    let mut node = Call::sync(NODE, here.path(), &[server.address()]).start();
    server.signal(Signal::Stop);
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.signal(Signal::Cont);
    let report = node.exit(SYNC).await.expect_code(0).json();
    assert_eq!(report["tip_hash"], chain.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_replaced_in_mid_sync_is_dialled_again() {
    let chain = Chain::mainline();
    let short = Peer::listen(Script::modern(chain).answering(|request| {
        if request.nth == 0 { Answer::Blocks(cut(&Chain::mainline().lines[..=300], request)) } else { Answer::Close }
    }))
    .await;
    let here = Datadir::joined(NODE, chain).await;
    let mut node = Call::sync(NODE, here.path(), &[short.address()]).args(["--timeout", "50"]).start();
    short.wait(SYNC, "a second request", |_| (short.requests().len() >= 2).then_some(())).await;
    short.change(|script| script.answer = cpc_tests::peer::honest(Chain::mainline()));
    let report = node.exit(SYNC).await.expect_code(0).json();
    assert_eq!(report["tip_hash"], chain.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_whose_last_peer_goes_away_half_way_ends_with_1_and_says_how_far_it_came() {
    let chain = Chain::fork();
    let peer = Peer::listen(Script::modern(chain).answering(|request| {
        if request.nth == 0 { Answer::Blocks(cut(&Chain::fork().lines[..=40], request)) } else { Answer::Close }
    }))
    .await;
    let here = Datadir::joined(NODE, chain).await;
    let mut node = Call::sync(NODE, here.path(), &[peer.address()]).start();
    peer.wait(SYNC, "a second request", |_| (peer.requests().len() >= 2).then_some(())).await;
    drop(peer);
    let output = node.exit(SYNC).await.expect_code(1);
    assert!(output.says_any(&["the last peer was lost at height 40 of 120"]), "{output:?}");
    assert_eq!(here.tip(NODE).await, (40, chain.hashes[40].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_genesis_is_refused_with_the_reason_in_our_log() {
    let here = Datadir::holding(NODE, &Chain::fork().up_to(10)).await;
    let there = Datadir::holding(NODE, &Chain::mainline().up_to(20)).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let output = Call::sync(NODE, here.path(), &[server.address()]).args(["--timeout", "20"]).output().await;
    let output = output.expect_code(1);
    assert!(output.says_any(&["genesis"]), "{output:?}");
    assert_eq!(here.tip(NODE).await, (10, Chain::fork().hashes[10].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_network_is_refused_with_the_reason_in_our_log() {
    let here = Datadir::holding(NODE, &Chain::fork().up_to(10)).await;
    let mut script = Script::modern(Chain::fork());
    script.hello.network = "testnet".to_owned();
    let peer = Peer::listen(script).await;
    let output = Call::sync(NODE, here.path(), &[peer.address()]).args(["--timeout", "20"]).output().await;
    let output = output.expect_code(1);
    assert!(output.says_any(&["testnet"]), "the log names the peer's network: {output:?}");
    assert!(peer.requests().is_empty(), "nothing is asked of it");
    peer.closed(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_with_nobody_there_ends_with_1_and_names_the_address() {
    let here = Datadir::joined(NODE, Chain::fork()).await;
    let nobody = format!("127.0.0.1:{}", free_port());
    let output = Call::sync(NODE, here.path(), std::slice::from_ref(&nobody)).output_within(SYNC).await.expect_code(1);
    assert!(output.stderr.contains(&nobody), "{output:?}");
    assert!(output.took < Duration::from_secs(40), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_ends_with_0_where_no_peer_is_ahead() {
    let chain = Chain::fork();
    let here = Datadir::holding(NODE, chain).await;
    let there = Datadir::holding(NODE, &chain.up_to(50)).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let output = sync(&here, &[server.address()]).await.expect_code(0);
    assert_eq!(output.json()["height"], 120);
    assert_eq!(output.json()["blocks"], 0);
    assert!(output.took < Duration::from_secs(15), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_cannot_reach_a_checkpoint_ends_with_1_and_names_what_was_offered() {
    let (here, chain) = (Datadir::joined(NODE, Chain::fork()).await, Chain::fork());
    let there = Datadir::holding(NODE, chain).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let after: serde_json::Value = serde_json::from_str(&chain.lines[101]).unwrap();
    let (expected, offered) = ("05".repeat(32), after["header"]["prev_hash"].as_str().unwrap());
    let call = Call::sync(NODE, here.path(), &[server.address()]).arg("--checkpoint").arg(format!("100:{expected}"));
    let output = call.output_within(SYNC).await.expect_code(1);
    for says in ["height 100", expected.as_str(), offered, "new datadir"] {
        assert!(output.stderr.contains(says), "no {says:?}: {output:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_ends_a_sync_that_gets_nowhere() {
    let here = Datadir::joined(NODE, Chain::fork()).await;
    // It takes connections and says nothing.
    let mut script = Script::legacy(Chain::fork());
    script.greets = false;
    let peer = Peer::listen(script).await;
    let output = Call::sync(NODE, here.path(), &[peer.address()]).args(["--timeout", "3"]).output_within(SYNC).await;
    let output = output.expect_code(1);
    assert!(output.took < Duration::from_secs(9), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_follows_another_that_gets_new_blocks() {
    let chain = Chain::fork();
    let there = Datadir::holding(NODE, &chain.up_to(60)).await;
    let here = Datadir::joined(NODE, chain).await;
    let server = Process::run(NODE, there.path(), &[]).await;
    let node = Process::run_with_peers(NODE, here.path(), &[server.address()]).await;
    raw::reaches(&node, 60, SYNC).await;
    let producer = Peer::dial(server.port(), Script::legacy(&chain.up_to(60))).await;
    producer.message(raw::PROMPT, "a handshake", cpc_tests::wire::Received::greeting).await;
    for height in 61..=65 {
        producer.send(&cpc_tests::wire::new_block(&chain.lines[height])).await;
    }
    assert_eq!(raw::reaches(&node, 65, raw::PROMPT).await, chain.hashes[65]);
    node.stop().await;
    server.stop().await;
}

/// The state recomputed from the stored blocks fits every root, up to the tip of `chain`.
async fn rebuilds_to(dir: &Datadir, chain: &Chain) {
    let node = Process::run(NODE, dir.path(), &["--rebuild-state"]).await;
    assert_eq!(raw::reaches(&node, i64::try_from(chain.height()).unwrap(), SYNC).await, chain.tip_hash());
    node.stop().await;
    assert_eq!(dir.tip(NODE).await, (chain.height(), chain.tip_hash().to_owned()));
}

/// The same block with one digit of its own signature changed.
fn with_another_signature(line: &str) -> String {
    let key = r#""pq_signature":""#;
    let at = line.find(key).unwrap() + key.len() + 20;
    let digit = if &line[at..=at] == "0" { "1" } else { "0" };
    format!("{}{digit}{}", &line[..at], &line[at + 1..])
}
