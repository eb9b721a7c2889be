//! Torn and short writes: files of which only a part is there.
//!
//! What a power cut may leave of writes that were not yet synced is a matter of the store alone, which loses nothing then
//! (`framework/src/store/file/tests/torn.rs`). Here a disk has lost more than it may, in the file of a node that was killed.

use std::fs;

use cpc_framework::testkit::messages::Messages;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Output, Process};
use cpc_tests::raw;
use cpc_tests::vectors::Chain;

use super::{NODE, PATIENCE, check, names_something_in, serves_nothing_wrong, validator};

/// What the store's engine reads and writes at a time, in bytes.
const PAGE: usize = 4096;
/// How many of the last pages count as those that were just written.
const LAST_PAGES: usize = 24;
/// How many damaged files of each kind there are.
const OF_EACH: usize = 3;

/// Pages of a file, or what there is of the last one.
fn pages(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(PAGE)
}

/// What became of the file, of which `earlier` is what it was some blocks before, and what to call that.
fn torn(kind: usize, whole: &[u8], earlier: &[u8], random: &mut Messages) -> (Vec<u8>, String) {
    let mut bytes = whole.to_vec();
    match kind {
        0 => {
            let at = random.below(whole.len());
            bytes.truncate(at);
            (bytes, format!("cut at byte {at}"))
        }
        1 => {
            let page = random.below(pages(whole));
            bytes.truncate(page * PAGE);
            (bytes, format!("cut at page {page}"))
        }
        2 => {
            let written: Vec<usize> = (0..pages(whole))
                .filter(|page| whole[page * PAGE..].iter().take(PAGE).any(|byte| *byte != 0))
                .collect();
            let last = &written[written.len().saturating_sub(LAST_PAGES)..];
            let (page, kept) = (last[random.below(last.len())], random.below(PAGE));
            let end = bytes.len().min((page + 1) * PAGE);
            bytes[page * PAGE + kept..end].fill(0);
            (bytes, format!("{kept} bytes of page {page}"))
        }
        _ => {
            let changed: Vec<usize> = (0..earlier.len() / PAGE)
                .filter(|page| earlier[page * PAGE..][..PAGE] != whole[page * PAGE..][..PAGE])
                .collect();
            let lost: Vec<usize> = changed.iter().copied().filter(|_| random.below(4) == 0).collect();
            for page in &lost {
                bytes[page * PAGE..][..PAGE].copy_from_slice(&earlier[page * PAGE..][..PAGE]);
            }
            (bytes, format!("pages {lost:?} of {} as they were before", changed.len()))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nodes_chain_with_a_part_missing_is_what_it_was_or_is_refused_with_the_way_out() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let mut images = Vec::new();
    for part in [&chain.up_to(70), chain] {
        let peer = Peer::listen(Script::modern(part)).await;
        let node = Process::run(NODE, dir.path(), &["--peers", &peer.address()]).await;
        assert_eq!(raw::reaches(&node, part.height().try_into().unwrap(), PATIENCE).await, part.tip_hash());
        node.kill().await;
        images.push(fs::read(dir.path().join("chain/chain.redb")).unwrap());
    }
    let [earlier, whole] = &images[..] else { unreachable!("two parts") };
    let mut random = Messages::from_printed_seed();
    let (mut sound, mut refused) = (0, 0);
    for kind in (0..4).flat_map(|kind| [kind; OF_EACH]) {
        let (bytes, what) = torn(kind, whole, earlier, &mut random);
        let copy = dir.copy();
        fs::write(copy.path().join("chain/chain.redb"), bytes).unwrap();
        let says_the_way_out = |text: &str| {
            names_something_in(text, "", copy.path()) && (text.contains("sync again") || text.contains("new datadir"))
        };
        // An answer is right, or an error says what to do.
        let is_right = |output: &Output, text: &str| {
            assert!(!output.stderr.contains("panicked"), "{what}: {output:?}");
            if output.code == Some(0) {
                let tip = output.json();
                let height = tip["height"].as_u64().unwrap_or_else(|| panic!("{what}: all blocks are gone: {tip}"));
                assert_eq!(tip["tip_hash"], chain.hashes[usize::try_from(height).unwrap()].as_str(), "{what}");
            } else {
                assert!(output.code == Some(1) && says_the_way_out(text), "{what}: {output:?}");
            }
        };
        let status = copy.call(NODE).args(["status", "--json"]).output().await;
        is_right(&status, &status.stderr);
        let found = copy.call(NODE).args(["check", "--json"]).output().await;
        is_right(&found, &found.stdout);
        if found.code == Some(0) {
            sound += 1;
        } else {
            refused += 1;
        }
        let serves = serves_nothing_wrong(&copy, chain, &what).await;
        assert!(serves || found.code == Some(1), "{what}: a node refuses what `check` does not: {found:?}");
        // The way out.
        fs::remove_dir_all(copy.path().join("chain")).unwrap();
        copy.import(NODE, chain).await;
        assert_eq!(check(&copy).await["tip_hash"], chain.tip_hash(), "{what}");
    }
    eprintln!("{sound} were what they had been, {refused} were refused");
    assert!(refused > 0, "no part of the file matters");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_half_written_beside_a_file_is_not_taken_for_it() {
    let dir = validator();
    let height = async |node: &Process| http::get(node.rpc_port(), "/status").await.json()["height"].as_i64().unwrap();
    let makes_a_block = async |node: &Process| {
        let before = height(node).await;
        until(PATIENCE, "a block", async || (height(node).await > before).then_some(())).await;
    };
    let node = Process::run(NODE, dir.path(), &[]).await;
    makes_a_block(&node).await;
    node.stop().await;
    let sound = check(&dir).await;
    let replaced = ["signed.json.tmp", "peers.json.tmp", "tx_index/7.run"];
    let ignored =
        ["mempool.bin.tmp", "tx_index/index.tmp", "chain/chain.redb.new", ".node_key.hex.1.tmp", ".network.1.tmp"];
    for name in replaced.iter().chain(&ignored) {
        fs::write(dir.path().join(name), b"{\"height\": 99999, \"ro").unwrap();
    }
    assert_eq!(check(&dir).await, sound);
    let node = Process::run(NODE, dir.path(), &[]).await;
    makes_a_block(&node).await;
    let output = node.stop().await;
    assert!(!output.says_any(&[&replaced[..], &ignored, &["damaged"]].concat()), "{output:?}");
    for name in replaced {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
    assert_eq!(check(&dir).await["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_short_half_way_through_a_write_is_made_again() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    fs::create_dir(dir.path().join("chain")).unwrap();
    for format in [&b""[..], b"cpc-st", b"cpc-store 1\n"] {
        fs::write(dir.path().join("chain/format"), format).unwrap();
        fs::write(dir.path().join("chain/chain.redb.new"), [7; 5000]).unwrap();
        assert!(dir.status(NODE).await["height"].is_null());
        dir.import(NODE, &Chain::fork().up_to(3)).await;
        assert_eq!(check(&dir).await["height"], 3);
        assert!(!dir.path().join("chain/chain.redb.new").exists());
        fs::remove_file(dir.path().join("chain/chain.redb")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_pool_or_list_of_peers_costs_a_warning_and_a_torn_record_of_signatures_stops_the_validator() {
    let dir = validator();
    fs::write(dir.path().join("mempool.bin"), b"cpc-mempool-1\n\x40\x00").unwrap();
    fs::write(dir.path().join("peers.json"), "[\"127.0.").unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    node.line("mempool.bin is damaged", PATIENCE).await;
    node.line("peers.json", PATIENCE).await;
    until(PATIENCE, "a block", async || {
        (http::get(node.rpc_port(), "/status").await.json()["height"].as_i64().unwrap() >= 0).then_some(())
    })
    .await;
    node.stop().await;
    let record = fs::read(dir.path().join("signed.json")).unwrap();
    fs::write(dir.path().join("signed.json"), &record[..record.len() / 2]).unwrap();
    let call = dir.call(NODE).args(["run", "--p2p-port", "0", "--port", "0"]);
    let output = call.output().await.expect_code(1);
    assert!(output.says_any(&["signed.json is damaged"]), "{output:?}");
}
