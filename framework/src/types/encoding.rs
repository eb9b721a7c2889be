//! The framework's one binary encoding of blocks and transactions.
//!
//! A version byte, then the fields in order in the postcard format. Stores keep these bytes, and a binary codec sends
//! them unchanged, so that serving a block costs a copy. Each value has exactly one encoding that decodes.

use bytes::BufMut;

use super::decode::Reader;
use super::encode::{self, VERSION};
use super::{Block, Transaction};

/// The bytes are no block or transaction in the framework's encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockDecodeError {
    /// The first byte is not the version that this release writes.
    #[error("encoding version {found}, expected {VERSION}")]
    Version {
        /// The byte found.
        found: u8,
    },
    /// There are no bytes.
    #[error("no bytes to decode")]
    Empty,
    /// A field has a value that it cannot have, or the bytes end early.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The bytes spell a value in another way than its one encoding.
    #[error("not the one encoding of its value")]
    NotCanonical,
    /// Bytes are left over after the last field.
    #[error("{0} bytes left over after the last field")]
    Trailing(usize),
}

/// Encodes a block.
pub fn encode_block(block: &Block) -> Vec<u8> {
    let mut out = Vec::with_capacity(encode::USUAL_HEADER + block.txs.len() * encode::USUAL_TRANSACTION);
    append_block(block, &mut out);
    out
}

/// Appends the encoding of a block to `out`.
pub fn append_block(block: &Block, out: &mut impl BufMut) {
    encode::block(block, out);
}

/// Decodes a block. Memory is bounded by a small multiple of `bytes.len()`.
///
/// # Errors
/// See [`BlockDecodeError`].
pub fn decode_block(bytes: &[u8]) -> Result<Block, BlockDecodeError> {
    decode(bytes, Reader::block)
}

/// Encodes a transaction.
pub fn encode_transaction(tx: &Transaction) -> Vec<u8> {
    let mut out = Vec::with_capacity(encode::USUAL_TRANSACTION);
    append_transaction(tx, &mut out);
    out
}

/// Appends the encoding of a transaction to `out`.
pub fn append_transaction(tx: &Transaction, out: &mut impl BufMut) {
    encode::transaction(tx, out);
}

/// Decodes a transaction.
///
/// # Errors
/// See [`BlockDecodeError`].
pub fn decode_transaction(bytes: &[u8]) -> Result<Transaction, BlockDecodeError> {
    decode(bytes, Reader::transaction)
}

fn decode<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, BlockDecodeError>,
) -> Result<T, BlockDecodeError> {
    let (&version, body) = bytes.split_first().ok_or(BlockDecodeError::Empty)?;
    if version != VERSION {
        return Err(BlockDecodeError::Version { found: version });
    }
    let mut reader = Reader::new(body);
    let value = read(&mut reader)?;
    match reader.left() {
        0 => Ok(value),
        left => Err(BlockDecodeError::Trailing(left)),
    }
}
