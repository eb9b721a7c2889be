//! `devnet`: a whole network of processes in one command.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

mod showing;
mod stopping;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http::{get, normal};
use cpc_tests::process::{Call, Output, PATIENCE, Process, Signal};
use serde_json::Value;
use tempfile::TempDir;

const NODE: &str = cpc_tests::node_binary!();

/// How long an operator waits after Ctrl-C.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// A running devnet on ports that nobody else has.
struct Devnet {
    process: Process,
    root: PathBuf,
}

/// A node as the devnet told of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Started {
    pid: u32,
    rpc: u16,
}

impl Devnet {
    fn start(root: &Path, args: &[&str]) -> Self {
        let process = Call::at(NODE, root).arg("devnet").args(["--port", "0", "--p2p-port", "0"]).args(args).start();
        Self { process, root: root.to_owned() }
    }

    /// The last start of a node.
    async fn node(&self, number: usize) -> Started {
        self.line_of(&format!("node-{number} starts, pid ")).await
    }

    /// The start of a node after it was down.
    async fn node_again(&self, number: usize) -> Started {
        self.line_of(&format!("node-{number} is started again, pid ")).await
    }

    async fn line_of(&self, begins: &str) -> Started {
        let line = self.process.line(begins, PATIENCE).await;
        let (_, rest) = line.split_once(", pid ").unwrap();
        let (pid, url) = rest.split_once(", RPC http://127.0.0.1:").unwrap();
        Started { pid: pid.parse().unwrap(), rpc: url.parse().unwrap() }
    }

    async fn nodes(&self, count: usize) -> Vec<Started> {
        let mut nodes = Vec::new();
        for number in 1..=count {
            nodes.push(self.node(number).await);
        }
        nodes
    }

    /// A signal to the devnet, and its end in time and in order.
    async fn stop(self, signal: Signal) -> Output {
        self.process.signal(signal);
        self.ends().await
    }

    /// Its end in time and in order, once it was told to stop.
    async fn ends(mut self) -> Output {
        self.process.exit(STOPS_WITHIN).await.expect_code(0)
    }
}

/// Height and hash of a node's tip, by its RPC; height -1 where it has no block.
async fn tip(rpc: u16) -> (i64, String) {
    let status = get(rpc, "/status").await.expect(200).json();
    (status["height"].as_i64().unwrap(), status["last_hash"].as_str().unwrap().to_owned())
}

/// Waits until each of these has the block at `height`, and checks that all have the same one.
async fn all_have(nodes: &[Started], height: i64) {
    for node in nodes {
        until(PATIENCE, "an RPC that listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", node.rpc)).await.ok().map(drop)
        })
        .await;
        until(PATIENCE, &format!("block {height} at {node:?}"), async || {
            (tip(node.rpc).await.0 >= height).then_some(())
        })
        .await;
    }
    let mut copies = BTreeSet::new();
    for node in nodes {
        copies.insert(normal(&get(node.rpc, &format!("/block/{height}")).await.expect(200).body));
    }
    assert_eq!(copies.len(), 1, "one block at height {height}");
}

fn exists(pid: u32) -> bool {
    // One that nobody has waited for yet is gone too.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    state.and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| !rest.starts_with('Z'))).unwrap_or(false)
}

fn kill(pid: u32) {
    signal("-KILL", pid);
}

fn signal(name: &str, pid: u32) {
    let status = std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

/// The tips on the disks; height -1 where there is no block.
async fn tips(root: &Path, nodes: usize) -> Vec<(i64, String)> {
    let mut tips = Vec::new();
    for number in 1..=nodes {
        let datadir = root.join(format!("node-{number}"));
        let status: Value = Call::at(NODE, &datadir).args(["status", "--json"]).output().await.expect_code(0).json();
        tips.push((
            status["height"].as_i64().unwrap_or(-1),
            status["tip_hash"].as_str().unwrap_or_default().to_owned(),
        ));
    }
    tips
}

fn at_most_one_apart(tips: &[(i64, String)]) {
    let heights = tips.iter().map(|(height, _)| *height);
    let (lowest, highest) = (heights.clone().min().unwrap(), heights.max().unwrap());
    assert!(highest - lowest <= 1, "{tips:?}");
}

fn entries(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn root() -> (TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("cpc-devnet-").tempdir().unwrap();
    let root = dir.path().join("network");
    (dir, root)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_come_to_one_chain_with_the_loads_transactions_and_stop_level_at_ctrl_c() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--load", "20", "--join-after", "4"]);
    let first = devnet.nodes(3).await;
    all_have(&first, 2).await;
    assert!(!devnet.process.stdout().contains("node-4 starts"), "the last one joins later");
    let nodes = devnet.nodes(4).await;
    let behind = tip(first[0].rpc).await.0;
    all_have(&nodes, behind + 3).await;
    for node in &nodes {
        let peers = get(node.rpc, "/peers").await.expect(200).json();
        assert!(!peers["peers"].as_array().unwrap().is_empty());
    }
    // The load's transfers are in blocks, and move balances at every node.
    let (sender, receiver, nonce) = until(PATIENCE, "a transfer in a block", async || {
        let blocks = get(nodes[0].rpc, "/blocks?from=1").await.expect(200).json();
        let txs = blocks["blocks"].as_array()?.iter().flat_map(|block| block["txs"].as_array().unwrap());
        txs.map(|tx| (tx["from_address"].clone(), tx["to_address"].clone(), tx["nonce"].as_u64().unwrap())).next_back()
    })
    .await;
    for node in &nodes {
        let sender = format!("/balance/{}", sender.as_str().unwrap());
        until(PATIENCE, "the sender's nonce", async || {
            (get(node.rpc, &sender).await.expect(200).json()["nonce"].as_u64()? > nonce).then_some(())
        })
        .await;
        let receiver = get(node.rpc, &format!("/balance/{}", receiver.as_str().unwrap())).await.expect(200).json();
        let first_balance = 10u128.pow(24);
        assert_ne!(receiver["balance"].as_str().unwrap().parse::<u128>().unwrap(), first_balance);
    }
    let validators = get(nodes[3].rpc, "/validators").await.expect(200).json();
    assert_eq!(validators["validators"].as_array().unwrap().len(), 3);

    let root = devnet.root.clone();
    let output = devnet.stop(Signal::Int).await;
    for node in &nodes {
        assert!(!exists(node.pid), "{node:?} is left behind");
    }
    let expected = ["node-1", "node-2", "node-3", "node-4"].map(str::to_owned).into();
    assert_eq!(entries(&root), expected, "a datadir for each node, and nothing else");
    let tips = tips(&root, 4).await;
    at_most_one_apart(&tips);
    let last = output.stdout.lines().last().unwrap();
    assert!(last.starts_with("stopped after"), "{last}");
    for (height, hash) in &tips {
        assert!(last.contains(&format!("height {height}, tip {hash}")), "{last}");
    }
    assert!(output.stdout.contains("node-4 joins in 4 s"), "{output:?}");
    for number in 1..=4 {
        let log = std::fs::read_to_string(root.join(format!("node-{number}/node.log"))).unwrap();
        assert!(!log.contains("ERROR") && !log.contains("is invalid"), "node-{number}:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_validator_is_done_without_and_comes_back_and_the_next_run_goes_on() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--join-after", "0"]);
    let nodes = devnet.nodes(4).await;
    all_have(&nodes, 2).await;
    kill(nodes[1].pid);
    devnet.process.line("node-2 was killed by signal 9", PATIENCE).await;
    let others = [nodes[0], nodes[2], nodes[3]];
    let before = tip(others[0].rpc).await.0;
    all_have(&others, before + 2).await;
    let back = devnet.node_again(2).await;
    assert_ne!(back.pid, nodes[1].pid);
    let all = [others[0], back, others[1], others[2]];
    let before = tip(others[0].rpc).await.0;
    all_have(&all, before + 3).await;
    let output = devnet.stop(Signal::Term).await;
    assert!(output.stdout.contains("killed by signal 9"), "{output:?}");
    let first = tips(&root, 4).await;
    at_most_one_apart(&first);

    let devnet = Devnet::start(&root, &["--join-after", "0"]);
    let nodes = devnet.nodes(4).await;
    let height = first[0].0;
    let genesis = std::fs::read_to_string(root.join("node-1/genesis.json")).unwrap();
    all_have(&nodes, height + 2).await;
    let kept = get(nodes[2].rpc, &format!("/block/{}", height + 1)).await.expect(200).json();
    assert!(first.iter().any(|(_, hash)| kept["header"]["prev_hash"] == hash.as_str()), "{kept} after {first:?}");
    devnet.stop(Signal::Int).await;
    assert_eq!(std::fs::read_to_string(root.join("node-1/genesis.json")).unwrap(), genesis);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_outlives_a_devnet_that_is_killed() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--nodes", "2", "--join-after", "0"]);
    let nodes = devnet.nodes(2).await;
    all_have(&nodes, 1).await;
    devnet.process.kill().await;
    until(STOPS_WITHIN, "the end of all nodes", async || nodes.iter().all(|node| !exists(node.pid)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_over_every_link() {
    for link in [["tcp", "json"], ["tcp", "postcard"], ["tcp", "auto"], ["quic", "json"]] {
        let (_dir, root) = root();
        let args =
            ["--nodes", "2", "--validators", "2", "--join-after", "0", "--transport", link[0], "--codec", link[1]];
        let devnet = Devnet::start(&root, &args);
        all_have(&devnet.nodes(2).await, 2).await;
        let output = devnet.stop(Signal::Int).await;
        assert!(output.stdout.contains(&format!("over {}+{}", link[0], link[1])), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_what_is_in_the_way_are_told_in_one_line_and_leave_no_trace() {
    let (dir, root) = root();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let below = (port.parse::<u16>().unwrap() - 1).to_string();
    for (args, code, named) in [
        (&["--nodes", "0"][..], 2, "--nodes"),
        (&["--validators", "0"], 2, "--validators"),
        (&["--nodes", "2", "--validators", "3"], 2, "--validators 3"),
        (&["--validators", "5"], 2, "--nodes 4"),
        (&["--block-time", "0"], 2, "--block-time"),
        (&["--block-time", "x"], 2, "--block-time"),
        (&["--load", "-5"], 2, "-5"),
        (&["--codec", "xml"], 2, "xml"),
        (&["--codec", "auto"], 2, "quic+auto"),
        (&["--port", "65534"], 2, "65534"),
        (&["--port", &port], 1, &port),
        (&["--port", &below], 1, "127.0.0.1:"),
        (&["--transport", "tcp", "--p2p-port", &port], 1, "--p2p-port"),
    ] {
        let output = Call::at(NODE, &root).arg("devnet").args(args).output().await.expect_code(code);
        assert!(output.stderr.lines().count() == 1 && output.stderr.contains(named), "{args:?}: {output:?}");
        assert!(!root.exists(), "{args:?} left something");
    }
    let one_node = Datadir::absent();
    one_node.call(NODE).arg("init").output().await.expect_code(0);
    let output = one_node.call(NODE).arg("devnet").output().await.expect_code(1);
    assert!(output.says_any(&["is the datadir of one node"]), "{output:?}");
    drop(dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_keeps_its_shape_and_takes_more_nodes() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--nodes", "2", "--validators", "2", "--join-after", "0", "--block-time", "2"]);
    all_have(&devnet.nodes(2).await, 1).await;
    let second = Call::at(NODE, &root).args(["devnet", "--port", "0"]).output().await.expect_code(1);
    assert!(second.says_any(&["another devnet runs on"]), "{second:?}");
    devnet.stop(Signal::Int).await;
    for (args, named) in [(["--validators", "1"], "--validators 2"), (["--block-time", "1"], "--block-time 2")] {
        let output = Call::at(NODE, &root).arg("devnet").args(args).output().await.expect_code(1);
        assert!(output.says_any(&[named]), "{output:?}");
    }
    let devnet = Devnet::start(&root, &["--nodes", "3", "--join-after", "0"]);
    all_have(&devnet.nodes(3).await, 2).await;
    devnet.stop(Signal::Int).await;
    at_most_one_apart(&tips(&root, 3).await);
}
