use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{CloseReason, Inbound, NewTx};
use super::core::{Action, Core, CoreConfig, ImportOrigin, OwnName};
use super::peer::{Part, Wanted};
use super::preparing::id_of;
use super::verifying;
use crate::chain::{Applied, ChainEvent, ChainOutcome, KeyBook, VerifiedTxs};
use crate::env::ComputePool;
use crate::executor::Executor;
use crate::executor::accounts::AccountExecutor;
use crate::limits::Limits;
use crate::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use crate::rules::{HashedBlock, Verifier};
use crate::store::ChainStore;
use crate::store::memory::MemoryStore;
use crate::sync::batch::BatchSync;
use crate::sync::{BatchId, ConnId};
use crate::testkit::messages::Messages;
use crate::transport::Endpoint;
use crate::types::{
    ANNOUNCE, BlockLink, Genesis, GenesisValidator, Handshake, Hash32, HashRules, HexText, Message, Network, Payload,
    Transaction, TxType, encoding,
};

pub(super) const A: ConnId = ConnId(1);
pub(super) const B: ConnId = ConnId(2);
pub(super) const PLAIN: ConnId = ConnId(3);

/// An engine at the start of a chain with one rich account, and peers: A and B fetch, the third takes bodies only.
pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) key: SecretKey,
    pub(super) now: Duration,
    verified: VerifiedTxs,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::within(Limits::default()).await
    }

    pub(super) async fn within(limits: Limits) -> Self {
        let key = key();
        let genesis = Arc::new(genesis(&key));
        let store = Arc::new(MemoryStore::default());
        store.bind(genesis.id(), AccountExecutor.genesis_state(&genesis).unwrap()).await.unwrap();
        let config = CoreConfig {
            limits: Arc::new(limits),
            verifier: Verifier::new(genesis),
            keys: KeyBook::default(),
            store,
            names: vec![OwnName { node_id: "192.0.2.1:1".into(), p2p_port: 1 }],
            features: vec![ANNOUNCE.into()],
            tip: None,
            genesis_hash: None,
            seed: 1,
            validator: None,
        };
        let core = Core::new(config, Box::new(BatchSync::default()));
        let mut bench = Self { core, key, now: Duration::ZERO, verified: VerifiedTxs::default() };
        for (conn, features) in [(A, vec![ANNOUNCE.to_owned()]), (B, vec![ANNOUNCE.to_owned()]), (PLAIN, vec![])] {
            bench.join(conn, features);
        }
        bench
    }

    pub(super) fn join(&mut self, conn: ConnId, features: Vec<String>) {
        self.greet(conn, Some(features));
    }

    /// A peer comes; a legacy one shows no features. Gives what it is sent.
    pub(super) fn greet(&mut self, conn: ConnId, features: Option<Vec<String>>) -> Vec<(ConnId, Message)> {
        let remote = Endpoint::new(format!("192.0.2.{}:7", 10 + conn.0));
        assert!(self.core.admit(self.now, conn, &remote));
        self.core.connected(self.now, conn, 0, remote, None, None);
        let handshake = Handshake {
            node_id: "192.0.2.9:9".into(),
            p2p_port: 9,
            protocol_version: 1,
            network: "local".into(),
            best_height: None,
            best_hash: None,
            genesis_hash: None,
            features,
            nonce: Some(conn.0),
        };
        self.core.received(self.now, conn, Inbound::Handshake(handshake));
        self.sent()
    }

    pub(super) fn transfer(&self, nonce: u64) -> Arc<Transaction> {
        self.signed(&self.key, self.unsigned(&self.key, nonce))
    }

    pub(super) fn unsigned(&self, key: &SecretKey, nonce: u64) -> Transaction {
        let gas = TxType::Transfer.base_gas().unwrap();
        Transaction {
            tx_type: TxType::Transfer,
            from_address: key.address(ACCOUNT_PREFIX),
            to_address: Some(self.key.address(ACCOUNT_PREFIX)),
            amount: 1,
            fee: (u128::from(gas) * 1000).into(),
            nonce,
            signature: HexText::default(),
            pub_key: key.public_key(),
            payload: Payload::default(),
            gas_price: 1000,
            gas_limit: gas.into(),
        }
    }

    pub(super) fn signed(&self, key: &SecretKey, mut tx: Transaction) -> Arc<Transaction> {
        tx.signature = key.sign(&self.hash(&tx));
        Arc::new(tx)
    }

    pub(super) fn hash(&self, tx: &Transaction) -> Hash32 {
        self.core.config.verifier.hasher().transaction_hash(tx)
    }

    pub(super) fn deliver(&mut self, conn: ConnId, tx: &Arc<Transaction>) -> Vec<(ConnId, Message)> {
        let tx = NewTx { tx: Arc::clone(tx), hash: self.hash(tx), id: id_of(tx), place: None };
        let inbound = Inbound::NewTxs(vec![tx]);
        self.core.received(self.now, conn, inbound);
        self.sent()
    }

    pub(super) fn announce(&mut self, conn: ConnId, txs: &[Hash32]) -> Vec<(ConnId, Message)> {
        self.core.received(self.now, conn, Inbound::NewHashes { blocks: Vec::new(), txs: txs.to_vec() });
        self.sent()
    }

    pub(super) fn ask(&mut self, conn: ConnId, blocks: &[Hash32], txs: &[Hash32]) -> Vec<(ConnId, Message)> {
        self.core.received(self.now, conn, Inbound::GetData { blocks: blocks.to_vec(), txs: txs.to_vec() });
        self.sent()
    }

    /// What the engine sends, but handshakes; transactions are verified on the way.
    pub(super) fn sent(&mut self) -> Vec<(ConnId, Message)> {
        let mut sent = Vec::new();
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send { conn, message, .. } => match message.message() {
                    Message::Handshake(_) => {}
                    message => sent.push((conn, message.clone())),
                },
                Action::Verify(batch) => {
                    let verifier = self.core.config.verifier.clone();
                    let verdicts = verifying::verify(&verifier, &ComputePool::Inline, &self.verified, batch);
                    self.core.transactions_verified(self.now, verdicts);
                }
                _ => {}
            }
        }
        sent
    }

    /// How many answers the engine has begun to make since the last look.
    fn served(&mut self) -> usize {
        let actions = std::iter::from_fn(|| self.core.poll_action());
        actions.filter(|action| matches!(action, Action::Serve { .. })).count()
    }

    pub(super) fn wait(&mut self, seconds: u64) -> Vec<(ConnId, Message)> {
        self.now += Duration::from_secs(seconds);
        self.core.tick(self.now);
        self.sent()
    }
}

/// Of the rich account, and of the one validator.
pub(super) fn key() -> SecretKey {
    SecretKey::from_hex(Scheme::Ed25519, &"07".repeat(32)).unwrap()
}

fn genesis(key: &SecretKey) -> Genesis {
    Genesis {
        network: "local".into(),
        chain_id: "cpc-local-test".into(),
        hash_rules: HashRules::Canonical,
        params: Network::Devnet.params(),
        checkpoints: Vec::new(),
        alloc: BTreeMap::from([(key.address(ACCOUNT_PREFIX), 1 << 100)]),
        validators: vec![GenesisValidator {
            address: key.address(VALIDATOR_PREFIX),
            pub_key: key.public_key(),
            power: 1000,
            is_active: true,
            reward_address: None,
        }],
    }
}

pub(super) fn applied(block: HashedBlock) -> Applied {
    let bytes = encoding::encode_block(&block.block).into();
    Applied { link: block.link, tx_hashes: block.tx_hashes, bytes, block: block.block }
}

pub(super) fn names(txs: &[Hash32]) -> Message {
    Message::NewHashes { blocks: Vec::new(), txs: txs.to_vec() }
}

pub(super) fn question(txs: &[Hash32]) -> Message {
    Message::GetData { blocks: Vec::new(), txs: txs.to_vec() }
}

#[tokio::test]
async fn a_transaction_is_named_to_who_fetches_sent_to_who_does_not_and_never_sent_back() {
    let mut bench = Bench::new().await;
    let tx = bench.transfer(0);
    let hash = bench.hash(&tx);
    assert_eq!(bench.deliver(A, &tx), [(B, names(&[hash])), (PLAIN, Message::NewTx(Arc::clone(&tx)))]);
    assert_eq!(bench.deliver(PLAIN, &tx), [], "it is known everywhere");
    assert!(bench.verified.contains(&tx, &hash));
}

#[tokio::test]
async fn a_named_transaction_is_had_once_by_who_was_told_of_it() {
    let mut bench = Bench::new().await;
    let tx = bench.transfer(0);
    let hash = bench.hash(&tx);
    bench.deliver(A, &tx);
    assert_eq!(bench.ask(A, &[], &[hash]), [], "A was not told of it, since A has it");
    assert_eq!(bench.ask(B, &[], &[hash]), [(B, Message::NewTx(tx))]);
    assert_eq!(bench.ask(B, &[], &[hash]), []);
}

#[tokio::test]
async fn what_we_lack_is_fetched_once_from_one_announcer() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.transfer(0), bench.transfer(1));
    let hashes = [bench.hash(&one), bench.hash(&two)];
    assert_eq!(bench.announce(A, &hashes), [(A, question(&hashes))]);
    assert_eq!(bench.announce(B, &hashes), []);
    let first = bench.deliver(A, &one);
    assert_eq!(first, [(PLAIN, Message::NewTx(one))], "B has it, as it said");
    bench.deliver(A, &two);
    assert_eq!(bench.wait(9), []);
    assert_eq!(bench.announce(B, &hashes), []);
}

#[tokio::test]
async fn another_announcer_is_asked_when_the_first_is_silent_or_gone_or_sends_a_bad_copy() {
    let mut bench = Bench::new().await;
    let tx = bench.transfer(0);
    let hash = bench.hash(&tx);
    bench.announce(A, &[hash]);
    bench.announce(B, &[hash]);
    assert_eq!(bench.wait(1), []);
    assert_eq!(bench.wait(1), [(B, question(&[hash]))]);
    bench.announce(A, &[hash]);
    bench.core.closed(bench.now, B, &CloseReason::Idle);
    assert_eq!(bench.sent(), [(A, question(&[hash]))]);
    bench.join(B, vec![ANNOUNCE.to_owned()]);
    bench.announce(B, &[hash]);
    let bad = Transaction { signature: HexText::from_bytes(&[1; 64]), ..Transaction::clone(&tx) };
    assert_eq!(bench.deliver(A, &Arc::new(bad)), []);
    assert_eq!(bench.wait(2), [(B, question(&[hash]))]);
    let relayed = bench.deliver(B, &tx);
    assert_eq!(relayed, [(PLAIN, Message::NewTx(tx))]);
}

#[tokio::test]
async fn a_new_peer_hears_of_what_waits_in_the_pool() {
    let mut bench = Bench::new().await;
    let tx = bench.transfer(0);
    let hash = bench.hash(&tx);
    bench.deliver(A, &tx);
    bench.core.closed(bench.now, B, &CloseReason::Idle);
    let late = ConnId(9);
    let remote = Endpoint::new("192.0.2.77:7");
    assert!(bench.core.admit(bench.now, late, &remote));
    bench.core.connected(bench.now, late, 0, remote, None, None);
    let mut handshake = bench.core.peers[&A].handshake.clone().unwrap();
    handshake.nonce = Some(99);
    bench.core.received(bench.now, late, Inbound::Handshake(handshake));
    assert_eq!(bench.sent(), [(late, names(&[hash]))]);
}

#[tokio::test]
async fn our_own_block_is_pushed_and_another_one_named_unless_it_is_small() {
    let mut bench = Bench::new().await;
    let mut messages = Messages::from_printed_seed();
    let mut relay = |bench: &mut Bench, txs: u64, ours: bool| {
        let txs = (0..txs).map(|nonce| Transaction::clone(&bench.transfer(nonce))).collect();
        let mut block = messages.block();
        (block.txs, block.header.chain_id) = (txs, "cpc-local-test".into());
        let hashed = bench.core.config.verifier.hasher().hash_block(Arc::new(block));
        let applied = applied(hashed);
        bench.core.relay_block(bench.now, &applied, ours);
        let sent: Vec<(ConnId, bool)> =
            bench.sent().into_iter().map(|(conn, sent)| (conn, matches!(sent, Message::NewBlock(_)))).collect();
        (applied.link.hash, sent)
    };
    assert_eq!(relay(&mut bench, 20, true).1, [(A, true), (B, true), (PLAIN, true)]);
    assert_eq!(relay(&mut bench, 0, false).1, [(A, true), (B, true), (PLAIN, true)]);
    let (hash, sent) = relay(&mut bench, 20, false);
    assert_eq!(sent, [(A, false), (B, false), (PLAIN, true)]);
    let answer = bench.ask(A, &[hash], &[]);
    assert!(matches!(answer.as_slice(), [(A, Message::NewBlock(_))]), "{answer:?}");
    assert_eq!(bench.ask(A, &[hash], &[]), []);
}

#[tokio::test]
async fn the_next_block_is_fetched_when_it_is_named() {
    let mut bench = Bench::new().await;
    let next = BlockLink { height: 0, hash: Hash32([1; 32]), prev_hash: Hash32::ZERO };
    bench.core.received(bench.now, A, Inbound::NewHashes { blocks: vec![next], txs: Vec::new() });
    let question = Message::GetData { blocks: vec![next.hash], txs: Vec::new() };
    assert_eq!(bench.sent(), [(A, question)]);
}

#[tokio::test]
async fn a_peers_block_is_passed_on_once_it_is_executed_and_our_own_once_it_is_durable() {
    let mut messages = Messages::from_printed_seed();
    for ours in [false, true] {
        let mut bench = Bench::new().await;
        let block = bench.core.config.verifier.hasher().hash_block(Arc::new(messages.block()));
        let batch = BatchId(1);
        let origin =
            if ours { ImportOrigin::Own } else { ImportOrigin::Gossip { conn: A, link: block.link, bytes: 0 } };
        bench.core.imports.insert(batch, origin);
        let (tip, applied) = (Some(block.link.tip()), vec![applied(block)]);
        let executed = ChainEvent::Executed { batch, blocks: applied.clone() };
        bench.core.chain_event(bench.now, executed);
        let early = bench.sent().len();
        let outcome = ChainOutcome { applied, stop: None, tip };
        bench.core.chain_event(bench.now, ChainEvent::Imported { batch, outcome });
        let late = bench.sent().len();
        assert_eq!((early, late), if ours { (0, 3) } else { (3, 0) }, "ours: {ours}");
    }
}

#[tokio::test]
async fn a_request_that_reaches_into_blocks_told_early_waits_for_the_disk() {
    let mut bench = Bench::new().await;
    let mut block = Messages::from_printed_seed().block();
    block.header.height = 0;
    let block = bench.core.config.verifier.hasher().hash_block(Arc::new(block));
    let batch = BatchId(1);
    let ask = |bench: &mut Bench, from, to| {
        let wanted = Wanted { id: None, part: Part::Block, from, to };
        bench.core.received(bench.now, PLAIN, Inbound::Asked(wanted));
        bench.served()
    };
    bench.core.imports.insert(batch, ImportOrigin::Gossip { conn: A, link: block.link, bytes: 0 });
    let (tip, applied) = (Some(block.link.tip()), vec![applied(block)]);
    bench.core.chain_event(bench.now, ChainEvent::Executed { batch, blocks: applied.clone() });
    assert_eq!(ask(&mut bench, 0, 0), 0, "PLAIN has heard of block 0, which is not on the disk yet");
    let outcome = ChainOutcome { applied, stop: None, tip };
    bench.core.chain_event(bench.now, ChainEvent::Imported { batch, outcome });
    assert_eq!(bench.served(), 1, "now it is");
    bench.core.served(bench.now, PLAIN);
    assert_eq!(ask(&mut bench, 1, 5), 1, "nobody was told of more, so that the answer is empty at once");
}
