//! Row 24: a body swapped under a valid header. (For STAKE payloads under v1 rules see `tests/stakes.rs`.)

use cpc_framework::types::Block;
use cpc_tests::http;
use cpc_tests::peer::{Answer, Peer, Script, cut};
use cpc_tests::raw::{self, PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

use crate::{SYNC, honest, running};

/// The header of a block over bodies that are not its own.
fn swapped(chain: &Chain, height: usize) -> Vec<String> {
    let block: Block = serde_json::from_str(&chain.lines[height]).unwrap();
    let other: Block = serde_json::from_str(&chain.lines[height - 1]).unwrap();
    let mut bodies = vec![Vec::new(), other.txs.clone(), block.txs[1..].to_vec()];
    bodies.push(block.txs.iter().rev().cloned().collect());
    bodies.push([block.txs.as_slice(), &block.txs].concat());
    bodies.push([block.txs.as_slice(), &other.txs].concat());
    let with = |txs| serde_json::to_string(&Block { txs, ..block.clone() }).unwrap();
    bodies.into_iter().map(with).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_a_swapped_body_that_is_announced_keeps_the_right_one_not_out() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let (mut liar, _) = Socket::greeted_from("127.0.0.2", node.port(), &Hello::modern(&chain.up_to(60))).await;
    for height in 61..=70 {
        for block in swapped(chain, height) {
            liar.send(&wire::new_block(&block)).await;
        }
        // Its next answer shows that all before was looked at.
        let asked = height as u64 - 50;
        liar.send(&wire::get_blocks(asked, asked)).await;
        liar.next(SYNC, "an answer", Received::blocks).await;
        assert_eq!(raw::tip_of(node.port()).await.0, i64::try_from(height).unwrap() - 1, "a swapped body was taken");
        // Under the same hash, the right one: from the very same peer, whom nobody blames.
        liar.send(&wire::new_block(&chain.lines[height])).await;
        assert_eq!(raw::reaches(&node, i64::try_from(height).unwrap(), SYNC).await, chain.hashes[height]);
    }
    honest::syncs(&node, chain).await;
    let peers = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    assert_eq!(peers["penalties"], serde_json::json!([]), "a header proves nothing about a body");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_a_swapped_body_in_an_answer_is_asked_for_again_elsewhere_and_taken() {
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    // All is as it should be but for the body of block 70.
    let mut lines = chain.lines.clone();
    lines[70] = swapped(chain, 70).swap_remove(1);
    let script = Script::modern(chain).answering(move |request| Answer::Blocks(cut(&lines, request)));
    let liar = Peer::dial_from("127.0.0.2", node.port(), script).await;
    liar.message(PROMPT, "a request", Received::range).await;
    assert_eq!(raw::reaches(&node, 69, SYNC).await, chain.hashes[69], "what is right of its answer is taken");
    let honest = honest::syncs(&node, chain).await;
    assert!(honest.requests().iter().any(|(from, to)| (*from..=*to).contains(&70)), "{:?}", honest.requests());
    let again = liar.requests().iter().filter(|(from, to)| (*from..=*to).contains(&70)).count();
    assert!((1..=3).contains(&again), "the liar was asked {again} times for this block");
    let peers = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    assert_eq!(peers["penalties"], serde_json::json!([]), "it may have been given this body itself");
    assert_eq!(liar.open_connections(), 1);
}
