//! A full disk, and the small files: keys, genesis, peers, the pool, exports.

use std::fs;
use std::path::PathBuf;

use cpc_tests::crowd::Crowd;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Output, Process, free_port};
use cpc_tests::small_disk::SmallDisk;
use cpc_tests::vectors::Chain;

use super::{NODE, PATIENCE, check};

/// It ended with 1, and with one line that names a file in `place` and says what to do.
#[track_caller]
fn asks_for_room(output: Output, place: &str) {
    let output = output.expect_code(1);
    let last = output.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("make room") && last.contains(place), "{output:?}");
    assert!(!output.stderr.contains("panicked"), "{output:?}");
}

/// The commands that make small files: each with the datadir that it works on, and the file.
async fn makers(folder: &std::path::Path) -> Vec<(Datadir, Vec<String>, &'static str)> {
    let ports = || ["--p2p-port".to_owned(), free_port().to_string(), "--port".to_owned(), free_port().to_string()];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let genesis = Chain::fork().genesis.to_str().unwrap();
    let joined = async || Datadir::joined(NODE, Chain::fork()).await.copy_into(folder);
    let without_identity = joined().await;
    fs::remove_file(without_identity.path().join("node_key.hex")).unwrap();
    let run = [&["run".to_owned()][..], &ports()].concat();
    vec![
        (Datadir::absent_in(folder), words(&["init"]), "validator_key.hex"),
        (Datadir::absent_in(folder), words(&["init", "--genesis", genesis]), "genesis.json"),
        (joined().await, words(&["keys", "new", "alice"]), "alice_key.hex"),
        (without_identity, run.clone(), "node_key.hex"),
        // A first start makes the chain's own files, too.
        (joined().await, run, "chain/chain.redb"),
    ]
}

fn files(dir: &Datadir) -> Option<Vec<(String, Vec<u8>)>> {
    dir.path().exists().then(|| dir.files())
}

/// Each maker fails where there is no room, leaves nothing but what was there, and does its work once there is room.
async fn make_files_once_there_is_room(folder: PathBuf, full: impl Fn(Call) -> Call, make_room: impl FnOnce()) {
    let makers = makers(&folder).await;
    let before: Vec<_> = makers.iter().map(|(dir, ..)| files(dir)).collect();
    for ((dir, args, file), before) in makers.iter().zip(before) {
        asks_for_room(full(dir.call(NODE).args(args)).output().await, dir.path().to_str().unwrap());
        if !file.starts_with("chain/") {
            assert_eq!(files(dir), before, "{args:?}");
        }
    }
    make_room();
    for (dir, args, file) in &makers {
        let mut process = dir.call(NODE).args(args).start();
        if args[0] == "run" {
            process.line("started", PATIENCE).await;
            process.stop().await;
        } else {
            process.exit(PATIENCE).await.expect_code(0);
        }
        assert!(dir.path().join(file).exists(), "{args:?}");
        check(dir).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_genesis_and_a_first_start_say_that_there_is_no_room_leave_nothing_and_work_once_there_is() {
    let limited = |call: Call| call.with_files_up_to(0);
    make_files_once_there_is_room(std::env::temp_dir(), limited, || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_on_a_disk_without_a_block_left() {
    let Some(disk) = SmallDisk::mounted(64 << 10) else { return };
    // It is filled when the first command starts: until then it takes the datadirs.
    let filled = std::cell::Cell::new(false);
    let full = |call: Call| {
        if !filled.replace(true) {
            disk.fill_but(0);
        }
        call
    };
    make_files_once_there_is_room(disk.path().to_owned(), full, || disk.make_room()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_found_no_room_is_saved_once_there_is_some_and_peers_stay_as_they_were() {
    let crowd = Crowd::new(2);
    let chain = crowd.chain(&vec![Vec::new(); 3]);
    let dir = Datadir::holding(NODE, &chain).await;
    let peer = Peer::listen(Script::modern(&chain)).await;
    let args = ["--peers", &peer.address()];
    let limited = async || Process::run_as(NODE, dir.path(), &args, |call| call.with_files_up_to(1 << 20)).await;
    let (pool, peers) = (dir.path().join("mempool.bin"), dir.path().join("peers.json"));

    let node = limited().await;
    until(PATIENCE, "the peer on record", async || peers.exists().then_some(())).await;
    node.limit_files(Some(0));
    let tx = serde_json::to_string(&crowd.transfer(0, 0)).unwrap();
    http::post(node.rpc_port(), "/tx/send", &tx).await.expect(200);
    node.line("mempool.bin: file too large", PATIENCE).await;
    assert!(!pool.exists());
    node.limit_files(None);
    until(PATIENCE, "the pool on record, without any news", async || pool.exists().then_some(())).await;
    node.kill().await;

    let node = limited().await;
    let pooled = async || http::get(node.rpc_port(), "/mempool?limit=1").await.expect(200).json()["size"].as_u64();
    until(PATIENCE, "the transaction", async || (pooled().await == Some(1)).then_some(())).await;
    node.limit_files(Some(0));
    let before = dir.files();
    let output = node.stop().await;
    assert!(output.says_any(&["peers.json: file too large"]), "{output:?}");
    let kept = |name: &str| before.iter().find(|(file, _)| file == name).unwrap().1.clone();
    assert_eq!(fs::read(&pool).unwrap(), kept("mempool.bin"));
    assert_eq!(fs::read(&peers).unwrap(), kept("peers.json"));
    assert!(dir.files().iter().all(|(name, _)| !name.contains("tmp")), "{:?}", fs::read_dir(dir.path()));
    check(&dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_finds_no_room_leaves_nothing_and_succeeds_once_there_is() {
    let dir = Datadir::holding(NODE, Chain::fork()).await;
    let into_full = |call: Call| call.through(&["sh", "-c", "exec \"$0\" \"$@\" >/dev/full"]);
    asks_for_room(dir.call(NODE).args(["export", "/dev/full"]).output().await, "/dev/full");
    asks_for_room(into_full(dir.call(NODE).args(["export", "-"])).output().await, "-");
    let output = into_full(dir.call(NODE).arg("status")).output().await.expect_code(1);
    assert!(output.says_any(&["cannot write to stdout"]), "{output:?}");

    let Some(disk) = SmallDisk::mounted(4 << 10) else { return };
    let names = || fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    for (name, room) in [("blocks.jsonl", 0), ("blocks.jsonl", 16), ("blocks.jsonl.gz", 4)] {
        let file = disk.path().join(name);
        disk.fill_but(room);
        asks_for_room(dir.call(NODE).arg("export").arg(&file).output().await, file.to_str().unwrap());
        assert_eq!(names(), ["ballast"], "nothing is left of it");
        disk.make_room();
        dir.call(NODE).arg("export").arg(&file).output().await.expect_code(0);
        let other = Datadir::joined(NODE, Chain::fork()).await;
        other.call(NODE).arg("import").arg(&file).output().await.expect_code(0);
        assert_eq!(other.tip(NODE).await.0, 120);
        fs::remove_file(file).unwrap();
    }
}
