//! Checkpoints between real nodes: what needs no signature below them, and what is refused.
#![allow(clippy::unwrap_used, reason = "a broken assumption of a test is a failed test")]

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cpc_codecs::PostcardCodec;
use cpc_framework::chain::{Chain, ChainError};
use cpc_framework::env::Env;
use cpc_framework::executor::ProposalTemplate;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::node::{NodeBuilder, NodeHandle, NodeStatus};
use cpc_framework::prelude::*;
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::VALIDATOR_PREFIX;
use cpc_framework::store::ChainStore;
use cpc_framework::sync::{BatchSync, Mode, RollbackOne, SyncLimits};
use cpc_framework::testkit::store::{HookedStore, StoreHooks};
use cpc_framework::transport::Endpoint;
use cpc_framework::transport::memory::MemoryNetwork;
use cpc_framework::types::{Block, Checkpoint, EncodedBlock, Hash32, Height, HexText, WireBlock, encoding};
use cpc_tests::deadline::within;
use cpc_tests::network::{Wallet, genesis, params, validator_key};

const TIP: Height = 2400;
const LIMIT: Duration = Duration::from_secs(60);

/// The blocks of some heights are given out with signatures by nobody.
#[derive(Debug)]
struct Spoilt(RangeInclusive<Height>);

impl Spoilt {
    fn spoil(&self, stored: EncodedBlock) -> EncodedBlock {
        if !self.0.contains(&stored.link.height) {
            return stored;
        }
        let mut block = Block::clone(&WireBlock::Encoded(stored.bytes.clone()).decode().unwrap());
        block.pq_signature = HexText::from_bytes(&[7; 64]);
        for tx in &mut block.txs {
            tx.signature = HexText::from_bytes(&[7; 64]);
        }
        EncodedBlock { bytes: encoding::encode_block(&block).into(), ..stored }
    }
}

impl StoreHooks for Spoilt {
    fn read(&self, blocks: Vec<EncodedBlock>) -> Vec<EncodedBlock> {
        blocks.into_iter().map(|block| self.spoil(block)).collect()
    }
}

/// A chain of one validator; every block has a transfer.
async fn chain_to(tip: Height) -> (Arc<MemoryStore>, Vec<Hash32>) {
    let genesis = genesis(1, 2, params());
    let (hasher, key) = (Hasher::new(&genesis), validator_key(0));
    let store = Arc::new(MemoryStore::new());
    let executor = Arc::new(AccountExecutor);
    let mut chain =
        Chain::open(Arc::new(genesis), Arc::clone(&store) as _, executor, Env::system().unwrap()).await.unwrap();
    let (mut from, to) = (Wallet::new(0), Wallet::new(1));
    let mut hashes = Vec::new();
    for height in 0..=tip {
        let template = ProposalTemplate {
            parent: chain.tip(),
            timestamp: 1_700_000_000 + height,
            proposer: key.address(VALIDATOR_PREFIX),
            scheme_id: key.scheme().id(),
            txs: vec![Arc::new(from.transfer(&hasher, &to.address, 1))],
        };
        let mut block = chain.propose(template).await.unwrap();
        let hash = hasher.header_hash(&block.header);
        block.pq_signature = key.sign(&hash);
        assert!(chain.import(vec![Arc::new(block)]).await.unwrap().stop.is_none());
        hashes.push(hash);
    }
    (store, hashes)
}

async fn serving(network: &MemoryNetwork, store: impl ChainStore) -> NodeHandle {
    let node = NodeBuilder::new(genesis(1, 2, params()));
    node.link(network.member("server"), PostcardCodec, "server:1").store(store).start().await.unwrap()
}

fn syncing(network: &MemoryNetwork, name: &str, checkpoints: Vec<Checkpoint>) -> NodeBuilder {
    let genesis = Genesis { checkpoints, ..genesis(1, 2, params()) };
    // A window for the whole chain: of a range that was asked for before the headers came, what lies above the last height that they
    // show is checked in full.
    let limits = SyncLimits { window_blocks: 5000, ..SyncLimits::default() };
    let strategy = BatchSync::with_limits(RollbackOne::default(), limits);
    let node = NodeBuilder::new(genesis).dial_link(network.member(name), PostcardCodec).sync(strategy);
    node.peers([Endpoint::new("server:1")])
}

async fn until(node: &NodeHandle, what: &str, done: impl Fn(&NodeStatus) -> bool) {
    let mut watch = node.watch();
    within(LIMIT, what, async {
        while !done(&watch.borrow_and_update()) {
            watch.changed().await.unwrap();
        }
    })
    .await;
}

fn height(node: &NodeHandle) -> Option<Height> {
    node.status().tip.map(|tip| tip.height)
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_checkpoint_that_the_headers_lead_to_no_signature_is_needed_and_above_it_every_one_is() {
    let (store, hashes) = chain_to(TIP).await;
    // Far enough up for the headers to come first: what comes before them is checked in full.
    let spoilt = HookedStore { inner: store, hooks: Spoilt(1800..=2200) };
    let network = MemoryNetwork::default();
    let server = serving(&network, spoilt).await;
    let checkpoint = |height: Height| Checkpoint { height, hash: hashes[usize::try_from(height).unwrap()] };

    let trusting = syncing(&network, "trusting", vec![checkpoint(2300)]).start().await.unwrap();
    until(&trusting, "the chain with spoilt signatures", |status| status.tip.is_some_and(|tip| tip.height == TIP))
        .await;
    assert_eq!(trusting.status().tip.map(|tip| tip.hash), hashes.last().copied());

    let careful = syncing(&network, "careful", vec![]).start().await.unwrap();
    until(&careful, "the first spoilt signature", |status| status.last_error.is_some()).await;
    assert_eq!(height(&careful), Some(1799));

    let half = syncing(&network, "half", vec![checkpoint(2000)]).start().await.unwrap();
    until(&half, "the first spoilt signature above the checkpoint", |status| status.last_error.is_some()).await;
    assert_eq!(height(&half), Some(2000));

    for node in [trusting, careful, half, server] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spoilt_below_a_checkpoint_is_not_given_to_peers_who_would_blame_us_for_it() {
    let (store, hashes) = chain_to(TIP).await;
    let network = MemoryNetwork::default();
    let server = serving(&network, HookedStore { inner: store, hooks: Spoilt(1800..=2200) }).await;
    let checkpoint = Checkpoint { height: 2300, hash: hashes[2300] };
    let trusting = syncing(&network, "trusting", vec![checkpoint]);
    let trusting = trusting.link(network.member("serving"), PostcardCodec, "trusting:1").start().await.unwrap();
    until(&trusting, "the chain with spoilt signatures", |status| status.tip.is_some_and(|tip| tip.height == TIP))
        .await;

    let careful = NodeBuilder::new(genesis(1, 2, params())).dial_link(network.member("careful"), PostcardCodec);
    let careful = careful.peers([Endpoint::new("trusting:1")]).start().await.unwrap();
    until(&careful, "the end of what is given", |status| {
        status.tip.is_some_and(|tip| tip.height == 1799) && status.mode == Mode::Synced
    })
    .await;
    let standing = careful.standing().await.unwrap();
    assert!(standing.bans.is_empty() && standing.penalties.is_empty(), "{standing:?}");
    assert_eq!((careful.status().peers, careful.status().last_error), (1, None));

    for node in [careful, trusting, server] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_chain_contradicts_a_checkpoint_is_not_followed_and_not_banned() {
    let (store, _) = chain_to(300).await;
    let network = MemoryNetwork::default();
    let server = serving(&network, store).await;
    let wrong = Checkpoint { height: 200, hash: Hash32([5; 32]) };
    let node = syncing(&network, "client", vec![wrong]).start().await.unwrap();
    until(&node, "a word about the contradiction", |status| {
        status.last_error.as_ref().is_some_and(|error| error.contains("contradicts a checkpoint"))
    })
    .await;
    assert!(height(&node) < Some(200), "{:?}", height(&node));
    assert_eq!(node.status().peers, 1, "it may go on to speak");
    node.shutdown().await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_stored_chain_that_contradicts_a_checkpoint_is_not_opened() {
    let (store, hashes) = chain_to(20).await;
    let open = |checkpoint| {
        let genesis = Genesis { checkpoints: vec![checkpoint], ..genesis(1, 2, params()) };
        Chain::open(Arc::new(genesis), Arc::clone(&store) as _, Arc::new(AccountExecutor), Env::system().unwrap())
    };
    let wrong = Checkpoint { height: 7, hash: Hash32([5; 32]) };
    let error = open(wrong).await.unwrap_err();
    assert!(matches!(error, ChainError::OffCheckpoint { height: 7, .. }), "{error}");

    let mut chain = open(Checkpoint { height: 7, hash: hashes[7] }).await.unwrap();
    let error = chain.rollback(Some(6)).await.unwrap_err();
    assert!(matches!(error, ChainError::BelowCheckpoint { checkpoint: 7, .. }), "{error}");
    chain.rollback(Some(7)).await.unwrap();
}
