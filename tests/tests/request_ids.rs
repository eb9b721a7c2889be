//! Requests with numbers, an extension: several at a time with who knows it, one at a time with who does not.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::time::Duration;

use cpc_tests::datadir::Datadir;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::{Call, Process};
use cpc_tests::raw::{self, PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};
use serde_json::Value;

const NODE: &str = cpc_tests::node_binary!();

/// How long a sync of one of the test chains may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);
/// So long nothing more comes from a node that waits for answers.
const QUIET: Duration = Duration::from_millis(300);

fn able(chain: &Chain, features: &[&str]) -> Hello {
    Hello { features: Some(features.iter().map(ToString::to_string).collect()), ..Hello::modern(chain) }
}

/// The number of a request or an answer, if it has one.
fn number(message: &Received) -> Option<u64> {
    serde_json::from_str::<Value>(&message.payload).unwrap()["request_id"].as_u64()
}

/// A request with its number.
fn numbered(message: &Received) -> Option<(u64, u64, u64)> {
    let (from, to) = message.range()?;
    Some((number(message).expect("a request without a number to a peer that knows them"), from, to))
}

fn answer(chain: &Chain, id: u64, from: u64, to: u64) -> String {
    let range = usize::try_from(from).unwrap()..=usize::try_from(to).unwrap().min(chain.lines.len() - 1);
    let blocks: Vec<&str> = chain.lines[range].iter().map(String::as_str).collect();
    wire::message("blocks_response", &format!(r#"{{"request_id": {id}, "blocks": [{}]}}"#, blocks.join(",")))
}

/// A node with the first six blocks of a chain, and a peer that knows numbers and has all of it.
async fn asked(chain: &Chain) -> (Datadir, Process, Socket) {
    let dir = Datadir::holding(NODE, &chain.up_to(5)).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let (socket, _) = Socket::greeted(node.port(), &able(chain, &["request-id-1"])).await;
    (dir, node, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_requests_are_on_their_way_and_may_be_answered_in_any_order() {
    let chain = Chain::mainline();
    let (_dir, node, mut socket) = asked(chain).await;
    let mut most = 0;
    let serving = async {
        loop {
            let mut waiting = vec![socket.next(SYNC, "a request", numbered).await];
            while let Ok(more) = tokio::time::timeout(QUIET, socket.next(SYNC, "a request", numbered)).await {
                waiting.push(more);
            }
            most = most.max(waiting.len());
            for (id, from, to) in waiting.into_iter().rev() {
                socket.send(&answer(chain, id, from, to)).await;
            }
        }
    };
    tokio::select! {
        () = serving => {}
        tip = raw::reaches(&node, i64::try_from(chain.height()).unwrap(), SYNC) => assert_eq!(tip, chain.tip_hash()),
    }
    assert!((2..=4).contains(&most), "{most} requests at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_number_that_was_not_asked_with_ends_the_connection() {
    let chain = Chain::mainline();
    for wrong in [Some(77_777), None] {
        let (_dir, node, mut socket) = asked(chain).await;
        let (_, from, to) = socket.next(PROMPT, "a request", numbered).await;
        let line = match wrong {
            Some(id) => answer(chain, id, from, to),
            None => answer(chain, 0, from, to).replace(r#""request_id": 0, "#, ""),
        };
        socket.send(&line).await;
        socket.closed(PROMPT).await;
        assert_eq!(raw::tip_of(node.port()).await.0, 5, "nothing of it was taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_to_the_same_request_ends_the_connection() {
    let chain = Chain::mainline();
    let (_dir, _node, mut socket) = asked(chain).await;
    let (id, from, to) = socket.next(PROMPT, "a request", numbered).await;
    socket.send(&answer(chain, id, from, to)).await;
    socket.send(&answer(chain, id, from, to)).await;
    socket.closed(PROMPT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_with_the_number_in_the_order_of_the_questions() {
    let chain = Chain::mainline().up_to(300);
    let dir = Datadir::holding(NODE, &chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let (mut socket, _) =
        Socket::greeted(node.port(), &able(&chain.up_to(5), &["request-id-1", "header-chain-1"])).await;
    for (id, from, to) in [(5, 10, 20), (u64::MAX, 30, 31), (0, 400, 500)] {
        let range = format!(r#"{{"request_id": {id}, "from_height": {from}, "to_height": {to}}}"#);
        socket.send(&wire::message("get_blocks", &range)).await;
    }
    let range = r#"{"request_id": 8, "from_height": 100, "to_height": 200}"#;
    socket.send(&wire::message("get_header_chain", range)).await;
    for (id, first, count) in [(5, Some(10), 11), (u64::MAX, Some(30), 2), (0, None, 0)] {
        let pick = |message: &Received| message.blocks().map(|blocks| (number(message), blocks));
        let (answered, blocks) = socket.next(PROMPT, "an answer", pick).await;
        assert_eq!((answered, blocks.len()), (Some(id), count));
        assert_eq!(blocks.first().map(|block| block.height), first);
    }
    let pick = |message: &Received| (message.kind == "header_chain").then(|| message.clone());
    let headers = socket.next(PROMPT, "headers", pick).await;
    assert_eq!(number(&headers), Some(8));
    let payload: Value = serde_json::from_str(&headers.payload).unwrap();
    let row = hex::decode(payload["headers"].as_str().unwrap()).unwrap();
    let heights: Vec<u64> =
        cpc_framework::types::encoding::headers(&row).map(|header| header.unwrap().height).collect();
    assert_eq!(heights, (100..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_node_among_others_is_asked_one_thing_at_a_time_without_a_number() {
    let chain = Chain::mainline();
    let serving = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, serving.path(), &[]).await;
    let legacy = Peer::listen(Script::legacy(chain)).await;
    let dir = Datadir::joined(NODE, chain).await;
    let output = Call::sync(NODE, dir.path(), &[node.address(), legacy.address()]).output().await.expect_code(0);
    assert_eq!(output.json()["tip_hash"], chain.tip_hash());
    let requests = legacy.received("get_blocks");
    assert!(!requests.is_empty(), "the reference node was asked for nothing");
    assert!(requests.iter().all(|request| number(request).is_none()), "{requests:?}");
    assert!(legacy.received("get_header_chain").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_on_the_command_line_lets_the_right_chain_in_and_no_other() {
    let chain = Chain::mainline();
    let serving = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, serving.path(), &[]).await;
    let dir = Datadir::joined(NODE, chain).await;
    let right = format!("1200:{}", chain.hashes[1200]);
    let sync = Call::sync(NODE, dir.path(), &[node.address()]).args(["--checkpoint", &right]);
    assert_eq!(sync.output().await.expect_code(0).json()["tip_hash"], chain.tip_hash());

    let wrong = format!("1200:{}", chain.hashes[1199]);
    let output = Call::sync(NODE, dir.path(), &[node.address()]).args(["--checkpoint", &wrong]).output().await;
    assert!(output.says_any(&["contradicts the checkpoint at height 1200"]), "{output:?}");
    output.expect_code(1);

    let fresh = Datadir::joined(NODE, chain).await;
    let sync = Call::sync(NODE, fresh.path(), &[node.address()]).args(["--checkpoint", &wrong]);
    let output = sync.output_within(SYNC).await;
    assert!(output.says_any(&["contradicts a checkpoint"]), "{output:?}");
}
