//! What the view shows of a run with the usual options.

use std::collections::BTreeSet;

use cpc_framework::rules::Hasher;
use cpc_framework::types::{Block, Genesis, Network};
use cpc_tests::deadline::until;
use cpc_tests::http::get;
use cpc_tests::process::{PATIENCE, Signal};
use serde::Deserialize;

use super::{Devnet, Started, root, tip};

/// A node's row of the view, as it stands where there is no terminal.
#[derive(Debug)]
struct Row {
    /// Seconds since the start.
    seconds: u64,
    name: String,
    role: String,
    pid: u32,
    mode: String,
    height: u64,
    tip: String,
    peers: usize,
    pool: usize,
    blocks_per_second: Option<f64>,
}

impl Row {
    /// `  15 s  node-1 (validator, pid 7) SYNCED, height 12, tip abababab, 3 peers, pool 0, 1.0 blocks/s`
    fn read(line: &str) -> Option<Self> {
        let (seconds, rest) = line.trim_start().split_once(" s  ")?;
        let (name, rest) = rest.split_once(" (")?;
        let (who, rest) = rest.split_once(") ")?;
        let (role, pid) = who.split_once(", pid ")?;
        let parts: Vec<&str> = rest.split(", ").collect();
        let [mode, height, tip, peers, pool, rate @ ..] = parts.as_slice() else { return None };
        let rate = rate.first().map(|rate| rate.strip_suffix(" blocks/s").unwrap().parse().unwrap());
        Some(Self {
            seconds: seconds.parse().ok()?,
            name: name.to_owned(),
            role: role.to_owned(),
            pid: pid.parse().ok()?,
            mode: (*mode).to_owned(),
            height: height.strip_prefix("height ")?.parse().ok()?,
            tip: tip.strip_prefix("tip ")?.to_owned(),
            peers: peers.strip_suffix(" peers")?.parse().ok()?,
            pool: pool.strip_prefix("pool ")?.parse().ok()?,
            blocks_per_second: rate,
        })
    }
}

/// The last rows that were printed of so many nodes at one time.
fn last_rows(stdout: &str, nodes: usize) -> Option<Vec<Row>> {
    let mut rows: Vec<Row> = stdout.lines().filter_map(Row::read).collect();
    while let Some(last) = rows.last() {
        let seconds = last.seconds;
        let first = rows.iter().position(|row| row.seconds == seconds)?;
        let of_one_time = rows.split_off(first);
        if of_one_time.len() == nodes {
            return Some(of_one_time);
        }
    }
    None
}

/// The blocks of a node.
async fn blocks(node: Started) -> Vec<Block> {
    #[derive(Deserialize)]
    struct Page {
        blocks: Vec<Block>,
    }
    serde_json::from_str::<Page>(&get(node.rpc, "/blocks").await.expect(200).body).unwrap().blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usual_run_shows_every_node_lets_the_last_one_join_after_ten_seconds_and_includes_the_load() {
    let (_dir, root) = root();
    let devnet = Devnet::start(&root, &["--load", "10"]);
    let line = devnet.process.line("node-4 starts", PATIENCE).await;
    let seconds: u64 = line.trim_start().split_once(" s  ").unwrap().0.parse().unwrap();
    assert!((10..30).contains(&seconds), "{line}");
    assert!(devnet.process.stdout().contains("node-4 joins in 10 s"));
    let nodes = devnet.nodes(4).await;
    let rows = until(PATIENCE, "rows in which all four are SYNCED", async || {
        let rows = last_rows(&devnet.process.stdout(), 4)?;
        rows.iter().all(|row| row.mode == "SYNCED" && row.peers == 3 && row.blocks_per_second.is_some()).then_some(rows)
    })
    .await;
    let highest = rows.iter().map(|row| row.height).max().unwrap();
    for (row, (number, node)) in rows.iter().zip((1..).zip(&nodes)) {
        assert_eq!(row.name, format!("node-{number}"));
        assert_eq!(row.role, if number == 4 { "follower" } else { "validator" }, "{row:?}");
        assert_eq!(row.pid, node.pid, "{row:?}");
        // Each was asked at a moment of its own.
        assert!(row.height >= 2 && highest - row.height <= 3, "{rows:?}");
        let rate = row.blocks_per_second.unwrap();
        assert!((0.1..100.0).contains(&rate), "{row:?}");
        assert!(row.pool < 1000, "{row:?}");
        // The tip that is shown is the hash of the node's block at the height that is shown.
        let next = format!("/block/{}", row.height + 1);
        let next = until(PATIENCE, "the block above", async || {
            let answer = get(node.rpc, &next).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        let hash = next["header"]["prev_hash"].as_str().unwrap();
        assert!(row.tip.len() == 8 && hash.starts_with(&row.tip), "{row:?}, but {hash}");
    }
    let told = devnet.process.line("load of 10 tx/s", PATIENCE).await;
    assert!(told.contains(" sent, ") && told.contains(" in blocks, "), "{told}");

    // Every transfer that is in a block is found at every node by its hash.
    let genesis = std::fs::read(root.join("node-1/genesis.json")).unwrap();
    let hasher = Hasher::new(&Genesis::from_json(&genesis, Network::Devnet).unwrap());
    let txs: BTreeSet<_> =
        blocks(nodes[0]).await.iter().flat_map(|block| &block.txs).map(|tx| hasher.transaction_hash(tx)).collect();
    assert!(txs.len() >= 20, "{} transfers", txs.len());
    let height = tip(nodes[0].rpc).await.0;
    super::all_have(&nodes, height).await;
    for hash in txs {
        let mut places = BTreeSet::new();
        for node in &nodes {
            let found = get(node.rpc, &format!("/tx/{hash}")).await.expect(200).json();
            assert_eq!(found["status"], "included", "{found}");
            places.insert(format!("{} in {}", found["index"], found["block_hash"]));
        }
        assert_eq!(places.len(), 1, "{hash} is {places:?}");
    }
    devnet.stop(Signal::Int).await;
}
