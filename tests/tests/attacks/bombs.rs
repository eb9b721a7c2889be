//! Row 4: postcard messages whose counts claim more than there is, and messages that go on behind their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cpc_framework::types::{
    ANNOUNCE, Block, BlockLink, HEADER_CHAIN, Handshake, Hash32, Message, REQUEST_ID, Transaction, WireBlock, encoding,
};
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::framed::{Framed, frame};
use cpc_tests::process::Process;
use cpc_tests::vectors::Chain;
use cpc_tests::{http, raw};
use tokio::task::JoinSet;

use crate::{KIB, LINE, MIB, NODE, SYNC, honest};

/// What may be reserved, used or not, beyond what the node had before the attack: room for an honest sync, and for less than half of the
/// smallest thing that a bomb claims.
const RESERVED_KIB: u64 = 96 * 1024;
/// What may be used beyond it.
const USED_KIB: u64 = 32 * 1024;
/// 256 MiB where it counts bytes; all that 32 bits hold; more than any address space has.
const COUNTS: [u64; 3] = [1 << 28, u32::MAX as u64, u64::MAX];
/// Magic, version, length.
const FRAME_HEADER: usize = 9;
/// The height up to which the node has the chain.
const HEIGHT: usize = 60;

/// A node with 60 blocks that speaks JSON with the honest, and postcard.
async fn running() -> (Datadir, Process) {
    let dir = Datadir::holding(NODE, &Chain::fork().up_to(HEIGHT)).await;
    let node = Process::run_over(NODE, dir.path(), &["tcp+json", "tcp+postcard", "quic+postcard"], &[]).await;
    (dir, node)
}

fn hello() -> Handshake {
    static NONCE: AtomicU64 = AtomicU64::new(1 << 40);
    Handshake {
        node_id: "127.0.0.1:9".to_owned(),
        p2p_port: 9,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height: Some(HEIGHT as u64),
        best_hash: Some(Hash32([1; 32])),
        genesis_hash: Some(Chain::fork().genesis_hash().parse().unwrap()),
        features: Some([ANNOUNCE, REQUEST_ID, HEADER_CHAIN].map(str::to_owned).to_vec()),
        // Another run of a node each time: a second connection with the same would be closed for that.
        nonce: Some(NONCE.fetch_add(1, Ordering::Relaxed)),
    }
}

fn block(height: usize) -> Block {
    serde_json::from_str(&Chain::fork().lines[height]).unwrap()
}

fn transaction() -> Transaction {
    serde_json::from_str(&Chain::fork().transactions(HEIGHT + 1)[0]).unwrap()
}

/// A message of each type that has anything to count in it.
fn messages() -> Vec<Message> {
    let next = block(HEIGHT + 1);
    let link = BlockLink { height: 61, hash: Hash32([2; 32]), prev_hash: Hash32([3; 32]) };
    let mut headers = Vec::new();
    encoding::append_header(&next.header, &mut headers);
    let blocks = vec![WireBlock::from(next.clone()), WireBlock::from(block(HEIGHT + 2))];
    vec![
        Message::Handshake(hello()),
        Message::NewBlock(WireBlock::from(next)),
        Message::NewTx(transaction().into()),
        Message::BlocksResponse { blocks: blocks.clone(), malformed: None },
        Message::BlocksResponse { blocks, malformed: None }.with_id(Some(1)),
        Message::NewHashes { blocks: vec![link], txs: vec![Hash32([4; 32]); 2] },
        Message::GetData { blocks: vec![Hash32([5; 32])], txs: vec![Hash32([6; 32]); 2] },
        Message::HeaderChain { headers: headers.into() }.with_id(Some(1)),
    ]
}

/// The frame with `count` in place of the byte at `at` of its body, whatever that is: so every count, and every length, has its turn.
fn bomb(frame: &[u8], at: usize, count: u64) -> Vec<u8> {
    let at = FRAME_HEADER + at;
    with_body(&[&frame[FRAME_HEADER..at], &varint(count), &frame[at + 1..]].concat())
}

fn with_body(body: &[u8]) -> Vec<u8> {
    let mut frame = frame(&Message::GetBlocks { from_height: 0, to_height: 0 })[..FRAME_HEADER].to_vec();
    frame[FRAME_HEADER - 4..].copy_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number.to_le_bytes()[0] & 0x7f | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// All bombs, in portions for one connection each. Those after which a connection ends come alone.
fn portions(every: usize) -> Vec<Vec<u8>> {
    /// Fewer than it takes until a connection is closed over malformed messages.
    const TOGETHER: usize = 20;
    let mut portions = Vec::new();
    for message in messages() {
        let frame = frame(&message);
        let body = frame.len() - FRAME_HEADER;
        let answer = matches!(message, Message::BlocksResponse { .. } | Message::Numbered { .. });
        // The type's byte is no count. The blocks of an answer are read as the block of a new_block is.
        let offsets = (1..body).filter(|at| *at < 16 || (!answer && at % every == 0));
        let bombs: Vec<Vec<u8>> = offsets.flat_map(|at| COUNTS.map(|count| bomb(&frame, at, count))).collect();
        portions.extend(bombs.chunks(if answer { 1 } else { TOGETHER }).map(<[Vec<u8>]>::concat));
    }
    portions
}

async fn bombs_neither_crash_nor_fill_the_node_over(link: &str, every: usize) {
    let (_dir, mut node) = running().await;
    let port = node.port_of(link);
    let portions = portions(every);
    let greetings: Vec<Vec<u8>> = {
        let frame = frame(&Message::Handshake(hello()));
        (1..frame.len() - FRAME_HEADER).step_by(every).map(|at| bomb(&frame, at, COUNTS[at % COUNTS.len()])).collect()
    };
    // The links and their buffers are there before anything is measured.
    Framed::greeted(link, port, &hello()).await;
    node.limit_memory_to(RESERVED_KIB);
    let before = node.rss_kib().unwrap();

    // Two connections a round: one that never gets to its handshake, and one that has done it.
    let round = async |at: usize| {
        let mut early = Framed::dial(link, port).await;
        if early.send(&greetings[at % greetings.len()]).await {
            // It ends, or the bomb was none, as where the byte was one of a text's.
            early.send(&frame(&Message::GetBlocks { from_height: 0, to_height: 0 })).await;
            early.next(|message| matches!(message, Message::BlocksResponse { .. }).then_some(())).await;
        }
        let mut late = Framed::greeted(link, port, &hello()).await;
        if late.send(&portions[at % portions.len()]).await {
            late.send(&frame(&Message::GetBlocks { from_height: 0, to_height: 0 })).await;
            late.next(|message| matches!(message, Message::BlocksResponse { .. }).then_some(())).await;
        }
    };
    let begun = honest::syncs_while(&node, Chain::fork(), round).await;
    for at in begun..portions.len().max(greetings.len()) {
        round(at).await;
    }

    assert!(node.is_running(), "{}", node.stderr());
    assert!(!node.stderr().contains("panicked"), "{}", node.stderr());
    let used = node.peak_rss_kib().unwrap().saturating_sub(before);
    assert!(used < USED_KIB, "{used} KiB more for {} connections with bombs", portions.len() + greetings.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_4_counts_beyond_what_is_there_reserve_nothing_over_tcp() {
    bombs_neither_crash_nor_fill_the_node_over("tcp+postcard", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_4_counts_beyond_what_is_there_reserve_nothing_over_quic() {
    bombs_neither_crash_nor_fill_the_node_over("quic+postcard", 5).await;
}

/// Frames of [`ARRIVED`] bytes that claim any number of transactions, hashes or letters: as many as there are bytes left, and more.
fn long_bombs() -> Vec<Vec<u8>> {
    let next = block(HEIGHT + 1);
    let mut header = Vec::new();
    encoding::append_header(&next.header, &mut header);
    let txs = vec![Hash32([4; 32]); 2];
    // Behind the bytes of the type and, in front of blocks and transactions, of the version.
    let places = [
        (Message::NewBlock(WireBlock::from(next)), 2 + header.len()),
        (Message::NewTx(transaction().into()), 3),
        (Message::NewHashes { blocks: Vec::new(), txs: Vec::new() }, 1),
        (Message::NewHashes { blocks: Vec::new(), txs: txs.clone() }, 2),
        (Message::GetData { blocks: Vec::new(), txs: Vec::new() }, 1),
        (Message::GetData { blocks: Vec::new(), txs }, 2),
        (Message::Handshake(hello()), 1),
    ];
    let bombs = places.iter().flat_map(|(message, at)| {
        [ARRIVED as u64, 1 << 28, u64::MAX].map(|count| {
            let mut body = bomb(&frame(message), *at, count).split_off(FRAME_HEADER);
            body.truncate(at + varint(count).len());
            body.resize(ARRIVED, 1);
            with_body(&body)
        })
    });
    bombs.collect()
}

/// What has arrived of each frame.
const ARRIVED: usize = 64 * KIB;

#[tokio::test(flavor = "multi_thread")]
async fn row_4_frames_of_which_64_kib_have_come_reserve_no_more_than_that_and_a_mebibyte_each() {
    /// Connections on which frames of 4 MiB have begun to come.
    const BEGUN: usize = 6;
    /// Connections on which frames of 64 KiB come, one after the other, whose counts claim anything.
    const WHOLE: usize = 3;
    const LINK: &str = "tcp+postcard";
    /// By their lengths the frames that have begun would reserve 24 MiB, and by its count a block of the others 27.
    const MOST_KIB: u64 = ((BEGUN + WHOLE) * (ARRIVED + MIB) / KIB) as u64;
    let (_dir, mut node) = running().await;
    let port = node.port_of(LINK);
    let question = |height| frame(&Message::GetBlocks { from_height: height, to_height: height });
    let is_answer = |message: &Message| matches!(message, Message::BlocksResponse { .. }).then_some(());
    let mut peers = Vec::new();
    for _ in 0..BEGUN + WHOLE {
        let mut peer = Framed::greeted(LINK, port, &hello()).await;
        assert!(peer.send(&question(1)).await);
        peers.push(peer);
    }
    // Threads and tables are there before anything is measured.
    http::get(node.rpc_port(), "/peers").await.expect(200);
    for peer in &mut peers {
        peer.next(is_answer).await.expect("an answer");
    }
    let whole = peers.split_off(BEGUN);
    let before = node.reserved_kib();
    node.limit_memory_to(MOST_KIB);

    for (at, peer) in peers.iter_mut().enumerate() {
        let mut begun = bomb(&frame(&messages()[at % messages().len()]), 1, u64::MAX);
        begun.resize(ARRIVED, 1);
        begun[FRAME_HEADER - 4..FRAME_HEADER]
            .copy_from_slice(&u32::try_from(LINE - FRAME_HEADER).unwrap().to_be_bytes());
        assert!(peer.send(&begun).await);
    }
    until(SYNC, "what was sent to arrive", async || {
        let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
        let arrived = |peer: &&serde_json::Value| peer["bytes_in"].as_u64().unwrap() >= ARRIVED as u64;
        (shown["peers"].as_array().unwrap().iter().filter(arrived).count() == BEGUN).then_some(())
    })
    .await;
    let reserved = node.reserved_kib() - before;
    assert!(reserved <= MOST_KIB, "{reserved} KiB for {BEGUN} frames of which {ARRIVED} bytes have come");

    let bombs = Arc::new(long_bombs());
    let mut tasks = JoinSet::new();
    for (at, mut peer) in whole.into_iter().enumerate() {
        let (bombs, question) = (Arc::clone(&bombs), question(at as u64 + 2));
        tasks.spawn(async move {
            for bomb in bombs.iter().skip(at).step_by(WHOLE) {
                if !peer.send(bomb).await {
                    return false;
                }
            }
            // It is read behind all of them.
            peer.send(&question).await && peer.next(is_answer).await.is_some()
        });
    }
    let answered = tasks.join_all().await;
    assert!(node.is_running(), "it reserved more than {MOST_KIB} KiB for {} bombs: {}", bombs.len(), node.stderr());
    assert!(answered.into_iter().all(|answered| answered), "a connection ended: {}", node.stderr());
    let reserved = node.reserved_kib() - before;
    assert!(reserved <= MOST_KIB, "{reserved} KiB");

    // A sync has memory of its own.
    node.limit_memory_to(RESERVED_KIB);
    honest::syncs(&node, Chain::fork()).await;
    assert!(node.is_running() && !node.stderr().contains("panicked"), "{}", node.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_4_a_message_that_goes_on_behind_its_end_is_refused() {
    let (_dir, node) = running().await;
    let trailing = |message: &Message| with_body(&[&frame(message)[FRAME_HEADER..], &[0]].concat());
    for link in ["tcp+postcard", "quic+postcard"] {
        let port = node.port_of(link);
        let mut early = Framed::dial(link, port).await;
        early.send(&trailing(&Message::Handshake(hello()))).await;
        let greeted = early.next(|message| matches!(message, Message::Handshake(_)).then_some(())).await;
        assert_eq!(greeted, None, "a handshake with a byte too many was taken");

        let mut peer = Framed::greeted(link, port, &hello()).await;
        let next = Message::NewBlock(WireBlock::from(block(HEIGHT + 1)));
        peer.send(&trailing(&next)).await;
        peer.send(&trailing(&Message::NewTx(transaction().into()))).await;
        peer.send(&trailing(&Message::GetBlocks { from_height: 5, to_height: 5 })).await;
        peer.send(&frame(&Message::GetBlocks { from_height: 7, to_height: 7 })).await;
        // The link stays, and the first answer is to the question that was whole.
        let answer = |message: &Message| match message {
            Message::BlocksResponse { blocks, .. } => Some(blocks[0].decode().unwrap().header.height),
            _ => None,
        };
        assert_eq!(peer.next(answer).await, Some(7));
        let status = http::get(node.rpc_port(), "/status").await.expect(200).json();
        assert_eq!((status["height"].as_u64(), status["mempool_size"].as_u64()), (Some(HEIGHT as u64), Some(0)));
    }
    // Without that byte both are taken.
    let mut peer = Framed::greeted("tcp+postcard", node.port_of("tcp+postcard"), &hello()).await;
    peer.send(&frame(&Message::NewTx(transaction().into()))).await;
    until(SYNC, "the transaction in the pool", async || {
        let status = http::get(node.rpc_port(), "/status").await.expect(200).json();
        (status["mempool_size"] == 1).then_some(())
    })
    .await;
    peer.send(&frame(&Message::NewBlock(WireBlock::from(block(HEIGHT + 1))))).await;
    assert_eq!(raw::reaches(&node, 61, Duration::from_secs(60)).await, Chain::fork().hashes[61]);
    honest::syncs(&node, Chain::fork()).await;
}
