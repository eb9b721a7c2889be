//! A validator's process that is killed at any moment.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cpc_codecs::JsonCodec;
use cpc_framework::node::NodeBuilder;
use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::{Genesis, Hash32, NetworkParams};
use cpc_tests::network::{genesis, params, reaches, validator_key};
use cpc_tests::peer::{Answer, Peer, Script};
use cpc_tests::process::Process;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{Hello, Received};
use cpc_transports::TcpTransport;

const NODE: &str = cpc_tests::node_binary!();
/// For the whole of a wait: blocks come every second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the validator is killed.
const KILLS: usize = 6;

/// What `signed.json` says.
#[derive(Debug, serde::Deserialize, PartialEq, Eq)]
struct Signed {
    height: u64,
    round: u64,
    hash: Hash32,
}

fn signed(datadir: &Path) -> Option<Signed> {
    let text = std::fs::read(datadir.join("signed.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_killed_at_any_moment_goes_on_and_never_signs_twice() {
    let genesis = genesis(1, 1, params());
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path();
    std::fs::write(datadir.join("genesis.json"), genesis.to_json()).unwrap();
    std::fs::write(datadir.join("validator_key.hex"), validator_key(0).to_hex()).unwrap();
    let link = NodeBuilder::new(genesis).link(TcpTransport::default(), JsonCodec, "127.0.0.1:0");
    let follower = link.start().await.unwrap();
    // A follower keeps one block of each height; this one writes down whatever is sent.
    let witness = Peer::listen(witness()).await;
    let peers = [follower.listening()[0].address.clone(), witness.address()];

    let mut random = Messages::from_printed_seed();
    let mut last: Option<Signed> = None;
    for _ in 0..KILLS {
        let before = follower.status().tip.map_or(0, |tip| tip.height);
        let node = Process::run_with_peers(NODE, datadir, &peers).await;
        reaches(&follower, PATIENCE, "another block", |s| s.tip.is_some_and(|tip| tip.height > before)).await;
        // Not to wait for anything: so that the kill comes at any moment of a block's making.
        tokio::time::sleep(Duration::from_millis(random.below(2000) as u64)).await;
        node.kill().await;
        let now = signed(datadir).expect("blocks were made, so something was signed");
        let tip = follower.status().tip.unwrap();
        assert!(now.height >= tip.height, "{tip:?} was sent before it was on record: {now:?}");
        assert!(now.height > tip.height || now.hash == tip.hash, "{now:?} and {tip:?} have one height");
        if let Some(last) = &last {
            assert!((now.height, now.round) > (last.height, last.round) || now == *last, "{now:?} after {last:?}");
        }
        last = Some(now);
    }
    let node = Process::run_with_peers(NODE, datadir, &peers).await;
    let height = follower.status().tip.unwrap().height;
    let status =
        reaches(&follower, PATIENCE, "two more blocks", |s| s.tip.is_some_and(|tip| tip.height >= height + 2)).await;
    assert_eq!(status.rolled_back, 0, "no block that was sent was ever replaced by another one");
    node.stop().await.expect_code(0);
    follower.shutdown().await;
    let sent = witness.received("new_block");
    let mut by_height = BTreeMap::<u64, String>::new();
    for block in sent.iter().filter_map(Received::block) {
        let first = by_height.entry(block.height).or_insert_with(|| block.text.clone());
        assert_eq!(*first, block.text, "two blocks of height {} were sent", block.height);
    }
    assert!(by_height.len() > KILLS, "the witness heard of {} blocks only", by_height.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_block_that_was_signed_and_lost_is_made_again_as_it_was() {
    // No block after the first one, so that it stays the last one signed.
    let genesis = genesis(1, 1, NetworkParams { block_time: 3600, ..params() });
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path();
    std::fs::write(datadir.join("genesis.json"), genesis.to_json()).unwrap();
    std::fs::write(datadir.join("validator_key.hex"), validator_key(0).to_hex()).unwrap();
    let node = |genesis: &Genesis| {
        NodeBuilder::new(genesis.clone()).link(TcpTransport::default(), JsonCodec, "127.0.0.1:0").start()
    };
    let first = node(&genesis).await.unwrap();
    let validator = Process::run_with_peers(NODE, datadir, &[first.listening()[0].address.clone()]).await;
    reaches(&first, PATIENCE, "the first block", |status| status.tip.is_some()).await;
    validator.kill().await;
    let record = signed(datadir).unwrap();
    assert_eq!((record.height, Some(record.hash)), (0, first.status().tip.map(|tip| tip.hash)));
    first.shutdown().await;

    // What a crash leaves between the journal and the commit: a record, and an empty chain.
    for lost in ["chain", "tx_index"] {
        std::fs::remove_dir_all(datadir.join(lost)).unwrap();
    }
    // Made anew, the block would have another time.
    let made = std::fs::metadata(datadir.join("signed.json")).unwrap().modified().unwrap();
    tokio::time::sleep(Duration::from_secs(2).saturating_sub(made.elapsed().unwrap_or_default())).await;
    let second = node(&genesis).await.unwrap();
    let validator = Process::run_with_peers(NODE, datadir, &[second.listening()[0].address.clone()]).await;
    let status = reaches(&second, PATIENCE, "the first block", |status| status.tip.is_some()).await;
    assert_eq!(status.tip.map(|tip| tip.hash), Some(record.hash), "another block 0 than the one signed before");
    assert_eq!(signed(datadir), Some(record));
    validator.stop().await.expect_code(0);
    second.shutdown().await;
}

/// A node of the same network, without a block, that wants news in full.
fn witness() -> Script {
    let chain = Chain::fork();
    let mut script = Script::modern(chain).answering(|_| Answer::Blocks(Vec::new()));
    script.hello = Hello { network: "local".to_owned(), ..script.hello.without_blocks() };
    script
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_of_what_was_signed_stops_the_validator_with_a_word_about_it() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path();
    std::fs::write(datadir.join("genesis.json"), genesis(1, 1, params()).to_json()).unwrap();
    std::fs::write(datadir.join("validator_key.hex"), validator_key(0).to_hex()).unwrap();
    std::fs::write(datadir.join("signed.json"), "{\"height\":").unwrap();
    let output =
        cpc_tests::process::Call::at(NODE, datadir).args(["run", "--p2p-port", "0", "--port", "0"]).output().await;
    assert!(output.says_any(&["signed.json is damaged"]), "{output:?}");
}
