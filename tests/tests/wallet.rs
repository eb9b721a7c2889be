//! The wallet's commands, against a running node and against answers of our own.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::generate::include;
use cpc_tests::http::{Canned, get};
use cpc_tests::process::{Call, Output, PATIENCE, Process, free_port};
use cpc_tests::raw::Socket;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello};
use serde_json::{Value, json};

const NODE: &str = cpc_tests::node_binary!();

/// A recipient with a right checksum.
const BOB: &str = "cpc1s7fcmewatu5nksgzmd75ln2k5l3ge0c0hqp2ph";

/// An RPC of the reference, in which `/tx` is not known: an account of 1 CPC that has sent `nonce` transactions.
fn reference(nonce: impl Fn() -> u64) -> impl Fn(&str) -> (u16, String) {
    move |line| {
        let body = match line {
            "GET /status" => {
                json!({ "height": 7, "last_hash": "00", "network": "devnet", "mempool_size": 0, "epoch": 0 })
            }
            "GET /block/7" => json!({ "header": { "chain_id": "cpc-devnet-1" } }),
            "POST /tx/send" => json!({ "tx_hash": "00", "status": "received" }),
            line if line.starts_with("GET /balance/") => {
                json!({ "address": "a", "balance": "1000000000000000000", "nonce": nonce() })
            }
            _ => return (404, json!({ "detail": "Not Found" }).to_string()),
        };
        (200, body.to_string())
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A file with the faucet's key of the test networks.
fn faucet(dir: &Datadir) -> PathBuf {
    let keys = fs::read_to_string(Chain::fork().genesis.with_file_name("keys.json")).unwrap();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let file = dir.beside("faucet.hex", keys["faucet"].as_str().unwrap());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// One line on stderr that has `words`, and nothing on stdout.
#[track_caller]
fn refused(output: Output, code: i32, words: &[&str]) {
    let output = output.expect_code(code);
    assert_eq!((output.stdout.as_str(), output.stderr.lines().count()), ("", 1), "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "no {word:?} in {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_secret_never_overwritten_and_of_the_networks_scheme() {
    let local = Datadir::absent();
    local.call(NODE).arg("init").output().await.expect_code(0);
    let made = local.call(NODE).args(["keys", "new", "alice", "--json"]).output().await.expect_code(0).json();
    assert_eq!((&made["name"], &made["scheme"]), (&json!("alice"), &json!("ed25519")));
    assert!(made["address"].as_str().unwrap().starts_with("cpc1"), "{made}");
    assert!(made["validator_address"].as_str().unwrap().starts_with("cpcvalcons1"), "{made}");
    let file = local.path().join("alice_key.hex");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = local.read("alice_key.hex");
    refused(local.call(NODE).args(["keys", "new", "alice"]).output().await, 1, &["alice_key.hex", "exists"]);
    assert_eq!(local.read("alice_key.hex"), before);

    let shown = local.call(NODE).args(["keys", "show", "alice"]).output().await.expect_code(0).stdout;
    assert!(shown.contains(made["address"].as_str().unwrap()), "{shown}");
    assert!(!shown.contains(before.trim()), "the secret is shown");
    let listed = local.call(NODE).args(["keys", "list", "--json"]).output().await.expect_code(0).json();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alice", "faucet", "validator"]);
    assert_eq!(listed[0], made);

    let v1 = Datadir::joined(NODE, Chain::fork()).await;
    let path = v1.path().parent().unwrap().join("carol.hex");
    let made = v1.call(NODE).args(["keys", "new", "--json"]).arg(&path).output().await.expect_code(0).json();
    assert_eq!((&made["scheme"], &made["name"]), (&json!("secp256k1"), &Value::Null));
    assert_eq!(made["public_key"].as_str().unwrap().len(), 66);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_genesis_the_network_or_the_scheme_must_be_named() {
    let dir = Datadir::absent();
    refused(dir.call(NODE).args(["keys", "new"]).output().await, 1, &["--genesis", "--network"]);
    assert!(!dir.path().exists());
    for (args, scheme) in [(["--network", "devnet"], "secp256k1"), (["--scheme", "ed25519"], "ed25519")] {
        let made = dir.call(NODE).args(["keys", "new", scheme, "--json"]).args(args).output().await.expect_code(0);
        assert_eq!(made.json()["scheme"], scheme);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_sent_with_the_next_nonce_and_the_networks_price() {
    let dir = Datadir::absent();
    dir.call(NODE).arg("init").output().await.expect_code(0);
    // Without a validator key it makes no blocks, so that what is sent stays in the pool.
    fs::remove_file(dir.path().join("validator_key.hex")).unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    let node_url = url(node.rpc_port());
    let send = |more: &[&str]| {
        let call = dir.call(NODE).args(["tx", "send", "--from", "faucet", "--to", BOB, "--node", &node_url]);
        call.args(more).output()
    };
    for (nonce, amount, units) in [(0, "1.5", 1_500_000_000_000_000_000u64), (1, "25units", 25)] {
        let sent = send(&["--amount", amount, "--no-wait", "--json"]).await.expect_code(0).json();
        assert_eq!((&sent["status"], &sent["nonce"]), (&json!("received"), &json!(nonce)), "{sent}");
        assert_eq!((&sent["amount"], &sent["fee"]), (&json!(units), &json!(21_000_000)), "{sent}");
        let found =
            get(node.rpc_port(), &format!("/tx/{}", sent["tx_hash"].as_str().unwrap())).await.expect(200).json();
        assert_eq!((&found["status"], &found["tx"]["to_address"]), (&json!("pending"), &json!(BOB)), "{found}");
    }
    let stake = ["tx", "stake", "--from", "faucet", "--amount", "2000", "--no-wait", "--json", "--node", &node_url];
    let staked = dir.call(NODE).args(stake).output().await.expect_code(0).json();
    assert_eq!((&staked["nonce"], &staked["fee"]), (&json!(2), &json!(40_000_000)), "{staked}");
    let tx = get(node.rpc_port(), &format!("/tx/{}", staked["tx_hash"].as_str().unwrap())).await.expect(200).json();
    let faucet = dir.call(NODE).args(["keys", "show", "faucet", "--json"]).output().await.expect_code(0).json();
    assert_eq!(tx["tx"]["payload"], json!({ "pub_key": faucet["public_key"] }));

    // The pool's reason, and the wallet's own.
    refused(send(&["--amount", "1.5", "--no-wait", "--nonce", "0"]).await, 1, &["already_in_pool"]);
    refused(send(&["--amount", "1", "--no-wait", "--gas-price", "7"]).await, 1, &["gas_price 7 < min 1000"]);
    refused(send(&["--amount", "2000000000", "--no-wait"]).await, 1, &["has 1000000000 CPC", "2000000000"]);
    let waited = send(&["--amount", "1", "--timeout", "0.3"]).await.expect_code(1);
    assert!(waited.stderr.contains("no block has transaction"), "{waited:?}");

    let status = Call::new(NODE).args(["status", "--node", &node_url]).output().await.expect_code(0).stdout;
    assert!(status.contains("local") && status.contains("4 transactions") && status.contains("0 peers"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_shown_in_tables_and_as_json() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let port = node.rpc_port();
    let ask = |args: &[&str]| Call::new(NODE).args(args).args(["--node", &url(port)]).output();

    let block = ask(&["block", "latest"]).await.expect_code(0).stdout;
    assert!(
        block.contains(chain.tip_hash()) && block.contains("TRANSFER") && block.contains("cpc-devnet-1"),
        "{block}"
    );
    let json = ask(&["block", "120", "--json"]).await.expect_code(0);
    assert_eq!(json.stdout.trim_end(), get(port, "/block/120").await.body);
    refused(ask(&["block", "121"]).await, 1, &["no block 121"]);

    let balance = ask(&["balance", BOB]).await.expect_code(0).stdout;
    assert!(balance.contains("999999.998999999726928 CPC (999999998999999726928000 units)"), "{balance}");
    let balance = ask(&["balance", BOB, "--json"]).await.expect_code(0).json();
    assert_eq!(balance, json!({ "address": BOB, "balance": "999999998999999726928000", "nonce": 13 }));

    let validators = ask(&["validators"]).await.expect_code(0).stdout;
    assert!(validators.contains("epoch 12") && validators.contains("cpcvalcons1"), "{validators}");
    let json = ask(&["validators", "--json"]).await.expect_code(0);
    assert_eq!(json.stdout.trim_end(), get(port, "/validators").await.body);

    let status = Call::new(NODE).env("CPC_NODE", url(port)).args(["status", "--json"]).output().await.expect_code(0);
    assert_eq!(status.stdout.trim_end(), get(port, "/status").await.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_v1_network_is_one_for_the_reference() {
    let dir = Datadir::absent();
    let key = faucet(&dir);
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&sent);
    // The account's nonce rises at the third look: a block has the transaction.
    let server =
        Canned::start(reference(move || u64::from(counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2)))
            .await;
    let args = ["tx", "send", "--to", BOB, "--amount", "0.5", "--network", "devnet", "--json", "--node"];
    let call = dir.call(NODE).args(args).arg(url(server.port)).arg("--from").arg(&key);
    let outcome = call.output().await.expect_code(0).json();
    assert_eq!((&outcome["status"], outcome.get("height")), (&json!("included"), None), "{outcome}");
    let tx: Value = serde_json::from_str(&server.asked("POST /tx/send")[0]).unwrap();
    let expected =
        ["tx_type", "from_address", "to_address", "amount", "fee", "nonce", "signature", "pub_key", "payload"];
    for field in expected.iter().chain(&["gas_price", "gas_limit"]) {
        assert!(tx.get(field).is_some(), "no {field} in {tx}");
    }
    assert_eq!((&tx["amount"], &tx["nonce"]), (&json!(500_000_000_000_000_000u64), &json!(0)));

    // A node that holds the same network takes it.
    let real = Datadir::holding(NODE, &Chain::fork().up_to(1)).await;
    let node = Process::run(NODE, real.path(), &[]).await;
    let answer = cpc_tests::http::post(node.rpc_port(), "/tx/send", &tx.to_string()).await.expect(200).json();
    assert_eq!((&answer["status"], &answer["tx_hash"]), (&json!("received"), &outcome["tx_hash"]), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_waited_for_until_a_block_has_it() {
    let chain = Chain::fork().up_to(60);
    let dir = Datadir::holding(NODE, &chain).await;
    let key = faucet(&dir);
    let node = Process::run(NODE, dir.path(), &[]).await;
    let args = ["tx", "send", "--to", BOB, "--amount", "0.5", "--json", "--node", &url(node.rpc_port()), "--from"];
    let mut wallet = dir.call(NODE).args(args).arg(&key).start();
    let tx = until(PATIENCE, "the transaction in the pool", async || {
        let pool = get(node.rpc_port(), "/mempool").await.expect(200).json();
        pool["txs"].get(0).map(|pooled| pooled["tx"].to_string())
    })
    .await;
    assert!(wallet.is_running(), "{}", wallet.stderr());
    let longer = include(&chain, &[tx]);
    let (mut peer, _) = Socket::greeted(node.port(), &Hello::legacy(&chain)).await;
    peer.send(&wire::new_block(&longer.lines[61])).await;
    let outcome = wallet.exit(PATIENCE).await.expect_code(0).json();
    assert_eq!((&outcome["status"], &outcome["height"]), (&json!("included"), &json!(61)), "{outcome}");
    assert_eq!(outcome["block_hash"], longer.tip_hash());
    assert_eq!(get(node.rpc_port(), "/status").await.json()["mempool_size"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_included_transaction_is_reported_with_its_block() {
    let dir = Datadir::absent();
    let key = faucet(&dir);
    let server = Canned::start(|line| {
        if line.starts_with("GET /tx/") {
            // Under the rules of v1 another transaction of this sender may have the same hash.
            let ours = json!({ "height": 8, "block_hash": "ab".repeat(32), "index": 0, "tx": { "nonce": 5 } });
            let found = json!({
                "height": 9, "block_hash": "cd".repeat(32), "index": 1, "status": "included", "tx": { "nonce": 51 },
                "others": [ours]
            });
            return (200, found.to_string());
        }
        reference(|| 5)(line)
    })
    .await;
    let args = ["tx", "send", "--to", BOB, "--amount", "0.5", "--network", "devnet", "--node"];
    let call = dir.call(NODE).args(args).arg(url(server.port)).arg("--from").arg(&key);
    let text = call.clone().output().await.expect_code(0).stdout;
    assert!(text.contains("included") && text.contains("0.5 CPC"), "{text}");
    let outcome = call.arg("--json").output().await.expect_code(0).json();
    assert_eq!((&outcome["height"], &outcome["block_hash"]), (&json!(8), &json!("ab".repeat(32))), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_network_gets_no_transaction() {
    let dir = Datadir::absent();
    let key = faucet(&dir);
    let server = Canned::start(reference(|| 0)).await;
    let args = ["tx", "send", "--to", BOB, "--amount", "0.5", "--network", "testnet", "--node"];
    let call = dir.call(NODE).args(args).arg(url(server.port)).arg("--from").arg(&key);
    refused(call.output().await, 1, &["\"devnet\"", "\"testnet\""]);
    assert!(server.asked("POST /tx/send").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_one_line_that_says_what_to_do() {
    let nobody = url(free_port());
    for args in [&["balance", BOB][..], &["block", "1"], &["validators"], &["status"]] {
        refused(Call::new(NODE).args(args).args(["--node", &nobody]).output().await, 1, &[&nobody, "--node"]);
    }
    for (args, word) in [
        (&["balance", BOB, "--node", "localhost:8000"][..], "localhost:8000"),
        (&["balance"], "ADDR"),
        (&["block", "x"], "x"),
        (&["tx", "send", "--from", "a", "--to", "cpc1x", "--amount", "1"], "cpc1x"),
        (&["tx", "send", "--from", "a", "--to", BOB, "--amount", "1e5"], "1e5"),
        (&["tx", "stake", "--from", "a", "--amount", "1", "--validator", "v", "--pub-key", "00"], "--pub-key"),
        (&["keys"], "keys"),
        (&["tx"], "tx"),
    ] {
        refused(Call::new(NODE).args(args).output().await, 2, &[word]);
    }
    let dir = Datadir::absent();
    let missing = ["tx", "send", "--from", "nobody", "--to", BOB, "--amount", "1", "--network", "devnet"];
    refused(dir.call(NODE).args(missing).output().await, 1, &["nobody_key.hex"]);
    let other = Canned::start(|_| (200, "<html>".to_owned())).await;
    refused(
        Call::new(NODE).args(["validators", "--node", &url(other.port)]).output().await,
        1,
        &["no ComputeChain node"],
    );
}
