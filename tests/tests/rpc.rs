//! The RPC of a running node, asked over a socket.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use cpc_framework::rules::Hasher;
use cpc_framework::types::{Genesis, Network, Transaction};
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{until, within};
use cpc_tests::http::{get, normal, post, raw, request};
use cpc_tests::process::{Call, PATIENCE, Process, free_port};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::NO_HASH;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const NODE: &str = cpc_tests::node_binary!();

/// A node that holds `chain` and has nobody to talk to.
async fn node_with(chain: &Chain) -> (Datadir, Process) {
    let dir = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    (dir, node)
}

#[derive(Deserialize)]
struct Summary {
    balances: BTreeMap<String, (String, u64)>,
    active_validators: Vec<String>,
    tx_hashes_of_last: Vec<String>,
}

/// What the reference says of the state at the end of [`Chain::fork`].
fn summary() -> Summary {
    let file = Chain::fork().genesis.with_file_name("summary.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_the_fields_of_the_reference() {
    let chain = Chain::fork().up_to(60);
    let (_dir, node) = node_with(&chain).await;
    let answer = get(node.rpc_port(), "/status").await.expect(200);
    assert!(answer.head.to_lowercase().contains("content-type: application/json"), "{}", answer.head);
    let expected = json!({
        "height": 60, "last_hash": chain.tip_hash(), "network": "devnet", "mempool_size": 0, "epoch": 6
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_chain_has_height_minus_one_and_a_hash_of_zeros() {
    let dir = Datadir::joined(NODE, Chain::fork()).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let status = get(node.rpc_port(), "/status").await.expect(200).json();
    let expected = json!({ "height": -1, "last_hash": NO_HASH, "network": "devnet", "mempool_size": 0, "epoch": 0 });
    assert_eq!(status, expected);
    get(node.rpc_port(), "/block/0").await.expect(404).detail();
    assert_eq!(get(node.rpc_port(), "/blocks").await.expect(200).body, r#"{"blocks":[]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_those_of_the_reference_to_the_last_digit() {
    let chain = Chain::fork();
    let (_dir, node) = node_with(chain).await;
    let port = node.rpc_port();
    for height in [0, 1, 60, 120] {
        let answer = get(port, &format!("/block/{height}")).await.expect(200);
        assert_eq!(answer.normal(), normal(&chain.lines[height]), "block {height}");
    }
    for height in ["121", "-1", "18446744073709551616", "100000000000000000000000000000000000000000"] {
        let detail = get(port, &format!("/block/{height}")).await.expect(404).detail();
        assert!(detail.contains(height), "{detail}");
    }
    for height in ["x", "1.5", "0x10", "%20", "1e3"] {
        get(port, &format!("/block/{height}")).await.expect(422).detail();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_blocks_are_bounded() {
    let chain = Chain::fork();
    let (_dir, node) = node_with(chain).await;
    let port = node.rpc_port();
    let texts = |range: std::ops::Range<usize>| {
        let blocks: Vec<String> = chain.lines[range].iter().map(|line| normal(line)).collect();
        format!(r#"{{"blocks":[{}]}}"#, blocks.join(","))
    };
    for (query, range) in [
        ("?from=7&to=9", 7..10),
        ("?from=119", 119..121),
        ("?from=119&to=5000", 119..121),
        ("?from=121&to=130", 0..0),
        ("?to=0", 0..1),
        ("", 0..100),
        ("?from=3&to=18446744073709551615", 3..103),
    ] {
        let answer = get(port, &format!("/blocks{query}")).await.expect(200);
        assert!(answer.normal() == texts(range.clone()), "{query} is not {range:?}: {}", answer.body.len());
    }
    for query in ["?from=9&to=7", "?from=x", "?from=-1", "?to=18446744073709551616"] {
        get(port, &format!("/blocks{query}")).await.expect(422).detail();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_and_validators_are_those_of_the_reference() {
    let (_dir, node) = node_with(Chain::fork()).await;
    let port = node.rpc_port();
    let summary = summary();
    for (address, (balance, nonce)) in &summary.balances {
        let account = get(port, &format!("/balance/{address}")).await.expect(200).json();
        assert_eq!(account, json!({ "address": address, "balance": balance, "nonce": nonce }));
    }
    // Any text is an address; nobody has this one.
    let nobody = get(port, "/balance/%D0%B6%2F1").await.expect(200).json();
    assert_eq!(nobody, json!({ "address": "ж/1", "balance": "0", "nonce": 0 }));

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Validators {
        epoch: u64,
        validators: Vec<Validator>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Validator {
        address: String,
        pq_pub_key: String,
        power: u128,
        is_active: bool,
        reward_address: Option<String>,
    }
    let answer = get(port, "/validators").await.expect(200);
    let read: Validators = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(read.epoch, 12);
    let mut active: Vec<&str> =
        read.validators.iter().filter(|validator| validator.is_active).map(|v| v.address.as_str()).collect();
    let mut expected: Vec<&str> = summary.active_validators.iter().map(String::as_str).collect();
    active.sort_unstable();
    expected.sort_unstable();
    assert_eq!(active, expected);
    let genesis: Value = serde_json::from_str(&fs::read_to_string(&Chain::fork().genesis).unwrap()).unwrap();
    for validator in genesis["validators"].as_array().unwrap() {
        let found = read.validators.iter().find(|found| validator["address"] == found.address.as_str()).unwrap();
        let pub_key = validator.get("pub_key").or(validator.get("pq_pub_key")).unwrap();
        assert_eq!(pub_key, found.pq_pub_key.as_str());
        assert!(found.power > 0);
        assert_eq!(validator["reward_address"].as_str(), found.reward_address.as_deref());
    }
    assert!(answer.body.contains(r#""reward_address":"#), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_followed_from_the_pool_into_a_block() {
    let (dir, node) = node_with(&Chain::fork().up_to(119)).await;
    let port = node.rpc_port();
    let txs = Chain::fork().transactions(120);
    let hashes = summary().tx_hashes_of_last;
    for (tx, hash) in txs.iter().zip(&hashes) {
        get(port, &format!("/tx/{hash}")).await.expect(404).detail();
        let sent = post(port, "/tx/send", tx).await.expect(200);
        assert_eq!(sent.json(), json!({ "tx_hash": hash, "status": "received" }));
        let again = post(port, "/tx/send", tx).await.expect(200);
        assert_eq!(again.json(), json!({ "tx_hash": hash, "status": "rejected", "error": "already_in_pool" }));
        let found = get(port, &format!("/tx/{hash}")).await.expect(200);
        let expected = format!(
            r#"{{"tx_hash":"{hash}","status":"pending","height":null,"block_hash":null,"index":null,"tx":{tx}}}"#
        );
        assert_eq!(found.normal(), normal(&expected));
    }
    assert_eq!(get(port, "/status").await.json()["mempool_size"], 2);
    let pool = get(port, "/mempool").await.expect(200).json();
    assert_eq!((&pool["size"], &pool["waiting"]), (&json!(2), &json!(0)));
    assert!(pool["bytes"].as_u64().unwrap() > 0, "{pool}");
    let listed: Vec<&str> = pool["txs"].as_array().unwrap().iter().map(|tx| tx["tx_hash"].as_str().unwrap()).collect();
    assert_eq!(listed, hashes);
    let sender = pool["txs"][1]["tx"]["from_address"].as_str().unwrap();
    let of_one = get(port, &format!("/mempool?sender={sender}")).await.expect(200).json();
    assert_eq!(of_one["txs"], json!([pool["txs"][1]]));
    assert_eq!(get(port, "/mempool?limit=1").await.expect(200).json()["txs"], json!([pool["txs"][0]]));
    get(port, "/mempool?limit=x").await.expect(422).detail();
    node.stop().await;

    dir.import(NODE, Chain::fork()).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    for (index, (tx, hash)) in txs.iter().zip(&hashes).enumerate() {
        let found = get(node.rpc_port(), &format!("/tx/{hash}")).await.expect(200);
        let block_hash = Chain::fork().tip_hash();
        let expected = format!(
            r#"{{"tx_hash":"{hash}","status":"included","height":120,"block_hash":"{block_hash}","index":{index},"tx":{tx}}}"#
        );
        assert_eq!(found.normal(), normal(&expected));
    }
}

/// Each of `places` is found, as soon as the node has read its blocks for that.
async fn assert_found(node: &Process, places: &[(String, usize, usize)]) {
    for (hash, height, index) in places {
        let found = until(PATIENCE, "a transaction of the chain", async || {
            let answer = get(node.rpc_port(), &format!("/tx/{hash}")).await;
            assert!(answer.status == 200 || answer.detail().contains("ask again"), "{answer:?}");
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(
            (&found["status"], &found["height"], &found["index"], found.get("others")),
            (&json!("included"), &json!(height), &json!(index), None),
            "{found}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_is_found_however_old_after_a_kill_and_without_its_index() {
    let chain = Chain::mainline();
    let genesis = Genesis::from_json(&fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap();
    let hasher = Hasher::new(&genesis);
    let mut places = Vec::new();
    for height in (0..chain.lines.len()).step_by(60) {
        for (index, tx) in chain.transactions(height).iter().enumerate() {
            let tx: Transaction = serde_json::from_str(tx).unwrap();
            places.push((hasher.transaction_hash(&tx).to_string(), height, index));
        }
    }
    assert!(places.len() > 20 && places[0].1 < 100, "{places:?}");
    let (dir, node) = node_with(chain).await;
    assert_found(&node, &places).await;
    node.kill().await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    assert_found(&node, &places).await;
    node.stop().await;
    fs::remove_dir_all(dir.path().join("tx_index")).unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    assert_found(&node, &places).await;
    get(node.rpc_port(), &format!("/tx/{NO_HASH}")).await.expect(404).detail();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_in_the_words_of_the_reference() {
    let (_dir, node) = node_with(&Chain::fork().up_to(60)).await;
    let port = node.rpc_port();
    let tx: Value = serde_json::from_str(&Chain::fork().transactions(61)[0]).unwrap();
    let with = |field: &str, value: Value| {
        let mut tx = tx.clone();
        tx[field] = value;
        tx.to_string()
    };
    let signature = tx["signature"].as_str().unwrap();
    let swapped = format!("{}{}", &signature[64..], &signature[..64]);
    for (body, reason) in [
        (with("gas_price", json!(999)), "gas_price 999 < min 1000"),
        (with("tx_type", json!("UNSTAKE")), "unknown_tx_type"),
        (with("gas_limit", json!(1)), "gas_limit 1 < base_gas"),
        (with("fee", json!(5)), "fee 5 < needed_fee"),
        (with("signature", json!("")), "missing_sig_or_key"),
        (with("from_address", json!("cpc1nobody")), "pub_key_mismatch"),
        (with("pub_key", json!("zz")), "invalid_key_format"),
        (with("signature", json!(swapped)), "invalid_signature"),
    ] {
        let answer = post(port, "/tx/send", &body).await.expect(200).json();
        assert_eq!(answer["status"], "rejected", "{answer}");
        assert_eq!(answer["tx_hash"].as_str().map(str::len), Some(64), "{answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(reason), "{answer} is not {reason}");
        assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");
    }
    for (body, status) in [
        (String::new(), 400),
        ("{".to_owned(), 400),
        ("nonsense".to_owned(), 400),
        ("[]".to_owned(), 422),
        ("{}".to_owned(), 422),
        (with("amount", json!(-1)), 422),
        (with("amount", json!("1")), 422),
        (with("tx_type", json!("GIFT")), 422),
        (with("payload", Value::Null), 422),
    ] {
        let detail = post(port, "/tx/send", &body).await.expect(status).detail();
        assert!(detail.contains("no transaction"), "{detail}");
    }
    assert_eq!(get(port, "/status").await.json()["mempool_size"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_and_methods_are_errors_in_json() {
    let (_dir, node) = node_with(&Chain::fork().up_to(2)).await;
    let port = node.rpc_port();
    for path in ["/", "/nothing", "/block", "/block/1/2", "/tx"] {
        get(port, path).await.expect(404).detail();
    }
    for (method, path) in [("POST", "/status"), ("DELETE", "/block/1"), ("GET", "/tx/send"), ("PUT", "/tx/send")] {
        request(port, method, path, "localhost", "", "").await.expect(405).detail();
    }
    for hash in ["x", "00", &"F".repeat(64), &"0".repeat(63)] {
        get(port, &format!("/tx/{hash}")).await.expect(422).detail();
    }
    get(port, &format!("/tx/{NO_HASH}")).await.expect(404).detail();
    get(port, "/balance/%FF").await.expect(422).detail();
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded() {
    let (_dir, node) = node_with(&Chain::fork().up_to(2)).await;
    let port = node.rpc_port();
    let filled = |bytes: usize| format!("{}{}", "[]", " ".repeat(bytes - 2));
    post(port, "/tx/send", &filled(256 * 1024)).await.expect(422);
    post(port, "/tx/send", &filled(256 * 1024 + 1)).await.expect(413).detail();
    post(port, "/tx/send", &filled(2 * 1024 * 1024)).await.expect(413).detail();
    // In chunks nobody says the length beforehand.
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, " ".repeat(100_000));
    let head = "POST /tx/send HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw(port, &format!("{head}{}0\r\n\r\n", chunk.repeat(3))).await.expect(413).detail();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_cannot_ask() {
    let (dir, node) = node_with(&Chain::fork().up_to(2)).await;
    let port = node.rpc_port();
    for host in ["localhost", "127.0.0.1", &format!("127.0.0.1:{port}"), "[::1]:80"] {
        request(port, "GET", "/status", host, "", "").await.expect(200);
    }
    for host in ["evil.example", "localhost.evil.example:8000", "192.0.2.1"] {
        let detail = request(port, "GET", "/status", host, "", "").await.expect(403).detail();
        assert!(detail.contains(host), "{detail}");
        request(port, "POST", "/tx/send", host, "", "{}").await.expect(403);
    }
    for (origin, status) in [("http://evil.example", 403), ("null", 403), ("http://localhost:3000", 200)] {
        request(port, "GET", "/status", "localhost", &format!("Origin: {origin}\r\n"), "").await.expect(status);
        let sent = request(port, "POST", "/tx/send", "localhost", &format!("Origin: {origin}\r\n"), "{}").await;
        sent.expect(if status == 200 { 422 } else { 403 });
    }
    raw(port, "GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect(403);
    node.stop().await;
    // Beyond this machine only where the operator says so; then it has names that we cannot know.
    let node = Process::run(NODE, dir.path(), &["--host", "0.0.0.0", "--rpc-name", "node.example,other.example"]).await;
    let port = node.rpc_port();
    request(port, "GET", "/status", "evil.example", "", "").await.expect(200);
    assert!(node.stderr().contains("open to whoever"), "{}", node.stderr());
    // What is sent must be meant for it all the same: it goes to a number, or to a name of the operator's.
    for (host, origin, status) in [
        ("192.0.2.1:8000", "", 422),
        ("[2001:db8::1]", "", 422),
        ("localhost", "", 422),
        ("node.example", "http://other.example:3000", 422),
        ("evil.example", "", 403),
        ("node.example.evil.example", "", 403),
        ("192.0.2.1", "http://evil.example", 403),
    ] {
        let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        request(port, "POST", "/tx/send", host, &origin, "{}").await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_it_listens_on_127_0_0_1_alone() {
    let (_dir, node) = node_with(&Chain::fork().up_to(2)).await;
    TcpStream::connect(("127.0.0.1", node.rpc_port())).await.unwrap();
    // Another address of this machine, which a listener on 0.0.0.0 would have too.
    TcpStream::connect(("127.0.0.2", node.rpc_port())).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_health_and_readiness_are_shown() {
    let chain = Chain::fork().up_to(60);
    let (_dir, server) = node_with(&chain).await;
    let dir = Datadir::joined(NODE, &chain).await;
    let node = Process::run_with_peers(NODE, dir.path(), &[server.address()]).await;
    let port = node.rpc_port();
    let health = get(port, "/health").await.expect(200).json();
    assert_eq!(health["status"], "ok");
    let ready = until(PATIENCE, "SYNCED with a peer", async || {
        let answer = get(port, "/ready").await;
        let json = answer.json();
        if answer.status == 503 {
            assert_eq!((&json["ready"], &json["mode"]), (&json!(false), &json!("SYNCING")));
            assert!(json["detail"].as_str().unwrap().contains("SYNCING"), "{json}");
        }
        (answer.status == 200 && json["height"] == 60).then_some(json)
    })
    .await;
    assert_eq!(ready, json!({ "ready": true, "mode": "SYNCED", "height": 60, "target": null, "peers": 1 }));
    let peers = get(port, "/peers").await.expect(200).json();
    let peer = &peers["peers"][0];
    assert_eq!(peers["peers"].as_array().unwrap().len(), 1, "{peers}");
    assert_eq!((&peer["direction"], &peer["link"]), (&json!("outbound"), &json!("tcp+json")));
    assert_eq!((&peer["address"], &peer["height"]), (&json!(server.address()), &json!(60)));
    assert!(peer["bytes_in"].as_u64().unwrap() > 10_000, "{peers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_an_error_that_leaves_no_trace() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = Datadir::absent();
    let p2p = free_port().to_string();
    let output = dir.call(NODE).args(["run", "--port", &port, "--p2p-port", &p2p]).output().await.expect_code(1);
    assert!(output.stderr.contains(&format!("127.0.0.1:{port}")) && output.stderr.contains("--port"), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert!(!dir.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_serves_no_rpc() {
    let chain = Chain::fork().up_to(20);
    let (_dir, server) = node_with(&chain).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = Datadir::joined(NODE, &chain).await;
    Call::sync(NODE, dir.path(), &[server.address()]).args(["--port", &port]).output().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_do_not_hold_up_the_end() {
    let (_dir, node) = node_with(&Chain::fork().up_to(2)).await;
    let mut idle = TcpStream::connect(("127.0.0.1", node.rpc_port())).await.unwrap();
    get(node.rpc_port(), "/status").await.expect(200);
    node.stop().await;
    let end = within(Duration::from_secs(5), "the end of the connection", idle.read(&mut [0; 10])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
