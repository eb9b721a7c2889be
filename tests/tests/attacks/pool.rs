//! Rows 13, 14 and 15: floods of transactions.

use cpc_framework::types::{ANNOUNCE, Payload, Transaction};
use cpc_tests::crowd::Crowd;
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::{LOOK_AGAIN, until};
use cpc_tests::http;
use cpc_tests::peer::{Peer, Script};
use cpc_tests::process::Process;
use cpc_tests::raw::{Socket, Talker};
use cpc_tests::vectors::Chain;
use cpc_tests::wire::{self, Hello, Received};

use crate::{KIB, MIB, NODE, SYNC, honest};

/// Transactions in the pool.
const POOL_TXS: usize = 10_000;
/// Bytes of the transactions in the pool.
const POOL_BYTES: usize = 64 * MIB;
/// Transactions of one sender in the pool.
const PER_SENDER: u16 = 64;
/// How far above the account's nonce one may be.
const GAP: u64 = 64;
/// A quarter of the pool.
const WAITING: usize = POOL_TXS / 4;
/// What the whole node may take under any attack.
const NODE_KIB: u64 = 160 * 1024;

async fn running(chain: &Chain) -> (Datadir, Process) {
    let dir = Datadir::holding(NODE, chain).await;
    let node = Process::run(NODE, dir.path(), &[]).await;
    (dir, node)
}

/// Somebody who sends transactions, and is told of others' by name only.
async fn sender(node: &Process, chain: &Chain) -> Talker {
    let hello = Hello { features: Some(vec![ANNOUNCE.to_owned()]), ..Hello::modern(chain) };
    Socket::greeted(node.port(), &hello).await.0.talker()
}

fn line(tx: &Transaction) -> String {
    wire::new_tx(&serde_json::to_string(tx).unwrap())
}

/// How many transactions are in the pool, their bytes, and how many of them wait.
async fn pool(node: &Process) -> (usize, usize, usize) {
    let pool = http::get(node.rpc_port(), "/mempool?limit=1").await.expect(200).json();
    let number = |name: &str| usize::try_from(pool[name].as_u64().unwrap()).unwrap();
    (number("size"), number("bytes"), number("waiting"))
}

/// How many transactions are in the pool once `enough` are.
async fn filled(node: &Process, enough: usize) -> usize {
    until(SYNC, &format!("{enough} transactions in the pool"), async || {
        Some(pool(node).await.0).filter(|size| *size >= enough)
    })
    .await
}

/// Why the node does not take a transaction that its own user sends; none where it does.
async fn refusal(node: &Process, tx: &Transaction) -> Option<String> {
    let answer = http::post(node.rpc_port(), "/tx/send", &serde_json::to_string(tx).unwrap()).await.expect(200).json();
    answer["error"].as_str().map(str::to_owned)
}

// ---- Rows 13 and 14 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_13_the_pool_takes_64_of_a_sender_and_10_000_in_all_and_row_14_evicts_with_the_higher_nonces() {
    /// How many come last of one sender: from nonce 10 down to 0, so that the one that all others wait for is the newest.
    const LAST: u16 = 11;
    const FULL: u16 = 156;
    const REST: u16 = 5;
    let crowd = Crowd::new(FULL + 4);
    let (some, last, late, included) = (FULL, FULL + 1, FULL + 2, crowd.transfer(FULL + 3, 0));
    // The node's chain, how it goes on, and a better branch, which lacks the transaction of block 3.
    let blocks = |third: Vec<Transaction>, more: usize| {
        let plan: Vec<_> = (0..4 + more).map(|height| if height == 3 { third.clone() } else { Vec::new() }).collect();
        crowd.chain(&plan)
    };
    let (chain, longer, branch) = (blocks(vec![included.clone()], 0), blocks(vec![included], 20), blocks(vec![], 30));
    let (_dir, node) = running(&chain).await;
    let before = node.rss_kib().unwrap();

    // From four peers, more than 64 of each sender.
    let mut senders = Vec::new();
    for _ in 0..4 {
        senders.push(sender(&node, &chain).await);
    }
    let lines = |account: u16| -> Vec<String> {
        let most = if account < FULL { PER_SENDER + 2 } else { REST };
        (0..most).map(|nonce| line(&crowd.transfer(account, nonce.into()))).collect()
    };
    let mut flood = async |round: usize| {
        let at = senders.len();
        if let Some(account) = u16::try_from(round).ok().filter(|account| *account <= some) {
            assert!(senders[round % at].send(&lines(account)).await, "closed over valid transactions");
        } else {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let begun = honest::syncs_while(&node, &longer, &mut flood).await;
    for round in begun..=usize::from(some) {
        flood(round).await;
    }
    let full = usize::from(FULL * PER_SENDER + REST);
    assert_eq!(filled(&node, full).await, full, "64 of a sender");
    let over = refusal(&node, &crowd.transfer(0, PER_SENDER.into())).await;
    assert_eq!(over.as_deref(), Some("sender_limit_exceeded"));

    // The last of a sender comes first, so that ten wait for the newest of all.
    let lines: Vec<String> = (0..LAST).rev().map(|nonce| line(&crowd.transfer(last, nonce.into()))).collect();
    assert!(senders[0].send(&lines).await);
    assert_eq!(filled(&node, POOL_TXS).await, POOL_TXS);
    let lines: Vec<String> = (0..PER_SENDER).map(|nonce| line(&crowd.transfer(late, nonce.into()))).collect();
    assert!(senders[1].send(&lines).await);
    assert_eq!(refusal(&node, &crowd.transfer(late, 0)).await.as_deref(), Some("mempool_full"));
    assert_eq!(pool(&node).await.0, POOL_TXS);

    // The better branch gives a transaction back to the full pool: the newest makes room for it, with what waits for it.
    honest::syncs(&node, &branch).await;
    until(SYNC, "the transaction back in the pool, and eleven less", async || {
        (pool(&node).await.0 == POOL_TXS - usize::from(LAST) + 1).then_some(())
    })
    .await;
    let used = node.peak_rss_kib().unwrap() - before;
    assert!(used < 64 * 1024, "{used} KiB more for 10,000 small transactions");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_the_pool_takes_64_mib_and_of_one_transaction_128_kib() {
    const SENDERS: u16 = 11;
    const PAYLOAD: usize = 100 * KIB;
    let crowd = Crowd::new(SENDERS);
    let (chain, longer) = (crowd.chain(&vec![Vec::new(); 3]), crowd.chain(&vec![Vec::new(); 30]));
    let (_dir, node) = running(&chain).await;
    let heavy = |account, nonce, bytes: usize| {
        let payload = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes))).unwrap();
        Transaction { payload, ..crowd.transfer(account, nonce) }
    };
    // The payload is put in as text: writing it so often takes longer than sending it.
    let payload = format!(r#""payload":{{"x":"{}"}}"#, "x".repeat(PAYLOAD));
    let heavy_line = |account, nonce| line(&crowd.transfer(account, nonce)).replacen(r#""payload":{}"#, &payload, 1);
    let too_heavy = refusal(&node, &heavy(0, 0, 128 * KIB)).await.unwrap();
    assert!(too_heavy.contains("transaction_too_large"), "{too_heavy}");

    let mut sender = sender(&node, &chain).await;
    let mut flood = async |round: usize| {
        let Some(account) = u16::try_from(round).ok().filter(|account| *account < SENDERS) else {
            return tokio::time::sleep(LOOK_AGAIN).await;
        };
        for nonces in (0..u64::from(PER_SENDER)).collect::<Vec<_>>().chunks(8) {
            let lines: Vec<String> = nonces.iter().map(|nonce| heavy_line(account, *nonce)).collect();
            assert!(sender.send(&lines).await, "closed over valid transactions");
        }
    };
    let begun = honest::syncs_while(&node, &longer, &mut flood).await;
    for round in begun..usize::from(SENDERS) {
        flood(round).await;
    }
    until(SYNC, "a full pool", async || {
        let bytes = pool(&node).await.1;
        (bytes > POOL_BYTES - 2 * PAYLOAD).then_some(())
    })
    .await;
    assert_eq!(refusal(&node, &heavy(SENDERS - 1, 63, PAYLOAD)).await.as_deref(), Some("mempool_full"));
    let (size, bytes, _) = pool(&node).await;
    assert!(bytes <= POOL_BYTES && size * PAYLOAD <= POOL_BYTES, "{size} transactions, {bytes} bytes");
    let peak = node.peak_rss_kib().unwrap();
    assert!(peak < NODE_KIB, "{peak} KiB with a pool of {bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_the_third_invalid_signature_ends_the_connection_with_a_proof_and_cheap_faults_cost_nothing() {
    const PEERS: usize = 4;
    let crowd = Crowd::new(10);
    let (chain, longer) = (crowd.chain(&vec![Vec::new(); 3]), crowd.chain(&vec![Vec::new(); 30]));
    let (_dir, node) = running(&chain).await;
    // Another amount than the one signed; never the same.
    let forged = |number: usize| Transaction { amount: 1000 + number as u128, ..crowd.transfer(0, 0) };
    // With a fault that is seen without a look at the signature.
    let mut careless = sender(&node, &chain).await;
    let lines: Vec<String> = (0..300).map(|at| line(&Transaction { nonce: 1000, ..forged(at) })).collect();
    assert!(careless.send(&lines).await);

    // Two are borne, the third is one too many.
    let [one, two, three] = [0, 1, 2].map(forged);
    let mut peer = sender(&node, &chain).await;
    assert!(peer.send(&[line(&one), line(&two)]).await);
    let proof = format!("transaction {} is not signed by its sender", crowd.hash(&one));
    node.line(&proof, SYNC).await;
    assert!(peer.is_heard().await, "closed too soon");
    assert!(peer.send(&[line(&three)]).await);
    peer.closed().await;

    let mut honest_sender = sender(&node, &chain).await;
    let rounds = honest::syncs_while(&node, &longer, async |round| {
        let mut peers = Vec::new();
        for at in 0..PEERS {
            let mut peer = sender(&node, &chain).await;
            let lines: Vec<String> = (0..50).map(|n| line(&forged(3 + (round * PEERS + at) * 50 + n))).collect();
            peer.send(&lines).await;
            peers.push(peer);
        }
        // An honest one is taken meanwhile.
        assert!(honest_sender.send(&[line(&crowd.transfer(1, round as u64))]).await);
        for mut peer in peers {
            peer.closed().await;
        }
    })
    .await;
    assert_eq!(filled(&node, rounds).await, rounds, "one honest transaction each round");
    assert!(careless.is_heard().await && honest_sender.is_heard().await);
}

// ---- Row 14 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_14_a_gap_is_64_at_most_and_a_quarter_of_the_pool_waits() {
    const SENDERS: u16 = 45;
    let crowd = Crowd::new(SENDERS + 2);
    let (poor, ready) = (SENDERS, SENDERS + 1);
    let (chain, longer) = (crowd.chain(&vec![Vec::new(); 3]), crowd.chain(&vec![Vec::new(); 30]));
    let (_dir, node) = running(&chain).await;
    assert_eq!(refusal(&node, &crowd.transfer(poor, GAP)).await, None);
    let far = refusal(&node, &crowd.transfer(poor, GAP + 1)).await;
    assert_eq!(far.as_deref(), Some("nonce 65 > next_nonce 0 + 64"));

    let mut sender = sender(&node, &chain).await;
    let mut flood = async |round: usize| {
        let Some(account) = u16::try_from(round).ok().filter(|account| *account < SENDERS) else {
            return tokio::time::sleep(LOOK_AGAIN).await;
        };
        let lines: Vec<String> = (1..GAP).map(|nonce| line(&crowd.transfer(account, nonce))).collect();
        assert!(sender.send(&lines).await, "closed over valid transactions");
    };
    let begun = honest::syncs_while(&node, &longer, &mut flood).await;
    for round in begun..usize::from(SENDERS) {
        flood(round).await;
    }
    assert_eq!(filled(&node, WAITING).await, WAITING);
    let more = refusal(&node, &crowd.transfer(SENDERS - 1, GAP - 1)).await;
    assert_eq!(more, Some(format!("too_many_waiting: {WAITING} transactions wait for lower nonces or funds")));
    // There is room for who does not wait, and what waits goes on once the lowest has come.
    assert_eq!(refusal(&node, &crowd.transfer(ready, 0)).await, None);
    assert_eq!(refusal(&node, &crowd.transfer(0, 0)).await, None);
    let (size, _, waiting) = pool(&node).await;
    assert_eq!((size, waiting), (WAITING + 2, WAITING - usize::from(PER_SENDER - 1)));
}

// ---- Row 15 ----

#[tokio::test(flavor = "multi_thread")]
async fn row_15_a_transaction_is_replaced_and_passed_on_only_for_a_tenth_more() {
    const RAISES: u128 = 20;
    let crowd = Crowd::new(2);
    let (chain, longer) = (crowd.chain(&vec![Vec::new(); 3]), crowd.chain(&vec![Vec::new(); 30]));
    let (_dir, node) = running(&chain).await;
    let watcher = Peer::dial(node.port(), Script::modern(&chain)).await;
    watcher.message(SYNC, "a handshake", Received::greeting).await;
    let paying = |fee: u128| crowd.sign(0, Transaction { fee: fee.into(), ..crowd.transfer(0, 0) });
    let mut fee = 21_000_000;
    assert_eq!(refusal(&node, &paying(fee)).await, None);

    // All that is below a tenth more, down to one unit, and never the same.
    let mut sender = sender(&node, &chain).await;
    let rounds = honest::syncs_while(&node, &longer, async |round| {
        let below = |n: u128| fee + fee / 10 - 1 - n - 200 * round as u128;
        let lines: Vec<String> = (0..200).map(|n| line(&paying(below(n)))).collect();
        assert!(sender.send(&lines).await, "closed over valid transactions");
    })
    .await;
    for _ in 0..RAISES {
        let needed = fee + fee.div_ceil(10);
        let refused = refusal(&node, &paying(needed - 1)).await.unwrap();
        assert!(refused.contains(&format!("fee must be at least {needed}")), "{refused}");
        assert_eq!(refusal(&node, &paying(needed)).await, None);
        fee = needed;
    }
    assert_eq!(pool(&node).await.0, 1);
    // What comes last shows that nothing else was to come.
    assert_eq!(refusal(&node, &crowd.transfer(1, 0)).await, None);
    let all = usize::try_from(RAISES).unwrap() + 2;
    watcher.wait(SYNC, "the last transaction", |_| (watcher.received("new_tx").len() >= all).then_some(())).await;
    assert_eq!(watcher.received("new_tx").len(), all, "after {rounds} rounds of replacements for too little");
}
