//! Ten nodes in a line, and a validator at its end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use cpc_framework::node::{NodeBuilder, NodeEvent, NodeHandle};
use cpc_framework::rules::Hasher;
use cpc_framework::store::file::FileStore;
use cpc_framework::transport::{Endpoint, Transport};
use cpc_framework::types::{Block, Genesis, Height, Message, Transaction, WireBlock};
use cpc_tests::deadline::within;
use cpc_tests::feeder::{Feeder, frame};
use cpc_tests::maker::Maker;
use cpc_tests::network::{Wallet, genesis, params, reaches, validator_key};
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Nodes in the line.
const NODES: usize = 10;

/// Transactions in a block, each of another sender.
const TXS: u16 = 100;

/// Blocks before the first that counts: connections and caches warm up.
const WARM_UP: usize = 10;

/// For one block, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The links between the nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LinkPair {
    TcpPostcard,
    TcpJson,
    QuicPostcard,
    QuicJson,
}

impl LinkPair {
    pub(crate) const ALL: [Self; 4] = [Self::TcpPostcard, Self::TcpJson, Self::QuicPostcard, Self::QuicJson];

    pub(crate) fn name(self) -> String {
        format!("{}+{}", if self.is_quic() { "quic" } else { "tcp" }, self.codec().name())
    }

    fn is_quic(self) -> bool {
        matches!(self, Self::QuicPostcard | Self::QuicJson)
    }

    fn codec(self) -> Arc<dyn Codec> {
        match self {
            Self::TcpPostcard | Self::QuicPostcard => Arc::new(PostcardCodec),
            Self::TcpJson | Self::QuicJson => Arc::new(JsonCodec),
        }
    }

    fn transport(self) -> Arc<dyn Transport> {
        if !self.is_quic() {
            return Arc::new(TcpTransport::default());
        }
        let identity = NodeIdentity::generate().unwrap();
        Arc::new(QuicTransport::new(&identity, self.codec().name()).unwrap().with_bulk_stream())
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Every block's every hop.
    pub(crate) hops: Vec<Duration>,
    /// Every block's way from the first node to the last.
    pub(crate) lines: Vec<Duration>,
}

/// Sends `blocks` blocks through a new line.
pub(crate) async fn measure(link: LinkPair, known: bool, blocks: usize) -> Times {
    let genesis = genesis(1, TXS, params());
    let count = blocks + WARM_UP;
    let chain = tokio::task::spawn_blocking({
        let genesis = genesis.clone();
        move || make(&genesis, count)
    });
    let line = Line::start(&genesis, link).await;
    let codec: Arc<dyn Codec> = Arc::new(PostcardCodec);
    let mut feeder = Feeder::connect(&line.entrance, &codec, &genesis.network);
    reaches(&line.nodes[0].node, PATIENCE, "the validator", |status| status.peers == 2).await;
    let (applied_in, mut applied) = mpsc::channel(NODES);
    for (at, member) in line.nodes.iter().enumerate() {
        tokio::spawn(follow(member.node.clone(), at, applied_in.clone()));
    }

    let mut times = Times::default();
    for (height, block) in chain.await.unwrap().into_iter().enumerate() {
        if known {
            let mut frames = BytesMut::new();
            for tx in &block.txs {
                frame(codec.as_ref(), &Message::NewTx(Arc::new(tx.clone())), &mut frames);
            }
            feeder.send(&frames);
            for member in &line.nodes {
                reaches(&member.node, PATIENCE, "the transactions", |status| status.pool == block.txs.len()).await;
            }
        }
        let mut frames = BytesMut::new();
        frame(codec.as_ref(), &Message::NewBlock(WireBlock::Decoded(Arc::new(block))), &mut frames);
        feeder.send(&frames);
        let mut at = [None; NODES];
        while at.iter().any(Option::is_none) {
            let (node, link, when) = within(PATIENCE, "the block at all nodes", applied.recv()).await.unwrap();
            assert_eq!(link, height as Height);
            at[node] = Some(when);
        }
        if height >= WARM_UP {
            let at = at.map(Option::unwrap);
            times.hops.extend(at.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])));
            times.lines.push(at[NODES - 1].saturating_duration_since(at[0]));
        }
    }
    drop(feeder);
    for member in line.nodes {
        member.node.shutdown().await;
    }
    times
}

/// Tells when a node has a block.
async fn follow(node: NodeHandle, at: usize, applied: mpsc::Sender<(usize, Height, Instant)>) {
    let mut events = node.events();
    drop(node);
    while let Ok(event) = events.recv().await {
        if let NodeEvent::BlockApplied { link, .. } = event
            && applied.send((at, link.height, Instant::now())).await.is_err()
        {
            return;
        }
    }
}

/// A chain whose blocks are long due.
fn make(genesis: &Genesis, count: usize) -> Vec<Block> {
    let hasher = Hasher::new(&Arc::new(genesis.clone()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut maker = Maker::new(genesis, validator_key(0), now - count as u64 * genesis.params.block_time);
    let mut wallets: Vec<Wallet> = (0..TXS).map(Wallet::new).collect();
    let to = wallets[0].address.clone();
    let mut block = || {
        let txs: Vec<Arc<Transaction>> =
            wallets.iter_mut().map(|wallet| Arc::new(wallet.transfer(&hasher, &to, 1))).collect();
        maker.block(txs)
    };
    (0..count).map(|_| block()).collect()
}

struct Member {
    node: NodeHandle,
    _dir: TempDir,
}

struct Line {
    nodes: Vec<Member>,
    /// Where the first node listens for the validator.
    entrance: String,
}

impl Line {
    async fn start(genesis: &Genesis, link: LinkPair) -> Self {
        let mut nodes: Vec<Member> = Vec::new();
        let mut entrance = String::new();
        for at in 0..NODES {
            let dir = tempfile::tempdir().unwrap();
            let before: Vec<Endpoint> = nodes.last().map(|last| last.node.listening()[0].clone()).into_iter().collect();
            let mut builder = NodeBuilder::new(genesis.clone())
                .link(link.transport(), link.codec(), "127.0.0.1:0")
                .store(FileStore::open(dir.path()).unwrap())
                .peers(before);
            if at == 0 {
                builder = builder.link(TcpTransport::default(), PostcardCodec, "127.0.0.1:0");
            }
            let node = builder.start().await.unwrap();
            if at == 0 {
                entrance.clone_from(&node.listening()[1].address);
            }
            nodes.push(Member { node, _dir: dir });
        }
        for (at, member) in nodes.iter().enumerate() {
            let neighbours = if at == 0 || at == NODES - 1 { 1 } else { 2 };
            reaches(&member.node, PATIENCE, "its neighbours", |status| status.peers == neighbours).await;
        }
        Self { nodes, entrance }
    }
}
