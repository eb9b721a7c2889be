//! Sync, fork and gossip between nodes in one process, over every transport, in every codec, on every store.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::chain;
use cpc_framework::codec::Codec;
use cpc_framework::env::Env;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::node::{NodeBuilder, NodeHandle, NodeStatus};
use cpc_framework::store::ChainStore;
use cpc_framework::store::file::FileStore;
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::sync::Mode;
use cpc_framework::transport::memory::MemoryNetwork;
use cpc_framework::transport::{Endpoint, Transport};
use cpc_framework::types::{Block, Genesis, Network};
use cpc_tests::deadline::within;
use cpc_tests::vectors::Chain;
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};
use tempfile::TempDir;

/// How long one of these may take on a slow and busy machine.
const SYNC: Duration = Duration::from_secs(60);

/// A place in the matrix.
struct Cell {
    carrier: Carrier,
    codec: fn() -> Arc<dyn Codec>,
    store: Kept,
}

/// How bytes travel.
enum Carrier {
    Memory(MemoryNetwork),
    Tcp,
    Quic,
}

/// Where a node keeps its chain.
#[derive(Clone, Copy)]
enum Kept {
    Memory,
    File,
}

/// A node, and the folder of its store if it has one.
struct Node {
    handle: NodeHandle,
    _folder: Option<TempDir>,
}

impl Cell {
    /// A node that holds `blocks` of a chain of the network of `chain`, and dials these.
    async fn node(&self, name: &str, chain: &Chain, blocks: usize, peers: &[&Node]) -> Node {
        let genesis = Genesis::from_json(&std::fs::read(&chain.genesis).unwrap(), Network::Devnet).unwrap();
        let (store, folder) = self.store();
        fill(&genesis, &store, &chain.lines[..blocks]).await;
        let codec = (self.codec)();
        let (transport, at): (Arc<dyn Transport>, _) = match &self.carrier {
            Carrier::Memory(network) => (Arc::new(network.member(name)), format!("{name}:0")),
            Carrier::Tcp => (Arc::new(TcpTransport::default()), "127.0.0.1:0".to_owned()),
            Carrier::Quic => {
                let identity = NodeIdentity::generate().unwrap();
                (Arc::new(QuicTransport::new(&identity, codec.name()).unwrap()), "127.0.0.1:0".to_owned())
            }
        };
        let peers: Vec<Endpoint> = peers.iter().flat_map(|peer| peer.handle.listening().to_vec()).collect();
        let node = NodeBuilder::new(genesis).link(transport, codec, at).store(store).peers(peers);
        Node { handle: node.start().await.unwrap(), _folder: folder }
    }

    fn store(&self) -> (Arc<dyn ChainStore>, Option<TempDir>) {
        match self.store {
            Kept::Memory => (Arc::new(MemoryStore::default()), None),
            Kept::File => {
                let folder = tempfile::tempdir().unwrap();
                (Arc::new(FileStore::open(folder.path()).unwrap()), Some(folder))
            }
        }
    }

    async fn an_empty_node_syncs_mainline_and_serves_it_on(self) {
        let chain = Chain::mainline();
        let first = self.node("first", chain, chain.lines.len(), &[]).await;
        let second = self.node("second", chain, 0, &[&first]).await;
        let status = second.until("synced", |status| at_tip_of(status, chain)).await;
        assert_eq!((status.figures.blocks, status.rolled_back), (1210, 0));
        first.stop().await;
        let third = self.node("third", chain, 0, &[&second]).await;
        third.until("synced from the second", |status| at_tip_of(status, chain)).await;
        second.stop().await;
        third.stop().await;
    }

    async fn a_node_on_a_shorter_branch_takes_the_longer_one(self) {
        let (ours, theirs) = (Chain::fork(), Chain::branch());
        let there = self.node("there", theirs, theirs.lines.len(), &[]).await;
        let here = self.node("here", ours, ours.lines.len(), &[&there]).await;
        let status = here.until("on the longer branch", |status| at_tip_of(status, theirs)).await;
        assert_eq!(status.rolled_back, 20, "120 down to 100");
        here.stop().await;
        there.stop().await;
    }

    async fn blocks_and_transactions_reach_a_node_behind_another(self) {
        let (chain, start) = (Chain::fork(), 61);
        let first = self.node("first", chain, start, &[]).await;
        let middle = self.node("middle", chain, start, &[&first]).await;
        let last = self.node("last", chain, start, &[&middle]).await;
        for (node, peers) in [(&first, 1), (&middle, 2), (&last, 1)] {
            node.until("connected", |status| status.peers == peers && status.mode == Mode::Synced).await;
        }
        let txs: Vec<_> = chain.transactions(start).iter().map(|tx| serde_json::from_str(tx).unwrap()).collect();
        let count = txs.len();
        for tx in txs {
            first.handle.submit(tx).await.unwrap();
        }
        for node in [&middle, &last] {
            node.until("the transactions", |status| status.pool == count).await;
        }
        // Whoever comes with the next block brings it to all, and takes its transactions out of their pools.
        let longer = chain.up_to(start);
        let bringer = self.node("bringer", chain, start + 1, &[&first]).await;
        for node in [&first, &middle, &last] {
            node.until("the block", |status| at_tip_of(status, &longer) && status.pool == 0).await;
        }
        for node in [bringer, first, middle, last] {
            node.stop().await;
        }
    }
}

impl Node {
    async fn until(&self, what: &str, condition: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
        within(SYNC, what, self.handle.wait_for(condition)).await.unwrap()
    }

    async fn stop(self) {
        within(SYNC, "the end of a node", self.handle.shutdown()).await;
    }
}

fn at_tip_of(status: &NodeStatus, chain: &Chain) -> bool {
    status.mode == Mode::Synced && status.tip.is_some_and(|tip| tip.hash.to_string() == chain.tip_hash())
}

/// Every block is checked in full on its way in.
async fn fill(genesis: &Genesis, store: &Arc<dyn ChainStore>, lines: &[String]) {
    let (genesis, store) = (Arc::new(genesis.clone()), Arc::clone(store));
    let mut chain =
        chain::Chain::open(genesis, store, Arc::new(AccountExecutor), Env::system().unwrap()).await.unwrap();
    let blocks: Vec<Arc<Block>> = lines.iter().map(|line| Arc::new(serde_json::from_str(line).unwrap())).collect();
    for batch in blocks.chunks(500) {
        assert!(chain.import(batch.to_vec()).await.unwrap().stop.is_none());
    }
}

macro_rules! matrix {
    ($($name:ident: $carrier:expr, $codec:expr, $store:expr;)*) => {
        $(mod $name {
            use super::*;

            fn cell() -> Cell {
                Cell { carrier: $carrier, codec: || Arc::new($codec), store: $store }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn an_empty_node_syncs_mainline_and_serves_it_on() {
                cell().an_empty_node_syncs_mainline_and_serves_it_on().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_node_on_a_shorter_branch_takes_the_longer_one() {
                cell().a_node_on_a_shorter_branch_takes_the_longer_one().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn blocks_and_transactions_reach_a_node_behind_another() {
                cell().blocks_and_transactions_reach_a_node_behind_another().await;
            }
        })*
    };
}

matrix! {
    memory_json_memory: Carrier::Memory(MemoryNetwork::new()), JsonCodec, Kept::Memory;
    memory_json_file: Carrier::Memory(MemoryNetwork::new()), JsonCodec, Kept::File;
    memory_postcard_memory: Carrier::Memory(MemoryNetwork::new()), PostcardCodec, Kept::Memory;
    memory_postcard_file: Carrier::Memory(MemoryNetwork::new()), PostcardCodec, Kept::File;
    tcp_json_memory: Carrier::Tcp, JsonCodec, Kept::Memory;
    tcp_json_file: Carrier::Tcp, JsonCodec, Kept::File;
    tcp_postcard_memory: Carrier::Tcp, PostcardCodec, Kept::Memory;
    tcp_postcard_file: Carrier::Tcp, PostcardCodec, Kept::File;
    quic_json_memory: Carrier::Quic, JsonCodec, Kept::Memory;
    quic_json_file: Carrier::Quic, JsonCodec, Kept::File;
    quic_postcard_memory: Carrier::Quic, PostcardCodec, Kept::Memory;
    quic_postcard_file: Carrier::Quic, PostcardCodec, Kept::File;
}
