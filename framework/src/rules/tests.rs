//! The rules against the chains and verdicts of the reference.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::keys::{Scheme, SecretKey, VALIDATOR_PREFIX};
use super::*;
use crate::sync::RejectKind;
use crate::types::{Address, Block, Genesis, Hash32, HexText, Network, Tip, Transaction, TxType};

#[derive(Deserialize)]
struct Summary {
    block_hashes: Vec<Hash32>,
    tx_hashes_of_last: Option<Vec<Hash32>>,
    fork: Option<Fork>,
}

#[derive(Deserialize)]
struct Fork {
    common: usize,
    best_hash: Hash32,
}

#[derive(Deserialize)]
struct Keys {
    validators: Vec<String>,
}

#[derive(Deserialize)]
struct Candidate {
    name: String,
    must: String,
    reference_accepts: bool,
    block: Box<RawValue>,
}

fn vector(chain: &str, file: &str) -> Vec<u8> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1").join(chain).join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text
}

fn blocks(chain: &str, file: &str) -> Vec<Block> {
    vector(chain, file)
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

fn verifier(chain: &str) -> Verifier {
    Verifier::new(Arc::new(Genesis::from_json(&vector(chain, "genesis.json"), Network::Devnet).unwrap()))
}

fn summary(chain: &str) -> Summary {
    serde_json::from_slice(&vector(chain, "summary.json")).unwrap()
}

/// The public keys of a chain's validators, by address.
fn validator_keys(chain: &str) -> HashMap<Address, HexText> {
    let keys: Keys = serde_json::from_slice(&vector(chain, "keys.json")).unwrap();
    let key = |text: &String| SecretKey::from_hex(Scheme::Secp256k1, text).unwrap();
    keys.validators.iter().map(key).map(|key| (key.address(VALIDATOR_PREFIX), key.public_key())).collect()
}

fn as_parent(block: &HashedBlock) -> Parent {
    Parent { tip: block.link.tip(), timestamp: block.block.header.timestamp }
}

/// Everything that can be checked of a chain without its state.
fn check_chain(verifier: &Verifier, blocks: Vec<Block>, mut parent: Option<Parent>) -> Vec<HashedBlock> {
    // Every vector chain has the same validators.
    let keys = validator_keys("fork");
    let mut checked = Vec::new();
    for block in blocks {
        let block = verifier.hasher().hash_block(Arc::new(block));
        let header = &block.block.header;
        verifier.check_block(&block).unwrap();
        verifier.check_parent(header, parent).unwrap();
        let mut checks = verifier.transaction_signatures(&block, &|_, _| false).unwrap();
        checks.push(verifier.block_signature(&block, &keys[&header.proposer_address]).unwrap());
        assert_eq!(verifier.verify(&checks), Ok(()), "block {}", header.height);
        parent = Some(as_parent(&block));
        checked.push(block);
    }
    checked
}

#[test]
fn mainline_has_the_hashes_of_the_reference() {
    let summary = summary("mainline");
    let chain = check_chain(&verifier("mainline"), blocks("mainline", "blocks.jsonl.gz"), None);
    let hashes: Vec<_> = chain.iter().map(|block| block.link.hash).collect();
    assert_eq!(hashes, summary.block_hashes);
    assert_eq!(chain.last().unwrap().tx_hashes, summary.tx_hashes_of_last.unwrap());
}

#[test]
fn both_branches_of_the_fork_have_the_hashes_of_the_reference() {
    let summary = summary("fork");
    let fork = summary.fork.unwrap();
    let verifier = verifier("fork");
    let chain = check_chain(&verifier, blocks("fork", "blocks.jsonl.gz"), None);
    let hashes: Vec<_> = chain.iter().map(|block| block.link.hash).collect();
    assert_eq!(hashes, summary.block_hashes);
    let common = &chain[fork.common];
    let parent = as_parent(common);
    let branch =
        blocks("fork", "branch.jsonl.gz").into_iter().filter(|b| b.header.height > common.link.height).collect();
    let branch = check_chain(&verifier, branch, Some(parent));
    assert_eq!(branch.last().unwrap().link.hash, fork.best_hash);
}

/// The rule that each refused candidate breaks; those that only state shows are marked so.
fn expected_rule(name: &str) -> Option<Rule> {
    Some(match name {
        "block signature flipped"
        | "block signature missing"
        | "block signature not hex"
        | "block signed by another validator" => Rule::BlockSignature,
        "height skips one" | "height repeats" => Rule::Height,
        "prev_hash wrong" => Rule::PrevHash,
        "timestamp equal to parent" | "timestamp before parent" => Rule::Timestamp,
        "timestamp an hour ahead of the clock" => Rule::FutureTimestamp,
        "tx_root wrong" => Rule::TxRoot,
        "compute_root set without results" => Rule::ComputeRoot,
        "gas_used wrong" => Rule::GasUsed,
        "gas_limit above the network's" | "gas_limit below gas_used" => Rule::GasLimit,
        "chain_id of another chain" => Rule::ChainId,
        "tx signature flipped" | "tx amount changed after signing" => Rule::TxSignature,
        "tx pub_key of another account" => Rule::TxSender,
        "tx pub_key empty" => Rule::TxSignatureMissing,
        "tx fee below gas cost" => Rule::TxFee,
        "tx gas_price below minimum" => Rule::TxGasPrice,
        "tx gas_limit below base gas" => Rule::TxGasLimit,
        "tx amount negative" | "quirk: payload null" => Rule::Encoding,
        "tx repeated in the block" => Rule::TxNonce,
        "tx without to_address" => Rule::TxRecipient,
        "tx type UNSTAKE (no rule in v1)" => Rule::TxType,
        "signature scheme id 7" => Rule::SignatureScheme,
        "tx type STAKE without pub_key"
        | "quirk: result nonce 'x'"
        | "quirk: result nonce 5.5"
        | "quirk: result nonce None"
        | "quirk: result without proof"
        | "quirk: result of another worker"
        | "quirk: STAKE pub_key not hex" => Rule::TxPayload,
        _ => return None,
    })
}

/// Candidates that break a rule which needs the state.
const ONLY_STATE_SHOWS: [&str; 7] = [
    "wrong proposer for the round",
    "unknown proposer",
    "timestamp one round late, same proposer",
    "state_root wrong",
    "tx nonce too high",
    "tx nonce too low",
    "tx amount above balance",
];

/// All that the rules say of a candidate without the state of the chain.
fn stateless_verdict(verifier: &Verifier, parent: &HashedBlock, json: &str) -> Result<(), Rejection> {
    /// 2026-01-01, after every block of the vectors but one.
    const NOW: u64 = 1_767_225_600;
    let block: Block =
        serde_json::from_str(json).map_err(|error| verifier.unreadable(parent.link.height + 1, &error))?;
    let block = verifier.hasher().hash_block(Arc::new(block));
    let header = &block.block.header;
    verifier.check_parent(header, Some(as_parent(parent)))?;
    verifier.check_clock(header, NOW)?;
    verifier.check_block(&block)?;
    let mut checks = verifier.transaction_signatures(&block, &|_, _| false)?;
    if let Some(key) = validator_keys("fork").get(&header.proposer_address) {
        checks.push(verifier.block_signature(&block, key)?);
    }
    verifier.verify(&checks).map_err(|i| verifier.signature_rejection(&block, &checks[i]))
}

#[test]
fn every_candidate_gets_the_verdict_and_the_rule_of_its_name() {
    let verifier = verifier("fork");
    let parent = verifier.hasher().hash_block(Arc::new(blocks("fork", "blocks.jsonl.gz").swap_remove(60)));
    let mut seen = 0;
    for line in vector("fork", "candidates-at-61.jsonl").split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let candidate: Candidate = serde_json::from_slice(line).unwrap();
        let name = candidate.name.as_str();
        seen += 1;
        match (stateless_verdict(&verifier, &parent, candidate.block.get()), expected_rule(name)) {
            (Ok(()), None) => {
                assert!(candidate.must != "reject" || ONLY_STATE_SHOWS.contains(&name), "{name} must be refused");
            }
            (Err(rejection), Some(rule)) => {
                assert_eq!(rejection.rule, rule, "{name}: {rejection}");
                let stricter = candidate.reference_accepts || rule == Rule::Encoding;
                assert_eq!(rejection.stricter_than_v1, stricter, "{name}: {rejection}");
                assert_eq!(candidate.must, "reject", "{name}: {rejection}");
            }
            (Err(rejection), None) => assert_eq!(candidate.must, "either", "{name}: {rejection}"),
            (Ok(()), Some(rule)) => panic!("{name} breaks {rule:?}, and nobody noticed"),
        }
    }
    assert_eq!(seen, 79);
}

#[test]
fn a_negative_amount_is_refused_by_name() {
    let line = vector("fork", "candidates-at-61.jsonl");
    let line = line
        .split(|b| *b == b'\n')
        .find(|line| String::from_utf8_lossy(line).starts_with("{\"name\": \"tx amount negative\""))
        .unwrap();
    let candidate: Candidate = serde_json::from_slice(line).unwrap();
    let error = serde_json::from_str::<Block>(candidate.block.get()).unwrap_err();
    let rejection = verifier("fork").unreadable(61, &error);
    assert!(rejection.to_string().starts_with("block 61 is invalid: encoding: amount: -"), "{rejection}");
    assert_eq!(rejection.kind(), RejectKind::Stricter);
}

#[test]
fn the_pool_gets_the_reasons_of_the_reference_in_its_order() {
    let verifier = verifier("fork");
    let valid = blocks("fork", "blocks.jsonl.gz").swap_remove(61).txs.swap_remove(0);
    let reason = |changes: &[fn(&mut Transaction)]| {
        let mut tx = valid.clone();
        for change in changes {
            change(&mut tx);
        }
        let hash = verifier.hasher().transaction_hash(&tx);
        verifier
            .check_transaction(&tx)
            .and_then(|_| verifier.verify_transaction(&tx, &hash))
            .map_err(|fault| fault.reason())
    };
    assert_eq!(reason(&[]), Ok(()));
    type Fault = (fn(&mut Transaction), &'static str);
    let faults: [Fault; 8] = [
        (|t| t.gas_price = 999, "gas_price 999 < min 1000"),
        (|t| t.tx_type = TxType::Unstake, "unknown_tx_type"),
        (|t| t.gas_limit = 1u64.into(), "gas_limit 1 < base_gas 21000"),
        (|t| t.fee = 5u64.into(), "fee 5 < needed_fee 21000000"),
        (|t| t.signature = HexText::default(), "missing_sig_or_key"),
        (|t| t.pub_key = HexText::from_bytes(&[2; 33]), "pub_key_mismatch"),
        (|t| t.pub_key = HexText::new("no hex"), "invalid_key_format: the public key \"no hex\" is not hexadecimal"),
        (|t| t.amount += 1, "invalid_signature"),
    ];
    for (i, (change, expected)) in faults.iter().enumerate() {
        assert_eq!(reason(&[*change]), Err((*expected).to_owned()));
        // A later fault beside it changes nothing.
        if i < 4 {
            assert_eq!(
                reason(&[*change, faults[i + 1].0, faults[7].0]).unwrap_err().split(' ').next(),
                expected.split(' ').next()
            );
        }
    }
    assert!(reason(&[|t| t.signature = HexText::new("00")]).unwrap_err().starts_with("crypto_error: "));
}

#[test]
fn a_gas_price_without_bound_overflows_nothing() {
    let verifier = verifier("fork");
    let mut tx = blocks("fork", "blocks.jsonl.gz").swap_remove(61).txs.swap_remove(0);
    tx.gas_price = u128::MAX;
    assert!(verifier.check_transaction(&tx).is_err());
}

#[test]
fn the_clock_allows_fifteen_seconds() {
    let verifier = verifier("fork");
    let header = blocks("fork", "blocks.jsonl.gz").swap_remove(61).header;
    assert_eq!(verifier.check_clock(&header, header.timestamp - 15), Ok(()));
    let rejection = verifier.check_clock(&header, header.timestamp - 16).unwrap_err();
    assert_eq!(rejection.kind(), RejectKind::FromTheFuture);
    assert_eq!(verifier.check_clock(&header, u64::MAX), Ok(()));
}

#[test]
fn what_only_we_refuse_is_nobodys_fault() {
    let verifier = verifier("fork");
    let first = blocks("fork", "blocks.jsonl.gz").swap_remove(0);
    let kind = |change: fn(&mut Block)| {
        let mut block = first.clone();
        change(&mut block);
        let rejection = verifier.check_block(&verifier.hasher().hash_block(Arc::new(block))).unwrap_err();
        (rejection.kind(), rejection.stricter_than_v1)
    };
    assert_eq!(kind(|b| b.header.prev_hash = Hash32([1; 32])), (RejectKind::Stricter, true));
    assert_eq!(kind(|b| b.header.chain_id.push('x')), (RejectKind::Stricter, true));
    assert_eq!(kind(|b| b.pq_sig_scheme_id = 237), (RejectKind::Stricter, true));
    assert_eq!(kind(|b| b.header.tx_root = Hash32([1; 32])), (RejectKind::BodyMismatch, true));
    assert_eq!(kind(|b| b.header.gas_used += 1), (RejectKind::Invalid, false));
}

#[test]
fn rounds_are_counted_from_the_second_block_time_on() {
    let verifier = verifier("fork");
    let block = verifier.hasher().hash_block(Arc::new(blocks("fork", "blocks.jsonl.gz").swap_remove(61)));
    let round = |seconds: u64| {
        let timestamp = block.block.header.timestamp - seconds;
        let tip = Tip { height: 60, hash: block.link.prev_hash };
        verifier.check_parent(&block.block.header, Some(Parent { tip, timestamp })).map_err(|rejection| rejection.rule)
    };
    assert_eq!(round(0), Err(Rule::Timestamp));
    assert_eq!([1, 9, 10, 19, 20, 30].map(round), [Ok(0), Ok(0), Ok(0), Ok(0), Ok(1), Ok(2)]);
    assert_eq!(verifier.check_parent(&block.block.header, None).unwrap_err().rule, Rule::Height);
}
