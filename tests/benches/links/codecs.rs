//! What mainline's messages cost in each codec: bytes, and time to write and to read them, blocks and all.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use cpc_framework::types::{Block, Message, WireBlock};
use cpc_tests::vectors::Chain;
use serde_json::{Value, json};

const CAP: usize = 32 << 20;

/// Blocks in the answers measured.
const ANSWER: usize = 100;

/// Measures every kind of message that carries blocks or transactions.
pub(crate) fn measure(quick: bool) -> Value {
    let blocks: Vec<Block> = Chain::mainline().lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let txs = blocks.iter().flat_map(|block| block.txs.clone());
    let kinds: [(&str, Vec<Message>); 3] = [
        ("new_block", blocks.iter().map(|block| Message::NewBlock(block.clone().into())).collect()),
        ("new_tx", txs.map(|tx| Message::NewTx(Arc::new(tx))).collect()),
        (
            "blocks_response",
            blocks
                .chunks(ANSWER)
                .map(|blocks| {
                    let blocks = blocks.iter().cloned().map(WireBlock::from).collect();
                    Message::BlocksResponse { blocks, malformed: None }
                })
                .collect(),
        ),
    ];
    let rounds = if quick { 5 } else { 20 };
    println!(
        "{:<16} {:>12} {:>12} {:>12}  (postcard against JSON, all of mainline)",
        "message", "bytes", "encode", "decode"
    );
    let mut figures = serde_json::Map::new();
    for (name, messages) in kinds {
        let (json, postcard) = (cost(&JsonCodec, &messages, rounds), cost(&PostcardCodec, &messages, rounds));
        let (bytes, encode, decode) = (
            ratio(postcard.bytes, json.bytes),
            ratio(json.encode, postcard.encode),
            ratio(json.decode, postcard.decode),
        );
        println!("{name:<16} {bytes:>12.3} {encode:>10.1} x {decode:>10.1} x");
        figures.insert(name.to_owned(), json!({ "bytes": bytes, "encode": encode, "decode": decode }));
    }
    figures.into()
}

fn ratio(a: f64, b: f64) -> f64 {
    a / b
}

struct Cost {
    bytes: f64,
    encode: f64,
    decode: f64,
}

/// The best of several rounds over all messages.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn cost(codec: &dyn Codec, messages: &[Message], rounds: usize) -> Cost {
    let mut stream = BytesMut::new();
    let (mut encode, mut decode) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        stream.clear();
        let start = Instant::now();
        for message in messages {
            codec.encode(black_box(message), CAP, &mut stream).unwrap();
        }
        encode = encode.min(start.elapsed());
        let mut buffer = BytesMut::from(&stream[..]);
        let mut decoder = codec.decoder();
        let start = Instant::now();
        let mut read = 0;
        while let Some(message) = decoder.decode(&mut buffer, CAP).unwrap() {
            // A block counts once its fields can be used.
            match message {
                Message::NewBlock(block) => drop(black_box(block.decode().unwrap())),
                Message::BlocksResponse { blocks, .. } => {
                    for block in &blocks {
                        drop(black_box(block.decode().unwrap()));
                    }
                }
                other => drop(black_box(other)),
            }
            read += 1;
        }
        decode = decode.min(start.elapsed());
        assert_eq!(read, messages.len());
    }
    Cost { bytes: stream.len() as f64, encode: encode.as_secs_f64(), decode: decode.as_secs_f64() }
}
