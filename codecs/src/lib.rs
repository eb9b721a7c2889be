//! Codecs for [`cpc_framework`]: how messages are written on a stream.
//!
//! | codec | feature (all on by default) | wire |
//! |---|---|---|
//! | [`JsonCodec`] | `json` | one line of JSON for each message, as the reference nodes speak it |
//! | [`PostcardCodec`] | `postcard` | length-prefixed binary frames, about a third of the size |
//!
//! Both sides of a stream must use the same codec. A codec recognises its own streams by their first bytes
//! ([`Codec::sniff`](cpc_framework::codec::Codec::sniff)), and its decoder refuses the streams of the others by name.
//!
//! In a node a codec is half of a link: `NodeBuilder::link(transport, JsonCodec, "0.0.0.0:9000")`. By hand:
//!
//! ```
//! use bytes::BytesMut;
//! use cpc_codecs::{JsonCodec, PostcardCodec};
//! use cpc_framework::codec::{Codec, Sniff};
//! use cpc_framework::types::Message;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! /// No frame may be longer, in either direction.
//! const CAP: usize = 1 << 20;
//! let message = Message::GetBlocks { from_height: 1, to_height: 500 };
//!
//! let mut line = BytesMut::new();
//! JsonCodec.encode(&message, CAP, &mut line)?;
//! assert_eq!(&line[..], b"{\"type\":\"get_blocks\",\"payload\":{\"from_height\":1,\"to_height\":500}}\n");
//!
//! let mut frame = BytesMut::new();
//! PostcardCodec.encode(&message, CAP, &mut frame)?;
//! assert!(frame.len() < line.len() / 3);
//!
//! // Each knows its own, refuses the other by name, and reads what it wrote.
//! assert_eq!((JsonCodec.sniff(&line), JsonCodec.sniff(&frame)), (Sniff::Mine, Sniff::NotMine));
//! let refused = JsonCodec.decoder().decode(&mut frame.clone(), CAP).unwrap_err();
//! assert!(refused.is_fatal() && refused.to_string().contains("the peer speaks postcard"));
//! assert_eq!(PostcardCodec.decoder().decode(&mut frame, CAP)?, Some(message));
//! # Ok(())
//! # }
//! ```
//!
//! Both give back every text as it was spelled, since texts are hashed: a block that went from JSON to postcard and back is the same
//! block. The guide to a codec of one's own is [`cpc_framework::codec`].

#![forbid(unsafe_code)]

#[cfg(feature = "json")]
mod json;
#[cfg(feature = "postcard")]
mod postcard;

#[cfg(feature = "json")]
pub use json::JsonCodec;
#[cfg(feature = "postcard")]
pub use postcard::PostcardCodec;

/// Whether an announcement, or a question for what was announced, is within its bounds.
#[cfg(any(feature = "json", feature = "postcard"))]
fn check_counts(blocks: usize, txs: usize) -> Result<(), String> {
    use cpc_framework::types::{MAX_ANNOUNCED_BLOCKS, MAX_ANNOUNCED_TXS};
    for (name, count, most) in [("blocks", blocks, MAX_ANNOUNCED_BLOCKS), ("txs", txs, MAX_ANNOUNCED_TXS)] {
        if count > most {
            return Err(format!("{name}: {count} hashes, at most {most} are taken"));
        }
    }
    Ok(())
}

/// What each frame of [`PostcardCodec`] starts with. The first byte starts no text, so that no line of JSON is taken for it.
#[cfg(any(feature = "json", feature = "postcard"))]
const POSTCARD_MAGIC: [u8; 4] = *b"\xc7cpc";
