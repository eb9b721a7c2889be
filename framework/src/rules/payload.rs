//! What the rules read out of a transaction's payload, where its type needs it. No recursion: depth costs nothing.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{keys, quirks};
use crate::types::{HashRules, HexText, Payload};

/// The payload of a `SUBMIT_RESULT` transaction. Other fields of the payload mean nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskResult {
    /// Which task was computed.
    pub task_id: String,
    /// Who computed it; must be the sender.
    pub worker_address: String,
    /// The hash of what came out.
    pub result_hash: String,
    /// Carried, not checked.
    pub proof: String,
    /// A decimal integer; v1 bounds neither its size nor its sign.
    pub nonce: String,
    /// Carried, not checked.
    pub signature: String,
}

/// Reads the payload of a `SUBMIT_RESULT` transaction.
///
/// # Errors
/// Which field is missing or is not what it must be.
pub fn task_result(rules: HashRules, payload: &Payload) -> Result<TaskResult, String> {
    const NAMES: [&str; 6] = ["task_id", "worker_address", "result_hash", "proof", "signature", "nonce"];
    let [task_id, worker_address, result_hash, proof, signature, nonce] = fields(payload, NAMES)?;
    let text = |name, value: Option<&RawValue>| string(name, value.ok_or_else(|| format!("payload has no {name}"))?);
    Ok(TaskResult {
        task_id: text("task_id", task_id)?,
        worker_address: text("worker_address", worker_address)?,
        result_hash: text("result_hash", result_hash)?,
        proof: text("proof", proof)?,
        signature: text("signature", signature)?,
        nonce: match nonce {
            None => "0".into(),
            Some(nonce) => integer(rules, nonce.get())
                .ok_or_else(|| format!("payload.nonce is {}, which is no integer", shown(nonce.get())))?,
        },
    })
}

/// The public key in the payload of a STAKE transaction.
///
/// Under v1 rules it need not be a key: any hexadecimal text counts, and nobody can sign for such a validator.
///
/// # Errors
/// It is missing or is not what it must be.
pub fn stake_pub_key(rules: HashRules, payload: &Payload) -> Result<HexText, String> {
    let [pub_key] = fields(payload, ["pub_key"])?;
    let missing = || "payload has no pub_key, which a STAKE must have".to_owned();
    let pub_key = HexText::new(&string("pub_key", pub_key.ok_or_else(missing)?)?);
    if pub_key.is_empty() {
        return Err(missing());
    }
    match rules {
        HashRules::ComputechainV1 => match quirks::bytes_from_hex(&pub_key) {
            Some(_) => Ok(pub_key),
            None => Err(format!("payload.pub_key is {}, which is not hexadecimal", shown(&pub_key.text()))),
        },
        HashRules::Canonical => match keys::ed25519_key(&pub_key) {
            Ok(_) => Ok(pub_key),
            Err(error) => Err(format!("payload.pub_key: {error}")),
        },
    }
}

fn integer(rules: HashRules, json: &str) -> Option<String> {
    match rules {
        HashRules::ComputechainV1 => quirks::lax_integer(json),
        HashRules::Canonical => json.parse::<u64>().ok().map(|n| n.to_string()).filter(|text| text == json),
    }
}

fn string(name: &str, value: &RawValue) -> Result<String, String> {
    serde_json::from_str(value.get()).map_err(|_| format!("payload.{name} is {}, which is no text", shown(value.get())))
}

/// At most 60 characters of what somebody sent.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The values of some fields of a payload; where a name stands twice, the last one counts, as in Python.
fn fields<'p, const N: usize>(payload: &'p Payload, names: [&str; N]) -> Result<[Option<&'p RawValue>; N], String> {
    serde_json::Deserializer::from_str(payload.as_str())
        .deserialize_map(Fields(names))
        .map_err(|error| format!("the payload cannot be read: {error}"))
}

struct Fields<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(known) = map.next_key_seed(FieldName(&self.0))? {
            match known {
                Some(i) => values[i] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}

/// The index of a name among known ones. Read as bytes, since JSON names may hold lone surrogates, which are no `str`.
struct FieldName<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_bytes<E: de::Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| known.as_bytes() == name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        self.visit_bytes(name.as_bytes())
    }
}
