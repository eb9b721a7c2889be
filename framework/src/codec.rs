//! The `Codec` plug point: messages to bytes and back.
//!
//! # Contract
//! Each sentence is one case of the conformance suite in [`crate::testkit`].
//!
//! - Decoding what was encoded gives an equal message, however the bytes are cut into pieces.
//! - Several messages in one piece come out one by one, in order.
//! - A frame above the cap is refused at the byte after the cap, before its end has come.
//! - A frame of exactly the cap is read.
//! - Encoding a frame above the cap fails and leaves the output as it was.
//! - No byte is scanned twice: cutting a frame into single bytes costs time linear in its length.
//! - Memory never exceeds a small multiple of what has arrived.
//! - A damaged frame is read or refused, and never panics.
//! - A message that cannot be read is an error that is not fatal; the next one is read.
//! - A message whose type is not known is an error that is not fatal; the next one is read.
//! - A response with a block that cannot be read comes out with the blocks before it, and says why.
//! - `sniff` never claims the bytes of another codec, and decides within 16 bytes.
//!
//! # Writing your own
//!
//! 1. Choose how a frame ends (a length in front, a line feed behind) and how a stream of yours is recognised: a first byte that no other codec
//!    begins with. JSON begins with `{`, postcard with `C7`.
//! 2. Write `encode`. A [`WireBlock`](crate::types::WireBlock) comes decoded or in the framework's encoding, and gives you either:
//!    a binary codec that sends the encoding as it is serves stored blocks at the cost of a copy. Check `cap`, and take back what you have
//!    written if the frame is too long.
//! 3. Write the decoder. It sees a buffer that grows, and takes whole frames off its front. Keep in it how far you have looked: a peer may send
//!    one byte at a time. A length is a claim; reserve nothing for it.
//! 4. Sort errors: what leaves you knowing where the next frame starts is [`Malformed`](DecodeError::Malformed) or
//!    [`UnknownType`](DecodeError::UnknownType), and the frame is off the buffer; the others end the connection.
//! 5. Run `codec_suite!` over it.
//!
//! Watch for: `pub_key`, addresses and payloads are hashed as they are spelled, so a codec must give back the very text; amounts have 128 bits, and
//! `fee` and `gas_limit` may have more; types are data of strangers, so that nested ones must not be read by recursion without a bound.
//!
//! A codec around another one, which counts what it sends:
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! use bytes::BytesMut;
//! use cpc_codecs::PostcardCodec;
//! use cpc_framework::codec::{Codec, Decoder, EncodeError, Sniff};
//! use cpc_framework::types::Message;
//!
//! #[derive(Debug, Clone)]
//! struct Metered<C> {
//!     inner: C,
//!     sent: Arc<AtomicUsize>,
//! }
//!
//! impl<C: Codec> Codec for Metered<C> {
//!     fn name(&self) -> &'static str {
//!         // The same bytes, so the same name: it is part of what two sides agree on.
//!         self.inner.name()
//!     }
//!
//!     fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
//!         let before = out.len();
//!         self.inner.encode(message, cap, out)?;
//!         self.sent.fetch_add(out.len() - before, Ordering::Relaxed);
//!         Ok(())
//!     }
//!
//!     fn decoder(&self) -> Box<dyn Decoder> {
//!         self.inner.decoder()
//!     }
//!
//!     fn sniff(&self, prefix: &[u8]) -> Sniff {
//!         self.inner.sniff(prefix)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let codec = Metered { inner: PostcardCodec, sent: Arc::default() };
//! let message = Message::GetBlocks { from_height: 1, to_height: 500 };
//! let mut wire = BytesMut::new();
//! codec.encode(&message, 1000, &mut wire)?;
//! assert_eq!(codec.sent.load(Ordering::Relaxed), wire.len());
//! assert_eq!(codec.sniff(&wire), Sniff::Mine);
//!
//! // Byte by byte, as a slow network brings it.
//! let (mut decoder, mut buffer) = (codec.decoder(), BytesMut::new());
//! let (last, others) = wire.split_last().unwrap();
//! for byte in others {
//!     buffer.extend_from_slice(&[*byte]);
//!     assert_eq!(decoder.decode(&mut buffer, 1000)?, None);
//! }
//! buffer.extend_from_slice(&[*last]);
//! assert_eq!(decoder.decode(&mut buffer, 1000)?, Some(message));
//! # Ok(())
//! # }
//! ```
//!
//! A whole one, MessagePack: `examples/src/msgpack.rs` in the repository.

use std::fmt::Debug;

use bytes::BytesMut;

use crate::types::encoding::BlockDecodeError;
use crate::types::{Message, MessageKind};

/// Turns messages into bytes and back. See the [module documentation](self) for the contract.
pub trait Codec: Debug + Send + Sync + 'static {
    /// A short name, `json` for example: part of link names, logs and negotiation.
    fn name(&self) -> &'static str;

    /// Appends the frame of `message` to `out`; on an error `out` is as it was.
    ///
    /// # Errors
    /// The frame would be longer than `cap` bytes, or a block in it cannot be written.
    fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// A decoder for one stream.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Whether the first bytes of a stream are this codec's.
    fn sniff(&self, prefix: &[u8]) -> Sniff;
}

/// Reads the messages of one stream.
pub trait Decoder: Debug + Send {
    /// Whether [`decode`](Self::decode) has something to say about these bytes with this cap: a message, or an error. Memory for decoding
    /// is set aside only then. One that cannot tell says yes, as it does unless it is written otherwise. Called with the buffer that
    /// `decode` is called with next.
    fn is_ready(&mut self, buffer: &BytesMut, cap: usize) -> bool {
        let _ = (buffer, cap);
        true
    }

    /// The type of the message that has begun to come, as far as these bytes tell it; none where they do not. Asked for a frame that is too
    /// long: an honest node may pass on a block that it did not know to be.
    fn begun(&self, buffer: &BytesMut) -> Option<MessageKind> {
        let _ = buffer;
        None
    }

    /// Whether a message was made of the front of a frame whose rest is still to come, and will be forgotten: what comes next belongs to a frame
    /// that has begun, though the buffer may be empty. Only for codecs that read so; no, unless it is written otherwise.
    fn is_mid_frame(&self) -> bool {
        false
    }

    /// Takes the next whole message off the front of `buffer`, which only ever grows at its end between calls;
    /// `None` where more bytes are needed. A frame may have at most `cap` bytes.
    ///
    /// # Errors
    /// After an error that [is not fatal](DecodeError::is_fatal) the frame is gone from `buffer` and the next call goes on behind it.
    fn decode(&mut self, buffer: &mut BytesMut, cap: usize) -> Result<Option<Message>, DecodeError>;
}

/// What the first bytes of a stream say about its codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// They are this codec's.
    Mine,
    /// They are not.
    NotMine,
    /// Too few to tell.
    NeedMore,
}

/// A message cannot be framed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The frame would be longer than the cap.
    #[error("a {} message of more than {cap} bytes cannot be sent", kind.name())]
    TooLarge {
        /// The message's type.
        kind: MessageKind,
        /// The cap that it would exceed, in bytes.
        cap: usize,
    },
    /// A block in the message is needed decoded, and its bytes are no block.
    #[error("a {} message cannot be sent: {source}", kind.name())]
    Block {
        /// The message's type.
        kind: MessageKind,
        /// Why the block cannot be decoded.
        source: BlockDecodeError,
    },
}

/// A frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame is no message. The stream goes on behind it.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The message is of a type that this node does not know. The stream goes on behind it.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// The frame is longer than the cap.
    #[error("a frame of more than {cap} bytes")]
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// Where the next frame starts is not known any more, or the peer speaks another codec.
    #[error("the stream cannot be read: {0}")]
    Desync(String),
}

impl DecodeError {
    /// Whether the stream cannot be read any further.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Desync(_))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Codec + ?Sized> Codec for std::sync::Arc<C> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        (**self).encode(message, cap, out)
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        (**self).decoder()
    }
    fn sniff(&self, prefix: &[u8]) -> Sniff {
        (**self).sniff(prefix)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<C: Codec + ?Sized> Codec for Box<C> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        (**self).encode(message, cap, out)
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        (**self).decoder()
    }
    fn sniff(&self, prefix: &[u8]) -> Sniff {
        (**self).sniff(prefix)
    }
}
