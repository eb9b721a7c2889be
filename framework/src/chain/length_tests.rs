//! No block is taken that could not be given on, whatever somebody has padded where no hash covers it (attacks.md row 23).

use std::sync::Arc;

use super::produce_tests::mainline;
use super::verify::{ANY_LENGTH, BatchVerifier, KeyBook, Known};
use super::{Chain, Stop, VerifiedTxs};
use crate::env::{ComputePool, Env};
use crate::executor::accounts::AccountExecutor;
use crate::rules::{Rule, Verifier};
use crate::store::memory::MemoryStore;
use crate::sync::RejectKind;
use crate::types::{Block, Hash32, HexText, Payload, Quantity, TxType, json_length};

/// Every way to make this block longer without another hash, and with signatures that still hold.
fn padded(block: &Block) -> Vec<(&'static str, Block)> {
    const MUCH: usize = 100_000;
    let zeros = |signature: &HexText| {
        let text = signature.text();
        HexText::new(&format!("{}{}{}", &text[..64], "00".repeat(MUCH), &text[64..]))
    };
    let spaced = |signature: &HexText| HexText::new(&format!("{}{}", signature.text(), " \t".repeat(MUCH)));
    let with = |change: &dyn Fn(&mut Block)| {
        let mut block = block.clone();
        change(&mut block);
        block
    };
    let transfer = block.txs.iter().position(|tx| tx.tx_type == TxType::Transfer).expect("a block with a transfer");
    vec![
        ("zeros before s", with(&|block| block.txs[0].signature = zeros(&block.txs[0].signature))),
        ("white space in a signature", with(&|block| block.txs[0].signature = spaced(&block.txs[0].signature))),
        ("zeros in the block's signature", with(&|block| block.pq_signature = zeros(&block.pq_signature))),
        ("white space in the block's signature", with(&|block| block.pq_signature = spaced(&block.pq_signature))),
        (
            "the payload of a transfer",
            with(&|block| {
                block.txs[transfer].payload =
                    Payload::new(&format!("{{\"x\":\"{}\"}}", "\u{7f}".repeat(MUCH))).unwrap();
            }),
        ),
        (
            "a gas limit of many digits",
            with(&|block| block.txs[0].gas_limit = Quantity::from_digits(&"9".repeat(4300)).unwrap()),
        ),
        (
            "the hashes of proofs",
            with(&|block| block.header.zk_state_proof_hash = Some("\u{1}".repeat(super::verify::HEADER_TEXTS))),
        ),
    ]
}

fn fit_block() -> (Verifier, KeyBook, Block) {
    let (genesis, blocks) = mainline();
    let verifier = Verifier::new(genesis);
    let keys = KeyBook::default();
    for validator in &verifier.genesis().validators {
        keys.insert(validator.address.clone(), validator.pub_key.clone());
    }
    let is_fit = |block: &Block| {
        block.txs.iter().any(|tx| tx.tx_type == TxType::Transfer) && keys.get(&block.header.proposer_address).is_some()
    };
    let block = blocks.into_iter().find(is_fit).unwrap();
    (verifier, keys, block)
}

#[test]
fn a_block_that_is_too_long_to_be_given_on_is_nobodys_fault_wherever_it_is_padded() {
    let (verifier, keys, block) = fit_block();
    let verdict = |block: &Block, longest: usize, known: Known| {
        let (keys, verified, pool) = (keys.clone(), VerifiedTxs::default(), ComputePool::Inline);
        let all = BatchVerifier { verifier: verifier.clone(), keys, verified, pool, longest };
        let batch = all.verify(vec![verifier.hasher().hash_block(Arc::new(block.clone()))], known);
        batch.rejection.map(|rejection| (rejection.rule, rejection.kind(), rejection.to_string()))
    };
    let hash = verifier.hasher().header_hash(&block.header);
    for (what, block) in padded(&block) {
        assert_eq!(verifier.hasher().header_hash(&block.header), hash, "{what}: no hash covers it");
        let length = json_length::block(&block);
        for known in [Known::Nothing, Known::Signed, Known::Vouched(block.header.height)] {
            assert_eq!(verdict(&block, ANY_LENGTH, known), None, "{what}: what is stored is good");
            assert_eq!(verdict(&block, length, known), None, "{what}");
            let (rule, kind, text) = verdict(&block, length - 1, known).expect(what);
            assert_eq!((rule, kind), (Rule::Length, RejectKind::BodyMismatch), "{what}");
            assert!(
                text.contains(&format!("it has {length} bytes as JSON, and nodes read {} at most", length - 1)),
                "{text}"
            );
        }
    }
}

#[test]
fn a_header_that_is_padded_is_refused_though_the_block_would_fit() {
    let (verifier, keys, mut block) = fit_block();
    block.header.zk_compute_proof_hash = Some("5".repeat(super::verify::HEADER_TEXTS + 1));
    let (verified, pool, longest) = (VerifiedTxs::default(), ComputePool::Inline, 1 << 20);
    let all = BatchVerifier { verifier, keys, verified, pool, longest };
    let hashed = all.verifier.hasher().hash_block(Arc::new(block));
    let rejection = all.verify(vec![hashed], Known::Nothing).rejection.unwrap();
    assert_eq!(rejection.rule, Rule::Length, "{rejection}");
}

#[tokio::test]
async fn an_import_goes_on_with_a_shorter_copy_of_a_block_that_was_too_long() {
    let (genesis, blocks) = mainline();
    let executor = Arc::new(AccountExecutor);
    let chain = Chain::open(genesis, Arc::new(MemoryStore::default()), executor, Env::system().unwrap()).await.unwrap();
    let mut chain = chain.with_longest_block(50_000);
    let at = blocks.iter().position(|block| block.txs.iter().any(|tx| tx.tx_type == TxType::Transfer)).unwrap();
    let (_, long) = padded(&blocks[at]).swap_remove(0);
    let mut first: Vec<Arc<Block>> = blocks[..at].iter().cloned().map(Arc::new).collect();
    first.push(Arc::new(long));
    let report = chain.import(first).await.unwrap();
    assert!(matches!(report.stop, Some(Stop::Rejected(rejection)) if rejection.rule == Rule::Length));
    assert_eq!(report.applied.len(), at);
    let report = chain.import(vec![Arc::new(blocks[at].clone())]).await.unwrap();
    assert!(report.stop.is_none() && report.applied.len() == 1);
    assert_ne!(chain.tip().unwrap().hash, Hash32::ZERO);
}
