//! Rows 16, 17 and 19: addresses, dials, and ourselves.

use std::time::{Duration, Instant};

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{until, within};
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Process, free_port};
use cpc_tests::raw::{self, PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Received;
use tokio::net::TcpListener;

use crate::{NODE, SYNC, honest, running};

// ---- Row 16 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_16_an_address_is_saved_once_a_dial_to_it_succeeded() {
    let chain = Chain::fork();
    let (dir, node) = running(&chain.up_to(60)).await;
    // Three that dial us: one says where it listens, one lies, one claims to be somebody else's node.
    let (lie, other) = (free_port(), free_port());
    let short = &chain.up_to(60);
    let listening = Peer::listen(Script::modern(short)).await;
    listening.dial_again(node.port()).await;
    let mut lying = Script::modern(short);
    lying.hello = lying.hello.listening_on(lie);
    let lying = Peer::dial(node.port(), lying).await;
    let mut posing = Script::modern(short);
    posing.hello.node_id = format!("10.1.2.3:{other}");
    posing.hello.p2p_port = other;
    let posing = Peer::dial(node.port(), posing).await;
    for peer in [&lying, &posing] {
        peer.message(PROMPT, "a handshake", Received::greeting).await;
    }
    honest::syncs(&node, chain).await;
    listening
        .wait(Duration::from_secs(30), "to be dialled back", |_| (listening.openings().len() >= 2).then_some(()))
        .await;
    // Dialled back and greeted, it is known to be there.
    let address = listening.address();
    until(PROMPT, "the address in peers.json", async || {
        std::fs::read_to_string(dir.path().join("peers.json")).ok().filter(|text| text.contains(&address))
    })
    .await;
    node.stop().await;
    let saved: Vec<String> = serde_json::from_str(&dir.read("peers.json")).unwrap();
    assert_eq!(saved, [listening.address()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_at_most_1024_addresses_are_kept_and_the_one_that_a_dial_reached_before_all_others() {
    const MOST: usize = 1024;
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
    let reached = Peer::listen(Script::modern(&chain.up_to(60))).await;
    // Of all the others nobody listens, and it is none of the first.
    let mut many: Vec<String> = (20_001..=25_000).map(|port| format!("127.0.1.1:{port}")).collect();
    many.insert(20, reached.address());
    std::fs::write(dir.path().join("peers.json"), serde_json::to_string(&many).unwrap()).unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    reached.message(SYNC, "a handshake", Received::greeting).await;
    honest::syncs(&node, chain).await;
    node.stop().await;
    let saved: Vec<String> = serde_json::from_str(&dir.read("peers.json")).unwrap();
    assert_eq!(saved.len(), MOST);
    assert_eq!(saved[0], reached.address(), "{:?}", &saved[..3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_wrong_entries_are_left_out_and_the_good_ones_dialled() {
    let chain = Chain::fork();
    let peer = Peer::listen(Script::modern(chain)).await;
    let dir = Datadir::joined(NODE, chain).await;
    let text = serde_json::json!(["", "nonsense", "host:99999", ":::", 7, null, peer.address(), "a b:1"]).to_string();
    std::fs::write(dir.path().join("peers.json"), text).unwrap();
    let node = Process::run(NODE, dir.path(), &[]).await;
    assert_eq!(raw::reaches(&node, 120, SYNC).await, chain.tip_hash());
}

// ---- Row 17 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_17_at_most_one_dial_in_100_ms_and_8_outbound() {
    const OUTBOUND: usize = 8;
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
    let mut listeners = Vec::new();
    for _ in 0..30 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let known: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    std::fs::write(dir.path().join("peers.json"), serde_json::to_string(&known).unwrap()).unwrap();
    // Each takes the connection, notes when, and keeps it open in silence.
    let (dials, mut dialled) = tokio::sync::mpsc::channel(1000);
    for listener in listeners {
        let dials = dials.clone();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                kept.push(stream);
                if dials.send(Instant::now()).await.is_err() {
                    break;
                }
            }
        });
    }
    let node = Process::run(NODE, dir.path(), &[]).await;
    let mut times = vec![within(PROMPT, "a first dial", dialled.recv()).await.unwrap()];
    let window = Duration::from_secs(3);
    while let Ok(Some(at)) = tokio::time::timeout_at((times[0] + window).into(), dialled.recv()).await {
        times.push(at);
    }
    assert!(times.len() <= OUTBOUND, "{} dials at a time", times.len());
    let span = times[times.len() - 1] - times[0];
    let least = Duration::from_millis(80) * u32::try_from(times.len() - 1).unwrap();
    assert!(span >= least, "{} dials in {span:?}", times.len());
    // All eight are taken by the silent; whoever dials us is not hindered by that.
    honest::syncs(&node, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_a_configured_peer_is_dialled_again_with_growing_pauses() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    // It takes every connection and closes it at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _node = Process::run_with_peers(NODE, dir.path(), &[address]).await;
    let mut times = Vec::new();
    for _ in 0..4 {
        let (stream, _) = within(Duration::from_secs(20), "another dial", listener.accept()).await.unwrap();
        times.push(Instant::now());
        drop(stream);
    }
    let pauses: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    // 1 s, 2 s, 4 s, each with jitter: by half at most, as others do it.
    assert!(pauses[0] >= 0.45 && pauses[0] <= 2.1, "{pauses:?}");
    assert!(pauses[2] > pauses[0], "{pauses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_a_claimed_address_is_not_dialled_at_once() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let victim = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = victim.local_addr().unwrap().port();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut script = Script::modern(&chain.up_to(60));
        script.hello = script.hello.listening_on(port);
        peers.push(Peer::dial(node.port(), script).await);
    }
    let mut dials = 0;
    let count = async {
        while let Ok((stream, _)) = victim.accept().await {
            dials += 1;
            drop(stream);
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), count).await;
    assert!(dials <= 1, "{dials} dials in 5 s to an address that 20 peers claimed");
    honest::syncs(&node, chain).await;
}

// ---- Row 19 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_19_a_node_recognises_itself_and_forgets_the_address() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let port = free_port();
    let own = format!("127.0.0.1:{port}");
    let mut node = Call::at(NODE, dir.path())
        .args(["run", "--p2p-host", "127.0.0.1", "--p2p-port", &port.to_string(), "--peers", &own])
        .start();
    node.listening(port).await;
    node.line_where("that it met itself", Duration::from_secs(10), |line| {
        let line = line.to_lowercase();
        line.contains("ourselves") || line.contains("our own")
    })
    .await;
    node.stop().await;
    if dir.path().join("peers.json").exists() {
        assert!(!dir.read("peers.json").contains(&own), "{}", dir.read("peers.json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19_an_echo_of_the_own_handshake_is_closed_and_not_dialled_again() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = Process::run_with_peers(NODE, dir.path(), &[address]).await;
    let (stream, _) = within(PROMPT, "a dial", listener.accept()).await.unwrap();
    let mut socket = Socket::new(stream);
    let own = within(PROMPT, "its handshake", socket.line()).await.unwrap();
    socket.send(&own).await;
    socket.closed(PROMPT).await;
    honest::syncs(&node, chain).await;
    let again = tokio::time::timeout(Duration::from_secs(5), listener.accept()).await;
    assert!(again.is_err(), "dialled again");
}
