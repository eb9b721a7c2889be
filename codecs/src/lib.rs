//! Codecs for [`cpc_framework`]: how messages are written on a stream.
//!
//! | codec | feature | wire |
//! |---|---|---|
//! | [`JsonCodec`] | `json` (default) | one line of JSON for each message, as the reference nodes speak it |
//!
//! Both sides of a stream must use the same codec. A codec recognises its own streams by their first bytes
//! ([`Codec::sniff`](cpc_framework::codec::Codec::sniff)), and its decoder refuses the streams of the others by name.

#[cfg(feature = "json")]
mod json;

#[cfg(feature = "json")]
pub use json::JsonCodec;
