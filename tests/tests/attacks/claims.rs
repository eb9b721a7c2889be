//! Rows 6, 7 and 10 and the rule for SYNCED: claims, and the answers that follow them.

use std::sync::Arc;
use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::http;
use cpc_tests::peer::{Answer, Peer, Request, Script, cut};
use cpc_tests::process::{Call, Process};
use cpc_tests::raw::{self, PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};
use serde_json::json;

use crate::{NODE, SYNC, honest, running};

// ---- Row 6 and the rule for SYNCED ----

#[tokio::test(flavor = "multi_thread")]
async fn row_6_liars_about_their_height_delay_synced_by_at_most_30_seconds_in_all() {
    let chain = Chain::fork();
    let dir = Datadir::joined(NODE, chain).await;
    let honest = Peer::listen(Script::modern(chain)).await;
    let mut peers = vec![honest.address()];
    let mut liars = Vec::new();
    let silent: fn(Request) -> Answer = |_| Answer::Silence;
    let empty: fn(Request) -> Answer = |_| Answer::Blocks(Vec::new());
    for (claim, answer) in
        [(i64::MAX, silent), (1_000_000, empty), (121, silent), (i64::MAX - 1, empty), (5_000, silent), (121, empty)]
    {
        let liar = Peer::listen(Script::modern(chain).claiming(claim).answering(answer)).await;
        peers.push(liar.address());
        liars.push(liar);
    }
    let output = Call::sync(NODE, dir.path(), &peers).output_within(SYNC).await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], chain.tip_hash());
    // The rule's 30 s, and the time to start and to sync 121 blocks.
    assert!(output.took < Duration::from_secs(35), "{:?}", output.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_6_a_legacy_liar_delays_synced_no_longer_than_others() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, chain).await;
    let honest = Peer::listen(Script::legacy(chain)).await;
    let liar = Peer::listen(Script::legacy(chain).claiming(9_999).answering(|_| Answer::Silence)).await;
    let output = Call::sync(NODE, dir.path(), &[honest.address(), liar.address()]).output_within(SYNC).await;
    let output = output.expect_code(0);
    assert_eq!(output.json()["height"], 120);
    assert!(output.took < Duration::from_secs(35), "{:?}", output.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_6_claims_drive_no_memory_and_a_falling_or_absurd_one_no_state() {
    let chain = Chain::fork();
    let (dir, mut node) = running(&chain.up_to(60)).await;
    let before = node.rss_kib().unwrap();
    for claim in [i64::MAX, i64::MIN, -1, -2, 0, 3, 1 << 40] {
        let peer = Peer::dial(node.port(), Script::modern(&chain.up_to(60)).claiming(claim)).await;
        // For an absurd claim the connection may end instead.
        let _ = tokio::time::timeout(Duration::from_millis(500), peer.message(SYNC, "", Received::greeting)).await;
    }
    // Falling claims on one connection.
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(chain).claiming(1_000)).await;
    for claim in [900, 60, 5, -1] {
        socket.send(&Hello::modern(chain).claiming(claim).line()).await;
    }
    assert_eq!(socket.ask(60, 60).await.len(), 1);
    assert!(node.is_running());
    let more = node.rss_kib().unwrap().saturating_sub(before);
    assert!(more < 16 * 1024, "{more} KiB more");
    assert_eq!(raw::tip_of(node.port()).await.0, 60);
    honest::syncs(&node, chain).await;
    node.stop().await;
    assert_eq!(dir.tip(NODE).await, (120, chain.tip_hash().to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn synced_holds_at_once_where_the_only_peer_is_not_ahead_and_after_10_seconds_where_its_claim_is_empty() {
    let chain = Chain::fork();
    let level = Peer::listen(Script::modern(chain)).await;
    let liar = Peer::listen(Script::modern(chain).claiming(500).answering(|_| Answer::Silence)).await;
    for (peer, least, most) in [(&level, 0, 8), (&liar, 8, 20)] {
        let dir = Datadir::holding(NODE, chain).await;
        let output = Call::sync(NODE, dir.path(), &[peer.address()]).output_within(SYNC).await.expect_code(0);
        let took = output.took.as_secs();
        assert!((least..=most).contains(&took), "{took} s, not {least} to {most}");
        assert_eq!(output.json()["height"], 120);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_peer_is_synced_from_while_liars_are_still_believed() {
    let chain = Chain::mainline();
    let dir = Datadir::joined(NODE, chain).await;
    let honest = Peer::listen(Script::modern(chain)).await;
    let liar = Peer::listen(Script::modern(chain).claiming(i64::MAX).answering(|_| Answer::Silence)).await;
    let node = Process::run_with_peers(NODE, dir.path(), &[liar.address(), honest.address()]).await;
    assert_eq!(raw::reaches(&node, 1209, Duration::from_secs(35)).await, chain.tip_hash());
}

// ---- Row 7 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_7_an_answer_that_nobody_asked_for_ends_the_connection() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(60))).await;
    socket.send(&wire::blocks_response(&chain.lines[61..70])).await;
    socket.closed(PROMPT).await;
    assert_eq!(raw::tip_of(node.port()).await.0, 60, "nothing of it was taken");
    honest::syncs_while(&node, chain, async |_| {
        let (mut socket, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(60))).await;
        socket.send(&wire::blocks_response(&chain.lines[3..30])).await;
        socket.closed(PROMPT).await;
    })
    .await;
}

type WrongAnswer = Box<dyn Fn(Request) -> Vec<String> + Send + Sync>;

#[tokio::test(flavor = "multi_thread")]
async fn row_7_an_answer_must_be_the_range_asked_in_order() {
    let chain = Chain::fork();
    let lines = Arc::new(chain.lines.clone());
    let asked = |request: Request| usize::try_from(request.from).unwrap();
    let wrong: Vec<(&str, WrongAnswer)> = vec![
        (
            "from one too far on",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| lines[asked(request) + 1..].to_vec()
            }),
        ),
        (
            "with a hole",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| {
                    let mut blocks = cut(&lines, request);
                    blocks.remove(1);
                    blocks
                }
            }),
        ),
        (
            "backwards",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| cut(&lines, request).into_iter().rev().collect()
            }),
        ),
        (
            "with more than was asked",
            Box::new({
                let lines = Arc::clone(&lines);
                move |request| {
                    let mut blocks = cut(&lines, request);
                    blocks.extend(blocks.clone());
                    blocks
                }
            }),
        ),
    ];
    for (what, answer) in wrong {
        let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
        let node = Process::run(NODE, dir.path(), &[]).await;
        let script = Script::modern(chain).answering(move |request| Answer::Blocks(answer(request)));
        let peer = Peer::dial(node.port(), script).await;
        tokio::select! {
            () = peer.closed(Duration::from_secs(10)) => {}
            _ = raw::reaches(&node, 120, Duration::from_secs(10)) => panic!("an answer {what} was taken"),
        }
        peer.dial_again(node.port()).await;
        honest::syncs(&node, chain).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_7_an_answer_from_another_peer_than_the_one_asked_is_not_taken() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let asked = Peer::dial(node.port(), Script::modern(&chain.up_to(70)).answering(|_| Answer::Silence)).await;
    let (from, to) = asked.message(PROMPT, "a request", Received::range).await;
    assert_eq!((from, to), (61, 70));
    let (mut other, _) = Socket::greeted(node.port(), &Hello::modern(&chain.up_to(60))).await;
    other.send(&wire::blocks_response(&chain.lines[61..=70])).await;
    other.closed(PROMPT).await;
    assert_eq!(raw::tip_of(node.port()).await.0, 60);
    honest::syncs(&node, chain).await;
}

// ---- Row 10 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_10_after_three_empty_answers_another_peer_is_asked_and_nobody_banned() {
    const EMPTY: usize = 3;
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let empty = Peer::dial(node.port(), Script::modern(chain).answering(|_| Answer::Blocks(Vec::new()))).await;
    empty.wait(PROMPT, "three requests", |_| (empty.requests().len() >= EMPTY).then_some(())).await;
    assert!(empty.stays_open(Duration::from_secs(2)).await, "closed for having nothing");
    assert_eq!(empty.requests(), [(61, 120); EMPTY]);
    let honest = honest::syncs(&node, chain).await;
    assert!(!honest.requests().is_empty());
    assert_eq!(empty.requests().len(), EMPTY, "asked again for what it did not have");
    assert_eq!(empty.open_connections(), 1, "it was not closed for having nothing");
    let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    assert_eq!((&shown["penalties"], &shown["banned"]), (&json!([]), &json!(0)), "{shown}");
    assert!(shown["peers"].as_array().unwrap().iter().all(|peer| peer["score"] == 0), "{shown}");
}
