//! SHA-256 of short messages.

use sha2::{Digest, Sha256};

use crate::types::Hash32;

/// The bytes of a block of the compression function.
const BLOCK: usize = 64;
/// A message of two blocks has room for so much, besides the bit that ends it and its length.
const SHORT: usize = 2 * BLOCK - 9;
/// FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The hash of parts, one after the other.
///
/// Most hashes of a chain are of a state tree, with less than two blocks each: short messages are padded here (FIPS 180-4, section
/// 5.1.1), since keeping and flushing a buffer takes a third of the time otherwise.
pub(crate) fn sha256<const N: usize>(parts: [&[u8]; N]) -> Hash32 {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > SHORT {
        let hash = parts.iter().fold(Sha256::new(), Digest::chain_update);
        return Hash32(hash.finalize().into());
    }
    let mut blocks = [[0; BLOCK]; 2];
    let bytes = blocks.as_flattened_mut();
    let mut end = 0;
    for part in parts {
        bytes[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    bytes[length] = 0x80;
    let count = (length + 9).div_ceil(BLOCK);
    bytes[count * BLOCK - 8..count * BLOCK].copy_from_slice(&(8 * length as u64).to_be_bytes());
    let mut state = INITIAL;
    sha2::block_api::compress256(&mut state, &blocks[..count]);
    let mut hash = [0; 32];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    Hash32(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sha256_at_every_length() {
        let message: Vec<u8> = (0..=255).collect();
        for length in 0..=message.len() {
            for at in [0, length / 3, length] {
                let (left, right) = message[..length].split_at(at);
                let expected = Hash32(Sha256::digest(&message[..length]).into());
                assert_eq!(sha256([left, right]), expected, "{length} bytes, split at {at}");
            }
        }
    }
}
