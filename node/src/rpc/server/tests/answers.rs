//! What answers may cost: time, places, bytes, and memory while somebody takes them slowly.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cpc_framework::store::{Commit, StateChange, StateKey, StateValue};
use cpc_framework::testkit::store::{HookedStore, StoreCall, StoreHooks};
use cpc_framework::types::{Block, BlockLink, EncodedBlock, Hash32, encoding};
use serde_json::json;

use super::*;

/// A request for so many blocks, and for the end of the connection behind it.
const BLOCKS: &str = "GET /blocks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A block of about so many bytes, with the state change that the end of an epoch makes.
fn block(height: u8, bytes: usize) -> Commit {
    let hash = |height: u8| Hash32([height; 32]);
    let parent = if height == 0 { Hash32::ZERO } else { hash(height - 1) };
    let block: Block = serde_json::from_value(json!({
        "header": {
            "height": height, "prev_hash": parent, "timestamp": 1, "chain_id": "c", "proposer_address": "x".repeat(bytes),
            "tx_root": hash(0), "state_root": hash(0),
        },
        "txs": [],
    }))
    .unwrap();
    let link = BlockLink { height: height.into(), hash: hash(height), prev_hash: parent };
    Commit { block: EncodedBlock { link, bytes: encoding::encode_block(&block).into() }, changes: Vec::new() }
}

/// Lets a node's store have so many blocks of so many bytes each.
async fn fill(node: &NodeHandle, blocks: u8, bytes: usize) {
    node.store().commit((0..blocks).map(|height| block(height, bytes)).collect()).await.unwrap();
}

/// The blocks of a store are read only as far as they are let, and who reads them is counted.
#[derive(Debug, Clone)]
struct Gate {
    store: Arc<MemoryStore>,
    /// One permit lets one read through.
    let_through: Arc<Semaphore>,
    reading: Arc<AtomicUsize>,
}

/// A store with its gate, which is shut.
fn gated() -> (HookedStore<Arc<MemoryStore>, Gate>, Gate) {
    let inner = Arc::new(MemoryStore::new());
    let gate = Gate { store: Arc::clone(&inner), let_through: Arc::new(Semaphore::new(0)), reading: Arc::default() };
    (HookedStore { inner, hooks: gate.clone() }, gate)
}

impl Gate {
    /// Lets so many reads through.
    fn let_through(&self, reads: usize) {
        self.let_through.add_permits(reads);
    }

    /// Waits until as many read as are expected, and nobody else for a while.
    async fn are_reading(&self, expected: usize) {
        let reading = || self.reading.load(Ordering::SeqCst);
        let all = timeout(PATIENCE, async {
            while reading() < expected {
                sleep(Duration::from_millis(5)).await;
            }
        });
        all.await.unwrap_or_else(|_| panic!("{} read, not {expected}", reading()));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(reading(), expected);
    }
}

/// One who reads, until the read is over or given up.
struct Reading<'a>(&'a AtomicUsize);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl StoreHooks for Gate {
    async fn wait(&self, call: StoreCall) {
        // A node that starts looks for its blocks.
        if call == StoreCall::Blocks && self.store.tip().await.unwrap().is_some() {
            self.reading.fetch_add(1, Ordering::SeqCst);
            let _reading = Reading(&self.reading);
            self.let_through.acquire().await.unwrap().forget();
        }
    }
}

/// A connection that has little room for what it does not read.
async fn connect_narrow(rpc: &Rpc) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(rpc.address()).await.unwrap()
}

/// The status line of an answer to [`GET`].
async fn status(rpc: &Rpc) -> u16 {
    ask(rpc, GET).await.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits until [`GET`] is answered with this status.
async fn becomes(rpc: &Rpc, expected: u16) {
    let answered = timeout(PATIENCE, async { while status(rpc).await != expected {} });
    answered.await.unwrap_or_else(|_| panic!("the answer never is {expected}"));
}

/// Limits with one place, and answers so large that no socket takes them whole.
fn one_place() -> RpcLimits {
    RpcLimits { requests: 1, blocks_bytes: 64 << 20, ..RpcLimits::default() }
}

/// An RPC with an answer beyond what the two sockets between them take (4 MiB and 6 MiB at most, as kernels come).
async fn large(limits: RpcLimits) -> (NodeHandle, Rpc) {
    let (node, rpc) = started(limits).await;
    fill(&node, 24, 1 << 20).await;
    (node, rpc)
}

#[tokio::test]
async fn a_slow_reader_keeps_its_place_until_its_answer_is_taken_or_it_is_gone() {
    let (_node, rpc) = large(one_place()).await;
    for goes_away in [true, false] {
        let mut slow = connect_narrow(&rpc).await;
        write(&mut slow, BLOCKS).await;
        assert_eq!(slow.read_u8().await.unwrap(), b'H', "the answer has begun");
        for _ in 0..10 {
            assert_eq!(status(&rpc).await, 503, "its place is taken");
        }
        if goes_away {
            drop(slow);
        } else {
            assert!(rest(&mut slow).await.len() > 24 << 20);
        }
        becomes(&rpc, 200).await;
    }
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_left_and_who_takes_it_slowly_is_not() {
    let limits = RpcLimits { take_time: Duration::from_secs(1), ..one_place() };
    let (_node, rpc) = large(limits).await;
    let mut slow = connect_narrow(&rpc).await;
    write(&mut slow, BLOCKS).await;
    let mut some = vec![0; 1 << 20];
    for _ in 0..6 {
        sleep(Duration::from_millis(100)).await;
        slow.read_exact(&mut some).await.unwrap();
    }
    assert_eq!(status(&rpc).await, 503, "its place is taken");
    becomes(&rpc, 200).await;
    assert!(rest(&mut slow).await.len() < 18 << 20, "the connection ends before the answer does");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let (store, gate) = gated();
    let limits = RpcLimits { answer_time: Duration::from_millis(100), requests: 1, readers: 1, ..RpcLimits::default() };
    let (node, rpc) = started_over(store, limits).await;
    fill(&node, 1, 10).await;
    let answer = ask(&rpc, BLOCKS).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no answer after 0.1 s"), "{answer}");
    gate.are_reading(0).await;
    // Its places are free again, as soon as it is answered.
    gate.let_through(1);
    let answer = ask(&rpc, BLOCKS).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn no_more_requests_read_the_store_than_there_are_places_for_readers() {
    let (store, gate) = gated();
    let (node, rpc) = started_over(store, RpcLimits { readers: 2, ..RpcLimits::default() }).await;
    fill(&node, 3, 10).await;
    let mut waiting = Vec::new();
    for request in [BLOCKS, BLOCKS, "GET /block/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"].repeat(2) {
        let mut stream = connect(&rpc).await;
        write(&mut stream, request).await;
        waiting.push(stream);
    }
    gate.are_reading(2).await;
    // What reads the state waits for its turn as well; what reads nothing does not.
    let mut balance = connect(&rpc).await;
    write(&mut balance, "GET /balance/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(timeout(Duration::from_millis(100), balance.read_u8()).await.is_err(), "it was not its turn");
    assert_eq!(status(&rpc).await, 200);
    gate.let_through(1);
    gate.are_reading(2).await;
    gate.let_through(waiting.len());
    for mut stream in waiting.into_iter().chain([balance]) {
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn blocks_beyond_the_bytes_of_an_answer_are_left_for_the_next_one_but_the_first() {
    let one = block(0, 1000).block.bytes.len();
    for (blocks_bytes, blocks, expected) in [(1, 100, 1), (3 * one, 100, 3), (4 * one - 1, 100, 3), (1 << 20, 4, 4)] {
        let limits = RpcLimits { blocks, blocks_bytes, ..RpcLimits::default() };
        let (node, rpc) = started(limits).await;
        fill(&node, 10, 1000).await;
        let answer = ask(&rpc, BLOCKS).await;
        assert_eq!(answer.matches("\"header\"").count(), expected, "{blocks_bytes} bytes, {blocks} blocks");
    }
}

#[tokio::test]
async fn a_status_is_of_one_tip_while_the_store_is_further_on() {
    let store = Arc::new(MemoryStore::new());
    let (node, rpc) = started_over(Arc::clone(&store), RpcLimits::default()).await;
    // Nobody has told the node yet.
    let epoch_length = u8::try_from(node.genesis().params.epoch_length).unwrap();
    let mut batch: Vec<Commit> = (0..epoch_length).map(|height| block(height, 10)).collect();
    let epoch = |value: &'static [u8]| Some(StateValue::from_static(value));
    batch[0].changes = vec![StateChange { key: StateKey::from_static(b"m/epoch"), old: epoch(&[0]), new: epoch(&[1]) }];
    store.commit(batch).await.unwrap();
    let answer = ask(&rpc, "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains(r#""height":-1"#) && answer.contains(r#""epoch":0"#), "{answer}");
}
