//! The exact bytes of each message type, written by hand from protocol.md sections 1 to 3.

use std::sync::Arc;

use cpc_framework::types::{
    Address, Block, Handshake, Hash32, Header, HexText, Message, Payload, Quantity, Transaction, TxType, WireBlock,
};

use super::{decode, encode};

const TX: &str = "{\"tx_type\":\"STAKE\",\"from_address\":\"cpc1\\\"quoted\\\"\",\"to_address\":null,\"amount\":1000000000000000000000000000,\
    \"fee\":1000000000000000000000000000000000000000000000000000000000000,\"nonce\":3,\"signature\":\"00ff\",\"pub_key\":\"AB cd\",\
    \"payload\":{\"pub_key\": \"02\"},\"gas_price\":1000,\"gas_limit\":40000}";

fn transaction() -> Transaction {
    Transaction {
        tx_type: TxType::Stake,
        from_address: Address::new("cpc1\"quoted\""),
        to_address: None,
        amount: 10u128.pow(27),
        fee: Quantity::from_digits(&format!("1{}", "0".repeat(60))).unwrap(),
        nonce: 3,
        signature: HexText::new("00ff"),
        pub_key: HexText::new("AB cd"),
        payload: Payload::new("{\"pub_key\": \"02\"}").unwrap(),
        gas_price: 1000,
        gas_limit: Quantity::from(40_000u64),
    }
}

fn block_json() -> String {
    let header = format!(
        "{{\"height\":7,\"prev_hash\":\"{}\",\"timestamp\":1764308899,\"chain_id\":\"cpc-devnet-1\",\"proposer_address\":\"cpcvalcons1x\",\
         \"tx_root\":\"{}\",\"state_root\":\"{}\",\"compute_root\":\"\",\"gas_used\":40000,\"gas_limit\":10000000,\
         \"zk_state_proof_hash\":null,\"zk_compute_proof_hash\":\"zk\"}}",
        "01".repeat(32),
        "02".repeat(32),
        "0a".repeat(32)
    );
    format!("{{\"header\":{header},\"txs\":[{TX}],\"pq_signature\":\"abcdef\",\"pq_sig_scheme_id\":1}}")
}

fn block() -> Block {
    Block {
        header: Header {
            height: 7,
            prev_hash: Hash32([1; 32]),
            timestamp: 1_764_308_899,
            chain_id: "cpc-devnet-1".to_owned(),
            proposer_address: Address::new("cpcvalcons1x"),
            tx_root: Hash32([2; 32]),
            state_root: Hash32([10; 32]),
            compute_root: None,
            gas_used: 40_000,
            gas_limit: 10_000_000,
            zk_state_proof_hash: None,
            zk_compute_proof_hash: Some("zk".to_owned()),
        },
        txs: vec![transaction()],
        pq_signature: HexText::new("abcdef"),
        pq_sig_scheme_id: 1,
    }
}

fn both_ways(message: &Message, line: &str) {
    assert_eq!(encode(message), line);
    assert_eq!(decode(line).as_ref(), Ok(message));
}

#[test]
fn a_handshake_on_an_empty_chain_says_minus_one_and_64_zeros() {
    let handshake = Handshake {
        node_id: "0.0.0.0:9000".to_owned(),
        p2p_port: 9000,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height: None,
        best_hash: None,
        genesis_hash: None,
        features: None,
        nonce: None,
    };
    let line = "{\"type\":\"handshake\",\"payload\":{\"node_id\":\"0.0.0.0:9000\",\"p2p_port\":9000,\"protocol_version\":1,\"network\":\"devnet\",\
        \"best_height\":-1,\"best_hash\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"genesis_hash\":null}}\n";
    both_ways(&Message::Handshake(handshake), line);
}

#[test]
fn a_handshake_carries_the_tip_and_the_extensions() {
    let handshake = Handshake {
        node_id: "192.0.2.7:9000".to_owned(),
        p2p_port: 9000,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height: Some(12),
        best_hash: Some(Hash32([0xab; 32])),
        genesis_hash: Some(Hash32([0xcd; 32])),
        features: Some(vec!["a".to_owned(), "b".to_owned()]),
        nonce: Some(u64::MAX),
    };
    let line = format!(
        "{{\"type\":\"handshake\",\"payload\":{{\"node_id\":\"192.0.2.7:9000\",\"p2p_port\":9000,\"protocol_version\":1,\"network\":\"devnet\",\
         \"best_height\":12,\"best_hash\":\"{}\",\"genesis_hash\":\"{}\",\"features\":[\"a\",\"b\"],\"nonce\":18446744073709551615}}}}\n",
        "ab".repeat(32),
        "cd".repeat(32)
    );
    both_ways(&Message::Handshake(handshake), &line);
}

#[test]
fn a_new_block_is_the_block() {
    let line = format!("{{\"type\":\"new_block\",\"payload\":{{\"block\":{}}}}}\n", block_json());
    both_ways(&Message::NewBlock(block().into()), &line);
    let encoded = WireBlock::Encoded(WireBlock::from(block()).encode());
    assert_eq!(encode(&Message::NewBlock(encoded)), line);
}

#[test]
fn a_new_transaction_keeps_every_spelling() {
    both_ways(
        &Message::NewTx(Arc::new(transaction())),
        &format!("{{\"type\":\"new_tx\",\"payload\":{{\"tx\":{TX}}}}}\n"),
    );
}

#[test]
fn get_blocks_names_both_ends() {
    let line = "{\"type\":\"get_blocks\",\"payload\":{\"from_height\":1,\"to_height\":500}}\n";
    both_ways(&Message::GetBlocks { from_height: 1, to_height: 500 }, line);
}

#[test]
fn a_response_is_a_list_of_blocks() {
    let empty = Message::BlocksResponse { blocks: vec![], malformed: None };
    both_ways(&empty, "{\"type\":\"blocks_response\",\"payload\":{\"blocks\":[]}}\n");
    let two = Message::BlocksResponse { blocks: vec![block().into(), block().into()], malformed: None };
    let line = format!("{{\"type\":\"blocks_response\",\"payload\":{{\"blocks\":[{0},{0}]}}}}\n", block_json());
    both_ways(&two, &line);
}

#[test]
fn a_numbered_request_or_answer_has_one_more_field() {
    let numbered = |message| Message::Numbered { id: 7, message: Box::new(message) };
    let line = "{\"type\":\"get_blocks\",\"payload\":{\"request_id\":7,\"from_height\":1,\"to_height\":500}}\n";
    both_ways(&numbered(Message::GetBlocks { from_height: 1, to_height: 500 }), line);
    let line = "{\"type\":\"blocks_response\",\"payload\":{\"request_id\":7,\"blocks\":[]}}\n";
    both_ways(&numbered(Message::BlocksResponse { blocks: vec![], malformed: None }), line);
    let line = "{\"type\":\"get_header_chain\",\"payload\":{\"request_id\":7,\"from_height\":1,\"to_height\":9}}\n";
    both_ways(&numbered(Message::GetHeaderChain { from_height: 1, to_height: 9 }), line);
    let line = "{\"type\":\"header_chain\",\"payload\":{\"request_id\":7,\"headers\":\"00ff\"}}\n";
    both_ways(&numbered(Message::HeaderChain { headers: bytes::Bytes::from_static(&[0, 255]) }), line);
}

#[test]
fn an_answer_keeps_its_number_where_a_block_cannot_be_read() {
    let line = "{\"type\":\"blocks_response\",\"payload\":{\"request_id\":7,\"blocks\":[{}]}}\n";
    let Ok(Message::Numbered { id: 7, message }) = decode(line) else { panic!("no numbered answer") };
    assert!(matches!(*message, Message::BlocksResponse { malformed: Some(_), .. }));
}
