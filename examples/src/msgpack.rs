//! A codec of one's own: messages as [MessagePack](https://msgpack.org), by the crate `rmp-serde`.
//!
//! A frame is the magic `C1 'm' 'p'`, a version byte, the length of the body as 32 bits in network order, and the body.
//! `C1` is the one byte that MessagePack never uses and that starts no text, so no stream of another codec begins like this.
//! The body is a row of MessagePack values: the message's name, and its fields. Blocks are `bin` values that hold the
//! framework's own encoding, which keeps every text that is hashed and lets a node serve a stored block by copying it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use cpc_framework::codec::{Codec, DecodeError, Decoder, EncodeError, Sniff};
use cpc_framework::types::{Message, MessageKind, WireBlock};
use rmp_serde::decode::ReadRefReader;
use serde::{Deserialize, Serialize};

/// Length-prefixed MessagePack.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePackCodec;

/// Magic and version: changes with every change of the format.
const MAGIC: [u8; 4] = *b"\xc1mp\x01";
/// Stands in place of a message's name where a number comes before it.
const NUMBERED: &str = "numbered";
/// The magic, and the length of the body.
const HEADER: usize = MAGIC.len() + size_of::<u32>();

impl Codec for MessagePackCodec {
    fn name(&self) -> &'static str {
        "msgpack"
    }

    fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; size_of::<u32>()]);
        write_body(message, start.saturating_add(cap), out);
        let frame = out.len() - start;
        match u32::try_from(frame - HEADER) {
            Ok(length) if frame <= cap => {
                out[start + MAGIC.len()..start + HEADER].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            _ => {
                // The contract: on an error the output is as it was.
                out.truncate(start);
                Err(EncodeError::TooLarge { kind: message.kind(), cap })
            }
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(MessagePackDecoder)
    }

    fn sniff(&self, prefix: &[u8]) -> Sniff {
        let known = prefix.len().min(MAGIC.len());
        if prefix[..known] != MAGIC[..known] {
            Sniff::NotMine
        } else if known < MAGIC.len() {
            Sniff::NeedMore
        } else {
            Sniff::Mine
        }
    }
}

/// All that it must remember between two calls stands in the header, which is read again: eight bytes, however long the frame.
#[derive(Debug)]
struct MessagePackDecoder;

impl Decoder for MessagePackDecoder {
    fn decode(&mut self, buffer: &mut BytesMut, cap: usize) -> Result<Option<Message>, DecodeError> {
        if MessagePackCodec.sniff(buffer) == Sniff::NotMine {
            return Err(DecodeError::Desync("this link speaks msgpack, the peer speaks something else".to_owned()));
        }
        let Some(&[.., a, b, c, d]) = buffer.first_chunk::<HEADER>() else {
            return if buffer.len() > cap { Err(DecodeError::TooLarge { cap }) } else { Ok(None) };
        };
        let frame = HEADER.saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
        if frame > cap {
            return Err(DecodeError::TooLarge { cap });
        }
        if buffer.len() < frame {
            // Nothing is reserved for a length that a stranger claims.
            return Ok(None);
        }
        let body = buffer.split_to(frame).freeze().slice(HEADER..);
        read_body(&body).map(Some)
    }
}

/// Appends the body. Stops early once `out` is longer than `bound`, since the frame will not be sent then.
fn write_body(message: &Message, bound: usize, out: &mut BytesMut) {
    if let Message::Numbered { id, message } = message {
        put(NUMBERED, out);
        put(id, out);
        return write_body(message, bound, out);
    }
    put(message.kind().name(), out);
    match message {
        Message::Handshake(handshake) => put(handshake, out),
        Message::NewBlock(block) => put(&block.encode(), out),
        Message::NewTx(tx) => put(tx.as_ref(), out),
        Message::GetBlocks { from_height, to_height } | Message::GetHeaderChain { from_height, to_height } => {
            put(&(from_height, to_height), out);
        }
        Message::NewHashes { blocks, txs } => put(&(blocks, txs), out),
        Message::GetData { blocks, txs } => put(&(blocks, txs), out),
        Message::HeaderChain { headers } => put(headers, out),
        Message::Numbered { message, .. } => write_body(message, bound, out),
        Message::BlocksResponse { blocks, .. } => {
            put(&blocks.len(), out);
            for block in blocks {
                put(&block.encode(), out);
                if out.len() > bound {
                    return;
                }
            }
        }
    }
}

fn put<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut) {
    // Writing into memory cannot fail, and none of our types has a sequence of unknown length.
    let written = rmp_serde::encode::write(&mut out.writer(), value);
    debug_assert!(written.is_ok(), "{written:?}");
}

fn read_body(body: &Bytes) -> Result<Message, DecodeError> {
    let mut values = Values { rest: rmp_serde::Deserializer::from_read_ref(body.as_ref()), read: 0 };
    let mut name: &str = values.next()?;
    let mut id = None;
    if name == NUMBERED {
        (id, name) = (Some(values.next()?), values.next()?);
    }
    let message = match MessageKind::from_name(name).ok_or_else(|| DecodeError::UnknownType(name.to_owned()))? {
        MessageKind::Handshake => Message::Handshake(values.next()?),
        MessageKind::NewBlock => Message::NewBlock(values.next_block(body)?),
        MessageKind::NewTx => Message::NewTx(Arc::new(values.next()?)),
        MessageKind::GetBlocks => {
            let (from_height, to_height) = values.next()?;
            Message::GetBlocks { from_height, to_height }
        }
        MessageKind::NewHashes => {
            let (blocks, txs) = values.next()?;
            Message::NewHashes { blocks, txs }
        }
        MessageKind::GetData => {
            let (blocks, txs) = values.next()?;
            Message::GetData { blocks, txs }
        }
        MessageKind::BlocksResponse => {
            let count: usize = values.next()?;
            let mut blocks = Vec::new();
            for _ in 0..count {
                match values.next_block(body) {
                    Ok(block) => blocks.push(block),
                    // The contract: the blocks before it are worth having.
                    Err(why) => {
                        return Ok(Message::BlocksResponse { blocks, malformed: Some(why.to_string()) }.with_id(id));
                    }
                }
            }
            Message::BlocksResponse { blocks, malformed: None }
        }
        MessageKind::GetHeaderChain => {
            let (from_height, to_height) = values.next()?;
            Message::GetHeaderChain { from_height, to_height }
        }
        MessageKind::HeaderChain => {
            let headers: &[u8] = values.next()?;
            Message::HeaderChain { headers: body.slice_ref(headers) }
        }
    };
    if id.is_some() && !message.kind().may_be_numbered() {
        return Err(DecodeError::Malformed(format!("a {name} has no number")));
    }
    values.ended().map(|()| message.with_id(id))
}

/// The values of a body, one after the other.
struct Values<'a> {
    rest: rmp_serde::Deserializer<ReadRefReader<'a, [u8]>>,
    /// So many were read.
    read: usize,
}

impl<'a> Values<'a> {
    fn next<T: Deserialize<'a>>(&mut self) -> Result<T, DecodeError> {
        self.read += 1;
        T::deserialize(&mut self.rest).map_err(|error| DecodeError::Malformed(format!("value {}: {error}", self.read)))
    }

    /// A block, as a slice of the frame: not copied, and not looked at before it is needed.
    fn next_block(&mut self, body: &Bytes) -> Result<WireBlock, DecodeError> {
        let bytes: &[u8] = self.next()?;
        Ok(WireBlock::Encoded(body.slice_ref(bytes)))
    }

    fn ended(mut self) -> Result<(), DecodeError> {
        match <()>::deserialize(&mut self.rest) {
            // Not even the first byte of another value is there.
            Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(()),
            _ => Err(DecodeError::Malformed("there is more after the last field".to_owned())),
        }
    }
}
