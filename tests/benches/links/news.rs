//! How long a new block takes to a peer that is fetching answers of 500 blocks over a slow QUIC link: with all messages on
//! one stream, and with answers on a stream of their own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::chain::Chain as Writer;
use cpc_framework::codec::Codec;
use cpc_framework::env::Env;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::node::{NodeBuilder, NodeHandle};
use cpc_framework::store::ChainStore;
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::transport::memory::MemoryNetwork;
use cpc_framework::transport::{Endpoint, Transport};
use cpc_framework::types::{Block, Genesis, Handshake, Message, Network};
use cpc_tests::generate::extend;
use cpc_tests::vectors::Chain;
use cpc_transports::{NodeIdentity, QuicTransport};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

const CAP: usize = 32 << 20;

/// What the slow link carries, in bytes per second: 16 Mbit/s.
const RATE: usize = 2 << 20;

/// What waits before the slow link; the rest is dropped, as a router does.
const QUEUE: usize = 128 << 10;

/// The slow link lets packets through this often.
const TICK: Duration = Duration::from_millis(1);

/// The time between two new blocks.
const EVERY: Duration = Duration::from_millis(230);

/// Measures one stream, two streams, and two streams with nothing else under way.
pub(crate) async fn measure(quick: bool) -> Value {
    let blocks = if quick { 20 } else { 60 };
    let mut figures = serde_json::Map::new();
    println!("{:<34} {:>10} {:>10} {:>10}", "new_block over 16 Mbit/s QUIC", "median", "90 %", "worst");
    for (name, bulk, busy) in
        [("idle", true, false), ("answers on the same stream", false, true), ("answers on a second stream", true, true)]
    {
        let mut delays = delays(blocks, bulk, busy).await;
        delays.sort();
        let at = |percent: usize| delays[(delays.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!("{name:<34} {:>7.0} ms {:>7.0} ms {:>7.0} ms", at(50), at(90), at(100));
        figures.insert(name.to_owned(), json!({ "median_ms": at(50), "p90_ms": at(90), "worst_ms": at(100) }));
    }
    figures.into()
}

async fn delays(blocks: usize, bulk: bool, busy: bool) -> Vec<Duration> {
    let longer = extend(Chain::mainline(), blocks, 1, 1000);
    let more: Vec<Block> =
        longer.lines[Chain::mainline().lines.len()..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let network = MemoryNetwork::new();
    let node = serving(&network).await;
    let sent = Arc::new(Mutex::new(VecDeque::new()));

    // The peer that fetches, behind the slow link.
    let relay = slow_link(node.listening()[0].host_port().unwrap().1).await;
    let identity = NodeIdentity::generate().unwrap();
    let transport = QuicTransport::new(&identity, "postcard").unwrap();
    let transport = if bulk { transport.with_bulk_stream() } else { transport };
    let mut connection = transport.dial(&Endpoint::new(relay.to_string())).await.unwrap();
    write(&mut connection.control.writer, &PostcardCodec, &Message::Handshake(hello(&node))).await;
    let (events, mut received) = mpsc::channel(64);
    let second = connection.bulk.take();
    tokio::spawn(read(connection.control.reader, PostcardCodec, events.clone()));
    let bulk_writer = second.map(|stream| {
        tokio::spawn(read(stream.reader, PostcardCodec, events));
        stream.writer
    });

    // The peer that has the new blocks.
    let mut producer = network.member("producer").dial(&node.listening()[1].without_link()).await.unwrap();
    write(&mut producer.control.writer, &JsonCodec, &Message::Handshake(hello(&node))).await;
    let (ignored, mut noise) = mpsc::channel(64);
    tokio::spawn(read(producer.control.reader, JsonCodec, ignored));
    tokio::spawn(async move { while noise.recv().await.is_some() {} });
    node.wait_for(|status| status.peers == 2).await.unwrap();
    let clock = Arc::clone(&sent);
    let mut producer_writer = producer.control.writer;
    let producing = tokio::spawn(async move {
        // Answers flow by then.
        tokio::time::sleep(EVERY * 4).await;
        for block in more {
            clock.lock().unwrap().push_back((block.header.height, Instant::now()));
            write(&mut producer_writer, &JsonCodec, &Message::NewBlock(block.into())).await;
            tokio::time::sleep(EVERY).await;
        }
        producer_writer
    });

    let mut from = 0;
    let mut next = || {
        from = (from + 1) % 700;
        Message::GetBlocks { from_height: from, to_height: from + 499 }
    };
    if busy {
        write(&mut connection.control.writer, &PostcardCodec, &next()).await;
    }
    let mut delays = Vec::new();
    while delays.len() < blocks {
        let (at, message) = received.recv().await.expect("the node stays connected");
        match message {
            Message::NewBlock(block) => {
                let height = block.decode().unwrap().header.height;
                let mut sent = sent.lock().unwrap();
                let place = sent.iter().position(|(other, _)| *other == height).unwrap();
                delays.push(at - sent.remove(place).unwrap().1);
            }
            Message::BlocksResponse { .. } => write(&mut connection.control.writer, &PostcardCodec, &next()).await,
            _ => {}
        }
    }
    drop((producing.await.unwrap(), bulk_writer));
    node.shutdown().await;
    delays
}

/// A node that holds mainline, over QUIC and in memory.
async fn serving(network: &MemoryNetwork) -> NodeHandle {
    let chain = Chain::mainline();
    let genesis = Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap();
    let store: Arc<dyn ChainStore> = Arc::new(MemoryStore::default());
    let (genesis_of_chain, executor) = (Arc::new(genesis.clone()), Arc::new(AccountExecutor));
    let mut writer =
        Writer::open(genesis_of_chain, Arc::clone(&store), executor, Env::system().unwrap()).await.unwrap();
    let blocks = chain.lines.iter().map(|line| Arc::new(serde_json::from_str(line).unwrap())).collect();
    assert!(writer.import(blocks).await.unwrap().stop.is_none());
    drop(writer);
    let identity = NodeIdentity::generate().unwrap();
    NodeBuilder::new(genesis)
        .link(QuicTransport::new(&identity, "postcard").unwrap(), PostcardCodec, "127.0.0.1:0")
        .link(network.member("node"), JsonCodec, "node:0")
        .store(store)
        .start()
        .await
        .unwrap()
}

/// A peer that is where the node is.
fn hello(node: &NodeHandle) -> Handshake {
    let status = node.status();
    Handshake {
        node_id: "0.0.0.0:0".to_owned(),
        p2p_port: 0,
        protocol_version: 1,
        network: node.genesis().network.clone(),
        best_height: status.tip.map(|tip| tip.height),
        best_hash: status.tip.map(|tip| tip.hash),
        genesis_hash: status.genesis_hash,
        features: Some(Vec::new()),
        nonce: None,
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), codec: &dyn Codec, message: &Message) {
    let mut frame = BytesMut::new();
    codec.encode(message, CAP, &mut frame).unwrap();
    writer.write_all(&frame).await.unwrap();
    writer.flush().await.unwrap();
}

async fn read(mut reader: impl AsyncRead + Unpin, codec: impl Codec, events: mpsc::Sender<(Instant, Message)>) {
    let (mut decoder, mut buffer) = (codec.decoder(), BytesMut::new());
    loop {
        while let Some(message) = decoder.decode(&mut buffer, CAP).unwrap() {
            if events.send((Instant::now(), message)).await.is_err() {
                return;
            }
        }
        buffer.reserve(64 * 1024);
        if !matches!(reader.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

/// Where to dial the node on this port so that what it sends comes at [`RATE`].
async fn slow_link(port: u16) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    back.connect(("127.0.0.1", port)).await.unwrap();
    let address = front.local_addr().unwrap();
    let client = Arc::new(Mutex::new(None));
    let queue = Arc::new(Mutex::new((VecDeque::<Vec<u8>>::new(), 0usize)));
    let (to_node, to_client) = (Arc::clone(&back), Arc::clone(&front));
    let known = Arc::clone(&client);
    tokio::spawn(async move {
        let mut datagram = vec![0; 1 << 16];
        while let Ok((length, from)) = front.recv_from(&mut datagram).await {
            *known.lock().unwrap() = Some(from);
            let _ = to_node.send(&datagram[..length]).await;
        }
    });
    let waiting = Arc::clone(&queue);
    tokio::spawn(async move {
        let mut datagram = vec![0; 1 << 16];
        while let Ok(length) = back.recv(&mut datagram).await {
            let mut queue = waiting.lock().unwrap();
            if queue.1 + length <= QUEUE {
                queue.1 += length;
                queue.0.push_back(datagram[..length].to_vec());
            }
        }
    });
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        let mut passed = Instant::now();
        let mut credit = 0.0;
        loop {
            ticks.tick().await;
            let now = Instant::now();
            credit = f64::min(credit + rate() * (now - passed).as_secs_f64(), rate() * 0.01);
            passed = now;
            while credit > 0.0 {
                let datagram = {
                    let mut queue = queue.lock().unwrap();
                    let Some(datagram) = queue.0.pop_front() else { break };
                    queue.1 -= datagram.len();
                    datagram
                };
                credit -= f64::from(u32::try_from(datagram.len()).unwrap());
                let client = *client.lock().unwrap();
                if let Some(client) = client {
                    let _ = to_client.send_to(&datagram, client).await;
                }
            }
        }
    });
    address
}

fn rate() -> f64 {
    f64::from(u32::try_from(RATE).unwrap())
}
