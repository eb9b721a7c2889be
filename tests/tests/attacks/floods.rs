//! Rows 11 and 12: floods of blocks, and the same again and again from everywhere.

use cpc_tests::deadline::LOOK_AGAIN;
use cpc_tests::http;
use cpc_tests::peer::{Answer, Peer, Script};
use cpc_tests::process::Process;
use cpc_tests::raw::{PROMPT, Socket, Talker};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

use crate::{KIB, SYNC, honest, running};

/// The height up to which the node has the chain.
const HEIGHT: usize = 60;
/// Blocks above our tip that are looked at.
const AHEAD: usize = 1024;
/// Those who flood.
const PEERS: usize = 6;

async fn talkers(node: &Process) -> Vec<Talker> {
    let mut talkers = Vec::new();
    for _ in 0..PEERS {
        talkers.push(talker(node).await);
    }
    talkers
}

async fn talker(node: &Process) -> Talker {
    Socket::greeted(node.port(), &Hello::modern(&Chain::fork().up_to(HEIGHT))).await.0.talker()
}

/// Block 61 with another text in place of what its header has for a field; so neither its hash nor its signature is right.
fn altered(field: &str, value: &str) -> String {
    let line = &Chain::fork().lines[HEIGHT + 1];
    let start = line.find(&format!("\"{field}\":")).unwrap() + field.len() + 3;
    let end = start + line[start..].find([',', '}']).unwrap();
    format!("{}{value}{}", &line[..start], &line[end..])
}

/// A `new_block` at a height that it is not of, made heavy by a payload that no hash covers under v1 rules.
fn at_height(height: usize, bytes: usize) -> String {
    let payload = format!(r#""payload":{{"x":"{}"}}"#, "x".repeat(bytes));
    wire::new_block(&altered("height", &height.to_string()).replacen(r#""payload":{}"#, &payload, 1))
}

/// Whether the node still takes what comes on a connection, by a question after it.
async fn is_open_after(node: &Process, line: &str) -> bool {
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&Chain::fork().up_to(HEIGHT))).await;
    socket.send(line).await;
    socket.try_send(format!("{}\n", wire::get_blocks(5, 5)).as_bytes()).await;
    loop {
        match socket.line().await.as_deref().map(Received::read) {
            None => return false,
            Some(message) if message.as_ref().is_some_and(|message| message.kind == "blocks_response") => return true,
            Some(_) => {}
        }
    }
}

// ---- Row 11 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_11_beyond_1024_blocks_ahead_only_the_claim_is_noted() {
    const HEAVY: usize = 64 * KIB;
    const BURST: usize = 100;
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(HEIGHT)).await;
    assert!(!is_open_after(&node, &at_height(HEIGHT + AHEAD, 0)).await, "a bad signature, and nothing was said of it");
    assert!(is_open_after(&node, &at_height(HEIGHT + AHEAD + 1, 0)).await, "it was looked at");
    // It is asked for what it claims, and that is all.
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(HEIGHT))).await;
    socket.send(&at_height(1_000_000, 0)).await;
    let asked = socket.next(SYNC, "a question for what is claimed", Received::range).await;
    assert_eq!(asked.0, HEIGHT as u64 + 1);

    let before = node.rss_kib().unwrap();
    let mut talkers = talkers(&node).await;
    let rounds = honest::syncs_while(&node, chain, async |round| {
        // More at first than may wait, and then one from each as fast as they are taken.
        let portion = if round == 0 { BURST } else { 1 };
        for (at, talker) in talkers.iter_mut().enumerate() {
            let height = |n| 1_000_000 * (at + 1) + BURST * round + n;
            let lines: Vec<String> = (0..portion).map(|n| at_height(height(n), HEAVY)).collect();
            assert!(talker.send(&lines).await, "closed for a claim");
        }
        for talker in talkers.iter_mut().filter(|_| round > 0) {
            assert!(talker.is_heard().await, "closed for a claim");
        }
    })
    .await;
    let used = node.peak_rss_kib().unwrap() - before;
    assert!(used < 32 * 1024, "{used} KiB more for {} blocks of {HEAVY} bytes", (BURST + rounds - 1) * PEERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_an_invalid_signature_ends_the_connection_with_a_proof_and_what_proves_nothing_is_dropped() {
    const HEAVY: usize = 64 * KIB;
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(HEIGHT)).await;
    let other = format!("\"{}\"", "ab".repeat(32));
    // A body that is not the header's, which anybody may have swapped; a proposer whom nobody knows, on a branch that nobody knows.
    let body = wire::new_block(&altered("tx_root", &other));
    let stranger = altered("proposer_address", "\"cpcvalcons1unknown\"");
    let stranger = wire::new_block(&stranger.replace(&format!("\"{}\"", chain.hashes[HEIGHT]), &other));
    assert!(stranger.contains(&other));
    for harmless in [&body, &stranger] {
        assert!(is_open_after(&node, harmless).await, "closed for what proves nothing");
    }

    let before = node.rss_kib().unwrap();
    let mut unproved = talkers(&node).await;
    honest::syncs_while(&node, chain, async |round| {
        for talker in &mut unproved {
            assert!(talker.send(&[&body, &stranger]).await, "closed for what proves nothing");
        }
        // Who signs wrongly is closed over the first of many.
        let mut forgers = talkers(&node).await;
        for (at, forger) in forgers.iter_mut().enumerate() {
            let lines: Vec<String> =
                (0..20).map(|n| at_height(HEIGHT + 70 + (round * PEERS + at) * 20 % 500 + n, HEAVY)).collect();
            forger.send(&lines).await;
        }
        for forger in &mut forgers {
            forger.closed().await;
        }
    })
    .await;
    node.line("is invalid: block signature", SYNC).await;
    for talker in &mut unproved {
        assert!(talker.is_heard().await, "closed for what proves nothing");
    }
    let used = node.peak_rss_kib().unwrap() - before;
    assert!(used < 48 * 1024, "{used} KiB more");
}

// ---- Row 12 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_12_what_many_send_again_and_again_is_passed_on_once_and_never_sent_back() {
    const AGAIN: usize = 20;
    let chain = Chain::fork();
    let known = chain.up_to(HEIGHT);
    let (_dir, node) = running(&known).await;
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let peer = Peer::dial(node.port(), Script::modern(&known).answering(|_| Answer::Silence)).await;
        peer.message(PROMPT, "a handshake", Received::greeting).await;
        peers.push(peer);
    }
    // Each block comes from another peer, and then from all of them.
    let first = HEIGHT + 1;
    let height_of = |message: &Received| message.block().map(|block| block.height);
    for (at, sender) in peers.iter().enumerate() {
        let height = first + at;
        let line = wire::new_block(&chain.lines[height]);
        sender.send(&line).await;
        for (_, other) in peers.iter().enumerate().filter(|(other, _)| *other != at) {
            let here = |message: &Received| (height_of(message) == Some(height as u64)).then_some(());
            other.message(SYNC, "the block", here).await;
        }
        for peer in &peers {
            for _ in 0..AGAIN {
                peer.send(&line).await;
            }
        }
    }
    // So does each transaction of the next block.
    let txs = chain.transactions(first + PEERS);
    for (at, tx) in txs.iter().enumerate() {
        let line = wire::new_tx(tx);
        peers[at].send(&line).await;
        for other in &peers {
            // All that came so far, but its own.
            let own = peers[..=at].iter().any(|sender| std::ptr::eq(sender, other));
            let count = at + 1 - usize::from(own);
            other.wait(SYNC, "the transaction", |_| (other.received("new_tx").len() >= count).then_some(())).await;
        }
        for peer in &peers {
            for _ in 0..AGAIN {
                peer.send(&line).await;
            }
        }
    }
    // One that is not signed by its sender is looked at once, too: three times would end the connection.
    let forged = wire::new_tx(&chain.transactions(first + PEERS + 1)[0].replace(r#""amount":"#, r#""amount":1"#));
    honest::syncs_while(&node, chain, async |_| {
        for peer in &peers {
            peer.send(&wire::new_block(&chain.lines[first])).await;
            peer.send(&wire::new_tx(&txs[0])).await;
            peer.send(&forged).await;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    })
    .await;
    let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    let score = shown["peers"][0]["score"].as_u64().unwrap();
    assert!((25..=34).contains(&score), "{score} points, for one offence");

    for (at, peer) in peers.iter().enumerate() {
        assert_eq!(peer.open_connections(), 1);
        // An answer comes behind all that was sent before.
        peer.send(&wire::get_blocks(0, 0)).await;
        peer.message(SYNC, "an answer", |message| (message.kind == "blocks_response").then_some(())).await;
        for sender in 0..PEERS {
            let height = (first + sender) as u64;
            let came = peer.received("new_block").iter().filter(|block| height_of(block) == Some(height)).count();
            assert_eq!(came, usize::from(sender != at), "block {height} to peer {at}");
        }
        let own = usize::from(at < txs.len());
        assert_eq!(peer.received("new_tx").len(), txs.len() - own, "transactions to peer {at}");
    }
}
