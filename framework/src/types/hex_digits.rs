//! Lower-case hexadecimal digits, read in one pass: hashes, keys and signatures are most of what a node reads in JSON.

/// What each character is worth; [`NONE`] for what is no lower-case digit.
const VALUES: [u8; 256] = values();
const NONE: u8 = 0xff;

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
}

/// Reads exactly as many bytes as there is room for; `false`, with anything in `room`, where `text` is not two lower-case digits for each.
pub(super) fn read(text: &[u8], room: &mut [u8]) -> bool {
    let (pairs, []) = text.as_chunks::<2>() else { return false };
    if pairs.len() != room.len() {
        return false;
    }
    // One look at the end costs less than one at each digit.
    let mut seen = 0;
    for ([high, low], byte) in pairs.iter().zip(room) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        seen |= high | low;
        *byte = (high << 4) | (low & 0xf);
    }
    seen < 16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_the_hex_crate_writes_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..70), at in 0usize..140, other: u8) {
            let mut text = hex::encode(&bytes).into_bytes();
            let mut room = vec![0; bytes.len()];
            prop_assert!(read(&text, &mut room));
            prop_assert_eq!(&room, &bytes);
            prop_assert!(!read(&text, &mut vec![0; bytes.len() + 1]));
            if let Some(digit) = text.get_mut(at) {
                *digit = other;
                let is_digit = matches!(other, b'0'..=b'9' | b'a'..=b'f');
                prop_assert_eq!(read(&text, &mut room), is_digit);
                prop_assert!(!read(&text[1..], &mut room), "an odd number of digits");
            }
        }
    }
}
