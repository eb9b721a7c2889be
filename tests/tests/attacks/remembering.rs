//! Row 12: how much is remembered of what was seen, and of what each peer knows.

use std::collections::BTreeSet;

use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::{Handshake, Message, Transaction};
use cpc_tests::crowd::Crowd;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::framed::{Framed, frame};
use cpc_tests::http;
use cpc_tests::process::Process;
use cpc_tests::raw::Socket;
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, BlockText, Hello, Received};

use crate::inventions::new_hashes;
use crate::{NODE, SYNC, honest, running};

// ---- What was seen ----

/// Ids that are remembered.
const SEEN: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn row_12_an_id_is_known_until_100_000_others_have_come_and_looked_at_again_then() {
    const LINK: &str = "tcp+postcard";
    /// Frames that are sent at a time.
    const TOGETHER: usize = 1000;
    let crowd = Crowd::new(3);
    let (chain, longer) = (crowd.chain(&vec![Vec::new(); 3]), crowd.chain(&vec![Vec::new(); 30]));
    let dir = Datadir::holding(NODE, &chain).await;
    let node = Process::run_over(NODE, dir.path(), &["tcp+json", LINK], &[]).await;
    let new_tx = |tx: Transaction| frame(&Message::NewTx(tx.into()));
    // What is not signed by its sender costs points each time that it is looked at; what pays too little is seen to be wrong at a glance.
    let forged = new_tx(Transaction { amount: 1000, ..crowd.transfer(0, 0) });
    let cheap = Transaction { gas_price: 0, ..crowd.transfer(0, 0) };
    let worthless = |number: usize| new_tx(Transaction { amount: number as u128, ..cheap.clone() });
    let [last, one_more] = [1, 2].map(|account| new_tx(crowd.transfer(account, 0)));
    let penalties = async || {
        let shown = http::get(node.rpc_port(), "/peers").await.expect(200).json();
        shown["penalties"].as_array().unwrap().len()
    };
    let penalised = async |count: usize| {
        until(SYNC, &format!("{count} penalties"), async || (penalties().await == count).then_some(())).await;
    };
    let pooled = async |count: u64| {
        until(SYNC, &format!("{count} transactions in the pool"), async || {
            let status = http::get(node.rpc_port(), "/status").await.expect(200).json();
            (status["mempool_size"] == count).then_some(())
        })
        .await;
    };

    let mut peer = Framed::greeted(LINK, node.port_of(LINK), &stranger()).await;
    assert!(peer.send(&forged).await);
    penalised(1).await;
    // With the next one 99,999 others have come.
    let template = worthless(1 << 40);
    let (mut portion, others) = (Vec::with_capacity(TOGETHER * template.len()), SEEN - 2);
    for number in 0..others {
        portion.extend(worthless((1 << 40) + number));
        if number % TOGETHER == TOGETHER - 1 || number == others - 1 {
            assert!(peer.send(&portion).await, "closed over what proves nothing");
            portion.clear();
        }
    }
    assert!(peer.send(&last).await);
    pooled(1).await;
    assert!(peer.send(&[forged.clone(), one_more].concat()).await);
    pooled(2).await;
    assert_eq!(penalties().await, 1, "it was looked at again after {} others", SEEN - 1);
    assert!(peer.send(&forged).await);
    penalised(2).await;
    honest::syncs(&node, &longer).await;
}

/// A peer without a block, in postcard.
fn stranger() -> Handshake {
    Handshake {
        node_id: "127.0.0.1:9".to_owned(),
        p2p_port: 9,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height: None,
        best_hash: None,
        genesis_hash: None,
        features: Some(Vec::new()),
        nonce: Some(1 << 60),
    }
}

// ---- What each peer knows ----

/// Blocks that a peer is remembered to know.
const BLOCKS: usize = 1024;
/// Transactions that a peer is remembered to know.
const TXS: usize = 4096;
/// Hashes of blocks in a message.
const BLOCKS_TOGETHER: usize = 16;
/// Hashes of transactions in a message.
const TXS_TOGETHER: usize = 1024;
/// The height up to which the node has the chain.
const HEIGHT: usize = 60;

/// Names the block at `height` of `chain`, and after it so many that do not exist; not above the node's tip, where they would be claims.
fn blocks_named(chain: &Chain, height: usize, others: usize, random: &mut Messages) -> Vec<String> {
    let link = |height: usize, hash: &str, prev: &str| {
        format!(r#"{{"height": {height}, "hash": "{hash}", "prev_hash": "{prev}"}}"#)
    };
    let mut links = vec![link(height, &chain.hashes[height], &chain.hashes[height - 1])];
    links.extend((0..others).map(|_| link(HEIGHT, &hex::encode(random.bytes(32)), &chain.hashes[HEIGHT - 1])));
    let message =
        |links: &[String]| wire::message("new_hashes", &format!(r#"{{"blocks": [{}], "txs": []}}"#, links.join(", ")));
    links.chunks(BLOCKS_TOGETHER).map(message).collect()
}

/// Names a transaction, and after it so many that do not exist.
fn txs_named(hash: &str, others: usize, random: &mut Messages) -> Vec<String> {
    let mut hashes = vec![hash.to_owned()];
    hashes.extend((0..others).map(|_| hex::encode(random.bytes(32))));
    hashes.chunks(TXS_TOGETHER).map(new_hashes).collect()
}

/// Waits until the node has told a peer of `last`, by its hash or with its body, and says of which of these it has told it by then.
async fn told(peer: &mut Socket, hashes: [&str; 2], last: &str) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    while !told.contains(last) {
        let news = peer.next(SYNC, "news", news).await;
        told.extend(hashes.into_iter().filter(|hash| news.contains(hash)).map(str::to_owned));
    }
    told
}

/// The hashes of what the node tells of.
fn news(message: &Received) -> Option<String> {
    let block = |block: BlockText| Chain::fork().hashes[usize::try_from(block.height).unwrap()].clone();
    let names = || (message.kind == "new_hashes").then(|| message.payload.to_string());
    message.block().map(block).or_else(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_a_peer_is_remembered_to_know_1024_blocks_and_4096_transactions_and_no_more() {
    let chain = Chain::fork();
    let short = chain.up_to(HEIGHT);
    let (_dir, node) = running(&short).await;
    let mut random = Messages::from_printed_seed();
    // Transactions of a block that is still to come, by their hashes.
    let hash_of = |line: &str| {
        let tx: Transaction = serde_json::from_str(line).unwrap();
        crate::inside::hasher(chain).transaction_hash(&tx).to_string()
    };
    let txs = chain.transactions(HEIGHT + 10);
    let (tx, marker) = (hash_of(&txs[0]), hash_of(&txs[1]));
    let (block, next) = (&chain.hashes[HEIGHT + 1], &chain.hashes[HEIGHT + 2]);
    let hello = Hello { features: Some(vec!["announce-1".to_owned()]), ..Hello::modern(&short) };
    let (mut sender, _) = Socket::greeted(node.port(), &hello).await;

    let mut peers = Vec::new();
    for more in [0, 1] {
        let (mut peer, _) = Socket::greeted(node.port(), &hello).await;
        for line in txs_named(&tx, TXS - 1 + more, &mut random) {
            peer.send(&line).await;
        }
        for line in blocks_named(chain, HEIGHT + 1, BLOCKS - 1 + more, &mut random) {
            peer.send(&line).await;
        }
        // The answer comes behind all that was announced.
        assert_eq!(peer.ask(7, 7).await.len(), 1);
        peers.push(peer);
    }
    let [full, over] = &mut peers[..] else { unreachable!("two peers") };
    sender.send(&wire::new_tx(&txs[0])).await;
    assert!(told(over, [&tx, &marker], &tx).await.contains(&tx), "the first of {} is forgotten", TXS + 1);
    sender.send(&wire::new_tx(&txs[1])).await;
    assert_eq!(
        told(full, [&tx, &marker], &marker).await,
        BTreeSet::from([marker.clone()]),
        "it is the first of {TXS} that it knows"
    );
    sender.send(&wire::new_block(&chain.lines[HEIGHT + 1])).await;
    assert!(told(over, [block, next], block).await.contains(block), "the first of {} is forgotten", BLOCKS + 1);
    sender.send(&wire::new_block(&chain.lines[HEIGHT + 2])).await;
    assert_eq!(
        told(full, [block, next], next).await,
        BTreeSet::from([next.clone()]),
        "it is the first of {BLOCKS} that it knows"
    );
    // Nobody is sent back what it has sent.
    sender.send(&wire::get_blocks(8, 8)).await;
    let heard = |message: &Received| news(message).or_else(|| message.blocks().map(|_| "nothing".to_owned()));
    assert_eq!(sender.next(SYNC, "an answer", heard).await, "nothing");
    honest::syncs(&node, chain).await;
}
