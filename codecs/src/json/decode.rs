//! Lines to messages, in one pass: no tree of values is built, and only what our types name is looked into.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cpc_framework::codec::DecodeError;
use cpc_framework::types::{Block, BlockLink, Hash32, HexText, Message, MessageKind, Transaction, WireBlock};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::depth::{self, MAX_DEPTH, Shallow};
use super::handshake::WireHandshake;
use crate::check_counts;

/// The message of one line that is not blank.
pub(super) fn read_line(line: &[u8]) -> Result<Message, DecodeError> {
    let text = std::str::from_utf8(line).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let mut blocks = Blocks { room: line.len() + ROOM_FOR_SMALL, ..Blocks::default() };
    let mut json = serde_json::Deserializer::from_str(text);
    let envelope = Envelope { blocks: &mut blocks }.deserialize(Shallow::new(&mut json, MAX_DEPTH));
    let envelope = envelope.and_then(|read| json.end().map(|()| read));
    match envelope {
        Ok(Read::Message(message)) => Ok(message),
        Ok(Read::Unknown(name)) => Err(DecodeError::UnknownType(name)),
        Err(_) if blocks.broken.is_some() => {
            Ok(Message::BlocksResponse { blocks: blocks.whole, malformed: blocks.broken }.with_id(blocks.id))
        }
        Err(error) => Err(DecodeError::Malformed(shown(&error))),
    }
}

/// The blocks at the front of a line that has no end yet. None where there is none, or the line holds something else.
pub(super) fn read_front(front: &[u8]) -> Option<Message> {
    let text = match std::str::from_utf8(front) {
        Ok(text) => text,
        // The last character may not be whole.
        Err(error) => std::str::from_utf8(&front[..error.valid_up_to()]).ok()?,
    };
    let mut blocks = Blocks { room: front.len() + ROOM_FOR_SMALL, ..Blocks::default() };
    let mut json = serde_json::Deserializer::from_str(text);
    Envelope { blocks: &mut blocks }.deserialize(Shallow::new(&mut json, MAX_DEPTH)).err()?;
    // What kind of error it is says little: one who reads a field may have wrapped it. Where all has been read, the block may be good once
    // the rest of it has come.
    let read = json.into_iter::<IgnoredAny>().byte_offset();
    let malformed = blocks.broken.filter(|_| read < text.len());
    (!blocks.whole.is_empty()).then(|| Message::BlocksResponse { blocks: blocks.whole, malformed }.with_id(blocks.id))
}

/// The longest reason that is passed on, in characters: an error may quote what the peer sent.
const SHOWN: usize = 200;

/// The first characters of a text that a peer may have had a hand in.
fn shown(text: &dyn fmt::Display) -> String {
    /// Stops writing at the bound, so that a long text is never built.
    struct Bounded(String, usize);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let before = self.1;
            self.0.extend(text.chars().take(before).inspect(|_| self.1 -= 1));
            if self.1 == 0 { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut bounded = Bounded(String::new(), SHOWN);
    if fmt::write(&mut bounded, format_args!("{text}")).is_err() {
        bounded.0.push('…');
    }
    bounded.0
}

/// What a line holds.
enum Read {
    Message(Message),
    Unknown(String),
}

/// The blocks of a message as they are read; those of a response outlive an error in a later one.
#[derive(Default)]
struct Blocks {
    whole: Vec<WireBlock>,
    broken: Option<String>,
    id: Option<u64>,
    /// The memory that further ones may take, besides that of long texts: as much as the line, which with signatures and keys they stay
    /// below. Transactions without, which no block can have, would take several times their bytes.
    room: usize,
}

/// What any message may take.
const ROOM_FOR_SMALL: usize = 64 * 1024;

impl Blocks {
    /// Counts what a block takes; an error where that is out of proportion to the line.
    fn take_room(&mut self, block: &Block) -> Result<(), &'static str> {
        let takes = size_of::<Block>() + size_of_val(block.txs.as_slice());
        self.room = self.room.checked_sub(takes).ok_or("its blocks take too much memory once decoded")?;
        Ok(())
    }
}

/// The levels that may open within a message's payload and other fields.
const WITHIN_ENVELOPE: u8 = MAX_DEPTH - 1;

/// `{"type": ..., "payload": ...}`, in either order.
struct Envelope<'a> {
    blocks: &'a mut Blocks,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum EnvelopeKey {
    Type,
    Payload,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Envelope<'_> {
    type Value = Read;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the fields type and payload")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut kind: Option<TypeName> = None;
        let mut unread: Option<&'de RawValue> = None;
        let mut message = None;
        while let Some(key) = map.next_key()? {
            match (key, &kind) {
                (EnvelopeKey::Type, None) => kind = Some(map.next_value()?),
                (EnvelopeKey::Payload, _) if message.is_some() || unread.is_some() => {
                    return Err(de::Error::duplicate_field("payload"));
                }
                (EnvelopeKey::Payload, Some(TypeName::Known(kind))) => {
                    let payload = Payload { kind: *kind, blocks: &mut *self.blocks };
                    message = Some(map.next_value_seed(payload)?);
                }
                (EnvelopeKey::Payload, None) => unread = Some(map.next_value()?),
                (EnvelopeKey::Type, Some(_)) => return Err(de::Error::duplicate_field("type")),
                (EnvelopeKey::Payload, Some(TypeName::Unknown(_))) | (EnvelopeKey::Other, _) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match (kind, message, unread) {
            (None, ..) => Err(de::Error::missing_field("type")),
            (Some(TypeName::Unknown(name)), _, unread) => {
                unread.map_or(Ok(()), |payload| depth::check(payload, WITHIN_ENVELOPE))?;
                Ok(Read::Unknown(name))
            }
            (Some(_), Some(message), _) => Ok(Read::Message(message)),
            (Some(TypeName::Known(kind)), None, Some(payload)) => Payload { kind, blocks: self.blocks }
                .deserialize(Shallow::new(&mut serde_json::Deserializer::from_str(payload.get()), WITHIN_ENVELOPE))
                .map(Read::Message)
                .map_err(A::Error::custom),
            (Some(_), None, None) => Err(de::Error::missing_field("payload")),
        }
    }
}

/// The value of `type`.
enum TypeName {
    Known(MessageKind),
    Unknown(String),
}

impl<'de> Deserialize<'de> for TypeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = TypeName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a message type")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<TypeName, E> {
                Ok(MessageKind::from_name(name).map_or_else(|| TypeName::Unknown(shown(&name)), TypeName::Known))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// The value of `payload`, once the type is known.
struct Payload<'a> {
    kind: MessageKind,
    blocks: &'a mut Blocks,
}

impl<'de> DeserializeSeed<'de> for Payload<'_> {
    type Value = Message;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Message, D::Error> {
        #[derive(Deserialize)]
        struct NewBlock {
            block: Block,
        }
        #[derive(Deserialize)]
        struct NewTx {
            tx: Transaction,
        }
        #[derive(Deserialize)]
        struct GetBlocks<'a> {
            #[serde(borrow)]
            from_height: &'a RawValue,
            #[serde(borrow)]
            to_height: &'a RawValue,
            #[serde(default)]
            request_id: Option<u64>,
        }
        #[derive(Deserialize)]
        struct HeaderChain {
            headers: HexText,
            #[serde(default)]
            request_id: Option<u64>,
        }
        #[derive(Deserialize)]
        struct NewHashes {
            blocks: Vec<BlockLink>,
            txs: Vec<Hash32>,
        }
        #[derive(Deserialize)]
        struct GetData {
            blocks: Vec<Hash32>,
            txs: Vec<Hash32>,
        }
        match self.kind {
            MessageKind::NewHashes => {
                let NewHashes { blocks, txs } = NewHashes::deserialize(deserializer)?;
                check_counts(blocks.len(), txs.len()).map_err(D::Error::custom)?;
                Ok(Message::NewHashes { blocks, txs })
            }
            MessageKind::GetData => {
                let GetData { blocks, txs } = GetData::deserialize(deserializer)?;
                check_counts(blocks.len(), txs.len()).map_err(D::Error::custom)?;
                Ok(Message::GetData { blocks, txs })
            }
            MessageKind::Handshake => WireHandshake::deserialize(deserializer)?.read().map(Message::Handshake),
            MessageKind::NewBlock => {
                let NewBlock { block } = NewBlock::deserialize(deserializer)?;
                self.blocks.take_room(&block).map_err(D::Error::custom)?;
                Ok(Message::NewBlock(block.into()))
            }
            MessageKind::NewTx => Ok(Message::NewTx(Arc::new(NewTx::deserialize(deserializer)?.tx))),
            MessageKind::HeaderChain => {
                let chain = HeaderChain::deserialize(deserializer)?;
                let headers = match chain.headers.canonical_bytes() {
                    Some(bytes) => Bytes::copy_from_slice(bytes),
                    None if chain.headers.is_empty() => Bytes::new(),
                    None => return Err(D::Error::custom("headers: no lower-case hex")),
                };
                Ok(Message::HeaderChain { headers }.with_id(chain.request_id))
            }
            MessageKind::GetBlocks | MessageKind::GetHeaderChain => {
                let range = GetBlocks::deserialize(deserializer)?;
                let height = |name: &str, raw: &RawValue| {
                    Integer::read(raw)
                        .ok_or_else(|| D::Error::custom(format_args!("{name}: {} is no integer", shown(&raw.get()))))
                };
                // No block is below 0, so a range may as well start there; one that ends there asks for nothing, and is
                // answered with nothing.
                let from_height = match height("from_height", range.from_height)? {
                    Integer::Negative => 0,
                    Integer::Natural(height) => height,
                };
                let (from_height, to_height) = match height("to_height", range.to_height)? {
                    Integer::Negative => (from_height.max(1), 0),
                    Integer::Natural(to_height) => (from_height, to_height),
                };
                let message = match self.kind {
                    MessageKind::GetBlocks => Message::GetBlocks { from_height, to_height },
                    _ => Message::GetHeaderChain { from_height, to_height },
                };
                Ok(message.with_id(range.request_id))
            }
            MessageKind::BlocksResponse => deserializer.deserialize_map(Response { blocks: self.blocks }),
        }
    }
}

/// A JSON integer of any size.
pub(super) enum Integer {
    Negative,
    /// Values above 64 bits read as `u64::MAX`.
    Natural(u64),
}

impl Integer {
    /// The integer that `raw` is, if it is one.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            None
        } else if digits.len() < text.len() && digits != "0" {
            Some(Self::Negative)
        } else {
            Some(Self::Natural(digits.parse().unwrap_or(u64::MAX)))
        }
    }
}

/// `{"blocks": [...]}`
struct Response<'a> {
    blocks: &'a mut Blocks,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum ResponseKey {
    Blocks,
    #[serde(rename = "request_id")]
    RequestId,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Response<'_> {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the field blocks")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key()? {
            match key {
                ResponseKey::Blocks if seen => return Err(de::Error::duplicate_field("blocks")),
                ResponseKey::Blocks => {
                    map.next_value_seed(BlockList { blocks: &mut *self.blocks })?;
                    seen = true;
                }
                ResponseKey::RequestId => self.blocks.id = map.next_value()?,
                ResponseKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !seen {
            return Err(de::Error::missing_field("blocks"));
        }
        let blocks = std::mem::take(&mut self.blocks.whole);
        Ok(Message::BlocksResponse { blocks, malformed: None }.with_id(self.blocks.id))
    }
}

/// The list of blocks in a response.
struct BlockList<'a> {
    blocks: &'a mut Blocks,
}

impl<'de> DeserializeSeed<'de> for BlockList<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for BlockList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of blocks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            match seq.next_element::<Block>() {
                Ok(Some(block)) => {
                    if let Err(why) = self.blocks.take_room(&block) {
                        self.blocks.broken = Some(why.to_owned());
                        return Err(A::Error::custom(why));
                    }
                    self.blocks.whole.push(block.into());
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.blocks.broken = Some(shown(&error));
                    return Err(error);
                }
            }
        }
    }
}
