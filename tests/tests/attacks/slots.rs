//! Row 18: all our slots taken.

use std::time::Instant;

use cpc_framework::peers::Direction;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::peer::{Answer, Peer, Script, honest as serving};
use cpc_tests::process::{Process, free_port};
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

use crate::{NODE, SYNC, honest, inside};

/// Connections that others dialled.
const INBOUND: usize = 64;

/// Connections that we dialled.
const OUTBOUND: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn row_18_whoever_takes_all_inbound_slots_takes_no_outbound_one() {
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let dir = Datadir::holding(NODE, &short).await;
    let ports: Vec<u16> = (0..OUTBOUND + 2).map(|_| free_port()).collect();
    let named: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let node = Process::run_with_peers(NODE, dir.path(), &named).await;
    let mut crowd = Vec::new();
    for _ in 0..INBOUND + 16 {
        crowd.push(Socket::greeted(node.port(), &from_nowhere(&short)).await);
    }
    assert_eq!(inbound_and_outbound(&node).await, (INBOUND, 0));
    // Only now those whom the operator named can be reached.
    let mut ours = Vec::new();
    for address in &named {
        ours.push(Peer::listen_at(address, Script::modern(&short)).await);
    }
    until(SYNC, "8 outbound peers", async || (inbound_and_outbound(&node).await == (INBOUND, OUTBOUND)).then_some(()))
        .await;
    // The crowd goes on, and one of ours gives the node what it lacks.
    for _ in 0..16 {
        crowd.push(Socket::greeted(node.port(), &from_nowhere(&short)).await);
    }
    let one = ours.iter().find(|peer| peer.open_connections() == 1).unwrap();
    honest::syncs_from(one, &node, chain).await;
    assert_eq!(inbound_and_outbound(&node).await, (INBOUND, OUTBOUND));
    assert_eq!(ours.iter().map(Peer::open_connections).sum::<usize>(), OUTBOUND, "and as many on their side");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_two_peers_of_the_last_run_are_dialled_before_all_others() {
    const ANCHORS: usize = 2;
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let dir = Datadir::holding(NODE, &short).await;
    let mut anchors = Vec::new();
    for _ in 0..ANCHORS {
        anchors.push(Peer::listen(Script::modern(&short)).await);
    }
    let addresses: Vec<String> = anchors.iter().map(Peer::address).collect();
    std::fs::write(dir.path().join("peers.json"), serde_json::to_string(&addresses).unwrap()).unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    for anchor in &anchors {
        anchor.message(PROMPT, "to be dialled", Received::greeting).await;
    }
    // Many dial in, and show that they can be dialled back: they come into peers.json too.
    let silent = || Script::modern(&short).claiming(500).answering(|_| Answer::Silence);
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let peer = Peer::listen(silent()).await;
        peer.dial_again(node.port()).await;
        crowd.push(peer);
    }
    let saved = || serde_json::from_str::<Vec<String>>(&dir.read("peers.json")).unwrap_or_default();
    until(SYNC, "22 addresses in peers.json", async || (saved().len() == ANCHORS + 20).then_some(())).await;
    node.stop().await;
    let first: Vec<String> = saved().into_iter().take(ANCHORS).collect();
    assert!(addresses.iter().all(|anchor| first.contains(anchor)), "{first:?} are not {addresses:?}");

    let restart = Instant::now();
    let node = Process::run(NODE, dir.path(), &[]).await;
    until(SYNC, "8 outbound peers", async || (inbound_and_outbound(&node).await.1 == OUTBOUND).then_some(())).await;
    let dialled = |peer: &Peer| peer.openings().into_iter().find(|at| *at > restart);
    let others: Vec<Instant> = crowd.iter().filter_map(dialled).collect();
    for anchor in &anchors {
        let at = dialled(anchor).expect("an anchor is dialled");
        assert!(others.iter().all(|other| at < *other), "somebody else was dialled before an anchor");
    }
    // The six others claim what they do not have; the anchor has it.
    honest::syncs_from(&anchors[0], &node, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_one_address_has_8_connections_on_devnet_and_1_elsewhere() {
    let chain = Chain::fork();
    for (network, most) in [("devnet", 8), ("testnet", 1), ("mainnet", 1)] {
        let limits = inside::limits(network);
        assert_eq!(limits.inbound_per_address, most);
        let node = inside::builder(chain, limits).start().await.unwrap();
        let port = inside::port(&node);
        let hello = Hello::modern(chain).without_blocks();
        let mut taken = Vec::new();
        for _ in 0..most {
            taken.push(Socket::greeted_from("127.0.0.2", port, &hello).await.0);
        }
        for _ in 0..5 {
            let mut more = Socket::connect_from("127.0.0.2", port).await;
            more.try_send(format!("{}\n", hello.line()).as_bytes()).await;
            let heard = more.closed(SYNC).await;
            assert!(heard.is_empty(), "{network}: one more than {most} got {heard:?}");
        }
        let _honest = Peer::dial_from("127.0.0.3", port, Script::modern(chain)).await;
        inside::has(&node, chain).await;
        for socket in &mut taken {
            assert!(socket.stays_open(std::time::Duration::from_millis(10)).await);
        }
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_a_flood_from_everywhere_evicts_none_of_the_long_lived_and_none_that_is_of_use() {
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let node = inside::builder(chain, inside::limits("devnet")).start().await.unwrap();
    let port = inside::port(&node);
    let hello = from_nowhere(&short);
    let mut old = Vec::new();
    for n in 0..INBOUND - 8 {
        old.push(Socket::greeted_from(&format!("127.0.2.{}", n / 8 + 1), port, &hello).await.0);
    }
    // The honest peer is the youngest of the address with the most connections: only what it does can save it.
    let mut neighbours = Vec::new();
    for _ in 0..7 {
        neighbours.push(Socket::greeted_from("127.0.0.2", port, &hello).await.0);
    }
    let useful = Peer::dial_from("127.0.0.2", port, Script::modern(&short)).await;
    inside::has(&node, &short).await;
    useful.send(&wire::new_block(&chain.lines[61])).await;
    inside::has(&node, &chain.up_to(61)).await;
    let mut flood = Vec::new();
    for n in 0..200 {
        flood.push(Socket::greeted_from(&format!("127.0.3.{}", n % 100 + 1), port, &hello).await.0);
    }
    let peers = node.peers().await.unwrap();
    assert_eq!(peers.iter().filter(|peer| peer.direction == Direction::Inbound).count(), INBOUND);
    let long_lived = peers.iter().filter(|peer| peer.address.starts_with("127.0.2.")).count();
    assert!(long_lived >= 28, "only {long_lived} of those that were there first: the older half of 56 stays");
    assert_eq!(useful.open_connections(), 1, "it was evicted");
    // It goes on to be of use.
    useful.change(|script| {
        script.answer = serving(chain);
        script.hello = Hello { node_id: script.hello.node_id.clone(), ..Hello::modern(chain) };
    });
    useful.repeat_hello().await;
    inside::has(&node, chain).await;
    node.shutdown().await;
}

/// A node that cannot be dialled back.
fn from_nowhere(chain: &Chain) -> Hello {
    Hello { p2p_port: 0, ..Hello::modern(chain) }
}

async fn inbound_and_outbound(node: &Process) -> (usize, usize) {
    let json = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    let peers = json["peers"].as_array().unwrap();
    let inbound = peers.iter().filter(|peer| peer["direction"] == "inbound").count();
    (inbound, peers.len() - inbound)
}
