//! What is secret stays in its file: no log line shows a key, however much is logged.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::process::{Call, free_port};

const NODE: &str = cpc_tests::node_binary!();

/// How long a validator may take for its first block on a slow and busy machine: a block time is a few seconds.
const BLOCK: Duration = Duration::from_secs(60);

/// How the bytes of a key may be written.
fn spellings(key: &str) -> Vec<String> {
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap()).collect();
    let list = |numbers: Vec<String>| numbers.join(", ");
    let decimal = list(bytes[..8].iter().map(u8::to_string).collect());
    let hex = list(bytes[..8].iter().map(|byte| format!("{byte:#04x}")).collect());
    vec![key[..32].to_owned(), key[32..].to_owned(), key[..32].to_uppercase(), decimal, hex]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_validator_that_logs_everything_shows_no_key() {
    let dir = Datadir::absent();
    let at = |call: Call| call.env("CPC_DATADIR", dir.path());
    let init = at(Call::new(NODE)).args(["init", "--log-level", "trace"]).output().await.expect_code(0);
    let made = at(Call::new(NODE)).args(["keys", "new", "alice", "--log-level", "trace"]).output().await.expect_code(0);
    let (p2p, rpc) = (free_port().to_string(), free_port().to_string());
    let args = ["run", "--log-level", "trace", "--transport", "quic", "--p2p-host", "127.0.0.1", "--p2p-port", &p2p];
    let node = at(Call::new(NODE)).args(args).args(["--port", &rpc]).start();
    node.line_where("a block of its own", BLOCK, |line| line.contains("height=1") || line.contains("height: 1")).await;
    // A peer comes, so that TLS is in the log too.
    let here = Datadir::absent();
    std::fs::create_dir_all(here.path()).unwrap();
    std::fs::copy(dir.path().join("genesis.json"), here.path().join("genesis.json")).unwrap();
    let peer = format!("127.0.0.1:{p2p}");
    let sync = Call::sync_over(NODE, here.path(), "quic+postcard", &[&peer]).args(["--log-level", "trace"]);
    let synced = sync.output_within(BLOCK).await.expect_code(0);
    let run = node.stop().await;

    let logs =
        [init.stdout, init.stderr, made.stdout, made.stderr, run.stdout, run.stderr, synced.stdout, synced.stderr];
    assert!(logs.concat().contains("TRACE") || logs.concat().contains("DEBUG"), "everything was to be logged");
    let mut keys = Vec::new();
    for (datadir, names) in [(&dir, &["validator", "faucet", "node", "alice"][..]), (&here, &["node"])] {
        keys.extend(names.iter().map(|name| datadir.read(&format!("{name}_key.hex")).trim().to_owned()));
    }
    for key in keys {
        for spelling in spellings(&key) {
            assert!(!logs.iter().any(|log| log.contains(&spelling)), "a key is in a log as {spelling}");
        }
    }
}
