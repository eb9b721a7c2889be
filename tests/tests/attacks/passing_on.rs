//! Rows 1 and 23: a valid block that is too large for gossip gets nobody blamed who passes it on.

use bytes::BytesMut;
use cpc_codecs::PostcardCodec;
use cpc_framework::codec::Codec as _;
use cpc_framework::types::{Block, Handshake, HexText, Message, WireBlock};
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{until, within};
use cpc_tests::framed::Framed;
use cpc_tests::http;
use cpc_tests::peer::{Peer, Script, honest as serving};
use cpc_tests::process::Process;
use cpc_tests::raw::{PROMPT, Socket, reaches};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{Hello, Received};
use serde_json::json;

use crate::{LINE, LINE_WHILE_ASKED, MIB, NODE, SYNC};

/// The chain up to `height`, whose last block somebody has padded: under v1 rules no hash covers the payload of a TRANSFER.
fn padded(height: usize) -> Chain {
    let mut chain = Chain::fork().up_to(height);
    let payload = format!(r#""payload":{{"note":"{}"}}"#, "x".repeat(LINE + MIB));
    let line = chain.lines[height].replacen(r#""payload":{}"#, &payload, 1);
    assert!(line.len() > LINE, "block {height} has a transaction without a payload");
    chain.lines[height] = line;
    chain
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_whoever_passes_on_a_block_too_large_for_gossip_is_not_blamed() {
    // So much that frames of this size fit the share of what waits to be sent.
    const MEMORY: [&str; 2] = ["--memory", "256MiB"];
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let (here, there) = (Datadir::holding(NODE, &short).await, Datadir::holding(NODE, &short).await);
    let relay = Process::run(NODE, here.path(), &MEMORY).await;
    let target = Process::run(NODE, there.path(), &[MEMORY[0], MEMORY[1], "--peers", &relay.address()]).await;
    // Of two more, one takes bodies only, and the other fetches what is announced to it.
    let (mut plain, _) = Socket::greeted(relay.port(), &Hello::modern(&short)).await;
    let fetching = Hello { features: Some(vec!["announce-1".to_owned()]), ..Hello::modern(&short) };
    let (mut fetching, _) = Socket::greeted(relay.port(), &fetching).await;
    // The relay gets the block as an answer, which may be as long.
    let source = Peer::dial(relay.port(), Script::modern(&padded(61))).await;
    source.message(PROMPT, "a handshake", Received::greeting).await;
    for socket in [&mut plain, &mut fetching] {
        within(SYNC, "word of block 61", async {
            loop {
                let line = socket.line().await.expect("the relay keeps the connection");
                assert!(line.len() <= LINE, "a line of {} bytes", line.len());
                if Received::read(&line).and_then(|read| read.greeting()).is_some_and(|said| said.best_height == 61) {
                    return;
                }
            }
        })
        .await;
    }
    assert_eq!(reaches(&target, 61, SYNC).await, chain.hashes[61]);
    // Gossip goes on, over the same connection.
    source.change(|script| script.answer = serving(&chain.up_to(62)));
    source.send(&cpc_tests::wire::new_block(&chain.lines[62])).await;
    assert_eq!(reaches(&target, 62, SYNC).await, chain.hashes[62]);
    let shown = http::get(target.rpc_port(), "/peers").await.expect(200).json();
    assert_eq!((&shown["penalties"], &shown["banned"]), (&json!([]), &json!(0)), "{shown}");
    let outbound = shown["peers"].as_array().unwrap().iter().find(|peer| peer["address"] == relay.address().as_str());
    assert_eq!(outbound.map(|peer| &peer["score"]), Some(&json!(0)), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_an_older_node_that_pushes_a_block_above_the_cap_is_closed_and_not_blamed() {
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(60)).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    let source = Peer::dial_from("127.0.0.2", node.port(), Script::modern(&chain.up_to(60))).await;
    source.message(PROMPT, "a handshake", Received::greeting).await;
    source.send(&cpc_tests::wire::new_block(&padded(61).lines[61])).await;
    source.closed(SYNC).await;
    let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
    assert_eq!(shown["penalties"], json!([]), "{shown}");
    // Anything else of that length is no honest node's.
    let (mut other, _) = Socket::greeted_from("127.0.0.3", node.port(), &Hello::modern(&chain.up_to(60))).await;
    let line = format!("{}{}", cpc_tests::wire::get_blocks(0, 1), " ".repeat(LINE));
    other.try_send(line.as_bytes()).await;
    other.closed(SYNC).await;
    let penalty = until(SYNC, "its penalty", async || {
        let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
        shown["penalties"].get(0).cloned()
    })
    .await;
    assert_eq!((&penalty["peer"], &penalty["offence"]), (&json!("127.0.0.3"), &json!("oversize frame")));
    crate::honest::syncs(&node, chain).await;
}

/// Block 61 with zeros between r and s of a signature: no hash covers it, and the reference takes it. In postcard half as long as in JSON.
fn padded_in_a_signature(chain: &Chain) -> Vec<Block> {
    let mut blocks: Vec<Block> = chain.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let signature = &mut blocks[61].txs[0].signature;
    let text = signature.text().into_owned();
    *signature = HexText::new(&format!("{}{}{}", &text[..64], "00".repeat(17 * MIB), &text[64..]));
    blocks
}

/// Answers with these blocks as long as it is asked.
async fn serve(port: u16, blocks: Vec<Block>) {
    let hello = Handshake {
        node_id: "127.0.0.1:9".to_owned(),
        p2p_port: 0,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height: Some(blocks.len() as u64 - 1),
        best_hash: None,
        genesis_hash: None,
        features: Some(Vec::new()),
        nonce: Some(5),
    };
    let mut peer = Framed::greeted("tcp+postcard", port, &hello).await;
    loop {
        let asked = peer.next(|message| match message {
            Message::GetBlocks { from_height, to_height } => Some(*from_height..=*to_height),
            _ => None,
        });
        let Some(asked) = asked.await else { return };
        let blocks = blocks.iter().filter(|block| asked.contains(&block.header.height));
        let blocks = blocks.cloned().map(WireBlock::from).collect();
        let mut out = BytesMut::new();
        PostcardCodec.encode(&Message::BlocksResponse { blocks, malformed: None }, LINE_WHILE_ASKED, &mut out).unwrap();
        if !peer.send(&out).await {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_a_block_padded_beyond_what_other_nodes_read_is_asked_for_elsewhere_and_can_be_had_in_every_codec() {
    let chain = Chain::fork().up_to(62);
    let (here, there) = (Datadir::holding(NODE, &chain.up_to(60)).await, Datadir::joined(NODE, &chain).await);
    let relay = Process::run_over(NODE, here.path(), &["tcp+postcard", "tcp+json"], &[]).await;
    let height = async || http::get(relay.rpc_port(), "/status").await.json()["height"].as_i64();
    let liar = tokio::spawn(serve(relay.port_of("tcp+postcard"), padded_in_a_signature(&chain)));
    let refused = relay.line("block 61 is invalid: length", SYNC).await;
    assert!(refused.contains("another copy of it may be shorter"), "{refused}");
    assert_eq!(height().await, Some(60));
    let _honest = Peer::dial(relay.port_of("tcp+json"), Script::modern(&chain)).await;
    until(SYNC, "the same block as its proposer made it", async || (height().await == Some(62)).then_some(())).await;
    assert!(!liar.is_finished(), "who gave the padded one need not have padded it");
    liar.abort();
    let shown = http::get(relay.rpc_port(), "/peers").await.expect(200).json();
    assert_eq!((&shown["penalties"], &shown["banned"]), (&json!([]), &json!(0)), "{shown}");
    for link in ["tcp+postcard", "tcp+json"] {
        let there = there.copy();
        let peer = format!("{link}://127.0.0.1:{}", relay.port_of(link));
        let target = Process::run_over(NODE, there.path(), &[link], &["--peers", &peer]).await;
        until(SYNC, "all blocks at whoever asks", async || {
            (http::get(target.rpc_port(), "/status").await.json()["height"] == 62).then_some(())
        })
        .await;
    }
}
