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

/// The bech32 text of 20 bytes.
pub(crate) fn encode(prefix: &str, bytes: &[u8; 20]) -> String {
    let mut checksum = Checksum::of_prefix(prefix);
    let mut text = String::with_capacity(prefix.len() + 1 + DATA_CHARS + CHECKSUM_CHARS);
    text.push_str(prefix);
    text.push('1');
    // 5 bytes are 8 characters.
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for i in (0..8).rev() {
            let value = (bits >> (5 * i) & 31) as u8;
            checksum.input(value.into());
            text.push(CHARSET[usize::from(value)].into());
        }
    }
    (0..CHECKSUM_CHARS).for_each(|_| checksum.input(0));
    let sum = checksum.0 ^ RESIDUE;
    for i in (0..CHECKSUM_CHARS).rev() {
        text.push(CHARSET[(sum >> (5 * i) & 31) as usize].into());
    }
    text
}

/// The 20 bytes of a text that [`encode`] writes; `None` for any other.
pub(crate) fn decode(prefix: &str, text: &str) -> Option<[u8; 20]> {
    let data = text.strip_prefix(prefix)?.strip_prefix('1')?.as_bytes();
    if data.len() != DATA_CHARS + CHECKSUM_CHARS {
        return None;
    }
    let mut checksum = Checksum::of_prefix(prefix);
    let mut values = [0; DATA_CHARS + CHECKSUM_CHARS];
    for (value, char) in values.iter_mut().zip(data) {
        *value = VALUES[usize::from(*char)];
        if *value == 255 {
            return None;
        }
        checksum.input((*value).into());
    }
    if checksum.0 != RESIDUE {
        return None;
    }
    let mut bytes = [0; 20];
    for (bytes, values) in bytes.chunks_exact_mut(5).zip(values.chunks_exact(8)) {
        let bits = values.iter().fold(0u64, |bits, value| bits << 5 | u64::from(*value));
        bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(bytes)
}

struct Checksum(u32);

impl Checksum {
    fn of_prefix(prefix: &str) -> Self {
        let mut checksum = Self(1);
        prefix.chars().for_each(|c| checksum.input(u32::from(c) >> 5));
        checksum.input(0);
        prefix.chars().for_each(|c| checksum.input(u32::from(c) & 31));
        checksum
    }

    fn input(&mut self, value: u32) {
        const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = self.0 >> 25;
        self.0 = (self.0 & 0x1ff_ffff) << 5 ^ value;
        for (i, term) in GENERATOR.into_iter().enumerate() {
            // All ones where the bit is set: no branch to mispredict.
            self.0 ^= term & (top >> i & 1).wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_bip_173_under_a_good_prefix() {
        for (prefix, byte) in [("cpc", 0), ("cpcvalcons", 255), ("a", 7), ("x1y", 9)] {
            let hrp = ::bech32::Hrp::parse(prefix).unwrap();
            let expected = ::bech32::encode::<::bech32::Bech32>(hrp, &[byte; 20]).unwrap();
            assert_eq!(encode(prefix, &[byte; 20]), expected);
            assert_eq!(decode(prefix, &expected), Some([byte; 20]));
        }
    }

    #[test]
    fn decodes_exactly_what_it_encodes() {
        let bytes = *b"twenty bytes exactly";
        let text = encode("cpc", &bytes);
        assert_eq!(decode("cpc", &text), Some(bytes));
        assert_eq!(decode("cpcvalcons", &text), None);
        assert_eq!(decode("cpc", &text.to_uppercase()), None);
        for at in 4..text.len() {
            for other in ['q', 'p', 'b', 'é', 'Q', ' '] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
                assert!(changed == text || decode("cpc", &changed).is_none(), "{changed}");
            }
        }
        assert_eq!(decode("cpc", &text[..text.len() - 1]), None);
        let hrp = ::bech32::Hrp::parse("cpc").unwrap();
        let bech32m = ::bech32::encode::<::bech32::Bech32m>(hrp, &bytes).unwrap();
        assert_eq!(decode("cpc", &bech32m), None);
    }
}
