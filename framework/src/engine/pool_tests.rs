//! What becomes of the pool with blocks, with time, and with peers that come late.

use std::sync::Arc;

use super::announcing_tests::{A, B, Bench, PLAIN, applied, key, names, question};
use super::core::{Action, ImportOrigin};
use crate::chain::{ChainEvent, ChainOutcome};
use crate::limits::Limits;
use crate::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
use crate::store::Commit;
use crate::sync::ConnId;
use crate::testkit::chains::ChainBuilder;
use crate::types::{ANNOUNCE, Hash32, Message, Transaction};

const LEGACY: ConnId = ConnId(8);
const LATE: ConnId = ConnId(9);

/// An engine with a chain that grows.
struct Grown {
    bench: Bench,
    chain: ChainBuilder,
}

impl Grown {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let genesis = Arc::clone(bench.core.config.verifier.genesis());
        let chain = ChainBuilder::new(genesis, vec![key()], 1_700_000_000).unwrap();
        Self { bench, chain }
    }

    /// The chain grows by a block with these transactions. Gives the transactions that peers are sent for that.
    async fn block(&mut self, txs: &[Arc<Transaction>]) -> Vec<(ConnId, Message)> {
        let made = self.chain.produce(txs.to_vec()).unwrap();
        let commit = Commit { block: made.encoded(), changes: made.changes };
        self.bench.core.config.store.commit(vec![commit]).await.unwrap();
        let batch = self.bench.core.new_batch();
        self.bench.core.imports.insert(batch, ImportOrigin::Own);
        let tip = Some(made.block.link.tip());
        let outcome = ChainOutcome { applied: vec![applied(made.block)], stop: None, tip };
        self.bench.core.chain_event(self.bench.now, ChainEvent::Imported { batch, outcome });
        let mut sent = self.bench.sent();
        sent.retain(|(_, message)| !matches!(message, Message::NewBlock(_)));
        sent
    }
}

fn poor() -> SecretKey {
    SecretKey::from_hex(Scheme::Ed25519, &"08".repeat(32)).unwrap()
}

fn body(tx: &Arc<Transaction>) -> Message {
    Message::NewTx(Arc::clone(tx))
}

/// The transactions that are sent to one peer.
fn to(conn: ConnId, sent: Vec<(ConnId, Message)>) -> Vec<Message> {
    let to_it = sent.into_iter().filter(|(to, _)| *to == conn).map(|(_, message)| message);
    to_it.filter(|message| matches!(message, Message::NewTx(_))).collect()
}

// ---- Legacy peers, and others that fetch nothing ----

#[tokio::test]
async fn a_legacy_peer_hears_of_the_next_nonce_once_the_one_before_is_in_a_block_and_never_twice() {
    let mut grown = Grown::new().await;
    grown.bench.greet(LEGACY, None);
    let txs = [0, 1, 2].map(|nonce| grown.bench.transfer(nonce));
    assert_eq!(to(LEGACY, grown.bench.deliver(A, &txs[0])), [body(&txs[0])]);
    for tx in &txs[1..] {
        assert_eq!(to(LEGACY, grown.bench.deliver(A, tx)), [], "it cannot be executed yet");
    }
    assert_eq!(grown.block(&txs[..1]).await, [(LEGACY, body(&txs[1]))]);
    assert_eq!(grown.block(&[]).await, []);
    assert_eq!(grown.block(&txs[1..2]).await, [(LEGACY, body(&txs[2]))]);
    assert_eq!(to(LEGACY, grown.bench.wait(60)), []);
}

#[tokio::test]
async fn what_a_legacy_peer_sent_is_not_sent_back_once_it_can_be_executed() {
    let mut grown = Grown::new().await;
    grown.bench.greet(LEGACY, None);
    let txs = [0, 1].map(|nonce| grown.bench.transfer(nonce));
    for tx in &txs {
        grown.bench.deliver(LEGACY, tx);
    }
    assert_eq!(grown.block(&txs[..1]).await, []);
}

#[tokio::test]
async fn a_peer_that_fetches_nothing_hears_of_what_waited_before_it_came() {
    let mut grown = Grown::new().await;
    let txs = [0, 1, 3].map(|nonce| grown.bench.transfer(nonce));
    for tx in &txs {
        grown.bench.deliver(A, tx);
    }
    assert_eq!(to(LATE, grown.bench.greet(LATE, Some(Vec::new()))), txs.each_ref().map(body));
    assert_eq!(to(LEGACY, grown.bench.greet(LEGACY, None)), [body(&txs[0])], "of what it can execute only");
    for _ in 0..10 {
        let sent = grown.bench.wait(6);
        assert!(sent.iter().all(|(_, sent)| !matches!(sent, Message::NewTx(_))), "twice: {sent:?}");
    }
}

#[tokio::test]
async fn a_legacy_peer_hears_of_what_a_reorganisation_made_executable() {
    let mut grown = Grown::new().await;
    grown.bench.greet(LEGACY, None);
    let txs = [0, 1].map(|nonce| grown.bench.transfer(nonce));
    grown.bench.deliver(A, &txs[1]);
    // It was in the block of the other branch, of which the legacy peer never heard.
    grown.bench.core.chain_event(grown.bench.now, ChainEvent::RolledBack { tip: None, removed: vec![txs[0].clone()] });
    grown.bench.core.chain_event(grown.bench.now, ChainEvent::ReorgFinished { tip: None });
    assert_eq!(to(LEGACY, grown.bench.sent()), [body(&txs[0])]);
}

// ---- Funds ----

#[tokio::test]
async fn what_waits_for_funds_is_woken_by_the_block_that_brings_them() {
    let mut grown = Grown::new().await;
    grown.bench.greet(LEGACY, None);
    let poor = poor();
    let waits = grown.bench.signed(&poor, grown.bench.unsigned(&poor, 0));
    assert_eq!(to(LEGACY, grown.bench.deliver(A, &waits)), []);
    assert_eq!(grown.bench.core.pool.waiting(), 1);
    let gift = Transaction {
        to_address: Some(poor.address(ACCOUNT_PREFIX)),
        amount: 1 << 60,
        ..grown.bench.unsigned(&grown.bench.key, 0)
    };
    let gift = grown.bench.signed(&grown.bench.key, gift);
    assert_eq!(grown.block(&[gift]).await, [(LEGACY, body(&waits))]);
    assert_eq!((grown.bench.core.pool.waiting(), grown.bench.core.pool.ready(9).len()), (0, 1));
}

#[tokio::test]
async fn what_waits_for_the_reward_of_a_block_is_woken_by_it() {
    let mut grown = Grown::new().await;
    // The validator's own account: it wants to spend one unit more than it has.
    let all = Transaction { amount: (1 << 100) - 21_000 * 1000 + 1, ..grown.bench.unsigned(&grown.bench.key, 0) };
    let all = grown.bench.signed(&grown.bench.key, all);
    grown.bench.deliver(A, &all);
    assert_eq!(grown.bench.core.pool.waiting(), 1);
    grown.block(&[]).await;
    assert_eq!(grown.bench.core.pool.waiting(), 0);
}

// ---- What is dropped may come again ----

#[tokio::test]
async fn what_waited_too_long_is_announced_and_fetched_again_when_it_is_sent_again() {
    let mut bench = Bench::new().await;
    let tx = bench.transfer(2);
    let hash = bench.hash(&tx);
    assert_eq!(bench.deliver(A, &tx).len(), 2);
    bench.wait(2 * 3600);
    assert!(bench.core.pool.is_empty());
    assert_eq!(bench.announce(B, &[hash]), [(B, question(&[hash]))]);
    assert_eq!(bench.deliver(B, &tx), [(A, names(&[hash])), (PLAIN, body(&tx))]);
    bench.wait(2 * 3600);
    bench.core.submit(1, Arc::clone(&tx));
    assert_eq!(bench.sent(), [(A, names(&[hash])), (B, names(&[hash])), (PLAIN, body(&tx))]);
}

// ---- A pool that is larger than a message ----

#[tokio::test]
async fn a_new_peer_hears_of_all_of_a_large_pool_as_it_takes_it() {
    const POOL: usize = 9000;
    let mut bench =
        Bench::within(Limits { pool_per_sender: POOL, pool_nonce_gap: POOL as u64, ..Limits::default() }).await;
    let accounts = bench.core.accounts();
    for nonce in 0..POOL as u64 {
        let tx = Arc::new(bench.unsigned(&bench.key, nonce));
        let hash = bench.hash(&tx);
        bench.core.pool.insert(tx, hash, &accounts, bench.now).unwrap();
    }
    let all: Vec<Hash32> = bench.core.pool.iter().map(|(hash, _)| *hash).collect();
    let named = |sent: Vec<(ConnId, Message)>| -> Vec<Hash32> {
        let names = sent.into_iter().filter(|(to, _)| *to == LATE).filter_map(|(_, message)| match message {
            Message::NewHashes { txs, .. } => Some(txs),
            _ => None,
        });
        names.flatten().collect()
    };
    let mut next = named(bench.greet(LATE, Some(vec![ANNOUNCE.to_owned()])));
    let (mut heard, mut bodies) = (Vec::new(), 0);
    while !next.is_empty() {
        assert!(next.len() <= 4096, "{} at once", next.len());
        let answers = bench.ask(LATE, &[], &next);
        bodies += answers.iter().filter(|(_, message)| matches!(message, Message::NewTx(_))).count();
        heard.append(&mut next);
        next = named(answers);
    }
    assert_eq!((heard.len(), bodies), (POOL, POOL));
    assert_eq!(heard, all);

    // One that has it all asks for nothing, and hears of all nevertheless.
    bench.core.closed(bench.now, LATE, &super::connection::CloseReason::Idle);
    let mut heard = named(bench.greet(LATE, Some(vec![ANNOUNCE.to_owned()])));
    for _ in 0..60 {
        heard.extend(named(bench.wait(1)));
    }
    assert_eq!(heard, all);
}

#[tokio::test]
async fn what_is_announced_beyond_what_may_be_fetched_at_a_time_is_fetched_later() {
    let mut bench = Bench::new().await;
    let hashes: Vec<Hash32> = (0..5120u16).map(|n| bench.hash(&bench.unsigned(&bench.key, n.into()))).collect();
    let fetched = |sent: Vec<(ConnId, Message)>| -> usize {
        let asked =
            sent.iter().map(|(_, message)| if let Message::GetData { txs, .. } = message { txs.len() } else { 0 });
        asked.sum()
    };
    let at_once: usize = hashes.chunks(1024).map(|names| fetched(bench.announce(A, names))).sum();
    assert_eq!(at_once, 4096);
    // What was asked first did not come: that leaves room, and less of it for who did not deliver.
    let mut later = 0;
    while later < 1024 {
        let more = fetched(bench.wait(2));
        assert!((1..=112).contains(&more), "{more} at once, {later} before");
        later += more;
    }
    assert_eq!(later, 1024);
}

// ---- The saved pool ----

#[tokio::test]
async fn the_pool_of_the_last_run_is_never_replaced_by_less_before_it_is_verified() {
    let mut bench = Bench::new().await;
    let saved: Vec<Transaction> = [0, 1, 2].map(|nonce| Transaction::clone(&bench.transfer(nonce))).into();
    bench.core.restore(saved);
    bench.core.start(bench.now, &[], &[]);
    let mut writes = Vec::new();
    let mut unverified = Vec::new();
    while let Some(action) = bench.core.poll_action() {
        match action {
            Action::SavePool(txs) => writes.push(txs.len()),
            Action::Verify(batch) => unverified.push(batch),
            _ => {}
        }
    }
    assert_eq!((writes, unverified.len()), (vec![], 1), "what is there is better than nothing");
    bench.core.save_pool();
    let left = std::iter::from_fn(|| bench.core.poll_action())
        .find_map(|action| if let Action::SavePool(txs) = action { Some(txs.len()) } else { None });
    assert!(left.is_none_or(|left| left == 3), "{left:?} at an early end");
}

// ---- Reorganisations ----

#[tokio::test]
async fn the_transactions_of_several_rollbacks_return_in_the_order_of_the_chain() {
    let mut bench = Bench::new().await;
    let txs: Vec<_> = (0..4).map(|nonce| bench.transfer(nonce)).collect();
    for removed in [&txs[2..], &txs[..2]] {
        bench.core.chain_event(bench.now, ChainEvent::RolledBack { tip: None, removed: removed.to_vec() });
    }
    bench.core.chain_event(bench.now, ChainEvent::ReorgFinished { tip: None });
    let nonces: Vec<u64> = bench.core.pool.iter().map(|(_, tx)| tx.nonce).collect();
    assert_eq!(nonces, [0, 1, 2, 3]);
}
