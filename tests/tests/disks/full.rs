//! A full disk, and the chain: while it syncs, imports and makes blocks.
//!
//! A limit on the sizes of files lets a disk be full for one file of a process; a [`SmallDisk`] is full for all of it.

use std::fs;

use cpc_framework::rules::Hasher;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::network::{Wallet, genesis, params};
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Process};
use cpc_tests::raw::{self, Socket};
use cpc_tests::small_disk::SmallDisk;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Hello;
use serde_json::{Value, json};

use super::{NODE, PATIENCE, check, validator};

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

/// How many KiB a disk has left for what a sync of [`Chain::mainline`] is stopped by.
const ROOMS: [u64; 3] = [0, 96, 400];

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_a_block_left_stops_a_sync_loses_nothing_even_by_a_kill_and_lets_it_go_on() {
    let Some(disk) = SmallDisk::mounted(64 << 10) else { return };
    let chain = Chain::mainline();
    let begun = Datadir::holding(NODE, &chain.up_to(20)).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    for room in ROOMS {
        let dir = begun.copy_into(disk.path());
        disk.fill_but(room);
        let node = Process::run(NODE, dir.path(), &["--peers", &peer.address()]).await;
        let said = node.line("make room", PATIENCE).await;
        assert!(said.contains("chain.redb"), "{said}");
        // It answers with what it has.
        let (mut socket, greeting) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
        assert!((20..1209).contains(&greeting.best_height), "{greeting:?}");
        assert_eq!(socket.ask(0, 5).await.len(), 6);
        let output = node.kill().await;
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        // So does whoever looks or starts after the kill, as long as there is no room.
        let status = dir.status(NODE).await;
        assert!(status["height"].as_i64() >= Some(greeting.best_height), "{status}, it said {greeting:?}");
        let output = dir.call(NODE).args(["import", "-"]).stdin(chain.text()).output().await.expect_code(1);
        assert!(output.stderr.lines().last().unwrap().contains("make room"), "{output:?}");

        disk.make_room();
        let found = check(&dir).await;
        let height = usize::try_from(found["height"].as_u64().unwrap()).unwrap();
        assert_eq!(found["tip_hash"], chain.hashes[height].as_str());
        assert!(found["height"].as_i64() >= Some(greeting.best_height), "{found}, it said {greeting:?}");
        Call::sync(NODE, dir.path(), &[peer.address()]).output().await.expect_code(0);
        assert_eq!(check(&dir).await["tip_hash"], chain.tip_hash());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_signed_and_finds_no_room_is_the_only_one_for_its_round_and_the_chain_goes_on() {
    // A chain without a block, since the slot of block 0 has no end: however often it fails, its round is the same.
    let (dir, key) = (validator(), "validator_key.hex");
    let aside = dir.path().with_file_name(key);
    fs::rename(dir.path().join(key), &aside).unwrap();
    Process::run(NODE, dir.path(), &[]).await.stop().await;
    fs::rename(aside, dir.path().join(key)).unwrap();
    // Room for what is signed, none for the chain.
    let node = Process::run_as(NODE, dir.path(), &[], |call| call.with_files_up_to(8)).await;
    let said = node.line("make room", PATIENCE).await;
    assert!(said.contains("chain.redb"), "{said}");
    let signed: Value = serde_json::from_str(&dir.read("signed.json")).unwrap();
    assert_eq!((&signed["height"], &signed["block"]["txs"]), (&json!(0), &json!([])));
    // With this a new block would be another one.
    let mut wallet = Wallet::new(0);
    let to = wallet.address.clone();
    let tx = wallet.transfer(&Hasher::new(&genesis(1, 1, params())), &to, 1);
    http::post(node.rpc_port(), "/tx/send", &serde_json::to_string(&tx).unwrap()).await.expect(200);
    node.limit_files(None);
    raw::reaches(&node, 1, PATIENCE).await;
    let block = http::get(node.rpc_port(), "/block/0").await.expect(200).json();
    assert_eq!(block["txs"], json!([]), "the block that was signed first");
    node.stop().await;
    check(&dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_on_a_full_disk_is_lost_and_the_node_goes_on() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let peer = Peer::listen(Script::modern(chain)).await;
    let unlogged = |call: Call| call.through(&["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"]);
    let node = Process::run_as(NODE, dir.path(), &["--peers", &peer.address()], unlogged).await;
    assert_eq!(raw::reaches(&node, 120, PATIENCE).await, chain.tip_hash());
    node.stop().await;
    assert_eq!(check(&dir).await["tip_hash"], chain.tip_hash());
}
