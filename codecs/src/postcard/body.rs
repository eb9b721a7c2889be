//! The body of a frame: a byte for the message type and the fields.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use cpc_framework::codec::DecodeError;
use cpc_framework::types::{BlockLink, Handshake, Hash32, Message, MessageKind, WireBlock, encoding};
use serde::{Deserialize, Serialize};

use crate::check_counts;

/// No block is shorter than the three hashes in its header: more blocks than that allows cannot be in a frame.
const MIN_BLOCK: usize = 3 * 32;
/// What a count reserves at once at most, in bytes, whatever has arrived (attacks.md row 4).
const RESERVED: usize = 1 << 20;
/// The longest `node_id` or `network`, in bytes: a domain name has at most 253 (RFC 1035), a port five and a colon.
const MAX_TEXT: usize = 259;
/// The most features in a handshake.
const MAX_FEATURES: usize = 32;
/// The longest name of a feature, in bytes.
const MAX_FEATURE: usize = 64;
/// Stands before a number and the body of the message that has it.
const NUMBERED: u8 = 16;

/// How many bytes the length of a block takes, most often: as many as all lengths from 128 bytes to 16 KiB.
const USUAL_WIDTH: usize = 2;
/// The most bytes that a length takes: 64 bits in groups of seven.
const LONGEST_LENGTH: usize = 10;

/// Appends the body of `message`. Stops early once `out` is longer than `bound`, since the frame will not be sent then.
pub(super) fn write(message: &Message, bound: usize, out: &mut BytesMut) {
    if let Message::Numbered { id, message } = message {
        out.extend_from_slice(&[NUMBERED]);
        put(id, out);
        return write(message, bound, out);
    }
    out.extend_from_slice(&[tag(message.kind())]);
    match message {
        Message::Handshake(handshake) => put(handshake, out),
        Message::NewBlock(block) => append(block, out),
        Message::NewTx(tx) => encoding::append_transaction(tx, out),
        Message::GetBlocks { from_height, to_height } | Message::GetHeaderChain { from_height, to_height } => {
            put(&(from_height, to_height), out);
        }
        Message::BlocksResponse { blocks, .. } => {
            put(&blocks.len(), out);
            // Neighbours are about as long.
            let mut width = USUAL_WIDTH;
            for block in blocks {
                width = counted(width, out, |out| append(block, out));
                if out.len() > bound {
                    return;
                }
            }
        }
        Message::NewHashes { blocks, txs } => put(&(blocks, txs), out),
        Message::GetData { blocks, txs } => put(&(blocks, txs), out),
        Message::HeaderChain { headers } => out.extend_from_slice(headers),
        // Nobody counts a number's number; it is left out.
        Message::Numbered { message, .. } => write(message, bound, out),
    }
}

/// Appends the encoded block.
fn append(block: &WireBlock, out: &mut BytesMut) {
    match block {
        WireBlock::Encoded(bytes) | WireBlock::Both(_, bytes) => out.extend_from_slice(bytes),
        WireBlock::Decoded(block) => encoding::append_block(block, out),
    }
}

/// Appends what `write` writes with its length before it, for which it leaves `width` bytes; what does not fit is moved.
/// Returns how many the length took.
fn counted(width: usize, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> usize {
    let start = out.len();
    out.put_bytes(0, width);
    write(out);
    let end = out.len();
    let mut room = [0; LONGEST_LENGTH];
    let mut left = end - start - width;
    let mut taken = 0;
    loop {
        let more = left > 0x7f;
        room[taken] = left.to_le_bytes()[0] & 0x7f | u8::from(more) << 7;
        left >>= 7;
        taken += 1;
        if !more {
            break;
        }
    }
    if taken != width {
        if taken > width {
            out.put_bytes(0, taken - width);
        }
        out.copy_within(start + width..end, start + taken);
        out.truncate(end + taken - width);
    }
    out[start..start + taken].copy_from_slice(&room[..taken]);
    taken
}

/// The message that `body` holds, all of it.
pub(super) fn read(body: &Bytes) -> Result<Message, DecodeError> {
    let (&tag, fields) = body.split_first().ok_or_else(|| malformed("a frame without a body"))?;
    if tag == NUMBERED {
        let (id, rest) = take::<u64>(fields)?;
        let numbered = rest.first().and_then(|&tag| kind(tag)).is_some_and(MessageKind::may_be_numbered);
        if !numbered {
            return Err(malformed("a number before what has none"));
        }
        return Ok(Message::Numbered { id, message: Box::new(read(&body.slice_ref(rest))?) });
    }
    match kind(tag).ok_or_else(|| DecodeError::UnknownType(tag.to_string()))? {
        MessageKind::Handshake => check(whole(fields)?).map(Message::Handshake),
        MessageKind::NewBlock if fields.len() < MIN_BLOCK => Err(malformed("new_block: too short for a block")),
        MessageKind::NewBlock => Ok(Message::NewBlock(WireBlock::Encoded(body.slice(1..)))),
        MessageKind::NewTx => encoding::decode_transaction(fields)
            .map(|tx| Message::NewTx(Arc::new(tx)))
            .map_err(|error| malformed(format!("new_tx: {error}"))),
        MessageKind::GetBlocks => {
            whole(fields).map(|(from_height, to_height)| Message::GetBlocks { from_height, to_height })
        }
        MessageKind::BlocksResponse => response(body, fields),
        MessageKind::NewHashes => {
            let (blocks, txs): (Vec<BlockLink>, Vec<Hash32>) = whole(fields)?;
            check_counts(blocks.len(), txs.len()).map_err(malformed)?;
            Ok(Message::NewHashes { blocks, txs })
        }
        MessageKind::GetData => {
            let (blocks, txs): (Vec<Hash32>, Vec<Hash32>) = whole(fields)?;
            check_counts(blocks.len(), txs.len()).map_err(malformed)?;
            Ok(Message::GetData { blocks, txs })
        }
        MessageKind::GetHeaderChain => {
            whole(fields).map(|(from_height, to_height)| Message::GetHeaderChain { from_height, to_height })
        }
        MessageKind::HeaderChain => Ok(Message::HeaderChain { headers: body.slice(1..) }),
    }
}

fn response(body: &Bytes, fields: &[u8]) -> Result<Message, DecodeError> {
    let (count, mut rest) = take::<usize>(fields)?;
    let mut blocks = Vec::with_capacity(blocks_reserved(count, rest.len()));
    for index in 0..count {
        match postcard::take_from_bytes::<&[u8]>(rest) {
            Ok((block, after)) if block.len() >= MIN_BLOCK => {
                blocks.push(WireBlock::Encoded(body.slice_ref(block)));
                rest = after;
            }
            broken => {
                let why = broken.map_or_else(|error| error.to_string(), |(block, _)| format!("{} bytes", block.len()));
                let malformed = Some(format!("block {} of {count} cannot be read: {why}", index + 1));
                return Ok(Message::BlocksResponse { blocks, malformed });
            }
        }
    }
    ended(rest)?;
    Ok(Message::BlocksResponse { blocks, malformed: None })
}

/// For how many blocks room is made before they are read.
pub(super) fn blocks_reserved(count: usize, left: usize) -> usize {
    count.min(left / MIN_BLOCK).min(RESERVED / size_of::<WireBlock>())
}

/// The bounds that hold for a handshake in JSON hold here, and 32 zeros stand for "no block" as there.
fn check(mut handshake: Handshake) -> Result<Handshake, DecodeError> {
    let long = |name: &str, length: usize, most: usize| malformed(format!("{name}: {length} is more than {most}"));
    for (name, text) in [("node_id", &handshake.node_id), ("network", &handshake.network)] {
        if text.len() > MAX_TEXT {
            return Err(long(name, text.len(), MAX_TEXT));
        }
    }
    for hash in [&mut handshake.best_hash, &mut handshake.genesis_hash] {
        hash.take_if(|hash| *hash == Hash32::ZERO);
    }
    let features = handshake.features.as_deref().unwrap_or_default();
    match features.iter().find(|name| name.len() > MAX_FEATURE) {
        _ if features.len() > MAX_FEATURES => Err(long("features", features.len(), MAX_FEATURES)),
        Some(name) => Err(long("a feature", name.len(), MAX_FEATURE)),
        None => Ok(handshake),
    }
}

fn tag(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Handshake => 0,
        MessageKind::NewBlock => 1,
        MessageKind::NewTx => 2,
        MessageKind::GetBlocks => 3,
        MessageKind::BlocksResponse => 4,
        MessageKind::NewHashes => 5,
        MessageKind::GetData => 6,
        MessageKind::GetHeaderChain => 17,
        MessageKind::HeaderChain => 18,
    }
}

/// The message type of a body that begins with this byte.
pub(super) fn kind(byte: u8) -> Option<MessageKind> {
    MessageKind::ALL.into_iter().find(|kind| tag(*kind) == byte)
}

/// Appends what serde makes of a value whose lengths are all known.
fn put<T: Serialize>(value: &T, out: &mut BytesMut) {
    struct Tail<'a>(&'a mut BytesMut);
    impl Extend<u8> for Tail<'_> {
        fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
            self.0.extend(bytes);
        }
    }
    // The only error is a sequence of unknown length, and none of our types has one.
    let written = postcard::to_extend(value, Tail(out));
    debug_assert!(written.is_ok());
}

fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(|error| malformed(error.to_string()))
}

/// A value that takes all of `bytes`.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let (value, rest) = take(bytes)?;
    ended(rest).map(|()| value)
}

fn ended(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(malformed(format!("{} bytes left over after the last field", rest.len())))
    }
}

fn malformed(why: impl Into<String>) -> DecodeError {
    DecodeError::Malformed(why.into())
}
