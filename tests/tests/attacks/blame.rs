//! Row 23: getting others blamed. Whatever is sent to an honest node, it passes on nothing that another one punishes it for.

use std::time::Duration;

use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::{Block, HexText, Payload};
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::until;
use cpc_tests::http;
use cpc_tests::peer::{Answer, Peer, Script, honest as serving};
use cpc_tests::process::Process;
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::{Chain, candidates};
use cpc_tests::wire::{self, Hello, Received};
use serde_json::Value;

use crate::{NODE, SYNC, honest};

/// Where the honest are.
const HONEST: &str = "127.0.0.1";

/// Blocks that pass through the honest node while the attack lasts.
const BLOCKS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn row_23_nothing_that_anybody_sends_gets_the_honest_blamed() {
    let chain = Chain::fork();
    let short = chain.up_to(60);
    let mut random = Messages::from_printed_seed();
    let (here, there) = (Datadir::holding(NODE, &short).await, Datadir::holding(NODE, &short).await);
    // The source gives its blocks to the relay, and the relay to the target.
    let relay = Process::run(NODE, here.path(), &[]).await;
    let target = Process::run_with_peers(NODE, there.path(), &[relay.address()]).await;
    let source = Peer::dial(relay.port(), Script::modern(&short)).await;
    source.message(PROMPT, "a handshake", Received::greeting).await;
    let link = until(SYNC, "the target to be connected", async || link_to(&target, &relay.address()).await).await;

    let mut attack = Attack { names: vec![relay.address(), target.address()], open: Vec::new(), liars: Vec::new() };
    for height in 61..61 + BLOCKS {
        for _ in 0..=random.below(3) {
            let node = if random.below(2) == 0 { &relay } else { &target };
            attack.step(&mut random, node.port(), height).await;
        }
        let (block, wanted) = (&chain.lines[height], &chain.hashes[height]);
        // What it tells of it has, should it be asked.
        source.change(|script| script.answer = serving(&chain.up_to(height)));
        source.send(&wire::new_block(block)).await;
        if random.below(2) == 0 {
            attack.step(&mut random, target.port(), height).await;
        }
        until(SYNC, &format!("block {height} at the target"), async || {
            let status = http::get(target.rpc_port(), "/status").await.expect(200).json();
            // Whoever knows the future may have been quicker than the source.
            let at = usize::try_from(status["height"].as_u64().unwrap()).unwrap();
            (at > height || status["last_hash"] == **wanted).then_some(())
        })
        .await;
    }
    honest::syncs(&target, chain).await;

    let mut blamed = 0;
    for node in [&relay, &target] {
        let shown = shown(node).await;
        for penalty in shown["penalties"].as_array().unwrap() {
            assert_ne!(penalty["peer"], HONEST, "{penalty}");
            blamed += 1;
        }
        for peer in shown["peers"].as_array().unwrap() {
            let is_honest = peer["address"].as_str().unwrap().starts_with(&format!("{HONEST}:"));
            assert!(!is_honest || peer["score"] == 0, "{peer}");
        }
    }
    assert!(blamed > 0, "nobody was blamed at all: that was no attack");
    assert_eq!(link_to(&target, &relay.address()).await, Some(link), "the honest were parted");
    assert_eq!(source.open_connections(), 1, "the source was closed");
}

async fn shown(node: &Process) -> Value {
    http::get(node.rpc_port(), "/peers").await.expect(200).json()
}

/// The number of the connection that a node has dialled to this address.
async fn link_to(node: &Process, address: &str) -> Option<u64> {
    let shown = shown(node).await;
    let peers = shown["peers"].as_array().unwrap();
    peers.iter().find(|peer| peer["address"] == address).and_then(|peer| peer["id"].as_u64())
}

/// Those who want others blamed: from 127.0.0.2 to 127.0.0.9.
struct Attack {
    /// What the honest call themselves.
    names: Vec<String>,
    open: Vec<Socket>,
    liars: Vec<Peer>,
}

impl Attack {
    async fn step(&mut self, random: &mut Messages, port: u16, height: usize) {
        /// Connections that stay open.
        const OPEN: usize = 8;
        let chain = Chain::fork();
        let host = format!("127.0.0.{}", 2 + random.below(8));
        let mut hello = Hello::modern(&chain.up_to(height - 1));
        hello.node_id = self.names[random.below(self.names.len())].clone();
        hello.features = vec![None, Some(vec![]), Some(vec!["announce-1".to_owned()])].swap_remove(random.below(3));
        if random.below(8) == 0 {
            // It is asked, and answers with what is not right.
            let answers: Vec<String> = (0..8).map(|at| block(random, height + at)).collect();
            let script = Script { hello: hello.claiming(150), ..Script::modern(chain) };
            let script =
                script.answering(move |request| Answer::Blocks(answers[request.nth % answers.len()..].to_vec()));
            self.liars.push(Peer::dial_from(&host, port, script).await);
            if self.liars.len() > OPEN / 2 {
                self.liars.remove(0);
            }
            return;
        }
        let mut socket = Socket::connect_from(&host, port).await;
        let mut lines = vec![hello.line()];
        lines.extend((0..=random.below(5)).map(|_| line(random, height, &hello)));
        for line in lines {
            // It may be closed for any of them.
            socket.try_send(format!("{line}\n").as_bytes()).await;
        }
        socket.stays_open(Duration::from_millis(random.below(20) as u64)).await;
        self.open.push(socket);
        if self.open.len() > OPEN {
            self.open.remove(0);
        }
    }
}

/// Something that is not as it should be, or is somebody else's, or comes at the wrong time.
fn line(random: &mut Messages, height: usize, hello: &Hello) -> String {
    let chain = Chain::fork();
    match random.below(12) {
        0..=2 => wire::new_block(&block(random, height)),
        3 => {
            let ahead = 1 + random.below(4);
            wire::new_block(&block(random, height + ahead))
        }
        4 => {
            // Not those that are good: two blocks of a proposer for one height are no fault of who passes one on.
            let all: Vec<_> = candidates().into_iter().filter(|candidate| candidate.must == "reject").collect();
            wire::new_block(all[random.below(all.len())].block.get())
        }
        // What others have sent before, and what the source will send.
        5 => wire::new_block(&chain.lines[random.below(height + 3)]),
        6 => wire::blocks_response(&[block(random, height)]),
        7 => {
            let txs = chain.transactions(height + random.below(10));
            let tx = &txs[random.below(txs.len())];
            let change =
                [r#""signature": ""#, r#""payload": {"#, r#""nonce": "#, r#""amount": "#, "nothing"][random.below(5)];
            wire::new_tx(&tx.replacen(
                change,
                &format!("{change}{}", if change.ends_with('{') { r#""a": 1"# } else { "00" }),
                1,
            ))
        }
        8 => {
            let link = |at: usize| {
                let (hash, parent) = (&chain.hashes[at], &chain.hashes[at - 1]);
                format!(r#"{{"height": {at}, "hash": "{hash}", "prev_hash": "{parent}"}}"#)
            };
            let tx = hex::encode(random.bytes(32));
            let blocks = format!("{}, {}", link(height), link(height + 1));
            wire::message("new_hashes", &format!(r#"{{"blocks": [{blocks}], "txs": ["{tx}"]}}"#))
        }
        9 => wire::get_blocks(random.below(200) as u64, random.below(200) as u64),
        10 => hello.clone().claiming([i64::MAX, -1, 0, 1000][random.below(4)]).line(),
        _ => ["garbage", "{}", r#"{"type": "new_tx", "payload": {"tx": 7}}"#][random.below(3)].to_owned(),
    }
}

/// A block of the chain with one thing changed: mostly with the hash that the right one has too.
fn block(random: &mut Messages, height: usize) -> String {
    let chain = Chain::fork();
    let read = |height: usize| -> Block { serde_json::from_str(&chain.lines[height]).unwrap() };
    let mut block = read(height);
    let bit = |random: &mut Messages, text: &HexText| {
        let mut bytes = hex::decode(text.text().as_ref()).unwrap();
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        HexText::from_bytes(&bytes)
    };
    match random.below(9) {
        0 => block.pq_signature = bit(random, &block.pq_signature),
        1 => block.txs = read(height - 1).txs,
        2 => block.txs = block.txs[1..].to_vec(),
        3 => block.txs.reverse(),
        4 => block.header.timestamp += 1,
        change => {
            let at = random.below(block.txs.len());
            let tx = &mut block.txs[at];
            match change {
                5 => tx.signature = bit(random, &tx.signature),
                6 => tx.gas_price += 1,
                7 => tx.payload = Payload::new(r#"{"note": "not signed"}"#).unwrap(),
                _ => tx.amount += 1,
            }
        }
    }
    serde_json::to_string(&block).unwrap()
}
