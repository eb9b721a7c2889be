//! Datadirs that are made: by `init`, and by a first `run`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cpc_tests::datadir::Datadir;
use cpc_tests::process::Process;
use cpc_tests::raw::PROMPT;
use cpc_tests::vectors::Chain;

use super::{NODE, SOON, refused};

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_network_of_its_own_with_secret_keys() {
    let dir = Datadir::absent();
    dir.call(NODE).arg("init").output().await.expect_code(0);
    for key in ["validator_key.hex", "faucet_key.hex"] {
        let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{key}");
    }
    for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.contains("key") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{name}");
        }
    }
    let genesis: serde_json::Value = serde_json::from_str(&dir.read("genesis.json")).unwrap();
    assert_eq!(genesis["network"], "local");
    assert_eq!(genesis["hash_rules"], "canonical");
    assert!(genesis["chain_id"].as_str().unwrap().starts_with("cpc-local-"), "{genesis}");
    assert_eq!(genesis["validators"].as_array().unwrap().len(), 1);
    let status = dir.status(NODE).await;
    assert!(status["height"].is_null() && status.get("height").is_some(), "{status}");
    assert_eq!(status["network"], "local");
    assert_eq!(status["peers_known"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_for_a_network_of_the_reference_writes_a_genesis_in_its_form() {
    for (network, premine) in [("devnet", "1000000000000000000000000000"), ("testnet", "100000000000000000000000000")] {
        let dir = Datadir::absent();
        dir.call(NODE).args(["init", "--network", network]).output().await.expect_code(0);
        assert_eq!(dir.status(NODE).await["network"], network);
        let genesis = dir.read("genesis.json");
        assert!(genesis.contains(premine), "{genesis}");
        let genesis: serde_json::Value = serde_json::from_str(&genesis).unwrap();
        assert!(genesis["alloc"].is_object() && genesis["validators"].is_array(), "{genesis}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_never_overwrites() {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(3)).await;
    let before = dir.files();
    for args in [&["init"][..], &["init", "--network", "devnet"], &["init", "--genesis", "GENESIS"]] {
        let genesis = Chain::mainline().genesis.to_str().unwrap();
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "GENESIS" { genesis } else { *arg }).collect();
        refused(dir.call(NODE).args(args).output().await, 1, &["exist"]);
    }
    assert_eq!(dir.files(), before);
    // A key alone is not overwritten either.
    let dir = Datadir::absent();
    fs::create_dir(dir.path()).unwrap();
    fs::write(dir.path().join("validator_key.hex"), "precious").unwrap();
    refused(dir.call(NODE).arg("init").output().await, 1, &["validator_key.hex"]);
    assert_eq!(dir.read("validator_key.hex"), "precious");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_on_an_empty_datadir_makes_a_network_and_says_so() {
    let dir = Datadir::absent();
    let node = Process::run(NODE, dir.path(), &[]).await;
    node.line_where("that a network was made", PROMPT, |line| {
        let line = line.to_lowercase();
        line.contains("network") && (line.contains("made") || line.contains("new") || line.contains("own"))
    })
    .await;
    node.stop().await;
    assert!(dir.path().join("genesis.json").exists());
    assert!(dir.path().join("validator_key.hex").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn run_with_peers_on_an_empty_datadir_says_how_to_join() {
    for command in ["run", "sync"] {
        let dir = Datadir::absent();
        let output = dir.call(NODE).args([command, "--peers", "127.0.0.1:9"]).output_within(SOON).await;
        refused(output, 1, &["init --genesis"]);
        assert!(!dir.path().join("genesis.json").exists());
    }
}
