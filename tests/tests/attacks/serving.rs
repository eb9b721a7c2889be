//! Rows 9 and 22: peers that ask, and that do not read.

use std::time::{Duration, Instant};

use cpc_tests::deadline::within;
use cpc_tests::peer::MAX_BLOCKS;
use cpc_tests::process::Process;
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

use crate::{MIB, honest, running};

// ---- Row 9 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_9_an_answer_has_at_most_500_blocks_and_a_mebibyte_whatever_is_asked() {
    let chain = Chain::mainline();
    let (_dir, node) = running(chain).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::legacy(chain).without_blocks()).await;
    for (from, to) in [(0, u64::from(u32::MAX)), (1, i64::MAX.unsigned_abs()), (700, 1209)] {
        socket.send(&wire::get_blocks(from, to)).await;
        let answer = socket
            .next(PROMPT, "an answer", |message| (message.kind == "blocks_response").then(|| message.clone()))
            .await;
        let blocks = answer.blocks().unwrap();
        assert!((1..=MAX_BLOCKS).contains(&blocks.len()) && answer.bytes <= MIB, "{} bytes", answer.bytes);
        assert_eq!(blocks[0].height, from);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_9_the_same_range_again_waits_and_another_does_not() {
    let chain = Chain::mainline();
    let (_dir, node) = running(&chain.up_to(1199)).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    // At full speed, each range once: nothing waits.
    let start = Instant::now();
    for from in (0..1200).step_by(100) {
        assert_eq!(socket.ask(from, from + 99).await.len(), 100);
    }
    assert!(start.elapsed() < Duration::from_secs(8), "an honest sync is slowed: {:?}", start.elapsed());
    // The same range over and over: one answer at once, the others not before 10 s have gone by.
    let (mut greedy, _) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    let start = Instant::now();
    assert!(!greedy.ask(0, 499).await.is_empty());
    greedy.send(&wire::get_blocks(0, 499)).await;
    honest::syncs(&node, chain).await;
    greedy.next(Duration::from_secs(30), "the same again", Received::blocks).await;
    let took = start.elapsed();
    assert!(took > Duration::from_secs(8), "served twice within {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_9_of_more_questions_than_4_that_wait_the_oldest_are_dropped_unanswered() {
    const QUEUE: usize = 4;
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::legacy(chain).without_blocks()).await;
    let asked = |heights: std::ops::Range<u64>| -> String {
        heights.map(|height| wire::get_blocks(height, height) + "\n").collect()
    };
    let answered = async |socket: &mut Socket| socket.next(PROMPT, "an answer", Received::blocks).await[0].height;
    // Of what it has had a moment ago nothing is sent again at once, nor what it asked for behind that: so all of it waits, however fast we are.
    for height in 0..QUEUE as u64 {
        assert_eq!(socket.ask(height, height).await.len(), 1);
    }
    assert!(socket.try_send(format!("{}{}", asked(0..4), asked(10..13)).as_bytes()).await);
    node.line("get_blocks dropped: 4 newer ones wait", PROMPT).await;
    let early = tokio::time::timeout(Duration::from_millis(500), answered(&mut socket)).await;
    assert!(early.is_err(), "answer {early:?}, though one of the first four is among the last {QUEUE} and waits");
    // With an eighth question none of those is left, and the last four are answered at once.
    assert!(socket.try_send(asked(13..14).as_bytes()).await);
    for height in 10..14 {
        assert_eq!(answered(&mut socket).await, height);
    }
    // The others never: the next answer is to the next question.
    assert_eq!(socket.ask(20, 20).await[0].height, 20);
    honest::syncs_while(&node, chain, async |round| {
        // As many as there are, at once, and read late: the last ones are among the answers, which come in order.
        let from = u64::try_from(round % 2).unwrap() * 30;
        let (mut greedy, _) = Socket::greeted(node.port(), &Hello::legacy(chain).without_blocks()).await;
        assert!(greedy.try_send(asked(from..from + 30).as_bytes()).await);
        let mut heights = vec![answered(&mut greedy).await];
        while heights.last() != Some(&(from + 29)) {
            heights.push(answered(&mut greedy).await);
        }
        assert!(heights.is_sorted() && heights.ends_with(&[from + 26, from + 27, from + 28, from + 29]), "{heights:?}");
    })
    .await;
}

// ---- Row 22 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_22_a_reader_that_does_not_read_is_closed_and_nobody_waits_for_it() {
    /// The outbox of a peer.
    const OUTBOX: u64 = 8 * 1024;
    let chain = Chain::mainline();
    let (_dir, node) = running(&chain.up_to(1199)).await;
    serves_mainline(&node).await;
    let before = node.rss_kib().unwrap();
    let (mut deaf, _) = Socket::greeted(node.port(), &Hello::modern(chain).without_blocks()).await;
    // Every range another one; nothing is read. What the node does not take waits in the kernel, so send from a task.
    let asking = tokio::spawn(async move {
        for from in 0..5_000 {
            if !deaf
                .try_send(format!("{}\n", wire::get_blocks(from % 700, from % 700 + 499 - from / 700)).as_bytes())
                .await
            {
                break;
            }
        }
        deaf
    });
    let start = Instant::now();
    let mut peak = 0;
    // An honest peer is not held up either, while the node waits for the deaf one.
    honest::syncs(&node, chain).await;
    while start.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        serves_mainline(&node).await;
        assert!(asked.elapsed() < Duration::from_secs(3), "others waited {:?}", asked.elapsed());
        peak = peak.max(node.rss_kib().unwrap().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(peak < OUTBOX + 24 * 1024, "{peak} KiB more for one peer");
    let mut deaf = within(Duration::from_secs(30), "the requests to be sent or refused", asking).await.unwrap();
    // Ten seconds without progress end it. Reading only then shows the end after what was under way.
    tokio::time::sleep(Duration::from_secs(14).saturating_sub(start.elapsed())).await;
    let left = deaf.closed(Duration::from_secs(10)).await;
    assert!(left.len() < 100, "{} answers were served to a reader that does not read", left.len());
}

async fn serves_mainline(node: &Process) {
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(Chain::mainline()).without_blocks()).await;
    assert!(!socket.ask(0, 99).await.is_empty());
}
