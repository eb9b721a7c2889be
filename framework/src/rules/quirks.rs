//! What reference v1 takes although nobody meant it to (protocol.md section 4, "What any user can get into a v1 chain").
//!
//! An address prefix of any text is in `types::bech32`, since it is the one bech32 with nothing checked.
//! All of it stands in v1 chains for ever, so a follower reads it as the reference does. Canonical rules use nothing of this file.

use crate::types::HexText;

/// The longest integer text that pydantic reads, in bytes, a minus sign included.
const MAX_INTEGER_TEXT: usize = 4300;

/// The bytes of hexadecimal text as Python's `bytes.fromhex` reads it: either case, ASCII white space between bytes.
pub(super) fn bytes_from_hex(hex_text: &HexText) -> Option<Vec<u8>> {
    if let Some(bytes) = hex_text.canonical_bytes() {
        return Some(bytes.to_vec());
    }
    let text = hex_text.text();
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len() / 2);
    loop {
        rest = rest.trim_ascii_start();
        // Python counts the vertical tab as white space, Rust does not.
        if let Some(after_tab) = rest.strip_prefix(b"\x0b") {
            rest = after_tab;
            continue;
        }
        let Some((pair, after)) = rest.split_at_checked(2) else {
            return rest.is_empty().then_some(bytes);
        };
        let mut byte = [0];
        hex::decode_to_slice(pair, &mut byte).ok()?;
        bytes.push(byte[0]);
        rest = after;
    }
}

/// The 64 bytes r‖s of a v1 signature: r is the first 32 bytes, s *all* the rest as a number; `None` where s has more
/// than 32 bytes after its leading zeros, or r is incomplete.
pub(super) fn signature_numbers(bytes: &[u8]) -> Option<[u8; 64]> {
    let (r, s) = bytes.split_at_checked(32)?;
    let zeros = s.iter().take_while(|byte| **byte == 0).count();
    let s = &s[zeros..];
    let start = 64usize.checked_sub(s.len()).filter(|start| *start >= 32)?;
    let mut numbers = [0; 64];
    numbers[..32].copy_from_slice(r);
    numbers[start..].copy_from_slice(s);
    Some(numbers)
}

/// The integer that pydantic (lax mode) makes of a JSON value that Python's `json` has read, as Python writes it; `None`
/// where it makes none. Numbers, text that spells one, floats without a fraction below 2^63, `true` and `false`.
pub(super) fn lax_integer(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b't' => Some("1".into()),
        b'f' => Some("0".into()),
        b'"' => integer_from_text(&serde_json::from_str::<String>(json).ok()?),
        b'-' | b'0'..=b'9' if json.contains(['.', 'e', 'E']) => integer_from_float(json.parse().ok()?),
        b'-' | b'0'..=b'9' => {
            let digits = json.strip_prefix('-').unwrap_or(json);
            (digits.len() <= MAX_INTEGER_TEXT).then(|| without_negative_zero(json))
        }
        _ => None,
    }
}

/// A float counts as an integer if it has no fraction and lies strictly between −2^63 and 2^63.
fn integer_from_float(float: f64) -> Option<String> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "an integer within 64 bits")]
    (float.fract() == 0.0 && float.abs() < BOUND).then(|| (float as i64).to_string())
}

/// pydantic's reading of an integer in text: white space around it, one sign, leading zeros (with underscores, any
/// number, and even a minus sign after them), single underscores between digits, a fraction of zeros.
fn integer_from_text(text: &str) -> Option<String> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.starts_with(['+', '-']) {
        return None;
    }
    let negative = text.starts_with('-');
    let number = without_leading_zeros(unsigned)?;
    let number = match number.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        _ => number,
    };
    let well_separated = !number.starts_with('_') && !number.ends_with('_') && !number.contains("__");
    let digits = if well_separated { number.replace('_', "") } else { number.to_owned() };
    let integer = if negative { format!("-{digits}") } else { digits };
    let is_integer = integer.len() <= MAX_INTEGER_TEXT && is_json_integer(&integer);
    is_integer.then(|| without_negative_zero(&integer))
}

fn without_leading_zeros(number: &str) -> Option<&str> {
    match number.bytes().next()? {
        b'1'..=b'9' => return Some(number),
        b'0' => {}
        _ => return None,
    }
    let Some(end) = number.bytes().position(|b| !matches!(b, b'0' | b'_')) else {
        return Some(&number[number.len() - 1..]);
    };
    match number.as_bytes()[end] {
        b'1'..=b'9' | b'-' => Some(&number[end..]),
        // The zero before a fraction stays.
        b'.' => Some(&number[end - 1..]),
        _ => None,
    }
}

fn is_json_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'))
}

fn without_negative_zero(integer: &str) -> String {
    if integer == "-0" { "0".into() } else { integer.into() }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::rules::{hash_v1, payload};
    use crate::types::{HashRules, Payload, bech32};

    /// What Python 3.11 and pydantic 2.13 make of inputs; `None` where they refuse.
    #[derive(Deserialize)]
    struct Readings {
        integers: Vec<(String, Option<String>)>,
        hex: Vec<(String, Option<String>)>,
        bech32: Vec<(String, String, String)>,
        results: Vec<(String, Option<String>)>,
    }

    fn readings() -> Readings {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/computechain-v1/quirks/readings.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn reads_integers_as_pydantic_does() {
        for (json, expected) in readings().integers {
            assert_eq!(lax_integer(&json), expected, "{json}");
        }
    }

    #[test]
    fn reads_hexadecimal_text_as_python_does() {
        for (text, expected) in readings().hex {
            assert_eq!(bytes_from_hex(&HexText::new(&text)).map(hex::encode), expected, "{text:?}");
        }
    }

    #[test]
    fn writes_bech32_under_any_prefix_as_the_reference_does() {
        for (prefix, bytes, expected) in readings().bech32 {
            let bytes: [u8; 20] = hex::decode(bytes).unwrap().try_into().unwrap();
            assert_eq!(bech32::encode(&prefix, &bytes, str::to_owned), *expected, "{prefix:?}");
        }
    }

    #[test]
    fn hashes_results_as_the_reference_does() {
        for (json, expected) in readings().results {
            let result = payload::task_result(HashRules::ComputechainV1, &Payload::new(&json).unwrap());
            assert_eq!(result.ok().map(|result| hash_v1::result(&result).to_string()), expected, "{json}");
        }
    }

    #[test]
    fn s_is_all_that_follows_r() {
        let r = [7; 32];
        let numbers = |s: &[u8]| signature_numbers(&[&r[..], s].concat()).map(|n| n[32..].to_vec());
        let padded = |s: u8| [[0; 31].as_slice(), &[s]].concat();
        assert_eq!(numbers(&[9]), Some(padded(9)));
        assert_eq!(numbers(&[]), Some(vec![0; 32]));
        assert_eq!(numbers(&[[0; 100].as_slice(), &[9; 32]].concat()), Some(vec![9; 32]));
        assert_eq!(numbers(&[9; 33]), None);
        assert_eq!(signature_numbers(&[7; 31]), None);
    }

    #[test]
    fn a_payload_of_any_depth_is_read_without_recursion() {
        for depth in [150, 100_000] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let json = format!(r#"{{"deep":{deep},"pub_key":"00"}}"#);
            let payload = Payload::new(&json).unwrap();
            assert_eq!(payload::stake_pub_key(HashRules::ComputechainV1, &payload).unwrap().text(), "00");
            let result = Payload::new(&format!(r#"{{"task_id":{deep}}}"#)).unwrap();
            assert!(payload::task_result(HashRules::ComputechainV1, &result).is_err());
        }
    }
}
