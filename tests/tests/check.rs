//! `cpc-node check`: what it says of a datadir, whole and damaged.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::fs;

use cpc_tests::datadir::Datadir;
use cpc_tests::process::Process;
use cpc_tests::vectors::Chain;
use serde_json::Value;

const NODE: &str = cpc_tests::node_binary!();

async fn check(dir: &Datadir, code: i32) -> Value {
    let output = dir.call(NODE).args(["check", "--json"]).output().await.expect_code(code);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datadir_that_a_sync_left_is_whole() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let found = check(&dir, 0).await;
    assert_eq!(found["ok"], true);
    assert_eq!(found["height"], 120);
    assert_eq!(found["tip_hash"], chain.tip_hash());
    assert_eq!(found["blocks"], 121);
    let txs = chain.lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let txs: usize = txs.map(|block| block["txs"].as_array().unwrap().len()).sum();
    assert_eq!(found["signatures"], 121 + txs);
    let output = dir.call(NODE).arg("check").output().await.expect_code(0);
    assert!(output.stdout.contains("nothing is wrong"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_chain_is_whole_and_no_datadir_an_error() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let found = check(&dir, 0).await;
    assert_eq!((&found["ok"], &found["height"]), (&Value::Bool(true), &Value::Null));
    let absent = Datadir::absent();
    let output = absent.call(NODE).arg("check").output().await.expect_code(1);
    assert!(output.stderr.contains("init"), "{output:?}");
    assert!(!absent.path().exists(), "looking leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_short_left_nothing_wrong() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    drop(cpc_framework::store::file::FileStore::open(dir.path()).unwrap());
    let found = check(&dir, 0).await;
    assert_eq!((&found["ok"], &found["height"]), (&Value::Bool(true), &Value::Null));
    dir.import(NODE, &Chain::fork().up_to(3)).await;
    assert_eq!(check(&dir, 0).await["height"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_in_the_chains_file_are_found_or_do_no_harm() {
    let dir = Datadir::holding(NODE, Chain::fork()).await;
    let whole = check(&dir, 0).await;
    let mut damaged = 0;
    for part in 1..12 {
        let copy = dir.copy();
        let path = copy.path().join("chain/chain.redb");
        let mut content = fs::read(&path).unwrap();
        let at = content.len() * part / 12;
        for byte in &mut content[at..at + 64] {
            *byte ^= 0x40;
        }
        fs::write(&path, content).unwrap();
        let output = copy.call(NODE).args(["check", "--json"]).output().await;
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        if output.code == Some(0) {
            let found: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(found, whole, "unused space at most");
        } else {
            damaged += 1;
            assert_eq!(output.code, Some(1), "{output:?}");
            assert!(output.stdout.contains("damaged"), "{output:?}");
        }
    }
    assert!(damaged > 0, "no part of the file matters");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_small_files_is_named_beside_a_whole_chain() {
    let dir = Datadir::holding(NODE, Chain::fork()).await;
    fs::write(dir.path().join("peers.json"), "{").unwrap();
    fs::write(dir.path().join("node_key.hex"), "xyz").unwrap();
    fs::write(dir.path().join("signed.json"), "?").unwrap();
    let found = check(&dir, 1).await;
    let faults: Vec<&str> = found["faults"].as_array().unwrap().iter().map(|fault| fault.as_str().unwrap()).collect();
    for file in ["peers.json", "node_key.hex", "signed.json"] {
        assert!(faults.iter().any(|fault| fault.contains(file)), "{file}: {faults:?}");
    }
    assert_eq!(found["height"], 120, "the chain itself is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datadir_in_use_is_left_alone() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let output = dir.call(NODE).arg("check").output().await.expect_code(1);
    assert!(output.stderr.contains("another process") && !output.stderr.contains("damaged"), "{output:?}");
    node.stop().await;
}
