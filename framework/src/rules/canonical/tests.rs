use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::*;
use crate::rules::keys::{Scheme, SecretKey, VALIDATOR_PREFIX};
use crate::rules::{HashedBlock, Parent, Rule, TxFault, Verifier};
use crate::types::encoding::{decode_block, encode_block};
use crate::types::{Address, Block, Genesis, Hash32, HexText, Network, Quantity};

/// Blocks whose hashes, signatures and bytes were worked out apart from this code, from the documented encodings.
#[derive(Deserialize)]
struct Fixture {
    chain: Vec<Expected>,
    encoding_of_odd_spellings: Encoded,
}

#[derive(Deserialize)]
struct Expected {
    block: Block,
    block_hash: Hash32,
    tx_hashes: Vec<Hash32>,
    encoded: String,
}

#[derive(Deserialize)]
struct Encoded {
    block: Block,
    encoded: String,
}

fn read(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/canonical").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fixture() -> Fixture {
    serde_json::from_slice(&read("blocks.json")).unwrap()
}

fn verifier() -> Verifier {
    Verifier::new(Arc::new(Genesis::from_json(&read("genesis.json"), Network::Devnet).unwrap()))
}

fn key(byte: u8) -> SecretKey {
    SecretKey::from_hex(Scheme::Ed25519, &hex::encode([byte; 32])).unwrap()
}

fn account(byte: u8) -> Address {
    key(byte).address(super::super::keys::ACCOUNT_PREFIX)
}

#[test]
fn hashes_roots_and_signatures_are_frozen() {
    let verifier = verifier();
    let proposer = key(1);
    let mut parent: Option<HashedBlock> = None;
    for expected in fixture().chain {
        let block = verifier.hasher().hash_block(Arc::new(expected.block));
        assert_eq!(block.tx_hashes, expected.tx_hashes, "block {}", block.link.height);
        assert_eq!(block.link.hash, expected.block_hash, "block {}", block.link.height);
        assert_eq!(proposer.address(VALIDATOR_PREFIX), block.block.header.proposer_address);
        verifier.check_block(&block).unwrap();
        let above = parent.map(|p| Parent { tip: p.link.tip(), timestamp: p.block.header.timestamp });
        verifier.check_parent(&block.block.header, above).unwrap();
        let mut checks = verifier.transaction_signatures(&block, &|_, _| false).unwrap();
        checks.push(verifier.block_signature(&block, &proposer.public_key()).unwrap());
        assert_eq!(verifier.verify(&checks), Ok(()));
        assert_eq!(proposer.sign(&block.link.hash), block.block.pq_signature, "Ed25519 signs alike everywhere");
        parent = Some(block);
    }
}

#[test]
fn bytes_are_frozen() {
    let fixture = fixture();
    let chain = fixture.chain.into_iter().map(|expected| (expected.block, expected.encoded));
    let odd = fixture.encoding_of_odd_spellings;
    for (block, encoded) in chain.chain([(odd.block, odd.encoded)]) {
        assert_eq!(hex::encode(encode_block(&block)), encoded);
        assert_eq!(decode_block(&hex::decode(encoded).unwrap()).unwrap(), block);
    }
}

/// Sets one field of a header or transaction to something else.
type Change<'a, T> = &'a dyn Fn(&mut T);

#[test]
fn the_block_hash_covers_every_field_of_the_header() {
    let hasher = verifier().hasher().clone();
    let header = fixture().chain.swap_remove(2).block.header;
    let changes: [Change<'_, crate::types::Header>; 12] = [
        &|h| h.height += 1,
        &|h| h.prev_hash.0[0] ^= 1,
        &|h| h.timestamp += 1,
        &|h| h.chain_id.push('x'),
        &|h| h.proposer_address = account(9),
        &|h| h.tx_root.0[0] ^= 1,
        &|h| h.state_root.0[0] ^= 1,
        &|h| h.compute_root = None,
        &|h| h.gas_used += 1,
        &|h| h.gas_limit += 1,
        &|h| h.zk_state_proof_hash = Some(String::new()),
        &|h| h.zk_compute_proof_hash = Some(String::new()),
    ];
    let mut hashes = vec![hasher.header_hash(&header)];
    for change in changes {
        let mut changed = header.clone();
        change(&mut changed);
        hashes.push(hasher.header_hash(&changed));
    }
    assert_all_differ(hashes);
}

#[test]
fn the_transaction_hash_covers_every_field_but_the_signature() {
    let verifier = verifier();
    let hasher = verifier.hasher();
    let tx = fixture().chain.swap_remove(2).block.txs.swap_remove(0);
    let changes: [Change<'_, Transaction>; 12] = [
        &|t| t.tx_type = TxType::Stake,
        &|t| t.from_address = account(9),
        &|t| t.to_address = None,
        &|t| t.to_address = Some(Address::from("")),
        &|t| t.amount -= 1,
        &|t| t.fee = Quantity::from(1u64),
        &|t| t.fee = Quantity::from_digits(&"9".repeat(60)).unwrap(),
        &|t| t.nonce += 1,
        &|t| t.pub_key = HexText::default(),
        &|t| t.payload = Payload::default(),
        &|t| t.gas_price += 1,
        &|t| t.gas_limit = Quantity::from(1u64),
    ];
    let mut hashes = vec![hasher.transaction_hash(&tx)];
    for change in changes {
        let mut changed = tx.clone();
        change(&mut changed);
        hashes.push(hasher.transaction_hash(&changed));
    }
    let elsewhere = Genesis { chain_id: "cpc-local-other".into(), ..(**verifier.genesis()).clone() };
    hashes.push(crate::rules::Hasher::new(&elsewhere).transaction_hash(&tx));
    assert_all_differ(hashes);

    let mut signed = tx.clone();
    signed.signature = HexText::default();
    assert_eq!(hasher.transaction_hash(&signed), hasher.transaction_hash(&tx));
}

fn assert_all_differ(mut hashes: Vec<Hash32>) {
    let all = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), all);
}

#[test]
fn payloads_have_one_form() {
    let verdict = |json: &str| check_payload(&Payload::new(json).unwrap());
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    let sized = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    for good in [
        "{}",
        r#"{"a":1,"b":{"a":[],"b":[{},{"x":-5}]}}"#,
        r#"{"a":"x:y, {z} [","b":"\"\\\b\f\n\r\t\u0000\u001f/é"}"#,
        r#"{"":null,"a":true,"b":false}"#,
        r#"{"a":18446744073709551615,"b":-9223372036854775808}"#,
        r#"{"a":[{"z":1},{"a":1}]}"#,
        &nested(MAX_PAYLOAD_DEPTH),
        &sized(MAX_PAYLOAD_BYTES),
    ] {
        assert_eq!(verdict(good), Ok(()), "{good}");
    }
    for bad in [
        "{ }",
        r#"{"a": 1}"#,
        "{\"a\":1\t}",
        "{\"a\":1\n}",
        r#"{"b":1,"a":2}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"":1,"":2}"#,
        r#"{"a":{"":1,"":2}}"#,
        r#"{"\n":1}"#,
        r#"{"\u0061":1}"#,
        r#"{"a":"\u0061"}"#,
        r#"{"a":"\u001F"}"#,
        r#"{"a":"\u000a"}"#,
        r#"{"a":"\/"}"#,
        r#"{"a":"\ud83d\ude00"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":1.0}"#,
        r#"{"a":1e3}"#,
        r#"{"a":-0}"#,
        r#"{"a":18446744073709551616}"#,
        &nested(MAX_PAYLOAD_DEPTH + 1),
        &nested(100_000),
        &sized(MAX_PAYLOAD_BYTES + 1),
    ] {
        assert!(verdict(bad).is_err(), "{}", &bad[..bad.len().min(80)]);
    }
}

#[test]
fn what_serde_json_writes_is_canonical() {
    let value = serde_json::json!({"z": {"b": [1, -2, null], "a": "tab\t é \u{1}"}, "a": u64::MAX, "": true});
    assert_eq!(check_payload(&Payload::new(&value.to_string()).unwrap()), Ok(()));
}

/// A valid transaction, changed and signed again.
fn fault(change: impl FnOnce(&mut Transaction)) -> TxFault {
    let verifier = verifier();
    let mut tx = fixture().chain.swap_remove(1).block.txs.swap_remove(0);
    verifier.check_transaction(&tx).unwrap();
    change(&mut tx);
    tx.signature = key(2).sign(&verifier.hasher().transaction_hash(&tx));
    verifier.check_transaction(&tx).unwrap_err()
}

#[test]
fn nothing_that_v1_is_lenient_about_passes() {
    let no_fee_bound = Quantity::from_digits(&"9".repeat(60)).unwrap();
    let faults: [(&str, TxFault, Rule); 10] = [
        ("a recipient that is any text", fault(|t| t.to_address = Some("anybody".into())), Rule::Encoding),
        ("a validator as recipient", fault(|t| t.to_address = Some(key(1).address(VALIDATOR_PREFIX))), Rule::Encoding),
        ("a fee beyond 128 bits", fault(|t| t.fee = no_fee_bound.clone()), Rule::Encoding),
        ("a payload with white space", fault(|t| t.payload = Payload::new("{ }").unwrap()), Rule::Encoding),
        ("a key in upper case", fault(|t| t.pub_key = HexText::new(&t.pub_key.text().to_uppercase())), Rule::TxSender),
        ("another prefix", fault(|t| t.from_address = key(2).address("abc")), Rule::TxSender),
        ("a validator as sender", fault(|t| t.from_address = key(2).address(VALIDATOR_PREFIX)), Rule::TxSender),
        ("no recipient", fault(|t| t.to_address = None), Rule::TxRecipient),
        ("a stake with a recipient", fault(|t| (t.tx_type, t.fee, t.gas_limit) = stake()), Rule::Encoding),
        ("a reward", fault(|t| t.tx_type = TxType::PocReward), Rule::TxType),
    ];
    for (name, fault, rule) in faults {
        assert_eq!(fault.rule(), rule, "{name}: {fault}");
    }
}

fn stake() -> (TxType, Quantity, Quantity) {
    (TxType::Stake, Quantity::from(40_000_000u64), Quantity::from(40_000u64))
}

#[test]
fn a_stake_needs_a_real_key_and_a_result_a_plain_nonce() {
    let with = |json: &str| {
        let payload = Payload::new(json).unwrap();
        fault(|t| {
            (t.tx_type, t.fee, t.gas_limit) = stake();
            (t.to_address, t.payload) = (None, payload);
        })
    };
    let no_point = format!("02{}", "0".repeat(62));
    for bad in ["{}".to_owned(), format!(r#"{{"pub_key":"{no_point}"}}"#), r#"{"pub_key":"AB"}"#.to_owned()] {
        assert_eq!(with(&bad).rule(), Rule::TxPayload, "{bad}");
    }
    for nonce in ["-1", "\"5\"", "true", "null", "18446744073709551616", "1.0"] {
        let json = format!(
            r#"{{"nonce":{nonce},"proof":"","result_hash":"","signature":"","task_id":"","worker_address":""}}"#
        );
        let result =
            super::super::payload::task_result(crate::types::HashRules::Canonical, &Payload::new(&json).unwrap());
        assert!(result.is_err(), "{nonce}");
    }
}
