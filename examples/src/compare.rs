//! Two codecs side by side: bytes, and the time to encode and to decode, for the same messages in the same run.

use std::error::Error;
use std::fmt::{self, Display};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use cpc_framework::codec::Codec;
use cpc_framework::types::{Block, Handshake, Hash32, Height, Message, WireBlock, encoding};

use crate::svg::Chart;
use crate::{Mainline, generate};

/// What is compared with what.
#[derive(Debug, Clone, Copy)]
pub struct Codecs<'a> {
    /// The measure.
    pub base: &'a dyn Codec,
    /// What is measured by it.
    pub other: &'a dyn Codec,
}

/// All comparisons of a run.
#[derive(Debug)]
pub struct Comparison {
    base: &'static str,
    other: &'static str,
    /// One row for each type of message.
    pub messages: Vec<Row>,
    /// One row for each chain.
    pub syncs: Vec<Row>,
}

/// Some messages in both codecs, the base first.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which messages.
    pub what: String,
    /// The bytes of all frames.
    pub bytes: [usize; 2],
    /// The time to encode them all.
    pub encode: [Duration; 2],
    /// The time to decode them all, the blocks in them included.
    pub decode: [Duration; 2],
}

/// The most blocks of one answer (protocol.md section 1).
const ANSWER_BLOCKS: usize = 500;
/// How many blocks the generated chains have.
const GENERATED_BLOCKS: u64 = 40;
/// The most bytes of a frame.
const CAP: usize = 64 << 20;
/// Short messages are repeated until there are about so many bytes of them, so that the clock sees something.
const AT_LEAST_BYTES: usize = 128 << 10;

impl Comparison {
    /// Compares on the vector chain and on generated blocks of 0, 20 and 100 transactions. Each time is the shortest of `rounds`.
    ///
    /// # Errors
    /// The vectors are not there, or a message does not come out as it went in.
    pub fn run(codecs: Codecs<'_>, rounds: usize) -> Result<Self, Box<dyn Error>> {
        let mainline = Mainline::load()?.blocks;
        let messages = one_of_each(&mainline)?;
        let messages =
            messages.iter().map(|(what, message)| codecs.measure(what, std::slice::from_ref(message), rounds));
        let mut comparison = Self {
            base: codecs.base.name(),
            other: codecs.other.name(),
            messages: messages.collect::<Result<_, _>>()?,
            syncs: vec![codecs.measure("mainline, 1210 blocks", &whole_sync(&mainline), rounds)?],
        };
        for transfers in [0, 20, 100] {
            let blocks = generate::blocks(GENERATED_BLOCKS, transfers)?;
            let what = format!("{GENERATED_BLOCKS} blocks of {transfers} txs");
            comparison.syncs.push(codecs.measure(&what, &whole_sync(&blocks), rounds)?);
        }
        Ok(comparison)
    }

    /// The comparisons as a picture: the share of the base that the other codec takes.
    pub fn chart(&self) -> Chart {
        let rows = self.messages.iter().chain(&self.syncs);
        Chart {
            title: format!("{} in per cent of {}", self.other, self.base),
            series: vec![("bytes", "#4477aa"), ("time to encode", "#ee6677"), ("time to decode", "#228833")],
            groups: rows.map(|row| (row.what.clone(), row.shares().map(|share| share * 100.0).to_vec())).collect(),
        }
    }
}

impl Row {
    /// Bytes, time to encode and time to decode of the other codec, as shares of the base.
    pub fn shares(&self) -> [f64; 3] {
        let time = |[base, other]: [Duration; 2]| other.as_secs_f64() / base.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
        let bytes = self.bytes[1] as f64 / self.bytes[0] as f64;
        [bytes, time(self.encode), time(self.decode)]
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, rows) in [("one message", &self.messages), ("a whole sync", &self.syncs)] {
            let (base, other) = (self.base, self.other);
            writeln!(f, "{title:<24}{base:>12}{other:>12}{:>8}{:>12}{:>12}", "share", "encode", "decode")?;
            for row in rows {
                let [bytes, encode, decode] = row.shares();
                let (encode, decode) = (format!("{:.1} x", 1.0 / encode), format!("{:.1} x", 1.0 / decode));
                let [base, other] = row.bytes;
                writeln!(f, "{:<24}{base:>12}{other:>12}{bytes:>8.2}{encode:>12}{decode:>12}", row.what)?;
            }
            writeln!(f)?;
        }
        write!(f, "in bytes; \"4.0 x\": {} is four times as fast as {}", self.other, self.base)
    }
}

impl Codecs<'_> {
    /// Encodes and decodes the messages in both codecs by turns.
    fn measure(&self, what: &str, messages: &[Message], rounds: usize) -> Result<Row, Box<dyn Error>> {
        let codecs = [self.base, self.other];
        let mut row =
            Row { what: what.to_owned(), bytes: [0; 2], encode: [Duration::MAX; 2], decode: [Duration::MAX; 2] };
        for (at, codec) in codecs.into_iter().enumerate() {
            row.bytes[at] = encode_all(codec, messages, 1)?.1.len();
        }
        let repeats = (AT_LEAST_BYTES / row.bytes[0]).max(1);
        for _ in 0..rounds.max(1) {
            for (at, codec) in codecs.into_iter().enumerate() {
                let (encode, frames) = encode_all(codec, messages, repeats)?;
                row.encode[at] = row.encode[at].min(encode);
                row.decode[at] = row.decode[at].min(decode_all(codec, frames, messages.len() * repeats)?);
            }
        }
        Ok(row)
    }
}

fn encode_all(codec: &dyn Codec, messages: &[Message], repeats: usize) -> Result<(Duration, BytesMut), Box<dyn Error>> {
    let mut out = BytesMut::new();
    let begun = Instant::now();
    for _ in 0..repeats {
        for message in messages {
            codec.encode(message, CAP, &mut out)?;
        }
    }
    Ok((begun.elapsed(), out))
}

/// A binary codec may leave blocks as they are; whoever receives them must decode them all the same, so that counts.
fn decode_all(codec: &dyn Codec, mut frames: BytesMut, expected: usize) -> Result<Duration, Box<dyn Error>> {
    let (mut decoder, mut count) = (codec.decoder(), 0);
    let begun = Instant::now();
    while let Some(message) = decoder.decode(&mut frames, CAP)? {
        let blocks = match &message {
            Message::NewBlock(block) => std::slice::from_ref(block),
            Message::BlocksResponse { blocks, .. } => blocks,
            _ => &[],
        };
        // All blocks of an answer are in memory at once, as they are in a node.
        black_box(blocks.iter().map(WireBlock::decode).collect::<Result<Vec<_>, _>>()?);
        black_box(message);
        count += 1;
    }
    let taken = begun.elapsed();
    if count == expected { Ok(taken) } else { Err(format!("{count} of {expected} messages came out").into()) }
}

/// One message of each type, with what mainline has in it.
fn one_of_each(mainline: &[Arc<Block>]) -> Result<Vec<(String, Message)>, Box<dyn Error>> {
    let block = mainline.last().ok_or("an empty chain")?;
    let tx = mainline.iter().rev().flat_map(|block| &block.txs).next().ok_or("a chain without transactions")?;
    let answer = stored(&mainline[..ANSWER_BLOCKS.min(mainline.len())]);
    Ok(vec![
        ("handshake".into(), handshake(Some(block.header.height))),
        ("get_blocks".into(), Message::GetBlocks { from_height: 1000, to_height: 1499 }),
        ("new_tx".into(), Message::NewTx(Arc::new(tx.clone()))),
        (format!("new_block, {} txs", block.txs.len()), Message::NewBlock(WireBlock::Decoded(Arc::clone(block)))),
        (format!("blocks_response, {ANSWER_BLOCKS}"), Message::BlocksResponse { blocks: answer, malformed: None }),
    ])
}

/// All that two nodes say to each other while one takes the whole chain from the other.
fn whole_sync(blocks: &[Arc<Block>]) -> Vec<Message> {
    let mut messages = vec![handshake(None), handshake(Some(blocks.len() as Height))];
    let mut from_height = 0;
    for answer in blocks.chunks(ANSWER_BLOCKS) {
        let to_height = from_height + answer.len() as Height - 1;
        messages.push(Message::GetBlocks { from_height, to_height });
        messages.push(Message::BlocksResponse { blocks: stored(answer), malformed: None });
        from_height = to_height + 1;
    }
    messages
}

/// Blocks as a store gives them out.
fn stored(blocks: &[Arc<Block>]) -> Vec<WireBlock> {
    blocks.iter().map(|block| WireBlock::Encoded(encoding::encode_block(block).into())).collect()
}

fn handshake(best_height: Option<Height>) -> Message {
    let hash = Hash32([0xab; 32]);
    Message::Handshake(Handshake {
        node_id: "192.0.2.7:9000".to_owned(),
        p2p_port: 9000,
        protocol_version: 1,
        network: "devnet".to_owned(),
        best_height,
        best_hash: best_height.map(|_| hash),
        genesis_hash: best_height.map(|_| hash),
        features: Some(Vec::new()),
        nonce: Some(0x0123_4567_89ab_cdef),
    })
}
