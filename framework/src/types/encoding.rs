//! The framework's one binary encoding of blocks and transactions.
//!
//! A version byte, then the fields in order in the postcard format. Stores keep these bytes, and a binary codec sends
//! them unchanged, so that serving a block costs a copy. Each value has exactly one encoding that decodes.

use bytes::BufMut;

use super::decode::Reader;
use super::encode::{self, VERSION};
use super::{Block, Header, Transaction};

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

/// Appends the encoding of a header to `out`: no version byte, so that many stand one behind the other; see [`headers`].
pub fn append_header(header: &Header, out: &mut impl BufMut) {
    encode::header(header, out);
}

/// The part of an encoded block that [`append_header`] makes of its header, cut out without a look at the rest.
///
/// # Errors
/// The bytes do not begin as a block does.
pub fn header_of(block: &[u8]) -> Result<&[u8], BlockDecodeError> {
    let body = versioned(block)?;
    let mut reader = Reader::new(body);
    reader.header()?;
    Ok(&body[..body.len() - reader.left()])
}

/// How many transactions an encoded block says that it has, without a look at any.
///
/// # Errors
/// The bytes do not begin as a block does.
pub fn transactions_in(block: &[u8]) -> Result<u64, BlockDecodeError> {
    let mut reader = Reader::new(versioned(block)?);
    reader.header()?;
    reader.count()
}

/// Reads headers that stand one behind the other. Ends with the first error.
pub fn headers(bytes: &[u8]) -> impl Iterator<Item = Result<Header, BlockDecodeError>> {
    let mut reader = Some(Reader::new(bytes));
    std::iter::from_fn(move || {
        let next = reader.as_mut().filter(|reader| reader.left() > 0)?.header();
        if next.is_err() {
            reader = None;
        }
        Some(next)
    })
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
    let mut reader = Reader::new(versioned(bytes)?);
    let value = read(&mut reader)?;
    match reader.left() {
        0 => Ok(value),
        left => Err(BlockDecodeError::Trailing(left)),
    }
}

/// What follows the version byte.
fn versioned(bytes: &[u8]) -> Result<&[u8], BlockDecodeError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((&found, _)) => Err(BlockDecodeError::Version { found }),
        None => Err(BlockDecodeError::Empty),
    }
}
