//! Newline-delimited JSON, as on the wire of the reference nodes (protocol.md sections 1 to 3).

mod decode;
mod depth;
mod encode;
mod handshake;

use bytes::{Buf, BytesMut};
use cpc_framework::codec::{Codec, DecodeError, Decoder, EncodeError, Sniff};
use cpc_framework::types::{Message, MessageKind};

use crate::POSTCARD_MAGIC;

/// One line of JSON for each message: `{"type": "...", "payload": {...}}` and a line feed.
///
/// Reading is as lenient as the reference where that costs nothing: fields may come in any order, unknown ones are
/// skipped, blank lines mean nothing, and a line may end in `\r\n`. Nothing is read by recursion over what a peer nests:
/// a transaction's payload stays text of any depth, and a line is malformed where anything else is nested deeper than 32
/// levels, the message itself included (`attacks.md` row 3).
/// A frame is a line with its line feed.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonCodec;

/// So many bytes of leading white space say that a stream is not ours.
const SNIFF_LIMIT: usize = 16;

impl Codec for JsonCodec {
    fn name(&self) -> &'static str {
        "json"
    }

    fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        let start = out.len();
        let written = encode::write_line(message, cap, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(JsonDecoder::default())
    }

    fn sniff(&self, prefix: &[u8]) -> Sniff {
        match prefix.trim_ascii_start().first() {
            Some(b'{') => Sniff::Mine,
            None if prefix.len() < SNIFF_LIMIT => Sniff::NeedMore,
            _ => Sniff::NotMine,
        }
    }
}

/// An answer longer than this, in bytes, is read as far as it has come then, if that is one block at least: a legacy peer puts 500 blocks into
/// one line however large, and what it takes whole and decoded besides would be a node's whole budget. An answer that ends early is like
/// any short one: what is missing is asked for again. Where there is no whole block yet, it is looked for again once twice as much has come.
const FRONT: usize = 4 << 20;

/// Finds lines, and looks at each byte once on the way (at the [front](FRONT) of a long answer a few times more).
#[derive(Debug)]
struct JsonDecoder {
    /// This many bytes at the front of the buffer hold no line feed.
    scanned: usize,
    /// Whether the stream was found to be text.
    started: bool,
    /// Blocks are looked for once more than this has come of the line at the front of the buffer.
    look_after: usize,
    /// The rest of a line that was read already may have so many bytes, and is forgotten.
    rest: Option<usize>,
}

impl Default for JsonDecoder {
    fn default() -> Self {
        Self { scanned: 0, started: false, look_after: FRONT, rest: None }
    }
}

impl JsonDecoder {
    /// Forgets what has come of the rest of a long line. Says whether it goes on.
    fn skip(&mut self, buffer: &mut BytesMut) -> Result<bool, DecodeError> {
        let Some(most) = self.rest else { return Ok(false) };
        let end = memchr::memchr(b'\n', &buffer[..buffer.len().min(most)]);
        let come = end.map_or(buffer.len(), |end| end + 1);
        if come > most {
            return Err(DecodeError::TooLarge { cap: most });
        }
        buffer.advance(come);
        self.scanned = 0;
        self.rest = end.is_none().then_some(most - come);
        Ok(end.is_none())
    }

    /// What a line that is not whole yet has to say: blocks.
    fn front(&mut self, buffer: &mut BytesMut, cap: usize) -> Option<Message> {
        if buffer.len() <= self.look_after {
            return None;
        }
        self.look_after *= 2;
        let message = decode::read_front(buffer)?;
        self.rest = Some(cap - buffer.len());
        (self.scanned, self.look_after) = (0, FRONT);
        *buffer = BytesMut::new();
        Some(message)
    }
}

impl Decoder for JsonDecoder {
    fn is_ready(&mut self, buffer: &BytesMut, cap: usize) -> bool {
        if !self.started || self.rest.is_some() {
            return !buffer.is_empty();
        }
        let window = &buffer[..buffer.len().min(cap)];
        let unseen = self.scanned.min(window.len());
        match memchr::memchr(b'\n', &window[unseen..]) {
            // What leads to the line feed is not looked at again.
            Some(length) => self.scanned = unseen + length,
            None => self.scanned = window.len(),
        }
        self.scanned < buffer.len() || buffer.len() > self.look_after
    }

    fn is_mid_frame(&self) -> bool {
        self.rest.is_some()
    }

    fn begun(&self, buffer: &BytesMut) -> Option<MessageKind> {
        // As all nodes write it: the type first.
        let rest = after(after(after(buffer, b"{")?, b"\"type\"")?, b":")?;
        let name = after(rest, b"\"")?;
        let end = memchr::memchr(b'"', &name[..name.len().min(LONGEST_NAME + 1)])?;
        std::str::from_utf8(&name[..end]).ok().and_then(MessageKind::from_name)
    }

    fn decode(&mut self, buffer: &mut BytesMut, cap: usize) -> Result<Option<Message>, DecodeError> {
        if !self.started
            && let Some(&first) = buffer.first()
        {
            if !(first.is_ascii_graphic() || first.is_ascii_whitespace()) {
                return Err(DecodeError::Desync(foreign(buffer)));
            }
            self.started = true;
        }
        if self.skip(buffer)? {
            return Ok(None);
        }
        loop {
            let window = &buffer[..buffer.len().min(cap)];
            let unseen = self.scanned.min(window.len());
            let Some(length) = memchr::memchr(b'\n', &window[unseen..]) else {
                self.scanned = window.len();
                return if buffer.len() > cap {
                    Err(DecodeError::TooLarge { cap })
                } else {
                    Ok(self.front(buffer, cap))
                };
            };
            let line = unseen + length;
            (self.scanned, self.look_after) = (0, FRONT);
            if buffer[..line].trim_ascii().is_empty() {
                buffer.advance(line + 1);
                continue;
            }
            let line = buffer.split_to(line + 1);
            return decode::read_line(&line).map(Some);
        }
    }
}

/// No type has a longer name.
const LONGEST_NAME: usize = 32;

/// What follows `token`, which white space may stand before.
fn after<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    text.trim_ascii_start().strip_prefix(token)
}

/// Says what a stream that is no text may be.
fn foreign(prefix: &[u8]) -> String {
    match prefix[0] {
        first if first == POSTCARD_MAGIC[0] => "the peer speaks postcard, this link speaks json".to_owned(),
        first => format!("this link speaks json, the peer does not: its first byte is {first:#04x}"),
    }
}

#[cfg(test)]
mod tests;
