//! What commands print for scripts, field for field.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_tests::datadir::Datadir;
use cpc_tests::vectors::Chain;
use serde_json::{Value, json};

const NODE: &str = cpc_tests::node_binary!();

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_datadir_tells_its_chain_network_and_node() {
    let chain = Chain::fork().up_to(30);
    let empty = Datadir::joined(NODE, &chain).await;
    let status = empty.status(NODE).await;
    let node_id = status["node_id"].as_str().unwrap().to_owned();
    let nothing = json!({
        "height": null, "tip_hash": null, "genesis_hash": null, "network": "devnet", "node_id": node_id, "peers_known": 0
    });
    assert_eq!(status, nothing);
    assert!(node_id.len() == 64 && node_id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{node_id}");

    let dir = Datadir::holding(NODE, &chain).await;
    std::fs::write(dir.path().join("peers.json"), r#"["127.0.0.1:9001","127.0.0.1:9002"]"#).unwrap();
    let status = dir.status(NODE).await;
    let second: Value = serde_json::from_str(&chain.lines[1]).unwrap();
    let expected = json!({
        "height": 30, "tip_hash": chain.tip_hash(), "genesis_hash": second["header"]["prev_hash"], "network": "devnet",
        "node_id": status["node_id"], "peers_known": 2
    });
    assert_eq!(status, expected);
    assert_ne!(status["node_id"], node_id.as_str(), "each node has a key of its own");
    // The same, for people.
    let text = dir.call(NODE).arg("status").output().await.expect_code(0).stdout;
    for field in ["height", "tip_hash", "genesis_hash", "network", "node_id", "peers_known"] {
        let value = expected[field].as_str().map_or_else(|| expected[field].to_string(), str::to_owned);
        assert!(text.contains(&value), "no {field} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_show_tells_all_that_is_public_of_a_key_and_nothing_else() {
    let dir = Datadir::absent();
    dir.call(NODE).arg("init").output().await.expect_code(0);
    for name in ["validator", "faucet"] {
        let file = dir.path().join(format!("{name}_key.hex"));
        let secret = std::fs::read_to_string(&file).unwrap();
        let key = SecretKey::from_hex(Scheme::Ed25519, secret.trim()).unwrap();
        let shown = dir.call(NODE).args(["keys", "show", name, "--json"]).output().await.expect_code(0).json();
        let expected = json!({
            "name": name, "file": file.to_str().unwrap(), "scheme": "ed25519", "public_key": key.public_key(),
            "address": key.address(ACCOUNT_PREFIX), "validator_address": key.address(VALIDATOR_PREFIX)
        });
        assert_eq!(shown, expected);
    }
}
