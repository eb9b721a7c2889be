//! Reference nodes that are stuck behind us are helped by a new connection (protocol.md section 2).
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_codecs::JsonCodec;
use cpc_framework::limits::{Backoff, Limits};
use cpc_framework::node::{NodeBuilder, NodeHandle};
use cpc_framework::types::{Genesis, Network};
use cpc_tests::deadline::within;
use cpc_tests::peer::{Event, Peer, Script, What};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Received};
use cpc_transports::TcpTransport;

/// For what takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first time that a peer may be behind, here.
const FIRST: Duration = Duration::from_secs(2);

/// A node that has seen `chain` and reconnects soon, and the reference node from which it has it.
async fn node_with(chain: &Chain, peers: &[&Peer]) -> NodeHandle {
    let genesis = Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap();
    let reconnect = Backoff { first: FIRST, longest: FIRST * 8 };
    let limits = Limits { legacy_reconnect: reconnect, ..Limits::for_network("devnet") };
    let addresses: Vec<_> = peers.iter().map(|peer| peer.address().parse().unwrap()).collect();
    let builder = NodeBuilder::new(genesis).link(TcpTransport::default(), JsonCodec, "127.0.0.1:0");
    let node = builder.limits(limits).peers(addresses).start().await.unwrap();
    let height = chain.height();
    let synced = node.wait_for(|status| status.tip.is_some_and(|tip| tip.height == height));
    within(PATIENCE, "the tip", synced).await.unwrap();
    node
}

/// What the first handshake of each connection said of our height.
fn first_heights(events: &[Event]) -> Vec<i64> {
    let mut heights: Vec<(usize, i64)> = Vec::new();
    for event in events {
        if let What::Message(message) = &event.what
            && let Some(greeting) = Received::greeting(message)
            && heights.iter().all(|(connection, _)| *connection != event.connection)
        {
            heights.push((event.connection, greeting.best_height));
        }
    }
    heights.into_iter().map(|(_, height)| height).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_node_that_is_stuck_behind_us_hears_our_height_on_a_new_connection() {
    let chain = Chain::fork().up_to(60);
    // It was there first, when we had no blocks: our height is news that v1 does not act upon.
    let stuck = Peer::listen(Script::legacy(&chain.up_to(20))).await;
    let ahead = Peer::listen(Script::legacy(&chain)).await;
    let node = node_with(&chain, &[&stuck, &ahead]).await;
    let tip = i64::try_from(chain.height()).unwrap();
    let heights = stuck
        .wait(PATIENCE, "a connection whose first handshake has our height", |events| {
            Some(first_heights(events)).filter(|heights| heights.len() >= 2)
        })
        .await;
    assert_eq!(heights[1], tip, "{heights:?}");
    assert_eq!(ahead.open_connections(), 1, "who is where we are is left alone");
    assert!(ahead.stays_open(Duration::from_millis(100)).await);

    // On the new connection it does what v1 does: it asks for what it lacks, and has its answer.
    stuck.send(&wire::get_blocks(21, 60)).await;
    let blocks = stuck.message(PATIENCE, "the blocks", Received::blocks).await;
    assert_eq!(blocks.len(), 40);
    stuck.change(|script| *script = Script::legacy(&chain));
    stuck.repeat_hello().await;
    let connections = stuck.openings().len();
    tokio::time::sleep(FIRST * 4).await;
    assert_eq!(stuck.openings().len(), connections, "it has caught up, and is left alone");
    assert_eq!(ahead.openings().len(), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_node_that_stays_behind_is_connected_to_ever_more_seldom() {
    let chain = Chain::fork().up_to(60);
    let stuck = Peer::listen(Script::legacy(&chain.up_to(20))).await;
    let ahead = Peer::listen(Script::legacy(&chain)).await;
    let node = node_with(&chain, &[&stuck, &ahead]).await;
    let openings = stuck
        .wait(PATIENCE, "four connections", |_| Some(stuck.openings()).filter(|openings| openings.len() >= 4))
        .await;
    // The pauses are shortened by up to a quarter.
    for (pair, at_least) in openings.windows(2).zip([FIRST, FIRST * 3 / 2, FIRST * 3]) {
        assert!(pair[1] - pair[0] >= at_least, "{:?} instead of {at_least:?}", pair[1] - pair[0]);
    }
    assert!(stuck.open_connections() <= 1);
    node.shutdown().await;
}
