use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use crate::types::{Block, Genesis, HashRules, HexText, Network, Payload, Quantity, TxType};

const NOW: Duration = Duration::from_secs(1);

/// Enough for any transaction of these tests.
const RICH: u128 = 1 << 100;

/// What a transfer of these tests pays for its gas.
const PRICE: u128 = 1000;

/// A devnet pool, the accounts behind it, and keys for them.
struct Bench {
    pool: Mempool,
    keys: Vec<SecretKey>,
    accounts: RefCell<HashMap<Address, Account>>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let keys: Vec<SecretKey> =
            (1u8..=4).map(|n| SecretKey::from_hex(Scheme::Secp256k1, &hex::encode([n; 32])).unwrap()).collect();
        let file = serde_json::json!({
            "alloc": {},
            "validators": [{
                "address": keys[0].address(VALIDATOR_PREFIX), "pub_key": keys[0].public_key(), "power": 1
            }]
        });
        let genesis = Genesis::from_json(file.to_string().as_bytes(), Network::Devnet).unwrap();
        let pool = Mempool::new(Verifier::new(Arc::new(genesis)), &limits);
        let mut bench = Self { pool, keys, accounts: RefCell::default() };
        for who in 0..4 {
            bench.set(who, 0, RICH);
        }
        bench
    }

    /// With a new tip this is what an account has.
    fn set(&mut self, who: usize, nonce: u64, balance: u128) {
        self.pool.tip_moved();
        self.accounts.borrow_mut().insert(self.address(who), Account { nonce, balance });
    }

    fn address(&self, who: usize) -> Address {
        self.keys[who].address(ACCOUNT_PREFIX)
    }

    fn unsigned(&self, who: usize, nonce: u64) -> Transaction {
        Transaction {
            tx_type: TxType::Transfer,
            from_address: self.address(who),
            to_address: Some(self.address(0)),
            amount: 1,
            fee: Quantity::from(21_000 * PRICE),
            nonce,
            signature: HexText::default(),
            pub_key: self.keys[who].public_key(),
            payload: Payload::default(),
            gas_price: PRICE,
            gas_limit: Quantity::from(21_000u64),
        }
    }

    fn sign(&self, who: usize, mut tx: Transaction) -> Arc<Transaction> {
        tx.signature = self.keys[who].sign(&self.pool.verifier.hasher().transaction_hash(&tx));
        Arc::new(tx)
    }

    fn transfer(&self, who: usize, nonce: u64) -> Arc<Transaction> {
        self.sign(who, self.unsigned(who, nonce))
    }

    fn admit(&mut self, tx: &Arc<Transaction>) -> Result<Hash32, Refusal> {
        self.admit_at(tx, NOW)
    }

    fn admit_at(&mut self, tx: &Arc<Transaction>, now: Duration) -> Result<Hash32, Refusal> {
        let accounts = self.accounts.borrow();
        let answer = self.pool.admit(Arc::clone(tx), &|who| accounts.get(who).copied().unwrap_or_default(), now);
        drop(accounts);
        self.check_books();
        answer
    }

    fn reason(&mut self, tx: Transaction) -> String {
        self.admit(&Arc::new(tx)).unwrap_err().reason()
    }

    fn with_accounts<R>(&mut self, act: impl FnOnce(&mut Mempool, Accounts<'_>) -> R) -> R {
        let accounts = self.accounts.borrow();
        let answer = act(&mut self.pool, &|who| accounts.get(who).copied().unwrap_or_default());
        drop(accounts);
        self.check_books();
        answer
    }

    fn nonces(&self) -> Vec<(usize, u64)> {
        let who = |tx: &Transaction| (0..4).find(|&n| self.address(n) == tx.from_address).unwrap();
        self.pool.iter().map(|(_, tx)| (who(tx), tx.nonce)).collect()
    }

    fn ready(&self, most: usize) -> Vec<(usize, u64)> {
        let who = |tx: &Transaction| (0..4).find(|&n| self.address(n) == tx.from_address).unwrap();
        self.pool.ready(most).iter().map(|tx| (who(tx), tx.nonce)).collect()
    }

    /// A transfer with a payload of so many bytes that pays so much for its gas.
    fn heavy(&self, who: usize, nonce: u64, bytes: usize, gas_price: u128) -> Arc<Transaction> {
        let payload = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes))).unwrap();
        let fee = Quantity::from(21_000 * gas_price);
        self.sign(who, Transaction { fee, payload, gas_price, ..self.unsigned(who, nonce) })
    }

    /// All the pool's counts agree with what it holds.
    fn check_books(&self) {
        let pool = &self.pool;
        assert_eq!(pool.entries.len(), pool.order.len());
        assert_eq!(pool.entries.len(), pool.senders.values().map(SenderQueue::len).sum::<usize>());
        assert_eq!(pool.bytes, pool.entries.values().map(|entry| tx_bytes(&entry.tx)).sum::<usize>());
        assert_eq!(pool.waiting, pool.senders.values().map(SenderQueue::waiting).sum::<usize>());
        assert!(pool.senders.values().all(|queue| queue.len() > 0));
        for (place, hash) in &pool.order {
            let entry = &pool.entries[hash];
            assert_eq!(entry.place, *place);
            assert_eq!(pool.senders[&entry.tx.from_address].get(entry.tx.nonce), Some(*hash));
        }
        assert!(pool.entries.len() <= pool.limits.pool_txs && pool.bytes <= pool.limits.pool_bytes);
        let quarter = pool.most_waiting();
        assert!(pool.waiting <= quarter, "{} wait, {quarter} may", pool.waiting);
    }
}

#[test]
fn refuses_in_the_words_and_the_order_of_the_reference() {
    let mut bench = Bench::new(|limits| limits.pool_per_sender = 1);
    let pooled = bench.transfer(1, 0);
    bench.admit(&pooled).unwrap();
    assert_eq!(bench.reason((*pooled).clone()), "already_in_pool");

    // Everything is wrong with it; one fault after the other is mended.
    let mut tx = bench.unsigned(2, 0);
    tx.gas_price = 999;
    tx.tx_type = TxType::Unstake;
    tx.gas_limit = Quantity::from(20_999u64);
    tx.fee = Quantity::from(20_999_999u64);
    tx.pub_key = HexText::default();
    assert_eq!(bench.reason(tx.clone()), "gas_price 999 < min 1000");
    tx.gas_price = 1000;
    assert_eq!(bench.reason(tx.clone()), "unknown_tx_type");
    tx.tx_type = TxType::Transfer;
    assert_eq!(bench.reason(tx.clone()), "gas_limit 20999 < base_gas 21000");
    tx.gas_limit = Quantity::from(21_000u64);
    assert_eq!(bench.reason(tx.clone()), "fee 20999999 < needed_fee 21000000");
    tx.fee = Quantity::from(21_000_000u64);
    bench.pool.limits.pool_txs = 1;
    assert_eq!(bench.reason(tx.clone()), "mempool_full");
    bench.pool.limits.pool_txs = 10_000;
    let second = bench.transfer(2, 0);
    bench.admit(&second).unwrap();
    tx.nonce = 1;
    assert_eq!(bench.reason(tx.clone()), "sender_limit_exceeded");
    bench.pool.limits.pool_per_sender = 64;
    assert_eq!(bench.reason(tx.clone()), "missing_sig_or_key");
    tx.signature = HexText::from_bytes(&[1; 64]);
    assert_eq!(bench.reason(tx.clone()), "missing_sig_or_key");
    tx.pub_key = bench.keys[3].public_key();
    assert_eq!(bench.reason(tx.clone()), "pub_key_mismatch");
    tx.pub_key = HexText::new("no key");
    assert!(bench.reason(tx.clone()).starts_with("invalid_key_format: "));
    tx.pub_key = bench.keys[2].public_key();
    assert_eq!(bench.reason(tx.clone()), "invalid_signature");
    let signed = bench.sign(2, tx);
    bench.admit(&signed).unwrap();
}

#[test]
fn only_what_anybody_can_check_is_a_proof() {
    let mut bench = Bench::new(|_| {});
    let mut forged = (*bench.transfer(1, 0)).clone();
    forged.amount += 1;
    assert!(bench.admit(&Arc::new(forged.clone())).unwrap_err().is_proof());
    forged.from_address = bench.address(2);
    assert!(bench.admit(&Arc::new(forged.clone())).unwrap_err().is_proof());
    forged.gas_price = 1;
    assert!(!bench.admit(&Arc::new(forged)).unwrap_err().is_proof());
    bench.set(1, 5, RICH);
    let used = bench.transfer(1, 4);
    assert!(!bench.admit(&used).unwrap_err().is_proof());
}

#[test]
fn an_account_is_looked_up_once_a_tip() {
    let mut bench = Bench::new(|_| {});
    bench.set(1, 0, RICH);
    let looked_up = std::cell::Cell::new(0);
    let (txs, account) = ([0, 1, 2].map(|nonce| bench.transfer(1, nonce)), Account { nonce: 0, balance: RICH });
    let accounts = |_: &Address| {
        looked_up.set(looked_up.get() + 1);
        account
    };
    let hash = |tx: &Transaction, pool: &Mempool| pool.verifier.hasher().transaction_hash(tx);
    let first = hash(&txs[0], &bench.pool);
    bench.pool.check(&txs[0], &first, &accounts).unwrap();
    bench.pool.insert(Arc::clone(&txs[0]), first, &accounts, NOW).unwrap();
    bench.pool.admit(Arc::clone(&txs[1]), &accounts, NOW).unwrap();
    assert_eq!(looked_up.get(), 1);
    bench.pool.tip_moved();
    bench.pool.admit(Arc::clone(&txs[2]), &accounts, NOW).unwrap();
    assert_eq!(looked_up.get(), 2, "the account may be another one now");
}

#[test]
fn refuses_what_breaks_a_rule_of_its_type() {
    let mut bench = Bench::new(|_| {});
    let mut tx = bench.unsigned(1, 0);
    tx.to_address = None;
    let signed = bench.sign(1, tx.clone());
    assert_eq!(bench.admit(&signed).unwrap_err().reason(), "a TRANSFER must have a to_address");
    tx.tx_type = TxType::SubmitResult;
    tx.fee = Quantity::from(80_000 * PRICE);
    tx.gas_limit = Quantity::from(80_000u64);
    let signed = bench.sign(1, tx.clone());
    assert_eq!(bench.admit(&signed).unwrap_err().reason(), "payload has no task_id");
    tx.tx_type = TxType::Stake;
    let signed = bench.sign(1, tx);
    assert_eq!(bench.admit(&signed).unwrap_err().reason(), "payload has no pub_key, which a STAKE must have");
    assert!(bench.pool.is_empty());
}

#[test]
fn never_pools_an_address_with_a_colon_under_v1_rules() {
    let mut bench = Bench::new(|_| {});
    let mut tx = bench.unsigned(1, 0);
    tx.to_address = Some(Address::new("cpc:x"));
    let signed = bench.sign(1, tx);
    assert_eq!(bench.admit(&signed).unwrap_err().reason(), "invalid_address: cpc:x has a colon in it");
    let accounts = |_: &Address| Account { nonce: 0, balance: RICH };
    assert!(bench.pool.return_txs(vec![signed], &accounts, NOW).back.is_empty());
}

#[test]
fn first_come_first_served_with_the_nonces_of_a_sender_in_order() {
    let mut bench = Bench::new(|_| {});
    for (who, nonce) in [(1, 1), (2, 0), (1, 2), (1, 0), (3, 7), (2, 1)] {
        let tx = bench.transfer(who, nonce);
        bench.admit(&tx).unwrap();
    }
    assert_eq!(bench.nonces(), [(1, 1), (2, 0), (1, 2), (1, 0), (3, 7), (2, 1)]);
    assert_eq!(bench.ready(100), [(2, 0), (1, 0), (1, 1), (1, 2), (2, 1)]);
    assert_eq!(bench.ready(2), [(2, 0), (1, 0)]);
    assert_eq!(bench.pool.waiting(), 1);
}

#[test]
fn who_pays_more_for_gas_goes_first_but_never_before_its_own_lower_nonces() {
    let mut bench = Bench::new(|_| {});
    for (who, nonce, gas_price) in [(1, 0, 1000), (2, 0, 1500), (3, 0, 1000), (1, 1, 3000), (2, 1, 1200), (3, 1, 2000)]
    {
        let tx = Transaction { gas_price, fee: Quantity::from(21_000 * gas_price), ..bench.unsigned(who, nonce) };
        let tx = bench.sign(who, tx);
        bench.admit(&tx).unwrap();
    }
    assert_eq!(bench.ready(9), [(2, 0), (2, 1), (1, 0), (1, 1), (3, 0), (3, 1)]);
    assert_eq!(bench.ready(3), [(2, 0), (2, 1), (1, 0)]);
}

#[test]
fn used_nonces_and_far_ones_are_refused() {
    let mut bench = Bench::new(|_| {});
    bench.set(1, 10, RICH);
    let used = bench.transfer(1, 9);
    assert_eq!(bench.admit(&used).unwrap_err().reason(), "nonce 9 < next_nonce 10");
    let far = bench.transfer(1, 75);
    assert_eq!(bench.admit(&far).unwrap_err().reason(), "nonce 75 > next_nonce 10 + 64");
    let edge = bench.transfer(1, 74);
    bench.admit(&edge).unwrap();
    bench.set(2, u64::MAX, RICH);
    let last = bench.transfer(2, u64::MAX);
    bench.admit(&last).unwrap();
    assert_eq!(bench.ready(9), [(2, u64::MAX)]);
}

#[test]
fn at_most_a_quarter_waits_for_lower_nonces_or_for_funds() {
    let mut bench = Bench::new(|limits| limits.pool_txs = 12);
    bench.set(3, 0, 0);
    for (who, nonce) in [(1, 5), (3, 0), (1, 7)] {
        let tx = bench.transfer(who, nonce);
        bench.admit(&tx).unwrap();
    }
    for (who, nonce) in [(1, 9), (3, 1)] {
        let tx = bench.transfer(who, nonce);
        let reason = bench.admit(&tx).unwrap_err().reason();
        assert_eq!(reason, "too_many_waiting: 3 transactions wait for lower nonces or funds");
    }
    let tx = bench.transfer(2, 0);
    bench.admit(&tx).unwrap();
    assert_eq!(bench.ready(9), [(2, 0)]);
}

#[test]
fn no_replacement_makes_more_than_a_quarter_wait() {
    let mut bench = Bench::new(|limits| limits.pool_txs = 8);
    for nonce in 0..4 {
        let tx = bench.transfer(1, nonce);
        bench.admit(&tx).unwrap();
    }
    let fee = 21_000 * PRICE * 2;
    let raised = |bench: &Bench, amount: u128| {
        bench.sign(1, Transaction { amount, fee: Quantity::from(fee), ..bench.unsigned(1, 0) })
    };
    let greedy = raised(&bench, RICH - fee);
    let reason = bench.admit(&greedy).unwrap_err().reason();
    assert_eq!(reason, "too_many_waiting: 2 transactions wait for lower nonces or funds");
    assert_eq!((bench.ready(9).len(), bench.pool.waiting()), (4, 0), "nothing has changed");
    let modest = raised(&bench, 2);
    bench.admit(&modest).unwrap();
}

#[test]
fn a_block_that_takes_the_funds_of_many_leaves_no_more_than_a_quarter_waiting() {
    let mut bench = Bench::new(|limits| limits.pool_txs = 12);
    for (who, nonce) in [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2), (3, 0)] {
        let tx = bench.transfer(who, nonce);
        bench.admit(&tx).unwrap();
    }
    for who in [1, 2] {
        bench.set(who, 0, 0);
    }
    let senders = [bench.address(1), bench.address(2)];
    bench.with_accounts(|pool, accounts| pool.revalidate(&senders, accounts, NOW));
    // The newest go, whosever they are.
    assert_eq!(bench.nonces(), [(1, 0), (2, 0), (1, 1), (3, 0)]);
}

#[test]
fn a_balance_counts_once_for_all_that_spend_it() {
    let mut bench = Bench::new(|_| {});
    let each = 21_000 * PRICE + 1;
    bench.set(1, 0, 2 * each);
    for nonce in 0..3 {
        let tx = bench.transfer(1, nonce);
        bench.admit(&tx).unwrap();
    }
    assert_eq!((bench.ready(9), bench.pool.waiting()), (vec![(1, 0), (1, 1)], 1));
    bench.set(1, 0, 3 * each);
    let sender = bench.address(1);
    bench.with_accounts(|pool, accounts| pool.revalidate([&sender], accounts, NOW));
    assert_eq!((bench.ready(9).len(), bench.pool.waiting()), (3, 0));
}

#[test]
fn what_waits_goes_after_an_hour_and_what_does_not_stays() {
    let mut bench = Bench::new(|_| {});
    for (nonce, at) in [(0, 0), (2, 0), (4, 1800)] {
        let tx = bench.transfer(1, nonce);
        bench.admit_at(&tx, Duration::from_secs(at)).unwrap();
    }
    bench.pool.expire(Duration::from_secs(3599));
    assert_eq!((bench.nonces().len(), bench.pool.expires_at()), (3, Some(Duration::from_secs(3600))));
    bench.pool.expire(Duration::from_secs(3600));
    assert_eq!((bench.nonces(), bench.pool.expires_at()), (vec![(1, 0), (1, 4)], Some(Duration::from_secs(5400))));
    bench.pool.expire(Duration::from_secs(5400));
    assert_eq!((bench.nonces(), bench.pool.expires_at()), (vec![(1, 0)], None));
    bench.check_books();
}

#[test]
fn the_hour_counts_from_when_the_waiting_began() {
    let mut bench = Bench::new(|_| {});
    for nonce in 0..2 {
        let tx = bench.transfer(1, nonce);
        bench.admit_at(&tx, Duration::ZERO).unwrap();
    }
    // After two hours, in which neither waited, the funds for the second go.
    let later = |seconds: u64| Duration::from_secs(7200 + seconds);
    bench.set(1, 0, 21_000 * PRICE + 1);
    let sender = bench.address(1);
    bench.with_accounts(|pool, accounts| pool.revalidate([&sender], accounts, later(0)));
    bench.pool.expire(later(3599));
    assert_eq!(bench.nonces(), [(1, 0), (1, 1)]);
    bench.pool.expire(later(3600));
    assert_eq!(bench.nonces(), [(1, 0)]);
}

#[test]
fn a_replacement_pays_a_tenth_more_and_takes_the_place_in_the_line() {
    let mut bench = Bench::new(|limits| {
        limits.pool_txs = 2;
        limits.pool_per_sender = 1;
    });
    for who in [1, 2] {
        let tx = bench.transfer(who, 0);
        bench.admit(&tx).unwrap();
    }
    let old_fee = 21_000 * PRICE;
    let attempt = |bench: &mut Bench, fee: u128, gas_price: u128| {
        let tx = bench.sign(1, Transaction { fee: Quantity::from(fee), gas_price, ..bench.unsigned(1, 0) });
        bench.admit(&tx).map_err(|refusal| refusal.reason())
    };
    let reason = attempt(&mut bench, old_fee * 110 / 100 - 1, PRICE).unwrap_err();
    assert_eq!(reason, "replacement_underpriced: nonce 0 is taken, fee must be at least 23100000, and covered");
    attempt(&mut bench, old_fee * 110 / 100, PRICE).unwrap();
    attempt(&mut bench, old_fee * 105 / 100, PRICE * 105 / 100).unwrap_err();
    attempt(&mut bench, old_fee * 110 / 100 + 1, PRICE * 110 / 100).unwrap();
    attempt(&mut bench, old_fee * 1000, PRICE).unwrap_err();
    attempt(&mut bench, RICH, PRICE * 2).unwrap_err();
    assert_eq!(bench.nonces(), [(1, 0), (2, 0)]);
    assert_eq!(bench.pool.ready(1)[0].gas_price, 1100);
}

#[test]
fn is_bounded_in_bytes() {
    let mut bench = Bench::new(|limits| limits.pool_bytes = 100_000);
    let padded = |bench: &Bench, who: usize, nonce: u64, length: usize| {
        let mut tx = bench.unsigned(who, nonce);
        tx.payload = Payload::new(&format!("{{\"x\":\"{}\"}}", "y".repeat(length))).unwrap();
        bench.sign(who, tx)
    };
    let huge = padded(&bench, 1, 0, 200_000);
    assert!(bench.admit(&huge).unwrap_err().reason().starts_with("transaction_too_large: "));
    let large = padded(&bench, 1, 0, 60_000);
    bench.admit(&large).unwrap();
    let other = padded(&bench, 2, 0, 60_000);
    assert_eq!(bench.admit(&other).unwrap_err().reason(), "mempool_full");
    assert!(bench.pool.bytes() > 60_000);
    let hash = *bench.pool.iter().next().unwrap().0;
    bench.pool.remove_included(&[hash]);
    assert_eq!(bench.pool.bytes(), 0);
    bench.admit(&other).unwrap();
}

#[test]
fn what_a_block_included_leaves_and_so_do_used_nonces() {
    let mut bench = Bench::new(|_| {});
    let mut hashes = Vec::new();
    for (who, nonce) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let tx = bench.transfer(who, nonce);
        hashes.push(bench.admit(&tx).unwrap());
    }
    // The block has our (1, 0), and another (2, 0) than ours.
    bench.set(1, 1, RICH);
    bench.set(2, 1, RICH);
    let senders = [bench.address(1), bench.address(2), bench.address(3)];
    bench.with_accounts(|pool, accounts| {
        pool.remove_included(&[hashes[0], Hash32::ZERO]);
        pool.revalidate(&senders, accounts, NOW);
    });
    assert_eq!(bench.ready(9), [(1, 1), (2, 1)]);
    assert_eq!(bench.pool.len(), 2);
}

#[test]
fn removed_blocks_give_their_transactions_back_in_front_of_all_others() {
    let mut bench = Bench::new(|_| {});
    let newer = bench.transfer(2, 0);
    bench.admit(&newer).unwrap();
    let removed: Vec<_> = [(1, 0), (3, 0), (1, 1)].map(|(who, nonce)| bench.transfer(who, nonce)).into();
    // The surviving branch has (3, 0) too.
    bench.set(3, 1, RICH);
    let returned = bench.with_accounts(|pool, accounts| pool.return_txs(removed.clone(), accounts, NOW));
    let back: Vec<_> = returned.back.into_iter().map(|(tx, _)| tx).collect();
    assert_eq!((back, returned.dropped.len()), (vec![removed[0].clone(), removed[2].clone()], 0));
    assert_eq!(bench.nonces(), [(1, 0), (1, 1), (2, 0)]);
    assert_eq!(bench.ready(9), [(1, 0), (1, 1), (2, 0)]);
}

#[test]
fn in_a_full_pool_the_newest_make_room_for_what_is_returned() {
    let mut bench = Bench::new(|limits| {
        limits.pool_txs = 4;
        limits.pool_waiting_percent = 100;
        limits.pool_per_sender = 3;
    });
    for (who, nonce) in [(2, 0), (1, 1), (1, 2), (1, 3)] {
        let tx = bench.transfer(who, nonce);
        bench.admit(&tx).unwrap_or_else(|refusal| panic!("{refusal}"));
    }
    let removed = vec![bench.transfer(1, 0), bench.transfer(3, 0), bench.transfer(3, 1)];
    let returned = bench.with_accounts(|pool, accounts| pool.return_txs(removed, accounts, NOW));
    let dropped: Vec<u64> = returned.dropped.iter().map(|(tx, _)| tx.nonce).collect();
    assert_eq!((returned.back.len(), dropped), (3, vec![3, 2, 1]));
    assert_eq!(bench.nonces(), [(1, 0), (3, 0), (3, 1), (2, 0)]);
}

#[test]
fn only_the_very_next_paid_transaction_of_an_account_may_go_to_legacy_peers() {
    let mut bench = Bench::new(|_| {});
    let hash = |bench: &mut Bench, who, nonce| {
        let tx = bench.transfer(who, nonce);
        bench.admit(&tx).unwrap()
    };
    bench.set(2, 0, 1);
    let [next, second, gap, poor] = [(1, 0), (1, 1), (1, 3), (2, 0)].map(|(who, nonce)| hash(&mut bench, who, nonce));
    let executable =
        |bench: &mut Bench, hash| bench.with_accounts(|pool, accounts| pool.is_executable_next(&hash, accounts));
    assert!(executable(&mut bench, next));
    assert!(!executable(&mut bench, second) && !executable(&mut bench, gap) && !executable(&mut bench, poor));
    assert!(!executable(&mut bench, Hash32::ZERO));
    bench.set(1, 1, RICH);
    assert!(executable(&mut bench, second));
}

#[test]
fn canonical_transactions_are_pooled_too() {
    let mut bench = Bench::new(|_| {});
    bench.keys = (1u8..=4).map(|n| SecretKey::from_hex(Scheme::Ed25519, &hex::encode([n; 32])).unwrap()).collect();
    let genesis = Genesis {
        network: "local".into(),
        chain_id: "cpc-local-1".into(),
        hash_rules: HashRules::Canonical,
        ..(**bench.pool.verifier.genesis()).clone()
    };
    bench.pool = Mempool::new(Verifier::new(Arc::new(genesis)), &Limits::default());
    bench.set(1, 0, RICH);
    let signed = bench.transfer(1, 0);
    bench.admit(&signed).unwrap();
    assert_eq!(bench.ready(1), [(1, 0)]);
}

#[test]
fn takes_the_transactions_of_the_reference_chain_block_by_block() {
    let vectors = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1/fork");
    let genesis = Genesis::from_json(&std::fs::read(vectors.join("genesis.json")).unwrap(), Network::Devnet).unwrap();
    let mut bench = Bench::new(|_| {});
    bench.pool = Mempool::new(Verifier::new(Arc::new(genesis)), &Limits::default());
    let mut taken = 0;
    let blocks = flate2::read::GzDecoder::new(std::fs::File::open(vectors.join("blocks.jsonl.gz")).unwrap());
    for line in std::io::read_to_string(blocks).unwrap().lines() {
        let block: Block = serde_json::from_str(line).unwrap();
        let mut hashes = Vec::new();
        for tx in block.txs {
            let account = Account { nonce: 0, balance: RICH * 1000 };
            bench.accounts.borrow_mut().entry(tx.from_address.clone()).or_insert(account);
            hashes.push(bench.admit(&Arc::new(tx)).unwrap());
        }
        assert_eq!(bench.pool.ready(100).len(), hashes.len(), "block {}", block.header.height);
        let senders: Vec<Address> = bench.pool.iter().map(|(_, tx)| tx.from_address.clone()).collect();
        for sender in &senders {
            bench.accounts.borrow_mut().get_mut(sender).unwrap().nonce += 1;
        }
        bench.with_accounts(|pool, accounts| {
            pool.remove_included(&hashes);
            pool.revalidate(&senders, accounts, NOW);
        });
        taken += hashes.len();
    }
    assert!(bench.pool.is_empty() && taken > 100, "{taken}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Signatures take the time here, so that transactions go in by `insert`, as if verified elsewhere.
    #[test]
    fn stays_bounded_and_its_books_agree(steps in prop::collection::vec((0u8..10, 1usize..4, 0u64..12, 1000u128..1400), 0..150)) {
        let mut bench = Bench::new(|limits| {
            limits.pool_txs = 12;
            limits.pool_per_sender = 6;
            limits.pool_nonce_gap = 8;
        });
        for (seconds, (act, who, nonce, price)) in (0..).map(|n| n * 60).zip(steps) {
            let now = Duration::from_secs(seconds);
            let tx = Arc::new(Transaction { gas_price: price, fee: Quantity::from(21_000 * price), ..bench.unsigned(who, nonce) });
            let hash = bench.pool.verifier.hasher().transaction_hash(&tx);
            let sender = bench.address(who);
            match act {
                0 => bench.set(who, nonce, 21_000 * price * u128::from(nonce)),
                1 => { bench.with_accounts(|pool, accounts| pool.revalidate([&sender], accounts, now)); }
                2 => { bench.with_accounts(|pool, accounts| pool.revalidate_all(accounts, now)); }
                3 => { bench.with_accounts(|pool, _| pool.expire(now)); }
                4 => { bench.with_accounts(|pool, accounts| pool.return_txs(vec![tx], accounts, now)); }
                5 => {
                    let first = bench.pool.iter().next().map(|(hash, tx)| (*hash, tx.from_address.clone()));
                    if let Some((first, sender)) = first {
                        bench.with_accounts(|pool, accounts| {
                            pool.remove_included(&[first]);
                            pool.revalidate([&sender], accounts, now);
                        });
                    }
                }
                _ => { let _ = bench.with_accounts(|pool, accounts| pool.insert(tx, hash, accounts, now)); }
            }
            let ready = bench.ready(100);
            prop_assert_eq!(ready.len(), bench.pool.len() - bench.pool.waiting());
            for (i, (who, nonce)) in ready.iter().enumerate() {
                let earlier = ready[..i].iter().rfind(|(other, _)| other == who);
                prop_assert!(earlier.is_none_or(|(_, before)| before + 1 == *nonce));
            }
        }
    }
}

#[test]
fn a_pool_that_lends_memory_does_without_the_newest_of_what_pays_least_and_what_follows_them() {
    const EACH: usize = 100 << 10;
    let mut bench = Bench::new(|limits| limits.pool_bytes = 8 * (EACH + (2 << 10)));
    for (who, nonce, price) in [(0, 0, PRICE), (1, 0, 3 * PRICE), (1, 1, PRICE), (2, 0, 2 * PRICE), (0, 1, 4 * PRICE)] {
        bench.admit(&bench.heavy(who, nonce, EACH, price)).unwrap();
    }
    let room = bench.pool.limits.pool_bytes - bench.pool.bytes();
    let lend = |bench: &mut Bench, bytes| {
        let dropped = bench.pool.lend(bytes);
        bench.check_books();
        dropped.len()
    };
    assert_eq!(lend(&mut bench, room), 0, "it was not needed");
    assert_eq!(lend(&mut bench, room + 1), 1);
    assert_eq!(bench.nonces(), [(0, 0), (1, 0), (2, 0), (0, 1)], "of the two that pay least the newer one went");
    assert_eq!(bench.admit(&bench.heavy(3, 0, EACH, 9 * PRICE)), Err(Refusal::PoolFull));
    assert_eq!(lend(&mut bench, room + EACH + (8 << 10)), 2, "without a lower nonce the higher one is of no use");
    assert_eq!(bench.nonces(), [(1, 0), (2, 0)]);
    assert_eq!(lend(&mut bench, usize::MAX), 1);
    assert_eq!(bench.nonces(), [(1, 0)]);
    assert_eq!(bench.pool.most_bytes(), bench.pool.limits.pool_bytes / 8, "an eighth stays");
    assert_eq!(lend(&mut bench, 0), 0);
    bench.admit(&bench.heavy(3, 0, EACH, PRICE)).unwrap();
}
