//! Nodes on bad disks: full ones, ones that cannot be written to, ones that flip bits, ones that write a part only.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a broken assumption of a test is a failed test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::network::{genesis, params, validator_key};
use cpc_tests::process::free_port;
use cpc_tests::vectors::Chain;
use serde_json::Value;

mod flipped_bits;
mod full;
mod full_small_files;
mod read_only;
mod torn_writes;

const NODE: &str = cpc_tests::node_binary!();

/// How long what takes a second may take on a slow and busy machine. A node that could not write tries again after ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

async fn check(dir: &Datadir) -> Value {
    let output = dir.call(NODE).args(["check", "--json"]).output().await.expect_code(0);
    serde_json::from_str(&output.stdout).unwrap()
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

/// A datadir of a network whose only validator it is, with a block every second.
fn validator() -> Datadir {
    let dir = Datadir::absent();
    fs::create_dir(dir.path()).unwrap();
    fs::write(dir.path().join("genesis.json"), genesis(1, 1, params()).to_json()).unwrap();
    let key = dir.path().join("validator_key.hex");
    fs::write(&key, validator_key(0).to_hex()).unwrap();
    fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
    dir
}
