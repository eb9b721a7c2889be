//! Rows 19 and 20: a nonce is shown to one peer, once, and one that somebody copied closes nobody's connection.

use std::time::Duration;

use cpc_tests::deadline::within;
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::Hello;
use serde_json::Value;

use crate::{honest, running};

/// A handshake with a nonce.
fn line(hello: &Hello, nonce: u64) -> String {
    let mut line: Value = serde_json::from_str(&hello.line()).unwrap();
    line["payload"]["nonce"] = nonce.into();
    line.to_string()
}

/// Connects, says hello with this nonce, and gives the nonce that the node shows.
async fn greeted(port: u16, hello: &Hello, nonce: u64) -> (Socket, u64) {
    let mut socket = Socket::connect(port).await;
    socket.send(&line(hello, nonce)).await;
    let answer = within(PROMPT, "the node's handshake", socket.line()).await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    (socket, answer["payload"]["nonce"].as_u64().expect("a nonce"))
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19_each_connection_is_shown_another_nonce_and_one_of_ours_shown_to_us_is_closed() {
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let (_dir, node) = running(&short).await;
    let hello = Hello::modern(&short);
    let (mut first, shown) = greeted(node.port(), &hello, 1).await;
    let (mut second, other) = greeted(node.port(), &hello, 2).await;
    assert_ne!(shown, other);
    // It is ourselves, or somebody who says so: that costs nobody else a connection.
    let mut copy = Socket::connect(node.port()).await;
    copy.send(&line(&hello, shown)).await;
    copy.closed(PROMPT).await;
    for socket in [&mut first, &mut second] {
        assert!(socket.stays_open(Duration::from_millis(200)).await, "closed for a nonce that others have shown");
    }
    honest::syncs(&node, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_a_copied_nonce_closes_neither_the_one_it_is_of_nor_keeps_it_out() {
    const NONCE: u64 = 4711;
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let (_dir, node) = running(&short).await;
    // The copy comes first, then the one whose nonce it is, then another copy, all from one address.
    let hello = Hello::modern(&short);
    let (mut before, _) = greeted(node.port(), &hello, NONCE).await;
    let (mut owner, _) = greeted(node.port(), &hello, NONCE).await;
    let (mut after, _) = greeted(node.port(), &hello, NONCE).await;
    for socket in [&mut before, &mut owner, &mut after] {
        assert!(socket.stays_open(Duration::from_millis(200)).await, "without keys, the connection is the identity");
    }
    assert_eq!(owner.ask(60, 60).await.len(), 1);
    honest::syncs(&node, chain).await;
}
