//! Answers of 500 blocks through each link, from the encoding of the first to the decoding of the last.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use cpc_codecs::{JsonCodec, PostcardCodec};
use cpc_framework::codec::Codec;
use cpc_framework::transport::{Endpoint, Transport};
use cpc_framework::types::{Message, WireBlock, encoding};
use cpc_tests::vectors::Chain;
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bare;

/// The most blocks that an answer has.
const BLOCKS: usize = 500;

/// Blocks in a frame may be as large as answers to us may be.
const CAP: usize = 32 << 20;

/// Read at a time, as the node does.
const WINDOW: usize = 64 * 1024;

/// The best of so many runs counts: whatever else the machine does only ever slows one down.
const ROUNDS: usize = 5;

/// Bytes per second since `start`.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) fn per_second(bytes: usize, start: Instant) -> f64 {
    bytes as f64 / start.elapsed().as_secs_f64()
}

/// Measures bare sockets and links by turns.
pub(crate) async fn measure(quick: bool) -> Value {
    let bytes = if quick { 64 << 20 } else { 512 << 20 };
    let codecs: [Arc<dyn Codec>; 2] = [Arc::new(JsonCodec), Arc::new(PostcardCodec)];
    let answer = answer();
    let mut best = std::collections::BTreeMap::<String, f64>::new();
    for _ in 0..ROUNDS {
        let mut note = |name: String, rate: f64| {
            let entry = best.entry(name).or_default();
            *entry = entry.max(rate);
        };
        note("bare tcp".to_owned(), bare::tcp(bytes).await);
        note("bare quic".to_owned(), bare::quic(bytes / 4).await);
        for codec in &codecs {
            let tcp = Arc::new(TcpTransport::default());
            note(format!("tcp+{}", codec.name()), link(tcp, codec, &answer, bytes / 2).await);
            let identity = NodeIdentity::generate().unwrap();
            let quic = Arc::new(QuicTransport::new(&identity, codec.name()).unwrap());
            note(format!("quic+{}", codec.name()), link(quic, codec, &answer, bytes / 4).await);
        }
    }
    println!("{:<16} {:>10} {:>18}", "link", "MB/s", "of the bare socket");
    for (name, rate) in &best {
        let bare = &best[if name.contains("tcp") { "bare tcp" } else { "bare quic" }];
        println!("{name:<16} {:>10.0} {:>18.2}", rate / 1e6, rate / bare);
    }
    json!(best)
}

/// Stored blocks, as a node that serves them has them.
fn answer() -> Message {
    let lines = Chain::mainline().lines.iter().skip(1).take(BLOCKS);
    let blocks = lines.map(|line| {
        let block = serde_json::from_str(line).unwrap();
        WireBlock::Encoded(encoding::encode_block(&block).into())
    });
    Message::BlocksResponse { blocks: blocks.collect(), malformed: None }
}

/// Bytes on the wire per second.
async fn link(transport: Arc<dyn Transport>, codec: &Arc<dyn Codec>, answer: &Message, bytes: usize) -> f64 {
    let mut listener = transport.listen(&Endpoint::new("127.0.0.1:0")).await.unwrap();
    let local = listener.local();
    let accepting = async { listener.accept().await.unwrap().upgrade.await.unwrap() };
    let (dialled, mut accepted) = tokio::join!(transport.dial(&local), accepting);
    let mut frame = BytesMut::new();
    codec.encode(answer, CAP, &mut frame).unwrap();
    let count = bytes.div_ceil(frame.len());
    let bytes = frame.len() * count;

    let start = Instant::now();
    let (writing, answer) = (Arc::clone(codec), answer.clone());
    let dialled = dialled.unwrap();
    let writer = tokio::spawn(async move {
        let mut dialled = dialled;
        for _ in 0..count {
            frame.clear();
            writing.encode(&answer, CAP, &mut frame).unwrap();
            dialled.control.writer.write_all(&frame).await.unwrap();
        }
        dialled.control.writer.flush().await.unwrap();
        dialled
    });
    let (mut decoder, mut buffer, mut left) = (codec.decoder(), BytesMut::new(), count);
    while left > 0 {
        match decoder.decode(&mut buffer, CAP).unwrap() {
            Some(Message::BlocksResponse { blocks, malformed: None }) => {
                assert_eq!(blocks.len(), BLOCKS);
                left -= 1;
            }
            Some(other) => panic!("a {} came", other.kind().name()),
            None => {
                buffer.reserve(WINDOW.min(buffer.len().max(4096)));
                assert!(accepted.control.reader.read_buf(&mut buffer).await.unwrap() > 0);
            }
        }
    }
    let rate = per_second(bytes, start);
    drop(writer.await.unwrap());
    rate
}
