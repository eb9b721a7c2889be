//! v1's hashes do not tell all transactions apart (protocol.md section 5), and what is told apart by them is told apart wrongly.

use std::sync::Arc;

use super::fixtures::{Chain, User, genesis, users};
use crate::rules::{Rule, Verifier};
use crate::types::{Address, Genesis, Hash32, HashRules, Transaction};

/// Two transfers of one sender with one text to hash, `...` `210000001` `0` and `...` `21000000` `10`, so with one
/// signature that fits both, and the nine between their nonces.
fn eleven(genesis: &Genesis, user: &User, to: &Address) -> Vec<Arc<Transaction>> {
    let fees = |nonce| if nonce == 0 { 210_000_001u128 } else { 21_000_000 };
    (0..=10).map(|nonce| user.transfer_for_fee(genesis, nonce, to, 7, fees(nonce))).collect()
}

#[test]
fn transactions_with_one_hash_are_two_where_their_nonces_differ() {
    let users = users(HashRules::ComputechainV1, 2);
    let genesis = genesis(HashRules::ComputechainV1, &users);
    let txs = eleven(&genesis, &users[0], &users[1].address);
    let mut chain = Chain::new(genesis);
    let hashes: Vec<Hash32> = txs.iter().map(|tx| chain.hasher.transaction_hash(tx)).collect();
    assert_eq!(hashes[0], hashes[10]);
    assert_ne!(txs[0], txs[10]);
    let verifier = Verifier::new(Arc::clone(&chain.genesis));
    for (tx, hash) in txs.iter().zip(&hashes) {
        verifier.verify_transaction(tx, hash).unwrap();
    }
    let block = chain.propose(txs);
    assert_eq!(block.txs.len(), 11);
    verifier.check_block(&chain.hasher.hash_block(Arc::new(block.clone()))).unwrap();
    chain.execute(&block);
    assert_eq!(chain.account(&users[0].address).unwrap().nonce, 11);
}

#[test]
fn a_nonce_that_stands_twice_is_refused_whatever_else_differs() {
    let users = users(HashRules::ComputechainV1, 2);
    let genesis = genesis(HashRules::ComputechainV1, &users);
    let twice: Vec<_> =
        [5, 6].iter().map(|amount| users[0].transfer(&genesis, 0, &users[1].address, *amount)).collect();
    let mut chain = Chain::new(genesis);
    let verifier = Verifier::new(Arc::clone(&chain.genesis));
    let mut block = chain.propose(vec![Arc::clone(&twice[0])]);
    block.txs.push(Transaction::clone(&twice[1]));
    let hashes: Vec<Hash32> = block.txs.iter().map(|tx| chain.hasher.transaction_hash(tx)).collect();
    block.header.tx_root = chain.hasher.tx_root(&hashes);
    block.header.gas_used *= 2;
    let refused = verifier.check_block(&chain.hasher.hash_block(Arc::new(block))).unwrap_err();
    assert_eq!(refused.rule, Rule::TxNonce, "{refused}");
}
