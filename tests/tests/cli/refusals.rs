//! What is wrong ends in one line that names it, and nothing is lost.

use std::fs;
use std::net::TcpListener;

use cpc_tests::datadir::Datadir;
use cpc_tests::process::{Process, free_port};
use cpc_tests::raw::PROMPT;
use cpc_tests::vectors::Chain;

use super::{NODE, SOON, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = dir.call(NODE).args(["run", "--p2p-host", "127.0.0.1", "--p2p-port", &port]).output_within(SOON).await;
    refused(output, 1, &[&port]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_unreadable_genesis_is_named() {
    let good = fs::read_to_string(&Chain::fork().genesis).unwrap();
    let dir = Datadir::absent();
    for (name, text) in [
        ("empty.json", ""),
        ("half.json", &good[..good.len() / 2]),
        ("other.json", "[1, 2]"),
        ("no-validators.json", r#"{"alloc": {"cpc1x": 1}, "validators": []}"#),
        ("negative.json", r#"{"alloc": {"cpc1x": -1}, "validators": []}"#),
    ] {
        let file = dir.beside(name, text);
        let output = dir.call(NODE).args(["init", "--genesis"]).arg(&file).output().await;
        refused(output, 1, &[name]);
        assert!(!dir.path().join("genesis.json").exists(), "{name}");
    }
    let output = dir.call(NODE).args(["init", "--genesis", "/no/such/file.json"]).output().await;
    refused(output, 1, &["/no/such/file.json"]);
    // One that is damaged later.
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    fs::write(dir.path().join("genesis.json"), &good[..good.len() / 2]).unwrap();
    for command in [&["run"][..], &["sync"], &["status"]] {
        refused(dir.call(NODE).args(command).output_within(SOON).await, 1, &["genesis.json"]);
    }
    fs::write(dir.path().join("genesis.json"), &good).unwrap();
    assert_eq!(dir.tip(NODE).await, (3, Chain::fork().hashes[3].clone()), "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datadir_refuses_another_genesis_than_its_own() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let own = dir.read("genesis.json");
    fs::write(
        dir.path().join("genesis.json"),
        own.replacen("1000000000000000000000000,", "1000000000000000000000001,", 1),
    )
    .unwrap();
    assert_ne!(dir.read("genesis.json"), own);
    let file = dir.path().join("genesis.json");
    refused(dir.call(NODE).arg("run").output_within(SOON).await, 1, &["another genesis", file.to_str().unwrap()]);
    fs::write(dir.path().join("genesis.json"), own).unwrap();
    assert_eq!(dir.tip(NODE).await, (3, Chain::fork().hashes[3].clone()), "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_is_named_and_kept() {
    for text in ["", "not hex", "abcd", "zz"] {
        let dir = Datadir::absent();
        dir.call(NODE).arg("init").output().await.expect_code(0);
        fs::write(dir.path().join("validator_key.hex"), text).unwrap();
        refused(dir.call(NODE).arg("run").output_within(SOON).await, 1, &["validator_key.hex"]);
        assert_eq!(dir.read("validator_key.hex"), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_datadir_ends_in_one_line_and_not_in_a_panic() {
    let good = Datadir::holding(NODE, &Chain::fork().up_to(30)).await;
    let largest = good.files().into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    for damage in ["zeroed", "cut"] {
        let dir = good.copy();
        let file = dir.path().join(&largest);
        let mut bytes = fs::read(&file).unwrap();
        if damage == "zeroed" {
            let end = bytes.len().min(4096);
            bytes[..end].fill(0);
        } else {
            bytes.truncate(100);
        }
        fs::write(&file, &bytes).unwrap();
        let output = dir.call(NODE).args(["sync", "--timeout", "5"]).output_within(SOON).await;
        refused(output, 1, &[dir.path().to_str().unwrap()]);
    }
    // A file where the directory should be.
    let dir = Datadir::absent();
    fs::write(dir.path(), "a file").unwrap();
    for command in ["run", "init", "status"] {
        refused(dir.call(NODE).arg(command).output_within(SOON).await, 1, &[dir.path().to_str().unwrap()]);
    }
    assert_eq!(fs::read_to_string(dir.path()).unwrap(), "a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_a_datadir_that_is_not_there_say_so() {
    let dir = Datadir::absent();
    for args in [&["status"][..], &["export", "-"], &["import", "-"]] {
        refused(dir.call(NODE).args(args).output_within(SOON).await, 1, &["init", "no such", "not found", "empty"]);
        assert!(!dir.path().exists(), "{args:?} made a datadir");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_datadir_is_refused() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let port = free_port().to_string();
    let file = dir.beside("more.jsonl", Chain::fork().text());
    let calls = [
        dir.call(NODE).args(["run", "--p2p-port", &port]),
        dir.call(NODE).args(["sync", "--p2p-port", &port]),
        dir.call(NODE).arg("import").arg(file),
    ];
    for call in calls {
        refused(call.output_within(SOON).await, 1, &["in use", "lock", "another process", "running"]);
    }
    refused(dir.call(NODE).arg("status").output_within(SOON).await, 1, &["status --node url"]);
    node.stop().await;
    assert_eq!(dir.tip(NODE).await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_peers_file_is_set_aside_and_the_node_starts() {
    for text in ["", "{", r#"{"a": 1}"#, "[1, 2", "\u{0}\u{0}"] {
        let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
        fs::write(dir.path().join("peers.json"), text).unwrap();
        let node = Process::run(NODE, dir.path(), &[]).await;
        node.line("peers.json", PROMPT).await;
        node.stop().await;
        let kept = dir.files().into_iter().any(|(name, bytes)| name != "peers.json" && bytes == text.as_bytes());
        assert!(kept || text.is_empty(), "{text:?} was not set aside");
    }
}
