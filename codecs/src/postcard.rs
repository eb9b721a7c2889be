//! Length-prefixed binary frames in the postcard format.
//!
//! A frame is the magic `C7 'c' 'p' 'c'`, a version byte, the length of the body as 32 bits in network order, and the
//! body: a byte for the message type and the fields. Each frame has the magic, so that a stream is recognised wherever it
//! starts, and one that lost its place is noticed. Numbers are varints and texts have their length before them, as in
//! every postcard format; blocks are the framework's encoding with its length before it, passed on untouched.

mod body;

use bytes::{Buf, BytesMut};
use cpc_framework::codec::{Codec, DecodeError, Decoder, EncodeError, Sniff};
use cpc_framework::types::{Message, MessageKind};

use crate::POSTCARD_MAGIC;

/// Binary frames: a transaction takes about a third of its JSON, and serving a stored block costs a copy.
///
/// Blocks come out [encoded](cpc_framework::types::WireBlock::Encoded), as slices of the frame and not yet looked at: a
/// frame's memory lives as long as one of its blocks does.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostcardCodec;

/// Changes with every change of the format.
const VERSION: u8 = 1;
const MAGIC_AND_VERSION: [u8; POSTCARD_MAGIC.len() + 1] = {
    let [a, b, c, d] = POSTCARD_MAGIC;
    [a, b, c, d, VERSION]
};
/// Magic, version, and the length of the body.
const HEADER: usize = POSTCARD_MAGIC.len() + 1 + size_of::<u32>();

impl Codec for PostcardCodec {
    fn name(&self) -> &'static str {
        "postcard"
    }

    fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        let start = out.len();
        let [a, b, c, d] = POSTCARD_MAGIC;
        // The length is filled in once the body is there.
        out.extend_from_slice(&[a, b, c, d, VERSION, 0, 0, 0, 0]);
        let cap = cap.min(HEADER + u32::MAX as usize);
        body::write(message, start + cap, out);
        match u32::try_from(out.len() - start - HEADER) {
            Ok(length) if out.len() - start <= cap => {
                out[start + HEADER - size_of::<u32>()..start + HEADER].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            _ => {
                out.truncate(start);
                Err(EncodeError::TooLarge { kind: message.kind(), cap })
            }
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(PostcardDecoder)
    }

    fn sniff(&self, prefix: &[u8]) -> Sniff {
        let known = prefix.len().min(POSTCARD_MAGIC.len());
        if prefix[..known] != POSTCARD_MAGIC[..known] {
            Sniff::NotMine
        } else if known < POSTCARD_MAGIC.len() {
            Sniff::NeedMore
        } else {
            Sniff::Mine
        }
    }
}

/// Needs no memory: all that it has to know stands in the header.
#[derive(Debug)]
struct PostcardDecoder;

impl Decoder for PostcardDecoder {
    fn is_ready(&mut self, buffer: &BytesMut, cap: usize) -> bool {
        match buffer.first_chunk::<HEADER>() {
            // Whatever is wrong with it is said at once.
            Some(header) if header[..=POSTCARD_MAGIC.len()] == MAGIC_AND_VERSION => {
                let &[.., a, b, c, d] = header;
                let frame = HEADER.saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
                frame > cap || buffer.len() >= frame
            }
            _ => !buffer.is_empty(),
        }
    }

    fn begun(&self, buffer: &BytesMut) -> Option<MessageKind> {
        body::kind(*buffer.get(HEADER)?)
    }

    fn decode(&mut self, buffer: &mut BytesMut, cap: usize) -> Result<Option<Message>, DecodeError> {
        if PostcardCodec.sniff(buffer) == Sniff::NotMine {
            return Err(DecodeError::Desync(foreign(buffer)));
        }
        if let Some(&version) = buffer.get(POSTCARD_MAGIC.len())
            && version != VERSION
        {
            let why = format!("the peer speaks version {version} of postcard, this link speaks {VERSION}");
            return Err(DecodeError::Desync(why));
        }
        let Some(&[.., a, b, c, d]) = buffer.first_chunk::<HEADER>() else {
            return if buffer.len() > cap { Err(DecodeError::TooLarge { cap }) } else { Ok(None) };
        };
        let frame = HEADER.saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
        if frame > cap {
            return Err(DecodeError::TooLarge { cap });
        }
        if buffer.len() < frame {
            return Ok(None);
        }
        let mut body = buffer.split_to(frame).freeze();
        body.advance(HEADER);
        body::read(&body).map(Some)
    }
}

/// Says what a stream without the magic may be.
fn foreign(prefix: &[u8]) -> String {
    match prefix[0] {
        b'{' => "the peer speaks json, this link speaks postcard".to_owned(),
        first => format!("this link speaks postcard, the peer does not: the frame's first byte is {first:#04x}"),
    }
}

#[cfg(test)]
mod tests;
