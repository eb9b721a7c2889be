//! The chains of the reference: what it wrote is what we write.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use cpc_framework::types::{Block, Message, WireBlock};
use flate2::read::GzDecoder;

use super::{decode, encode};

pub(super) fn lines(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1").join(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    BufReader::new(GzDecoder::new(file)).lines().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_block_of_the_reference_is_written_as_it_was_read() {
    for name in ["mainline/blocks.jsonl.gz", "fork/blocks.jsonl.gz", "fork/branch.jsonl.gz"] {
        for line in lines(name) {
            let frame = format!("{{\"type\":\"new_block\",\"payload\":{{\"block\":{line}}}}}\n");
            let message = decode(&frame).unwrap();
            let Message::NewBlock(block) = &message else { panic!("{message:?}") };
            let block = block.decode().unwrap();
            assert_eq!(encode(&message), frame, "height {}", block.header.height);
            let encoded = Message::NewBlock(WireBlock::Encoded(WireBlock::Decoded(block).encode()));
            assert_eq!(encode(&encoded), frame);
        }
    }
}

#[test]
fn a_block_is_written_as_its_json_form_says() {
    let mut random = cpc_framework::testkit::messages::Messages::from_printed_seed();
    for _ in 0..300 {
        let block: Block = random.block();
        let line = encode(&Message::NewBlock(block.clone().into()));
        let json = serde_json::to_string(&block).unwrap();
        assert_eq!(line, format!("{{\"type\":\"new_block\",\"payload\":{{\"block\":{json}}}}}\n"));
    }
}

#[test]
fn a_batch_of_500_reference_blocks_is_one_line() {
    let blocks = lines("mainline/blocks.jsonl.gz");
    let line = format!("{{\"type\":\"blocks_response\",\"payload\":{{\"blocks\":[{}]}}}}\n", blocks[..500].join(","));
    let message = decode(&line).unwrap();
    assert!(matches!(&message, Message::BlocksResponse { blocks, malformed: None } if blocks.len() == 500));
    assert_eq!(encode(&message), line);
}

#[cfg(feature = "postcard")]
#[test]
fn json_to_postcard_to_json_is_the_identity_in_two_fifths_of_the_bytes() {
    use cpc_framework::codec::Codec;

    for name in ["mainline/blocks.jsonl.gz", "fork/blocks.jsonl.gz", "fork/branch.jsonl.gz"] {
        let (mut json, mut binary) = (0, 0);
        for chunk in lines(name).chunks(100) {
            let line = format!("{{\"type\":\"blocks_response\",\"payload\":{{\"blocks\":[{}]}}}}\n", chunk.join(","));
            let mut frame = bytes::BytesMut::new();
            crate::PostcardCodec.encode(&decode(&line).unwrap(), super::CAP, &mut frame).unwrap();
            json += line.len();
            binary += frame.len();
            let decoded = crate::PostcardCodec.decoder().decode(&mut frame, super::CAP).unwrap().unwrap();
            assert_eq!(encode(&decoded), line);
        }
        assert!(binary * 5 <= json * 2, "{name}: {binary} of {json} bytes");
    }
}
