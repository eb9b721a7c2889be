//! Row 1: large answers from several peers at once.

use std::time::{Duration, Instant};

use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{until, within};
use cpc_tests::http;
use cpc_tests::peer::{Answer, Peer, Request, Script, cut};
use cpc_tests::process::Process;
use cpc_tests::raw::{PROMPT, Socket, reaches};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};
use tokio::sync::oneshot;

use crate::{KIB, LINE, LINE_WHILE_ASKED, MIB, NODE, SYNC, honest};

/// Those who send an answer of nearly 32 MiB each: 155 MiB in all.
const PEERS: usize = 5;
/// How much each sends before it waits.
const BEGUN: usize = 24 * MIB;

/// The bytes that came on each connection so far, the most first.
async fn bytes_in(node: &Process) -> Vec<usize> {
    let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    let peers = shown["peers"].as_array().unwrap();
    let mut bytes: Vec<usize> =
        peers.iter().map(|peer| usize::try_from(peer["bytes_in"].as_u64().unwrap()).unwrap()).collect();
    bytes.sort_unstable_by(|a, b| b.cmp(a));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_of_all_answers_above_4_mib_one_is_read_at_a_time_and_only_what_was_asked_for() {
    /// Besides a frame's start, what else a connection may have sent.
    const OTHER: usize = 64 << 10;
    let chain = Chain::mainline();
    let dir = Datadir::joined(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let before = node.rss_kib().unwrap();
    // Each is asked, and answers rightly, but for white space.
    let mut sending = Vec::new();
    for _ in 0..PEERS {
        let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(chain)).await;
        let (from, to) = socket.next(SYNC, "a request", Received::range).await;
        let answer = wire::blocks_response(&cut(&chain.lines, Request { nth: 0, from, to }));
        let spaces = " ".repeat(LINE_WHILE_ASKED - MIB - answer.len());
        let (go_on, waits) = oneshot::channel();
        let task = tokio::spawn(async move {
            let text = format!("{}{spaces}{}\n", &answer[..answer.len() - 1], &answer[answer.len() - 1..]);
            let begun = socket.try_send(&text.as_bytes()[..BEGUN]).await;
            // A test that is over drops the other end.
            let _: Result<(), _> = waits.await;
            begun && socket.try_send(&text.as_bytes()[BEGUN..]).await
        });
        sending.push((go_on, task));
    }
    // Nobody else may send as much: who is not asked is closed above 4 MiB.
    until(SYNC, "the first large answer, and all others up to 4 MiB", async || {
        let bytes = bytes_in(&node).await;
        assert!(bytes.get(1).is_none_or(|second| *second <= LINE + OTHER), "{bytes:?}");
        (bytes.first() >= Some(&BEGUN) && bytes.iter().all(|bytes| *bytes + MIB > LINE)).then_some(())
    })
    .await;
    let used = node.rss_kib().unwrap() - before;
    let most = (BEGUN + (PEERS - 1) * LINE) / 1024 + 24 * 1024;
    assert!(used < most as u64, "{used} KiB more, not {most}");
    let (mut unasked, _) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    let line = format!("{}{}", wire::blocks_response(&chain.lines[..1]), " ".repeat(LINE));
    let _ = unasked.try_send(line.as_bytes()).await;
    unasked.closed(PROMPT).await;

    honest::syncs(&node, chain).await;
    // The others have their turn, one after the other.
    let (go_on, tasks): (Vec<_>, Vec<_>) = sending.into_iter().unzip();
    for go_on in go_on {
        assert!(go_on.send(()).is_ok());
    }
    let mut read = 0;
    for task in tasks {
        read += usize::from(within(SYNC, "an answer to be read, or refused", task).await.unwrap());
    }
    // Memory is short as long as they all wait: those that hold the most of it for the longest are let go, and not blamed for it.
    assert!(read >= 1, "none of {PEERS} large answers was read");
    assert_eq!(http::get(node.rpc_port(), "/peers").await.expect(200).json()["banned"], 0);
    let peak = node.peak_rss_kib().unwrap();
    assert!(peak < 160 * 1024, "{peak} KiB for {PEERS} answers of 31 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_an_answer_without_a_whole_block_up_to_32_mib_is_held_once_and_no_longer() {
    /// Besides what is held, the blocks once decoded, and what an allocator keeps.
    const OTHER: usize = 24 * MIB;
    let chain = Chain::fork();
    for (padding, fits) in [(LINE_WHILE_ASKED - MIB, true), (LINE_WHILE_ASKED + KIB, false)] {
        let dir = Datadir::joined(NODE, chain).await;
        let lines = chain.lines.clone();
        let script = Script::modern(chain).answering(move |request| {
            let answer = wire::blocks_response(&cut(&lines, request));
            let padding = if request.nth == 0 { padding } else { 0 };
            Answer::Line(format!("{{{}{}", " ".repeat(padding), &answer[1..]))
        });
        let node = Process::run(NODE, dir.path(), &[]).await;
        let before = node.rss_kib().unwrap();
        let peer = Peer::dial(node.port(), script).await;
        if fits {
            assert_eq!(reaches(&node, 120, SYNC).await, chain.tip_hash());
            assert_eq!(peer.open_connections(), 1, "the connection was kept");
        } else {
            peer.closed(SYNC).await;
            honest::syncs(&node, chain).await;
        }
        let used = node.peak_rss_kib().unwrap() - before;
        assert!(used < ((LINE_WHILE_ASKED + OTHER) / 1024) as u64, "{used} KiB more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_a_long_answer_of_a_legacy_peer_that_is_cut_within_a_field_gets_it_neither_blamed_nor_left() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let (mut peer, _) = Socket::greeted(node.port(), &Hello::legacy(chain)).await;
    let (from, to) = peer.next(SYNC, "a request", Received::range).await;
    let answer = wire::blocks_response(&cut(&chain.lines, Request { nth: 0, from, to }));
    let field = "\"amount\":";
    let cut_in = (from..=to).rev().find(|height| chain.lines[usize::try_from(*height).unwrap()].contains(field));
    let cut_in = cut_in.expect("a block with a transaction");
    let within = answer.rfind(field).unwrap() + field.len();
    // What is looked at first is one byte more than the longest line that is taken unasked.
    let spaces = " ".repeat(LINE + 1 - within);
    assert!(peer.try_send(format!("{{{spaces}{}", &answer[1..within]).as_bytes()).await);
    reaches(&node, i64::try_from(cut_in).unwrap() - 1, SYNC).await;
    assert!(peer.try_send(format!("{}\n", &answer[within..]).as_bytes()).await);
    let (from, to) = peer.next(PROMPT, "a request for what is missing", Received::range).await;
    assert_eq!(from, cut_in);
    let rest = wire::blocks_response(&cut(&chain.lines, Request { nth: 1, from, to }));
    assert!(peer.try_send(format!("{rest}\n").as_bytes()).await);
    assert_eq!(reaches(&node, i64::try_from(to).unwrap(), SYNC).await, chain.hashes[usize::try_from(to).unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_1_a_legacy_peer_that_drips_a_large_answer_keeps_others_waiting_for_20_seconds_at_most() {
    const DRIPPED: usize = 5 * MIB;
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let (mut liar, _) = Socket::greeted(node.port(), &Hello::legacy(chain)).await;
    liar.next(SYNC, "a request", Received::range).await;
    let begun = format!("{}{}", r#"{"type": "blocks_response", "payload": "#, " ".repeat(DRIPPED));
    assert!(liar.try_send(begun.as_bytes()).await);
    until(SYNC, "the right to a large frame", async || (bytes_in(&node).await.first() >= Some(&DRIPPED)).then_some(()))
        .await;
    let start = Instant::now();
    let drip = tokio::spawn(async move {
        while liar.try_send(b" ").await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    // An honest one answers as long, which takes the same right.
    let lines = chain.lines.clone();
    let script = Script::legacy(chain).answering(move |request| {
        let answer = wire::blocks_response(&cut(&lines, request));
        let padding = if request.nth == 0 { DRIPPED } else { 0 };
        Answer::Line(format!("{answer}{}", " ".repeat(padding)))
    });
    let _honest = Peer::dial(node.port(), script).await;
    let hash = reaches(&node, 120, SYNC).await;
    let took = start.elapsed();
    drip.abort();
    assert_eq!(hash, chain.tip_hash());
    assert!(took < Duration::from_secs(45), "the honest answer waited for {took:?}");
}
