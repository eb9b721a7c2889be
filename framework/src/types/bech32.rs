//! Bech32 (BIP-173) of 20 bytes, both ways, under any text as prefix and without an allocation but the result.
//!
//! v1 checks nothing of a prefix (protocol.md section 4): the code points of characters beyond ASCII enter the checksum as
//! they are, more than five bits wide. Under a prefix that BIP-173 allows this is plain bech32.

const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The value of each character of the charset; 255 for all others.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0u8;
    while value < 32 {
        values[CHARSET[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// 20 bytes are 32 characters of 5 bits, without a bit to spare.
const DATA_CHARS: usize = 32;

const CHECKSUM_CHARS: usize = 6;

/// What a valid text leaves in the checksum.
const RESIDUE: u32 = 1;

/// A prefix of at most this many bytes is put together without an allocation of its own.
const SHORT: usize = 64;

/// What each half of each byte adds to the checksum: it is linear, so that the halves need not wait for each other. The
/// first index is the half's place (the upper half of byte 0, its lower half, the upper half of byte 1, ...), the second its value.
static HALVES: [[u32; 16]; 40] = {
    let mut table = [[0; 16]; 40];
    let mut half = 0;
    while half < table.len() {
        let mut bit = 0;
        while bit < 4 {
            // The place of this bit among the 160, and from there its character and its place in that.
            let place = 4 * half + bit;
            let mut sum = step(0, 1 << (4 - place % 5));
            let mut left = DATA_CHARS - 1 - place / 5 + CHECKSUM_CHARS;
            while left > 0 {
                sum = step(sum, 0);
                left -= 1;
            }
            let set = 8 >> bit;
            let mut value = 0;
            while value < 16 {
                if value & set != 0 {
                    table[half][value] ^= sum;
                }
                value += 1;
            }
            bit += 1;
        }
        half += 1;
    }
    table
};

/// Makes something of the bech32 text of 20 bytes.
pub(crate) fn encode<T>(prefix: &str, bytes: &[u8; 20], make: impl FnOnce(&str) -> T) -> T {
    let mut tail = [b'1'; 1 + DATA_CHARS + CHECKSUM_CHARS];
    // 5 bytes are 8 characters.
    for (chars, group) in tail[1..].chunks_exact_mut(8).zip(bytes.chunks_exact(5)) {
        let bits = group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for (i, char) in chars.iter_mut().rev().enumerate() {
            *char = CHARSET[(bits >> (5 * i) & 31) as usize];
        }
    }
    let sum = checksum(prefix, bytes) ^ RESIDUE;
    for (i, char) in tail.iter_mut().rev().take(CHECKSUM_CHARS).enumerate() {
        *char = CHARSET[(sum >> (5 * i) & 31) as usize];
    }
    let mut text = [0; SHORT + 1 + DATA_CHARS + CHECKSUM_CHARS];
    let length = prefix.len() + tail.len();
    let short = text.get_mut(..length).and_then(|text| {
        text[..prefix.len()].copy_from_slice(prefix.as_bytes());
        text[prefix.len()..].copy_from_slice(&tail);
        std::str::from_utf8(text).ok()
    });
    match short {
        Some(text) => make(text),
        None => make(&tail.iter().fold(prefix.to_owned(), |mut text, char| {
            text.push((*char).into());
            text
        })),
    }
}

/// The 20 bytes of a text that [`encode`] writes; `None` for any other.
pub(crate) fn decode(prefix: &str, text: &str) -> Option<[u8; 20]> {
    let data: &[u8; DATA_CHARS + CHECKSUM_CHARS] =
        text.strip_prefix(prefix)?.strip_prefix('1')?.as_bytes().try_into().ok()?;
    let values = data.map(|char| VALUES[usize::from(char)]);
    if values.iter().fold(0, |all, value| all | value) == 255 {
        return None;
    }
    let mut bytes = [0; 20];
    for (bytes, values) in bytes.chunks_exact_mut(5).zip(values.chunks_exact(8)) {
        let bits = values.iter().fold(0u64, |bits, value| bits << 5 | u64::from(*value));
        bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    let found = values[DATA_CHARS..].iter().fold(0, |sum, value| sum << 5 | u32::from(*value));
    (found == checksum(prefix, &bytes) ^ RESIDUE).then_some(bytes)
}

/// What the 20 bytes under this prefix leave in the checksum, with its own characters as zeros.
fn checksum(prefix: &str, bytes: &[u8; 20]) -> u32 {
    let of_prefix = match prefix {
        "cpc" => const { of_ascii("cpc") },
        "cpcvalcons" => const { of_ascii("cpcvalcons") },
        other => {
            let high = other.chars().fold(1, |sum, c| step(sum, u32::from(c) >> 5));
            let both = other.chars().fold(step(high, 0), |sum, c| step(sum, u32::from(c) & 31));
            after_zeros(both)
        }
    };
    let halves = HALVES.chunks_exact(2).zip(bytes);
    halves.fold(of_prefix, |sum, (halves, byte)| {
        sum ^ halves[0][usize::from(byte >> 4)] ^ halves[1][usize::from(byte & 15)]
    })
}

/// The checksum of an ASCII prefix and zeros.
const fn of_ascii(prefix: &str) -> u32 {
    let prefix = prefix.as_bytes();
    let mut sum = 1;
    let mut at = 0;
    while at < prefix.len() {
        sum = step(sum, (prefix[at] >> 5) as u32);
        at += 1;
    }
    sum = step(sum, 0);
    at = 0;
    while at < prefix.len() {
        sum = step(sum, (prefix[at] & 31) as u32);
        at += 1;
    }
    after_zeros(sum)
}

const fn after_zeros(mut sum: u32) -> u32 {
    let mut left = DATA_CHARS + CHECKSUM_CHARS;
    while left > 0 {
        sum = step(sum, 0);
        left -= 1;
    }
    sum
}

/// One value goes into the checksum.
const fn step(sum: u32, value: u32) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let mut sum = (sum & 0x1ff_ffff) << 5 ^ value;
    let mut i = 0;
    while i < GENERATOR.len() {
        // All ones where the bit is set: no branch to mispredict.
        sum ^= GENERATOR[i] & (top >> i & 1).wrapping_neg();
        i += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_bip_173_under_a_good_prefix() {
        for (prefix, byte) in [("cpc", 0), ("cpcvalcons", 255), ("a", 7), ("x1y", 9)] {
            let hrp = ::bech32::Hrp::parse(prefix).unwrap();
            let expected = ::bech32::encode::<::bech32::Bech32>(hrp, &[byte; 20]).unwrap();
            assert_eq!(encode(prefix, &[byte; 20], str::to_owned), *expected);
            assert_eq!(decode(prefix, &expected), Some([byte; 20]));
        }
    }

    #[test]
    fn decodes_exactly_what_it_encodes() {
        let bytes = *b"twenty bytes exactly";
        let text = encode("cpc", &bytes, str::to_owned);
        assert_eq!(decode("cpc", &text), Some(bytes));
        assert_eq!(decode("cpcvalcons", &text), None);
        assert_eq!(decode("cpc", &text.to_uppercase()), None);
        for at in 4..text.len() {
            for other in ['q', 'p', 'b', 'é', 'Q', ' '] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
                assert!(*changed == *text || decode("cpc", &changed).is_none(), "{changed}");
            }
        }
        assert_eq!(decode("cpc", &text[..text.len() - 1]), None);
        let hrp = ::bech32::Hrp::parse("cpc").unwrap();
        let bech32m = ::bech32::encode::<::bech32::Bech32m>(hrp, &bytes).unwrap();
        assert_eq!(decode("cpc", &bech32m), None);
    }
}
