//! Bounds that count by address, with the exemption of loopback switched off; and answers that come too late.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a broken assumption of a test is a failed test, and one that cannot be made here is told of"
)]

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use cpc_codecs::JsonCodec;
use cpc_framework::limits::Limits;
use cpc_framework::node::{NodeBuilder, NodeHandle};
use cpc_framework::sync::{BatchSync, RollbackOne, SyncLimits};
use cpc_framework::types::{Genesis, Network};
use cpc_tests::deadline::{until, within};
use cpc_tests::peer::{Answer, Peer, Script, honest};
use cpc_tests::raw::Socket;
use cpc_tests::vectors::{Chain, candidates};
use cpc_tests::wire::{self, Hello, Received};
use cpc_transports::TcpTransport;
use tokio::net::TcpListener;

/// For what should happen at once, on a busy machine.
const PROMPT: Duration = Duration::from_secs(10);

fn builder(chain: &Chain) -> NodeBuilder {
    let genesis = Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap();
    NodeBuilder::new(genesis).link(TcpTransport::default(), JsonCodec, "127.0.0.1:0")
}

fn port(node: &NodeHandle) -> u16 {
    node.listening()[0].host_port().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_at_most_5_handshakes_of_one_address_are_pending_and_another_address_gets_in() {
    let chain = Chain::fork();
    let limits = Limits { exempt_loopback: false, ..Limits::for_network("devnet") };
    assert_eq!((limits.pending_per_address, limits.accept_burst), (5, 8));
    let node = builder(chain).limits(limits).start().await.unwrap();
    let mut pending = Vec::new();
    for _ in 0..5 {
        pending.push(Socket::connect_from("127.0.0.2", port(&node)).await);
    }
    let mut sixth = Socket::connect_from("127.0.0.2", port(&node)).await;
    sixth.closed(Duration::from_secs(2)).await;
    for socket in &mut pending {
        assert!(socket.stays_open(Duration::from_millis(10)).await);
    }
    let mut other = Socket::connect_from("127.0.0.3", port(&node)).await;
    other.send(&Hello::modern(chain).line()).await;
    other.next(PROMPT, "a handshake", Received::greeting).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_of_one_source_32_addresses_are_kept_however_many_it_shows() {
    let chain = Chain::fork();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("peers.json");
    let limits = Limits::for_network("devnet");
    assert_eq!(limits.addresses_per_source, 32);
    let node = builder(chain).limits(limits).peers_file(&file).start().await.unwrap();
    let mut shown = Vec::new();
    for _ in 0..40 {
        // Each address is a good one: whoever is dialled back there answers.
        let peer = Peer::listen(Script::modern(chain)).await;
        peer.dial_again(port(&node)).await;
        peer.message(PROMPT, "a handshake", Received::greeting).await;
        shown.push(peer);
    }
    let saved = || -> BTreeSet<String> {
        std::fs::read(&file).map_or_else(|_| BTreeSet::new(), |text| serde_json::from_slice(&text).unwrap())
    };
    until(Duration::from_secs(60), "32 addresses in peers.json", async || (saved().len() == 32).then_some(())).await;
    node.shutdown().await;
    // Who was dialled back is saved, and nobody else was dialled at all.
    let dialled = shown.iter().filter(|peer| peer.openings().len() > 1).map(Peer::address);
    assert_eq!(saved(), dialled.collect());
    assert_eq!(saved().len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_an_address_connects_8_times_at_once_and_then_once_a_second() {
    let chain = Chain::fork();
    let limits = Limits { exempt_loopback: false, pending_per_address: 64, ..Limits::for_network("devnet") };
    let node = builder(chain).limits(limits).start().await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(Socket::connect_from("127.0.0.2", port(&node)).await);
    }
    let mut open = 0;
    for socket in &mut sockets {
        open += usize::from(socket.stays_open(Duration::from_millis(50)).await);
    }
    assert!((8..=10).contains(&open), "{open} of 20 are open");
    // Who comes from elsewhere is not hindered, while they go on.
    let _honest = Peer::dial_from("127.0.0.3", port(&node), Script::modern(chain)).await;
    let synced = node.wait_for(|status| status.tip.is_some_and(|tip| tip.height == 120));
    let more = async {
        loop {
            Socket::connect_from("127.0.0.2", port(&node)).await;
        }
    };
    tokio::select! {
        () = more => {}
        synced = within(Duration::from_secs(60), "the honest peer's tip", synced) => { synced.unwrap(); }
    }
    node.shutdown().await;
}

/// Whether this machine has IPv6; says so where it has not.
async fn has_ipv6() -> bool {
    let bound = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await;
    if let Err(error) = &bound {
        eprintln!("not tested over sockets, since there is no IPv6 here: {error}");
    }
    bound.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_over_a_socket_of_ipv6_an_ipv4_address_is_the_same_as_over_one_of_ipv4() {
    const BURST: usize = 8;
    if !has_ipv6().await {
        return;
    }
    let chain = Chain::fork();
    // Nothing is earned back while this lasts.
    let hour = Duration::from_secs(3600);
    let limits = Limits {
        exempt_loopback: false,
        pending_per_address: 64,
        accept_interval: hour,
        handshake_timeout: hour,
        ..Limits::for_network("devnet")
    };
    let dual = builder(chain).link(TcpTransport::default(), JsonCodec, "[::]:0").limits(limits);
    let node = dual.start().await.unwrap();
    let [v4, v6] = [0, 1].map(|link| node.listening()[link].host_port().unwrap().1);
    // To the socket of IPv6 these are from ::ffff:127.0.0.2.
    let mut over_v6 = Vec::new();
    for _ in 0..BURST - 1 {
        over_v6.push(Socket::connect_from("127.0.0.2", v6).await);
    }
    let (mut known, _) = Socket::greeted_from("127.0.0.2", v6, &Hello::modern(chain).without_blocks()).await;
    let shown = node.peers().await.unwrap();
    assert!(shown[0].address.starts_with("127.0.0.2:"), "{}", shown[0].address);
    // It has had all that an address has, over either.
    for port in [v4, v6] {
        Socket::connect_from("127.0.0.2", port).await.closed(PROMPT).await;
    }
    for socket in over_v6.iter_mut().chain([&mut known]) {
        assert!(socket.stays_open(Duration::from_millis(10)).await, "closed within the bound");
    }
    // Another one has not.
    let _honest = Peer::dial_from("127.0.0.3", v6, Script::modern(chain)).await;
    let synced = node.wait_for(|status| status.tip.is_some_and(|tip| tip.height == 120));
    within(Duration::from_secs(60), "the honest peer's tip", synced).await.unwrap();
    // A ban of the one is one of the other.
    let mut bad = Socket::connect_from("127.0.0.4", v6).await;
    bad.send(&Hello::modern(chain).line()).await;
    bad.send(&wire::new_block(&forged())).await;
    bad.closed(PROMPT).await;
    let ban = until(PROMPT, "a ban", async || node.standing().await.unwrap().bans.pop()).await;
    assert_eq!(ban.peer, "127.0.0.4");
    let mut again = Socket::connect_from("127.0.0.4", v4).await;
    again.try_send(format!("{}\n", Hello::modern(chain).line()).as_bytes()).await;
    assert!(again.closed(PROMPT).await.is_empty(), "let in over IPv4 while banned over IPv6");
    node.shutdown().await;
}

/// A block that its proposer has not signed.
fn forged() -> String {
    let forged = candidates().into_iter().find(|candidate| candidate.name == "block signature flipped").unwrap();
    forged.block.get().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_speaking_another_codec_again_and_again_bans_nobody() {
    let chain = Chain::fork();
    let limits = Limits {
        exempt_loopback: false,
        accept_burst: 100,
        pending_per_address: 64,
        inbound_per_address: 8,
        ..Limits::for_network("devnet")
    };
    let node = builder(chain).limits(limits).start().await.unwrap();
    for _ in 0..20 {
        let mut socket = Socket::connect_from("127.0.0.2", port(&node)).await;
        // A frame of postcard.
        socket.try_send(b"\xc7cpc\x01\0\0\0\x02\0\0").await;
        let heard = socket.closed(PROMPT).await;
        assert!(heard.iter().any(|message| message.greeting().is_some()), "it hears what is spoken here");
    }
    let mut socket = Socket::connect_from("127.0.0.2", port(&node)).await;
    socket.send(&Hello::modern(chain).line()).await;
    socket.next(PROMPT, "a handshake", Received::greeting).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_7_an_answer_to_a_request_that_was_given_up_is_forgiven() {
    const PATIENCE: Duration = Duration::from_millis(500);
    let chain = Chain::fork();
    let sync = SyncLimits { timeout: PATIENCE, ..SyncLimits::default() };
    let node = builder(chain).sync(BatchSync::with_limits(RollbackOne::default(), sync)).start().await.unwrap();
    let answer = honest(chain);
    let late = Script::modern(chain).answering(move |request| match request.nth {
        0 => Answer::After(PATIENCE * 3, Box::new(answer(request))),
        _ => answer(request),
    });
    let peer = Peer::dial(port(&node), late).await;
    let synced = node.wait_for(|status| status.tip.is_some_and(|tip| tip.height == 120));
    within(Duration::from_secs(60), "the peer's tip", synced).await.unwrap();
    assert!(peer.requests().len() >= 2, "the first request was never given up");
    assert!(peer.stays_open(Duration::from_secs(1)).await, "a late answer is no fault");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_peer_that_answers_later_than_any_deadline_is_neither_blamed_nor_closed() {
    const PATIENCE: Duration = Duration::from_millis(300);
    let chain = Chain::fork();
    let sync = SyncLimits { timeout_legacy: PATIENCE, ..SyncLimits::default() };
    let limits = Limits { exempt_loopback: false, legacy_timeout: PATIENCE, ..Limits::for_network("devnet") };
    let node =
        builder(chain).limits(limits).sync(BatchSync::with_limits(RollbackOne::default(), sync)).start().await.unwrap();
    let answer = honest(chain);
    let busy = Script::legacy(chain).answering(move |request| match request.nth {
        // Long after the time in which a late answer is waited for.
        0 => Answer::After(PATIENCE * 5, Box::new(answer(request))),
        _ => answer(request),
    });
    let peer = Peer::dial_from("127.0.0.2", port(&node), busy).await;
    let synced = node.wait_for(|status| status.tip.is_some_and(|tip| tip.height == 120));
    within(Duration::from_secs(60), "the peer's tip", synced).await.unwrap();
    assert!(peer.requests().len() >= 2, "the first request was never given up");
    assert!(peer.stays_open(Duration::from_secs(2)).await, "it was closed for being slow");
    let blamed = node.standing().await.unwrap().penalties;
    assert!(blamed.is_empty(), "{blamed:?}");
    node.shutdown().await;
}
