//! The one form that every field of a transaction has under canonical rules (protocol.md section 5).

use crate::types::{Payload, Transaction, TxType};

/// The longest payload, in bytes of its JSON text.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024;

/// The deepest nesting of a payload, the outermost object counted.
pub const MAX_PAYLOAD_DEPTH: usize = 32;

/// Checks recipient, fee, gas limit, key, signature and payload. The sender is the address of the key, and numbers and
/// hashes have one form already.
pub(super) fn check_fields(tx: &Transaction) -> Result<(), String> {
    if let Some(to) = &tx.to_address
        && to.known_prefix() != Some(super::keys::ACCOUNT_PREFIX)
    {
        let shown: String = to.as_str().chars().take(100).collect();
        return Err(format!("to_address is {shown:?}, expected a cpc address"));
    }
    if tx.tx_type != TxType::Transfer && tx.to_address.is_some() {
        return Err(format!("to_address is set, which a {} does not have", tx.tx_type));
    }
    for (name, value) in [("fee", &tx.fee), ("gas_limit", &tx.gas_limit)] {
        if value.to_u128().is_none() {
            return Err(format!("{name} exceeds 2^128"));
        }
    }
    check_payload(&tx.payload)
}

/// Compact JSON: no white space, names in ascending order without escapes, whole numbers within 64 bits, each character
/// of a string written in its shortest way.
fn check_payload(payload: &Payload) -> Result<(), String> {
    let json = payload.as_str();
    if json.len() > MAX_PAYLOAD_BYTES {
        return Err(format!("payload has {} bytes, expected at most {MAX_PAYLOAD_BYTES}", json.len()));
    }
    // A payload is well-formed JSON, so that only what has several forms needs a look. The last name of each open object.
    let mut open: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = json.as_bytes().get(at) {
        let rest = &json[at..];
        match byte {
            b'{' | b'[' => {
                open.push("");
                if open.len() > MAX_PAYLOAD_DEPTH {
                    return Err(format!("payload is nested more than {MAX_PAYLOAD_DEPTH} deep"));
                }
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                at += 1;
            }
            b'"' => {
                let text = string_body(rest)
                    .ok_or_else(|| format!("payload has an escape where none is needed at byte {at}"))?;
                at += text.len() + 2;
                if json.as_bytes().get(at) == Some(&b':') {
                    let last = open.last_mut().ok_or("payload is malformed")?;
                    let first_of_object = json.as_bytes()[at - text.len() - 3] == b'{';
                    if text.contains('\\') || (!first_of_object && text <= *last) {
                        return Err("payload has names with escapes, twice, or out of ascending order".into());
                    }
                    *last = text;
                }
            }
            b'-' | b'0'..=b'9' => {
                let end = rest.find([',', '}', ']', ' ', '\t']).unwrap_or(rest.len());
                let number = &rest[..end];
                let whole = number.parse::<u64>().is_ok_and(|n| n.to_string() == number)
                    || number.parse::<i64>().is_ok_and(|n| n.to_string() == number);
                if !whole {
                    return Err(format!("payload has a number at byte {at} that is not whole or exceeds 64 bits"));
                }
                at += end;
            }
            byte if byte.is_ascii_whitespace() => return Err(format!("payload has white space at byte {at}")),
            _ => at += 1,
        }
    }
    Ok(())
}

/// What stands between the quotes of the string that `json` starts with; `None` where an escape in it is not the
/// shortest way to write its character.
fn string_body(json: &str) -> Option<&str> {
    let body = &json[1..];
    let mut at = 0;
    loop {
        at += body[at..].find(['"', '\\'])?;
        if body.as_bytes()[at] == b'"' {
            return Some(&body[..at]);
        }
        let escape = body.as_bytes().get(at + 1)?;
        at += match escape {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => {
                let digits = body.get(at + 2..at + 6)?;
                let code = u8::from_str_radix(digits, 16).ok()?;
                let shortest = code < 0x20 && !matches!(code, 8 | b'\t' | b'\n' | 12 | b'\r');
                if !shortest || digits != format!("{code:04x}") {
                    return None;
                }
                6
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests;
