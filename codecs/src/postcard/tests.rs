use std::sync::Arc;

use bytes::Bytes;
use cpc_framework::testkit::codec::CodecFixture;
use cpc_framework::testkit::messages::Messages;
use cpc_framework::types::{
    Address, Handshake, Hash32, HexText, MessageKind, Quantity, Transaction, TxType, WireBlock,
};

use super::*;

const CAP: usize = 32 * 1024 * 1024;

fn fixture() -> CodecFixture {
    CodecFixture {
        codec: Box::new(PostcardCodec),
        malformed: vec![
            frame(&[]),
            frame(&[0]),
            frame(&[1]),
            frame(&[2, 1, 9]),
            frame(&[3, 1]),
            // A byte too much.
            frame(&[3, 1, 2, 0]),
            frame(&[4]),
            frame(&[4, 0, 0]),
            // 2^63 features in a handshake that otherwise is well-formed.
            frame(b"\x00\x00\x00\x01\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ],
        unknown: vec![frame(&[7]), frame(&[255, 1, 2, 3])],
        broken_response,
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [b"\xc7cpc\x01", &u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// The last block claims to be longer than the frame.
fn broken_response(blocks: &[WireBlock]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let message = Message::BlocksResponse { blocks: blocks.to_vec(), malformed: None };
    PostcardCodec.encode(&message, CAP, &mut out).unwrap();
    let mut body = out[HEADER..].to_vec();
    body[1] += 1;
    body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3]);
    frame(&body)
}

cpc_framework::codec_suite!(postcard, fixture());

fn encode(message: &Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    PostcardCodec.encode(message, CAP, &mut out).unwrap();
    out.to_vec()
}

fn decode(bytes: &[u8]) -> Result<Option<Message>, DecodeError> {
    PostcardCodec.decoder().decode(&mut BytesMut::from(bytes), CAP)
}

/// Written by hand from the format's description; a change here is another version.
fn both_ways(message: &Message, body: &[&[u8]]) {
    let bytes = frame(&body.concat());
    assert_eq!(encode(message), bytes);
    assert_eq!(decode(&bytes), Ok(Some(message.clone())));
}

#[test]
fn the_bytes_of_a_handshake_are_frozen() {
    let mut handshake = Handshake {
        node_id: "192.0.2.7:9000".to_owned(),
        p2p_port: 9000,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height: Some(300),
        best_hash: Some(Hash32([0xab; 32])),
        genesis_hash: Some(Hash32([0xcd; 32])),
        features: Some(vec!["a".to_owned()]),
        nonce: Some(1),
    };
    let start: &[u8] = b"\x00\x0e192.0.2.7:9000\xa8\x46\x01\x06devnet";
    both_ways(
        &Message::Handshake(handshake.clone()),
        &[start, b"\x01\xac\x02\x01", &[0xab; 32], b"\x01", &[0xcd; 32], b"\x01\x01\x01a\x01\x01"],
    );
    (handshake.best_height, handshake.best_hash, handshake.genesis_hash) = (None, None, None);
    (handshake.features, handshake.nonce) = (None, None);
    both_ways(&Message::Handshake(handshake), &[start, &[0; 5]]);
}

#[test]
fn a_hash_of_zeros_in_a_handshake_stands_for_no_block_as_in_json() {
    let known = Messages::new(1).handshake();
    let zeros = Handshake { best_hash: Some(Hash32::ZERO), genesis_hash: Some(Hash32::ZERO), ..known.clone() };
    let none = Handshake { best_hash: None, genesis_hash: None, ..known };
    assert_eq!(decode(&encode(&Message::Handshake(zeros))), Ok(Some(Message::Handshake(none))));
}

#[test]
fn the_bytes_of_a_range_are_frozen() {
    both_ways(&Message::GetBlocks { from_height: 1, to_height: 500 }, &[b"\x03\x01\xf4\x03"]);
}

#[test]
fn the_bytes_of_numbered_requests_and_answers_are_frozen() {
    let numbered = |message| Message::Numbered { id: 300, message: Box::new(message) };
    both_ways(&numbered(Message::GetBlocks { from_height: 1, to_height: 500 }), &[b"\x10\xac\x02\x03\x01\xf4\x03"]);
    both_ways(&numbered(Message::BlocksResponse { blocks: vec![], malformed: None }), &[b"\x10\xac\x02\x04\x00"]);
    both_ways(
        &numbered(Message::GetHeaderChain { from_height: 1, to_height: 500 }),
        &[b"\x10\xac\x02\x11\x01\xf4\x03"],
    );
    let headers = Bytes::from_static(b"two headers");
    both_ways(&numbered(Message::HeaderChain { headers }), &[b"\x10\xac\x02\x12two headers"]);
}

#[test]
fn a_number_before_what_has_none_is_refused() {
    for body in [&b"\x10\x01\x10\x01\x03\x01\x01"[..], b"\x10\x01\x06\x00\x00", b"\x10\x01", b"\x10"] {
        assert!(matches!(decode(&frame(body)), Err(DecodeError::Malformed(_))), "{body:?}");
    }
}

#[test]
fn the_bytes_of_a_transaction_are_frozen() {
    let tx = Transaction {
        tx_type: TxType::Transfer,
        from_address: Address::bech32("cpc", &[7; 20]).unwrap(),
        to_address: Some(Address::new("x")),
        amount: 128,
        fee: Quantity::from(5u64),
        nonce: 2,
        signature: HexText::new("00ff"),
        pub_key: HexText::new("AB"),
        payload: cpc_framework::types::Payload::default(),
        gas_price: 1,
        gas_limit: Quantity::from(6u64),
    };
    both_ways(
        &Message::NewTx(Arc::new(tx)),
        &[
            b"\x02\x01\x00\x15\x01",
            &[7; 20],
            b"\x01\x02\x00x\x80\x01\x01\x05\x02\x00\x02\x00\xff\x01\x02AB\x00\x01\x01\x06",
        ],
    );
}

#[test]
fn blocks_are_spliced_unchanged_and_come_out_as_slices() {
    let block = Bytes::from(vec![9; 200]);
    both_ways(&Message::NewBlock(WireBlock::Encoded(block.clone())), &[b"\x01", &block]);
    let two = vec![WireBlock::Encoded(block.clone()), WireBlock::Encoded(block.clone())];
    let message = Message::BlocksResponse { blocks: two, malformed: None };
    both_ways(&message, &[b"\x04\x02\xc8\x01", &block, b"\xc8\x01", &block]);
    both_ways(&Message::BlocksResponse { blocks: vec![], malformed: None }, &[b"\x04\x00"]);
}

#[test]
fn a_block_of_any_length_is_the_same_from_memory_as_from_a_store() {
    let mut block = (*WireBlock::decode(&Messages::from_printed_seed().block().into()).unwrap()).clone();
    // Lengths in two bytes, as most are, and in three; the lengths of neighbours as different as can be.
    let mut blocks = Vec::new();
    for texts in [0, 50, 20_000, 10, 16_000, 70_000, 0] {
        block.header.chain_id = "x".repeat(texts);
        blocks.push(WireBlock::from(block.clone()));
    }
    let stored = blocks.iter().map(|block| WireBlock::Encoded(block.encode())).collect();
    let from_memory = encode(&Message::BlocksResponse { blocks, malformed: None });
    assert_eq!(from_memory, encode(&Message::BlocksResponse { blocks: stored, malformed: None }));
    assert!(matches!(decode(&from_memory), Ok(Some(Message::BlocksResponse { malformed: None, .. }))));
}

#[test]
fn a_count_reserves_no_more_than_has_arrived() {
    let claims = frame(&[&[4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0; 300]].concat());
    let Ok(Some(Message::BlocksResponse { blocks, malformed: Some(_) })) = decode(&claims) else {
        panic!("not broken")
    };
    assert!(blocks.capacity() <= 4, "room for {} blocks", blocks.capacity());
}

#[test]
fn a_count_reserves_at_most_a_mebibyte_however_much_has_arrived() {
    let bytes = |count, left| body::blocks_reserved(count, left) * size_of::<WireBlock>();
    assert_eq!(body::blocks_reserved(500, CAP), 500);
    assert_eq!(body::blocks_reserved(500, 960), 10);
    assert!((1 << 19..=1 << 20).contains(&bytes(usize::MAX, CAP)));
}

#[test]
fn another_version_or_codec_is_refused_by_name() {
    for (bytes, expected) in [
        (&b"{\"type\":"[..], "the peer speaks json, this link speaks postcard"),
        (b"{", "the peer speaks json, this link speaks postcard"),
        (b"\xc7cpc\x02", "the peer speaks version 2 of postcard, this link speaks 1"),
        (b"\xc7cpx", "the peer does not: the frame's first byte is 0xc7"),
    ] {
        let error = decode(bytes).unwrap_err();
        assert!(error.is_fatal() && error.to_string().contains(expected), "{error}");
    }
}

#[cfg(feature = "json")]
#[test]
fn json_refuses_postcard_by_name() {
    let handshake = Messages::from_printed_seed().message(MessageKind::Handshake);
    let error = crate::JsonCodec.decoder().decode(&mut BytesMut::from(&encode(&handshake)[..]), CAP).unwrap_err();
    assert!(
        error.is_fatal() && error.to_string().contains("the peer speaks postcard, this link speaks json"),
        "{error}"
    );
}

#[test]
fn tells_the_type_of_what_has_begun_as_far_as_it_has_come() {
    let mut frame = BytesMut::new();
    PostcardCodec.encode(&Message::GetBlocks { from_height: 1, to_height: 2 }, CAP, &mut frame).unwrap();
    let begun = |length: usize| PostcardCodec.decoder().begun(&BytesMut::from(&frame[..length]));
    assert_eq!(begun(HEADER + 1), Some(MessageKind::GetBlocks));
    assert_eq!((begun(HEADER), begun(0)), (None, None));
}
