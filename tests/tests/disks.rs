//! Nodes on bad disks: full ones, ones that cannot be written to, ones that flip bits.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a broken assumption of a test is a failed test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cpc_framework::testkit::messages::Messages;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::network::{genesis, params, validator_key};
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Process, free_port};
use cpc_tests::raw::{self, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Hello;
use serde_json::Value;

const NODE: &str = cpc_tests::node_binary!();

/// How long what takes a second may take on a slow and busy machine. A node that could not write tries again after ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many copies of a datadir get a flipped bit.
const FLIPS: usize = 12;

async fn check(dir: &Datadir) -> Value {
    let output = dir.call(NODE).args(["check", "--json"]).output().await.expect_code(0);
    serde_json::from_str(&output.stdout).unwrap()
}

/// Less than the chain's file needs for all of [`Chain::mainline`], and enough to begin, in KiB.
async fn too_little(chain: &Chain) -> u64 {
    let (few, all) = (Datadir::holding(NODE, &chain.up_to(20)).await, Datadir::holding(NODE, chain).await);
    let size = |dir: &Datadir| fs::metadata(dir.path().join("chain/chain.redb")).unwrap().len() / 1024;
    let (few, all) = (size(&few), size(&all));
    assert!(few < all, "the file grows: {few} KiB, {all} KiB");
    few + (all - few) / 2
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_full_disk_says_so_serves_what_it_has_and_goes_on_once_there_is_room() {
    let chain = Chain::mainline();
    let room = too_little(chain).await;
    let dir = Datadir::joined(NODE, chain).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    let node =
        Process::run_as(NODE, dir.path(), &["--peers", &peer.address()], |call| call.with_files_up_to(room)).await;
    let said = node.line("make room", PATIENCE).await;
    assert!(said.contains("chain.redb"), "{said}");
    let (mut socket, greeting) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    assert!((0..1209).contains(&greeting.best_height), "{greeting:?}");
    let blocks = socket.ask(0, 5).await;
    assert_eq!(blocks.iter().map(|block| block.height).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    http::get(node.rpc_port(), "/health").await.expect(200);
    assert_eq!(http::get(node.rpc_port(), "/status").await.json()["height"], greeting.best_height);

    node.limit_files(None);
    assert_eq!(raw::reaches(&node, 1209, PATIENCE).await, chain.tip_hash());
    node.stop().await;
    assert_eq!(check(&dir).await["tip_hash"], chain.tip_hash());
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_and_import_on_a_full_disk_end_with_a_word_about_it_and_keep_what_they_have() {
    let chain = Chain::mainline();
    let room = too_little(chain).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    let synced = Datadir::joined(NODE, chain).await;
    let call = Call::sync(NODE, synced.path(), &[peer.address()]).args(["--timeout", "8"]);
    let output = call.with_files_up_to(room).output().await.expect_code(1);
    assert!(output.stderr.lines().last().unwrap().contains("make room"), "{output:?}");
    let imported = Datadir::joined(NODE, chain).await;
    let file = imported.beside("blocks.jsonl", chain.text());
    let output = imported.call(NODE).arg("import").arg(&file).with_files_up_to(room).output().await.expect_code(1);
    assert!(output.stderr.contains("make room"), "{output:?}");
    for dir in [synced, imported] {
        let found = check(&dir).await;
        let height = usize::try_from(found["height"].as_u64().unwrap()).unwrap();
        assert!(height < 1209 && found["tip_hash"] == chain.hashes[height].as_str(), "{found}");
        dir.import(NODE, chain).await;
        assert_eq!(check(&dir).await["tip_hash"], chain.tip_hash());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_cannot_record_what_it_signs_signs_nothing_until_it_can() {
    let dir = validator();
    let node = Process::run_as(NODE, dir.path(), &[], |call| call.with_files_up_to(1 << 20)).await;
    let height = async || http::get(node.rpc_port(), "/status").await.json()["height"].as_i64().unwrap();
    until(PATIENCE, "two blocks", async || (height().await >= 1).then_some(())).await;
    node.limit_files(Some(0));
    node.line("no block proposed: cannot record what was signed", PATIENCE).await;
    let (at, record) = (height().await, fs::read_to_string(dir.path().join("signed.json")).unwrap());
    // Two slots pass, in each of which it tries.
    until(PATIENCE, "two more attempts", async || {
        (node.stderr().matches("no block proposed").count() >= 3).then_some(())
    })
    .await;
    assert_eq!(height().await, at, "it answers, and makes nothing");
    assert_eq!(fs::read_to_string(dir.path().join("signed.json")).unwrap(), record);
    node.limit_files(None);
    until(PATIENCE, "two more blocks", async || (height().await >= at + 2).then_some(())).await;
    node.stop().await;
    check(&dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datadir_that_cannot_be_written_to_is_refused_in_one_line_and_left_as_it_is() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(30)).await;
    let before = dir.files();
    let bound = |call: Call| call.bound_by_permissions();
    let with_modes = |directory, file| {
        for path in [dir.path().to_owned(), dir.path().join("chain")] {
            for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    fs::set_permissions(entry.path(), Permissions::from_mode(file)).unwrap();
                }
            }
            fs::set_permissions(path, Permissions::from_mode(directory)).unwrap();
        }
    };
    with_modes(0o555, 0o444);
    let file = dir.beside("more.jsonl", Chain::fork().text());
    let calls = [
        Call::sync(NODE, dir.path(), &["127.0.0.1:1"]),
        dir.call(NODE).args(["run", "--p2p-port", &free_port().to_string(), "--port", &free_port().to_string()]),
        dir.call(NODE).arg("import").arg(file),
        dir.call(NODE).arg("check"),
    ];
    for call in calls {
        let output = bound(call).output().await.expect_code(1);
        let last = output.stderr.lines().last().unwrap_or_default();
        assert!(last.contains("must be writable") && last.contains(dir.path().to_str().unwrap()), "{output:?}");
        assert!(!output.stderr.contains("panicked"), "{output:?}");
    }
    let status = bound(dir.call(NODE).args(["status", "--json"])).output().await.expect_code(0).json();
    assert_eq!(status["height"], 30, "to look needs no writing");
    with_modes(0o755, 0o600);
    assert_eq!(dir.files(), before);
    assert_eq!(check(&dir).await["height"], 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_in_a_datadir_is_named_or_does_no_harm() {
    let chain = Chain::fork();
    let whole = Datadir::holding(NODE, chain).await;
    fs::write(whole.path().join("peers.json"), "[]").unwrap();
    let sound = check(&whole).await;
    let files: Vec<(String, Vec<u8>)> = whole.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let largest = files.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().clone();
    let mut random = Messages::from_printed_seed();
    let (mut named, mut harmless) = (0, 0);
    for flip in 0..FLIPS {
        let (name, mut bytes) = if flip % 2 == 0 { largest.clone() } else { files[random.below(files.len())].clone() };
        let (at, bit) = (random.below(bytes.len()), random.below(8));
        bytes[at] ^= 1 << bit;
        let what = format!("bit {bit} of byte {at} in {name}");
        let dir = whole.copy();
        fs::write(dir.path().join(&name), bytes).unwrap();
        let found = dir.call(NODE).args(["check", "--json"]).output().await;
        assert!(!found.stderr.contains("panicked"), "{what}: {found:?}");
        match found.code {
            Some(0) => assert_eq!(serde_json::from_str::<Value>(&found.stdout).unwrap(), sound, "{what}: {found:?}"),
            Some(1) => assert!(names_something_in(&found.stderr, &found.stdout, dir.path()), "{what}: {found:?}"),
            _ => panic!("{what}: {found:?}"),
        }
        let serves = serves_nothing_wrong(&dir, chain, &what).await;
        assert!(serves || found.code == Some(1), "{what}: a node refuses what `check` does not: {found:?}");
        if found.code == Some(0) { harmless += 1 } else { named += 1 }
    }
    eprintln!("{named} were named, {harmless} did no harm");
}

/// Runs a node on it and asks for all of the chain. Whatever it serves must be right; false where it did not start.
async fn serves_nothing_wrong(dir: &Datadir, chain: &Chain, what: &str) -> bool {
    let (port, rpc_port) = (free_port(), free_port());
    let mut node = dir
        .call(NODE)
        .args(["run", "--p2p-host", "127.0.0.1", "--p2p-port", &port.to_string(), "--port", &rpc_port.to_string()])
        .start();
    let starts = until(PATIENCE, "the node to start or to end", async || {
        match http::attempt(rpc_port, "GET", "/status", "").await {
            Some(answer) if answer.status == 200 => Some(true),
            _ => (!node.is_running()).then_some(false),
        }
    })
    .await;
    if !starts {
        let output = node.exit(PATIENCE).await.expect_code(1);
        assert!(!output.stderr.contains("panicked"), "{what}: {output:?}");
        assert!(names_something_in(&output.stderr, "", dir.path()), "{what}: {output:?}");
        return false;
    }
    for height in (0..=chain.height()).step_by(10) {
        let answer = http::attempt(rpc_port, "GET", &format!("/block/{height}"), "").await.unwrap();
        if answer.status == 200 {
            let right = &chain.lines[usize::try_from(height).unwrap()];
            assert_eq!(answer.normal(), http::normal(right), "{what}: block {height}");
        }
    }
    let output = node.kill().await;
    assert!(!output.stderr.contains("panicked"), "{what}: {output:?}");
    true
}

/// Whether an error says where to look.
fn names_something_in(stderr: &str, stdout: &str, datadir: &Path) -> bool {
    let datadir = datadir.to_str().unwrap();
    [stderr, stdout].iter().any(|text| text.contains(datadir))
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

/// A datadir of a network whose only validator it is, with a block every second.
fn validator() -> Datadir {
    let dir = Datadir::absent();
    fs::create_dir(dir.path()).unwrap();
    fs::write(dir.path().join("genesis.json"), genesis(1, 1, params()).to_json()).unwrap();
    fs::write(dir.path().join("validator_key.hex"), validator_key(0).to_hex()).unwrap();
    dir
}
