//! Links other than the reference's, from process to process: QUIC and TCP, JSON and postcard, several in one node.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Process, Signal, free_port};
use cpc_tests::raw::{self, PROMPT};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Received};
use tokio::sync::OnceCell;

const NODE: &str = cpc_tests::node_binary!();

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);

/// Within so long `sync` gives up where it is refused.
const REFUSED: Duration = Duration::from_secs(5);

/// A copy of a datadir that holds mainline.
async fn mainline() -> Datadir {
    static HELD: OnceCell<Datadir> = OnceCell::const_new();
    HELD.get_or_init(|| Datadir::holding(NODE, Chain::mainline())).await.copy()
}

/// `sync` at `dir` over `link` from `server`.
fn sync(dir: &Datadir, link: &str, server: &Process, listens_on: &str) -> Call {
    Call::sync_over(NODE, dir.path(), link, &[&format!("127.0.0.1:{}", server.port_of(listens_on))])
}

async fn syncs_mainline_and_serves_it_on(link: &str, listen: &str) {
    let chain = Chain::mainline();
    let (first, second, third) =
        (mainline().await, Datadir::joined(NODE, chain).await, Datadir::joined(NODE, chain).await);
    let server = Process::run_over(NODE, first.path(), &[listen], &[]).await;
    let report = sync(&second, link, &server, listen).output_within(SYNC).await.expect_code(0).json();
    assert_eq!(
        (report["height"].as_u64(), report["tip_hash"].as_str()),
        (Some(chain.height()), Some(chain.tip_hash()))
    );
    server.stop().await;

    // The state is right too: it is computed again from the blocks, and every root checked.
    let server = Process::run_over(NODE, second.path(), &[listen], &["--rebuild-state"]).await;
    sync(&third, link, &server, listen).output_within(SYNC).await.expect_code(0);
    server.stop().await;
    assert_eq!(third.export(NODE).await, first.export(NODE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_over_quic_and_postcard_syncs_mainline_and_serves_it_on() {
    syncs_mainline_and_serves_it_on("quic+postcard", "quic+postcard").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_over_quic_and_json_syncs_mainline_and_serves_it_on() {
    syncs_mainline_and_serves_it_on("quic+json", "quic+json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_over_tcp_and_postcard_syncs_mainline_and_serves_it_on() {
    syncs_mainline_and_serves_it_on("tcp+postcard", "tcp+postcard").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auto_link_serves_mainline_in_json_and_is_dialled_in_postcard_too() {
    syncs_mainline_and_serves_it_on("tcp+auto", "tcp+auto").await;
    syncs_mainline_and_serves_it_on("tcp+postcard", "tcp+auto").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transport_quic_alone_is_quic_with_postcard_and_shows_its_full_address() {
    let dir = mainline().await;
    let id = dir.node_id(NODE).await;
    let port = free_port();
    let mut node = dir
        .call(NODE)
        .args(["run", "--transport", "quic", "--p2p-host", "127.0.0.1", "--p2p-port", &port.to_string()])
        .args(["--port", &free_port().to_string()])
        .start();
    node.listening(port).await;
    let address = format!("quic+postcard://{id}@127.0.0.1:{port}");
    node.line(&address, PROMPT).await;

    // What it shows can be dialled as it stands, also by a node whose default link is another one.
    let here = Datadir::joined(NODE, Chain::mainline()).await;
    let links = ["--listen", "tcp+json://127.0.0.1:0", "--listen", "quic+postcard://127.0.0.1:0"];
    let output =
        here.call(NODE).args(["sync", "--peers", &address]).args(links).output_within(SYNC).await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], Chain::mainline().tip_hash());
    node.line(&format!("{}@", here.node_id(NODE).await), PROMPT).await;
    assert_eq!(here.read("peers.json").trim(), format!("[\"{address}\"]"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_key_is_made_where_it_is_missing_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let file = dir.path().join("node_key.hex");
    std::fs::remove_file(&file).unwrap();
    assert!(dir.status(NODE).await["node_id"].is_null());
    let mut ids = Vec::new();
    for _ in 0..2 {
        Process::run_over(NODE, dir.path(), &["quic+postcard"], &[]).await.stop().await;
        ids.push(dir.node_id(NODE).await);
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_another_key_than_the_pinned_one_is_refused_at_once() {
    let (there, here) = (mainline().await, Datadir::joined(NODE, Chain::mainline()).await);
    let (right, wrong) = (there.node_id(NODE).await, here.node_id(NODE).await);
    let server = Process::run_over(NODE, there.path(), &["quic+postcard"], &[]).await;
    let at = format!("127.0.0.1:{}", server.port());
    let call = Call::sync_over(NODE, here.path(), "quic+postcard", &[&format!("{wrong}@{at}")]);
    let output = call.output_within(REFUSED).await.expect_code(1);
    assert!(output.stderr.contains(&right) && output.stderr.contains(&wrong), "both keys are named: {output:?}");
    assert!(here.status(NODE).await["height"].is_null());
    server.line("another node was meant", PROMPT).await;
    Call::sync_over(NODE, here.path(), "quic+postcard", &[&format!("{right}@{at}")])
        .output_within(SYNC)
        .await
        .expect_code(0);
}

async fn refuses_the_other_codec_by_name(transport: &str, ours: &str, theirs: &str) {
    let (there, here) = (mainline().await, Datadir::joined(NODE, Chain::mainline()).await);
    let listen = format!("{transport}+{theirs}");
    let server = Process::run_over(NODE, there.path(), &[&listen], &[]).await;
    let output =
        sync(&here, &format!("{transport}+{ours}"), &server, &listen).output_within(REFUSED).await.expect_code(1);
    let error = output.stderr.lines().last().unwrap();
    assert!(error.contains(ours) && error.contains(theirs), "{output:?}");
    let both = |line: &str| {
        // The line about listening names the link, not the refusal.
        !line.contains("listening") && line.contains(ours) && line.contains(theirs)
    };
    server.line_where("a line that names both codecs", Duration::from_secs(1), both).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_mismatch_over_quic_ends_a_sync_with_both_named() {
    refuses_the_other_codec_by_name("quic", "json", "postcard").await;
    refuses_the_other_codec_by_name("quic", "postcard", "json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_mismatch_over_tcp_ends_a_sync_with_both_named() {
    refuses_the_other_codec_by_name("tcp", "json", "postcard").await;
    refuses_the_other_codec_by_name("tcp", "postcard", "json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_over_a_link_that_the_node_does_not_have_is_an_error_at_the_start() {
    let here = Datadir::joined(NODE, Chain::fork()).await;
    for command in ["run", "sync"] {
        let call = here.call(NODE).args([command, "--p2p-port", "0", "--peers", "quic+postcard://127.0.0.1:9"]);
        let output = call.output_within(REFUSED).await.expect_code(1);
        assert!(output.stderr.contains("quic+postcard") && output.stderr.contains("tcp+json"), "{output:?}");
        assert!(output.stderr.contains("--listen"), "it says what to do: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_peer_over_a_link_that_the_node_does_not_have_is_skipped_and_kept() {
    let here = Datadir::joined(NODE, Chain::fork()).await;
    let saved = "[\"127.0.0.1:9\",\"quic+postcard://127.0.0.1:9\"]\n";
    std::fs::write(here.path().join("peers.json"), saved).unwrap();
    let node = Process::run_over(NODE, here.path(), &["tcp+json"], &[]).await;
    node.line("quic+postcard://127.0.0.1:9", PROMPT).await;
    node.stop().await;
    assert_eq!(here.read("peers.json"), saved);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_peer_is_saved_with_the_link_that_it_came_by() {
    let chain = Chain::fork();
    let (there, here) = (Datadir::holding(NODE, chain).await, Datadir::holding(NODE, chain).await);
    let both = ["tcp+json", "quic+postcard"];
    let id = here.node_id(NODE).await;
    let server = Process::run_over(NODE, there.path(), &both, &[]).await;
    let address = format!("quic+postcard://127.0.0.1:{}", server.port_of("quic+postcard"));
    let node = Process::run_over(NODE, here.path(), &both, &["--peers", &address]).await;
    let expected = format!("[\"quic+postcard://{id}@127.0.0.1:{}\"]\n", node.port_of("quic+postcard"));
    // It is dialled back once, to see whether it listens where it says.
    cpc_tests::deadline::until(SYNC, "the peer in peers.json", async || {
        std::fs::read_to_string(there.path().join("peers.json")).ok().filter(|saved| *saved == expected)
    })
    .await;
    node.stop().await;
    server.stop().await;
    assert_eq!(here.read("peers.json").trim(), format!("[\"{address}\"]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auto_link_serves_a_json_peer_and_a_postcard_node_at_once() {
    let chain = Chain::fork();
    let there = Datadir::holding(NODE, &chain.up_to(60)).await;
    let here = Datadir::joined(NODE, chain).await;
    let server = Process::run_over(NODE, there.path(), &["tcp+auto"], &[]).await;
    let peer = format!("tcp+postcard://{}", server.address());
    let node = Process::run_over(NODE, here.path(), &["tcp+json", "tcp+postcard"], &["--peers", &peer]).await;
    node.line("SYNCED height=60", SYNC).await;
    let producer = Peer::dial(server.port(), Script::modern(&chain.up_to(60))).await;
    producer.message(PROMPT, "a handshake", Received::greeting).await;
    for height in 61..=65 {
        producer.send(&wire::new_block(&chain.lines[height])).await;
    }
    assert_eq!(raw::reaches(&node, 65, PROMPT).await, chain.hashes[65]);
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_carries_blocks_and_transactions_between_json_and_quic_both_ways() {
    let chain = Chain::fork();
    let start = chain.up_to(60);
    let (here, there) = (Datadir::holding(NODE, &start).await, Datadir::holding(NODE, &start).await);
    let both = ["tcp+json", "quic+postcard"];
    let bridge = Process::run_over(NODE, here.path(), &both, &[]).await;
    let address = format!("quic+postcard://127.0.0.1:{}", bridge.port_of("quic+postcard"));
    let far = Process::run_over(NODE, there.path(), &both, &["--peers", &address]).await;
    far.line("link=quic+postcard", PROMPT).await;
    let python = Peer::dial(bridge.port_of("tcp+json"), Script::modern(&start)).await;
    let beyond = Peer::dial(far.port_of("tcp+json"), Script::modern(&start)).await;
    for peer in [&python, &beyond] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }

    let of_height = |height| move |message: &Received| message.block().filter(|block| block.height == height).map(drop);
    let is_tx = |message: &Received| (message.kind == "new_tx").then(|| message.payload.clone());
    // From the JSON side to the far side of QUIC ...
    python.send(&wire::new_tx(&chain.transactions(61)[0])).await;
    let seen = beyond.message(SYNC, "the transaction beyond the bridge", is_tx).await;
    assert!(seen.contains(&signature_of(&chain.transactions(61)[0])), "{seen}");
    python.send(&wire::new_block(&chain.lines[61])).await;
    beyond.message(SYNC, "the block beyond the bridge", of_height(61)).await;
    // ... and back.
    beyond.send(&wire::new_tx(&chain.transactions(62)[0])).await;
    let seen = python.message(SYNC, "the transaction on this side", is_tx).await;
    assert!(seen.contains(&signature_of(&chain.transactions(62)[0])), "{seen}");
    beyond.send(&wire::new_block(&chain.lines[62])).await;
    python.message(SYNC, "the block on this side", of_height(62)).await;

    bridge.stop().await;
    far.stop().await;
    for dir in [&here, &there] {
        assert_eq!(dir.tip(NODE).await, (62, chain.hashes[62].clone()));
    }
}

fn signature_of(tx: &str) -> String {
    let tx: serde_json::Value = serde_json::from_str(tx).unwrap();
    tx["signature"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_server_killed_in_mid_sync_and_started_again_ends_in_a_synced_node() {
    let chain = Chain::mainline();
    let there = mainline().await;
    for delay in [0, 60, 150] {
        let here = Datadir::joined(NODE, chain).await;
        let server = Process::run_over(NODE, there.path(), &["quic+postcard"], &[]).await;
        let links = server.links();
        let mut node = sync(&here, "quic+postcard", &server, "quic+postcard").start();
        node.line("connected", PROMPT).await;
        // Not a wait for anything: the kill shall come at whatever the two are doing then.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.kill().await;
        let server = Process::run_at(NODE, there.path(), links, &[]).await;
        let report = node.exit(SYNC).await.expect_code(0).json();
        assert_eq!(report["tip_hash"], chain.tip_hash(), "killed after {delay} ms");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_node_killed_in_mid_sync_goes_on_from_what_was_kept() {
    let chain = Chain::mainline();
    let (there, here) = (mainline().await, Datadir::joined(NODE, chain).await);
    let server = Process::run_over(NODE, there.path(), &["quic+postcard"], &[]).await;
    for delay in [0, 60, 150] {
        let node = sync(&here, "quic+postcard", &server, "quic+postcard").start();
        node.line("connected", PROMPT).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        node.kill().await;
    }
    let report = sync(&here, "quic+postcard", &server, "quic+postcard").output_within(SYNC).await.expect_code(0).json();
    assert_eq!(report["tip_hash"], chain.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quic_server_frozen_in_mid_sync_only_delays_it() {
    let chain = Chain::mainline();
    let there = mainline().await;
    let server = Process::run_over(NODE, there.path(), &["quic+postcard"], &[]).await;
    for delay in [0, 80] {
        let here = Datadir::joined(NODE, chain).await;
        let mut node = sync(&here, "quic+postcard", &server, "quic+postcard").start();
        node.line("connected", PROMPT).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.signal(Signal::Stop);
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.signal(Signal::Cont);
        assert_eq!(node.exit(SYNC).await.expect_code(0).json()["tip_hash"], chain.tip_hash());
    }
}
