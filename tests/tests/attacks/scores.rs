//! Scores: every penalty with its proof, in the events, in `/peers` and in the log; bans that end; configured peers, which are never banned.

use std::time::{Duration, Instant};

use cpc_framework::limits::{Backoff, Limits};
use cpc_framework::node::{NodeEvent, NodeHandle};
use cpc_framework::peers::Penalty;
use cpc_framework::transport::Endpoint;
use cpc_framework::types::Transaction;
use cpc_tests::deadline::{until, within};
use cpc_tests::http;
use cpc_tests::peer::{Answer, Peer, Script, cut, honest as serving};
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::{Chain, candidates};
use cpc_tests::wire::{self, Hello};
use serde_json::json;
use tokio::sync::broadcast;

use crate::{SYNC, honest, inside, running};

/// A transaction of a sender whose signature it does not have; each number gives another one with the same hash.
fn forged_tx(chain: &Chain, number: u8) -> String {
    let tx: Transaction = serde_json::from_str(&chain.transactions(61)[0]).unwrap();
    let signature = tx.signature.text().into_owned();
    let forged = format!("{number:02x}{}", &signature[2..]);
    assert_ne!(forged, signature);
    chain.transactions(61)[0].replace(&signature, &forged)
}

/// A block 61 whose proposer has not signed it.
fn forged_block() -> String {
    let forged = candidates().into_iter().find(|candidate| candidate.name == "block signature flipped").unwrap();
    forged.block.get().to_owned()
}

async fn next_penalty(events: &mut broadcast::Receiver<NodeEvent>) -> (String, Penalty) {
    within(SYNC, "a penalty", async {
        loop {
            if let NodeEvent::Penalised { peer, penalty } = events.recv().await.unwrap() {
                return (peer, penalty);
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn penalties_are_seen_with_proof_and_time_in_peers_and_in_the_log() {
    /// What an invalid signature costs, and what a ban takes.
    const POINTS: u64 = 34;
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let shown = async || http::get(node.rpc_port(), "/peers").await.expect(200).json();
    let (mut peer, _) = Socket::greeted_from("127.0.0.2", node.port(), &Hello::modern(&chain.up_to(60))).await;
    let start = unix_now();
    for number in 1..=2_u8 {
        peer.send(&wire::new_tx(&forged_tx(chain, number))).await;
        until(SYNC, "its penalty", async || {
            (shown().await["penalties"].as_array().unwrap().len() == usize::from(number)).then_some(())
        })
        .await;
    }
    let peers = shown().await;
    let mine = peers["peers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|peer| peer["address"].as_str().unwrap().starts_with("127.0.0.2:"));
    let mine = mine.expect("two do not close the connection");
    let score = mine["score"].as_u64().unwrap();
    assert!((2 * POINTS - 8..=2 * POINTS).contains(&score), "{score}: points halve in ten minutes");
    assert_eq!(mine["penalties"].as_array().unwrap().len(), 2);
    assert_eq!(mine["penalties"], peers["penalties"]);
    for penalty in mine["penalties"].as_array().unwrap() {
        assert_eq!((&penalty["offence"], &penalty["points"]), (&json!("invalid signature"), &json!(POINTS)));
        assert!(penalty["proof"].as_str().unwrap().contains("is not signed by its sender"), "{penalty}");
        assert!((start - 1..=unix_now() + 1).contains(&penalty["time"].as_u64().unwrap()), "{penalty}");
    }
    node.line("is not signed by its sender: noted", PROMPT).await;
    // The third is one too many. Loopback is never banned.
    peer.send(&wire::new_tx(&forged_tx(chain, 3))).await;
    peer.closed(SYNC).await;
    let peers = shown().await;
    assert_eq!((&peers["bans"], &peers["banned"]), (&json!([]), &json!(0)));
    assert_eq!(peers["penalties"].as_array().unwrap().len(), 3, "it is remembered after it has gone: {peers}");
    honest::syncs(&node, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn penalties_are_remembered_up_to_8_of_one_peer_and_256_in_all() {
    let chain = Chain::fork();
    let limits = inside::limits("devnet");
    assert_eq!((limits.penalties_per_peer, limits.penalties), (8, 256));
    let node =
        inside::builder(chain, Limits { score_half_life: Duration::from_millis(1), ..limits }).start().await.unwrap();
    let port = inside::port(&node);
    let remembered = async || node.standing().await.unwrap().penalties;
    for n in 0..300 {
        let host = format!("127.0.{}.{}", n / 100 + 1, n % 100 + 1);
        for _ in 0..if n == 299 { 10 } else { 1 } {
            let (mut peer, _) = Socket::greeted_from(&host, port, &Hello::modern(chain).without_blocks()).await;
            peer.send(&wire::blocks_response::<&str>(&[])).await;
            peer.closed(SYNC).await;
        }
    }
    let all = remembered().await;
    assert_eq!(all.len(), 256);
    assert_eq!(all.iter().filter(|one| one.peer == "127.0.3.100").count(), 8);
    let _honest = Peer::dial_from("127.0.0.2", port, Script::modern(chain)).await;
    inside::has(&node, chain).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_keeps_its_address_out_ends_by_itself_and_the_next_one_is_twice_as_long() {
    const BAN: Duration = Duration::from_secs(2);
    let chain = Chain::fork();
    let limits = Limits { ban_time: BAN, ..inside::limits("devnet") };
    let node = inside::builder(chain, limits).start().await.unwrap();
    let port = inside::port(&node);
    let mut events = node.events();
    let _first = Peer::dial_from("127.0.0.3", port, Script::modern(&chain.up_to(60))).await;
    inside::has(&node, &chain.up_to(60)).await;
    let hello = Hello::modern(&chain.up_to(60));
    for length in [BAN, BAN * 2] {
        // It gets in only once its last ban is over.
        let mut bad = until(SYNC, "to be let in", async || {
            let mut bad = Socket::connect_from("127.0.0.2", port).await;
            bad.try_send(format!("{}\n", hello.line()).as_bytes()).await;
            bad.line().await.map(|_| bad)
        })
        .await;
        bad.try_send(format!("{}\n", wire::new_block(&forged_block())).as_bytes()).await;
        let (peer, penalty) = next_penalty(&mut events).await;
        let banned = Instant::now();
        assert!(peer.starts_with("127.0.0.2:"), "{peer}");
        assert_eq!((penalty.offence, penalty.ban, penalty.backed_off), ("invalid block", Some(length), false));
        assert!(penalty.proof.starts_with("block 61 (") && penalty.proof.contains("signature"), "{penalty:?}");
        bad.closed(SYNC).await;
        let standing = node.standing().await.unwrap();
        if banned.elapsed() < length {
            assert_eq!((standing.banned, standing.bans[0].peer.as_str()), (1, "127.0.0.2"));
            assert_eq!(standing.bans[0].proof, penalty.proof);
            assert_eq!(standing.bans[0].expires - standing.bans[0].since, length.as_secs());
        }
        let mut refused = Socket::connect_from("127.0.0.2", port).await;
        refused.try_send(format!("{}\n", hello.line()).as_bytes()).await;
        let heard = refused.closed(SYNC).await;
        assert!(heard.is_empty() || banned.elapsed() >= length, "let in while banned: {heard:?}");
    }
    // Others are let in and sync the node meanwhile.
    let _honest = Peer::dial_from("127.0.0.4", port, Script::modern(chain)).await;
    inside::has(&node, chain).await;
    until(SYNC, "the end of the ban", async || (node.standing().await.unwrap().banned == 0).then_some(())).await;
    node.shutdown().await;
}

/// A node that has this peer configured, dials it after two seconds at most, and spares no loopback.
async fn configured(chain: &Chain, peer: &Peer) -> NodeHandle {
    let pauses = Backoff { first: Duration::from_millis(100), longest: LONGEST };
    let limits = Limits { dial_backoff_configured: pauses, ..inside::limits("devnet") };
    inside::builder(chain, limits).peers([Endpoint::new(peer.address())]).start().await.unwrap()
}

const LONGEST: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_peer_is_never_banned_only_dialled_later_and_taken_again_once_it_is_honest() {
    let chain = Chain::fork();
    let mut lines = chain.lines.clone();
    lines[61] = forged_block();
    let bad = Script::modern(chain).answering(move |request| Answer::Blocks(cut(&lines, request)));
    let peer = Peer::listen(bad).await;
    let node = configured(chain, &peer).await;
    let mut events = node.events();
    for _ in 0..3 {
        let (whose, penalty) = next_penalty(&mut events).await;
        assert_eq!(whose, peer.address());
        assert_eq!((penalty.offence, penalty.ban, penalty.backed_off), ("invalid block", None, true));
        assert_eq!(node.standing().await.unwrap().banned, 0);
    }
    let openings = peer.openings();
    for pair in openings.windows(2) {
        // Pauses are shortened by up to a quarter.
        assert!(pair[1] - pair[0] >= LONGEST * 3 / 4, "dialled again after {:?}", pair[1] - pair[0]);
    }
    peer.change(|script| script.answer = serving(chain));
    inside::has(&node, chain).await;
    assert_eq!(peer.open_connections(), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_of_its_address_keeps_no_configured_peer_away() {
    let chain = Chain::fork();
    let peer = Peer::listen(Script::modern(&chain.up_to(60))).await;
    let node = configured(chain, &peer).await;
    inside::has(&node, &chain.up_to(60)).await;
    let mut events = node.events();
    // Its neighbour at the same address is banned, and the connection with it lost.
    let (mut neighbour, _) =
        Socket::greeted_from("127.0.0.1", inside::port(&node), &Hello::modern(&chain.up_to(60))).await;
    neighbour.send(&wire::new_block(&forged_block())).await;
    assert!(next_penalty(&mut events).await.1.ban.is_some());
    neighbour.closed(SYNC).await;
    assert_eq!(node.standing().await.unwrap().bans[0].peer, "127.0.0.1");
    peer.change(|script| {
        script.answer = serving(chain);
        script.hello = Hello::modern(chain).listening_on(script.hello.p2p_port);
    });
    peer.hang_up().await;
    inside::has(&node, chain).await;
    assert!(peer.openings().len() >= 2, "it was dialled again");
    node.shutdown().await;
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
