//! Row 22: how much waits for a peer that does not read, and what is dropped when it is more.
//!
//! The node is within this process: by default it is closed to such a peer after 10 s, whatever a busy machine has done by then, and the room
//! that all peers share for gossip is less than what one may have.

use std::collections::BTreeMap;
use std::time::Duration;

use cpc_framework::limits::Limits;
use cpc_framework::types::{Payload, Transaction};
use cpc_tests::crowd::Crowd;
use cpc_tests::deadline::{until, within};
use cpc_tests::peer::{Peer, Script};
use cpc_tests::raw::{PROMPT, Socket};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};
use tokio::net::TcpSocket;

use crate::{KIB, MIB, SYNC, inside};

/// Bytes that wait for one peer.
const BYTES: usize = 8 * MIB;
/// Messages that wait for one peer.
const MESSAGES: usize = 4096;

/// Large transactions, in order.
const LARGE: usize = 150;
/// The payload of one.
const PAYLOAD: usize = 100 * KIB;
/// After so many of them what the kernel keeps of a connection is full, and not yet what the node keeps.
const KERNEL_IS_FULL: usize = 70;
/// What the kernel keeps of a connection with a small window at most: `tcp_wmem` of Linux.
const KERNEL: usize = 4 * MIB;
/// How many large ones a sender has.
const OF_SENDER: usize = 50;
/// Senders of 64 small transactions each: more than wait.
const SENDERS: u16 = 70;
/// Small transactions of a sender.
const SMALL: u64 = 64;

/// Connects with so small a window that what is not read stays with the node.
async fn deaf(port: u16, chain: &Chain) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let stream = within(PROMPT, "a TCP connection", socket.connect(([127, 0, 0, 1], port).into())).await.unwrap();
    let mut socket = Socket::new(stream);
    socket.send(&Hello::modern(chain).line()).await;
    socket.next(PROMPT, "a handshake", Received::greeting).await;
    socket
}

/// The number of a large transaction.
fn number_of(message: &Received) -> Option<usize> {
    let number = message.payload.split(r#""number":"#).nth(1)?;
    number[..number.find(',')?].parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_for_a_deaf_peer_wait_8_mib_and_4096_messages_and_its_answers_before_any_gossip() {
    let crowd = Crowd::new(SENDERS + 3);
    let (chain, longer) = (crowd.chain(&vec![Vec::new(); 10]), crowd.chain(&vec![Vec::new(); 30]));
    let limits = inside::limits("devnet");
    assert_eq!((limits.outbox_bytes, limits.outbox_messages), (BYTES, MESSAGES));
    let limits = Limits { outbox_stall: Duration::from_secs(600), network_memory: 1024 * MIB, ..limits };
    let node = inside::builder(&chain, limits).start().await.unwrap();
    let port = inside::port(&node);
    let first = Peer::dial(port, Script::modern(&chain)).await;
    inside::has(&node, &chain).await;
    let (mut one, mut other) = (deaf(port, &chain).await, deaf(port, &chain).await);

    // The order in which the node takes them is the order in which it passes them on.
    for number in 0..LARGE {
        let (account, nonce) = (SENDERS + u16::try_from(number / OF_SENDER).unwrap(), number % OF_SENDER);
        let payload = Payload::new(&format!(r#"{{"number":{number},"x":"{}"}}"#, "x".repeat(PAYLOAD))).unwrap();
        let tx = Transaction { payload, ..crowd.transfer(account, nonce as u64) };
        node.submit(tx).await.expect("the pool takes it");
        if number == KERNEL_IS_FULL {
            // Its answer waits behind these, before the gossip that is to come.
            for peer in [&mut one, &mut other] {
                peer.send(&wire::get_blocks(7, 7)).await;
            }
            let (mut honest, _) = Socket::greeted(port, &Hello::modern(&chain)).await;
            for height in 0..9 {
                assert_eq!(honest.ask(height, height).await.len(), 1);
            }
        }
    }

    // Bytes: the last 8 MiB of all that, the answer among them, and nothing between what the kernel had and these.
    let (mut numbers, mut frames, mut answer) = (Vec::new(), BTreeMap::new(), None);
    while numbers.last() != Some(&(LARGE - 1)) {
        let message = one.next(SYNC, "what waits", |message| Some(message.clone())).await;
        if let Some(number) = number_of(&message) {
            numbers.push(number);
            frames.insert(number, message.bytes + 1);
        } else if let Some(blocks) = message.blocks() {
            assert_eq!(blocks[0].height, 7);
            answer = Some(message.bytes + 1);
        }
    }
    assert!(numbers.is_sorted(), "{numbers:?}");
    let missing = (0..LARGE).rev().find(|number| !frames.contains_key(number)).expect("some are dropped");
    let waited =
        frames.range(missing..).map(|(_, bytes)| bytes).sum::<usize>() + answer.expect("an answer is never dropped");
    let largest = frames.values().max().unwrap();
    assert!(waited <= BYTES && waited + largest > BYTES, "{waited} bytes waited, in frames of up to {largest}");
    let early: usize = frames.range(..missing).map(|(_, bytes)| bytes).sum();
    assert!(early <= KERNEL + largest, "{early} bytes were sent before: gossip is dropped, the oldest first");

    // While the other one goes on not to read, an honest peer syncs the node.
    let _honest = Peer::dial(port, Script::modern(&longer)).await;
    inside::has(&node, &longer).await;

    // Messages: of more than 4096 small ones these are the last, and all that was larger has gone for them, but not the answer.
    let (mut sender, _) = Socket::greeted(port, &Hello::modern(&chain)).await;
    for account in 0..SENDERS {
        let lines: String = (0..SMALL)
            .map(|nonce| wire::new_tx(&serde_json::to_string(&crowd.transfer(account, nonce)).unwrap()) + "\n")
            .collect();
        assert!(sender.try_send(lines.as_bytes()).await);
    }
    let all = LARGE + usize::from(SENDERS) * usize::try_from(SMALL).unwrap();
    until(SYNC, "all transactions in the pool", async || (node.status().pool == all).then_some(())).await;
    // Behind all that waits.
    other.send(&wire::get_blocks(8, 8)).await;
    let (mut small, mut large, mut answers, mut others) = (0, Vec::new(), Vec::new(), Vec::new());
    while answers.last() != Some(&8) {
        let message = other.next(SYNC, "what waits", |message| Some(message.clone())).await;
        match (number_of(&message), message.blocks()) {
            // Up to the last large one all was sent before.
            (Some(number), _) => {
                large.push(number);
                others.clear();
            }
            (None, Some(blocks)) => answers.push(blocks[0].height),
            (None, None) if message.kind == "new_tx" => small += 1,
            (None, None) => others.push(message.kind),
        }
    }
    assert_eq!(answers, [7, 8]);
    // A height that was told is none of the gossip, and only the last one is kept.
    assert!(others.iter().all(|kind| kind == "handshake") && others.len() <= 1, "{others:?}");
    assert_eq!(small + 1 + others.len(), MESSAGES, "small transactions, the answer from before and {others:?}");
    assert!(large.is_sorted() && large.len() < KERNEL_IS_FULL, "{large:?}");
    drop(first);
    node.shutdown().await;
}
