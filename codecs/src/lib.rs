//! Codecs for [`cpc_framework`]: how messages are written on a stream.
//!
//! | codec | feature (all on by default) | wire |
//! |---|---|---|
//! | [`JsonCodec`] | `json` | one line of JSON for each message, as the reference nodes speak it |
//! | [`PostcardCodec`] | `postcard` | length-prefixed binary frames, about a third of the size |
//!
//! Both sides of a stream must use the same codec. A codec recognises its own streams by their first bytes
//! ([`Codec::sniff`](cpc_framework::codec::Codec::sniff)), and its decoder refuses the streams of the others by name.

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
