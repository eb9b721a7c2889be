//! The bytes under each key. Every value begins with a checksum over its key and itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::store::{StateChange, StoreError, StoreErrorKind};
use crate::types::{BlockLink, EncodedBlock, Hash32, Height, Tip};

/// Bytes of a CRC-32.
const SEAL: usize = 4;

/// Bytes of the two hashes before a block.
const HASHES: usize = 64;

/// What a store says of itself; one record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) genesis: Option<Hash32>,
    pub(super) tip: Option<Tip>,
    /// The state table and the hash index are as of so many blocks; what came later is in the records alone.
    pub(super) checkpoint: u64,
    /// No rollback leaves fewer blocks than this.
    pub(super) undo_floor: u64,
    /// During a reorganisation: how many blocks of the old chain are in place.
    pub(super) fork: Option<u64>,
}

impl Meta {
    /// How many blocks the chain has.
    pub(super) fn count(&self) -> u64 {
        self.tip.map_or(0, |tip| tip.height.saturating_add(1))
    }
}

/// What one block changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) hash: Hash32,
    pub(super) changes: Vec<StateChange>,
}

impl Entry {
    /// As [`write_record`] takes it.
    pub(super) fn borrowed(&self) -> (Hash32, &[StateChange]) {
        (self.hash, &self.changes)
    }
}

/// Puts the checksum before a value.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; SEAL + value.len()];
    sealed[SEAL..].copy_from_slice(value);
    close(key, &mut sealed);
    sealed
}

/// Checks and takes off the checksum.
pub(super) fn unseal<'a>(what: &str, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Fault> {
    match sealed.split_first_chunk::<SEAL>() {
        Some((sum, value)) if u32::from_le_bytes(*sum) == checksum(key, value) => Ok(value),
        _ => Err(Fault::Damage(format!("the checksum of {what} does not fit it"))),
    }
}

/// How many bytes [`write_block`] fills.
pub(super) fn block_len(block: &EncodedBlock) -> usize {
    SEAL + HASHES + block.bytes.len()
}

/// Writes a block as it is stored under its height.
pub(super) fn write_block(block: &EncodedBlock, into: &mut [u8]) {
    let (hashes, bytes) = into[SEAL..].split_at_mut(HASHES);
    hashes[..32].copy_from_slice(&block.link.hash.0);
    hashes[32..].copy_from_slice(&block.link.prev_hash.0);
    bytes.copy_from_slice(&block.bytes);
    close(&block.link.height.to_le_bytes(), into);
}

/// Reads a block as it is stored under its height.
pub(super) fn read_block(height: Height, sealed: &[u8]) -> Result<EncodedBlock, Fault> {
    let value = unseal(&format!("block {height}"), &height.to_le_bytes(), sealed)?;
    let (hash, prev_hash, bytes) = split_block(value).ok_or_else(|| too_short(height))?;
    Ok(EncodedBlock { link: BlockLink { height, hash, prev_hash }, bytes: Bytes::copy_from_slice(bytes) })
}

/// Reads the hash of a stored block.
pub(super) fn read_hash(height: Height, sealed: &[u8]) -> Result<Hash32, Fault> {
    let value = unseal(&format!("block {height}"), &height.to_le_bytes(), sealed)?;
    split_block(value).map(|(hash, _, _)| hash).ok_or_else(|| too_short(height))
}

/// Writes what consecutive blocks from `first` on changed. By hand, since a sync spends its time here: for each block its
/// hash and a count, for each change three fields, each a length plus one (0: no value) and its bytes.
pub(super) fn write_record<'a>(
    first: Height,
    entries: impl Iterator<Item = (Hash32, &'a [StateChange])>,
) -> Result<Vec<u8>, Fault> {
    let mut sealed = vec![0; SEAL];
    for (hash, changes) in entries {
        sealed.extend_from_slice(&hash.0);
        sealed.extend_from_slice(&length(changes.len())?.to_le_bytes());
        for change in changes {
            for field in [Some(&*change.key), change.old.as_deref(), change.new.as_deref()] {
                let prefix = field.map_or(Ok(0), |bytes| length(bytes.len() + 1))?;
                sealed.extend_from_slice(&prefix.to_le_bytes());
                sealed.extend_from_slice(field.unwrap_or_default());
            }
        }
    }
    close(&first.to_le_bytes(), &mut sealed);
    Ok(sealed)
}

/// Reads what consecutive blocks from `first` on changed.
pub(super) fn read_record(first: Height, sealed: &[u8]) -> Result<Vec<Entry>, Fault> {
    let what = format!("the undo record of block {first}");
    let mut rest = Bytes::copy_from_slice(unseal(&what, &first.to_le_bytes(), sealed)?);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let entry = take_entry(&mut rest);
        entries.push(entry.ok_or_else(|| Fault::Damage(format!("{what} cannot be read")))?);
    }
    Ok(entries)
}

/// Writes the store's own record.
pub(super) fn write_meta(meta: &Meta) -> Result<Vec<u8>, Fault> {
    encode(0, meta)
}

/// Reads the store's own record.
pub(super) fn read_meta(sealed: &[u8]) -> Result<Meta, Fault> {
    decode("the store's own record", 0, sealed)
}

/// A key of the hash index: the first 8 bytes of the hash tell nearly all blocks apart, the height the rest.
pub(super) fn index_key(hash: Hash32, height: Height) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&hash.0[..8]);
    key[8..].copy_from_slice(&height.to_be_bytes());
    key
}

/// The height in a key of the hash index.
pub(super) fn index_height(key: [u8; 16]) -> Height {
    let mut height = [0; 8];
    height.copy_from_slice(&key[8..]);
    Height::from_be_bytes(height)
}

fn encode<T: Serialize>(key: u64, value: &T) -> Result<Vec<u8>, Fault> {
    let mut sealed = postcard::to_extend(value, vec![0; SEAL])
        .map_err(|error| Fault::Damage(format!("a record cannot be encoded: {error}")))?;
    close(&key.to_le_bytes(), &mut sealed);
    Ok(sealed)
}

fn decode<T: for<'de> Deserialize<'de>>(what: &str, key: u64, sealed: &[u8]) -> Result<T, Fault> {
    let value = unseal(what, &key.to_le_bytes(), sealed)?;
    postcard::from_bytes(value).map_err(|error| Fault::Damage(format!("{what} cannot be read: {error}")))
}

fn take_entry(rest: &mut Bytes) -> Option<Entry> {
    let hash = take(rest, 32)?;
    let hash = Hash32(hash.as_ref().try_into().ok()?);
    let mut changes = Vec::new();
    for _ in 0..take_length(rest)? {
        let (key, old, new) = (take_field(rest)??, take_field(rest)?, take_field(rest)?);
        let (key, old, new) = (key.into(), old.map(Into::into), new.map(Into::into));
        changes.push(StateChange { key, old, new });
    }
    Some(Entry { hash, changes })
}

/// `Some(None)`: a field without a value.
#[expect(clippy::option_option, reason = "the outer one is for `?` on bytes that end early")]
fn take_field(rest: &mut Bytes) -> Option<Option<Bytes>> {
    match take_length(rest)?.checked_sub(1) {
        Some(length) => take(rest, length).map(Some),
        None => Some(None),
    }
}

fn take_length(rest: &mut Bytes) -> Option<usize> {
    let length = take(rest, size_of::<u32>())?;
    usize::try_from(u32::from_le_bytes(length.as_ref().try_into().ok()?)).ok()
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn length(length: usize) -> Result<u32, Fault> {
    u32::try_from(length).map_err(|_| {
        StoreError::new(StoreErrorKind::Invalid, format!("a state value of {length} bytes is too long to be kept"))
            .into()
    })
}

fn split_block(value: &[u8]) -> Option<(Hash32, Hash32, &[u8])> {
    let (hash, rest) = value.split_first_chunk()?;
    let (prev_hash, bytes) = rest.split_first_chunk()?;
    Some((Hash32(*hash), Hash32(*prev_hash), bytes))
}

fn too_short(height: Height) -> Fault {
    Fault::Damage(format!("block {height} is too short"))
}

fn close(key: &[u8], sealed: &mut [u8]) {
    let sum = checksum(key, &sealed[SEAL..]);
    sealed[..SEAL].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}
