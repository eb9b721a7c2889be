//! The handshake as it comes in. What only informs is read leniently, since every version and every fork of the
//! reference writes it a little differently; what decides about the connection must be there.

use std::fmt;

use cpc_framework::types::{Handshake, Hash32};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::Integer;
use super::depth::{self, MAX_DEPTH};

/// The longest `node_id` or `network`, in bytes: a domain name has at most 253 (RFC 1035), a port five and a colon.
const MAX_TEXT: usize = 259;
/// So many features are kept, the others ignored.
const MAX_FEATURES: usize = 32;
/// The longest name of a feature, in bytes; longer ones are ignored.
const MAX_FEATURE: usize = 64;
/// The levels that may open within a field: it stands in a payload, which stands in a message.
const WITHIN_FIELD: u8 = MAX_DEPTH - 2;
/// What the documented protocol sends.
const PROTOCOL_VERSION: u32 = 1;

/// The payload of a handshake.
#[derive(Deserialize)]
pub(super) struct WireHandshake<'a> {
    node_id: String,
    network: String,
    #[serde(borrow, default)]
    p2p_port: Option<&'a RawValue>,
    #[serde(borrow, default)]
    protocol_version: Option<&'a RawValue>,
    #[serde(borrow, default)]
    best_height: Option<&'a RawValue>,
    #[serde(borrow, default)]
    best_hash: Option<&'a RawValue>,
    #[serde(borrow, default)]
    genesis_hash: Option<&'a RawValue>,
    #[serde(borrow, default)]
    features: Option<&'a RawValue>,
    #[serde(borrow, default)]
    nonce: Option<&'a RawValue>,
}

impl WireHandshake<'_> {
    /// What it says, as far as it says something.
    pub(super) fn read<E: de::Error>(self) -> Result<Handshake, E> {
        for (name, text) in [("node_id", &self.node_id), ("network", &self.network)] {
            if text.len() > MAX_TEXT {
                return Err(E::custom(format_args!("{name}: {} bytes, at most {MAX_TEXT} are taken", text.len())));
            }
        }
        let lenient = [
            self.p2p_port,
            self.protocol_version,
            self.best_height,
            self.best_hash,
            self.genesis_hash,
            self.features,
            self.nonce,
        ];
        lenient.into_iter().flatten().try_for_each(|raw| depth::check(raw, WITHIN_FIELD))?;
        Ok(Handshake {
            node_id: self.node_id,
            network: self.network,
            p2p_port: natural(self.p2p_port).and_then(|port| port.try_into().ok()).unwrap_or(0),
            protocol_version: natural(self.protocol_version)
                .map_or(PROTOCOL_VERSION, |version| version.try_into().unwrap_or(u32::MAX)),
            best_height: natural(self.best_height),
            best_hash: hash(self.best_hash),
            genesis_hash: hash(self.genesis_hash),
            features: self.features.and_then(|raw| serde_json::from_str::<Features>(raw.get()).ok()).map(|list| list.0),
            nonce: self.nonce.and_then(|raw| raw.get().parse().ok()),
        })
    }
}

/// -1 stands for "no block", and anything that is no integer says as little.
fn natural(raw: Option<&RawValue>) -> Option<u64> {
    match Integer::read(raw?)? {
        Integer::Negative => None,
        Integer::Natural(number) => Some(number),
    }
}

/// 64 zeros stand for "no block".
fn hash(raw: Option<&RawValue>) -> Option<Hash32> {
    serde_json::from_str(raw?.get()).ok().filter(|hash| *hash != Hash32::ZERO)
}

/// A list of names; whatever else stands in it is skipped.
struct Features(Vec<String>);

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Features;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Features, A::Error> {
                let mut names = Vec::new();
                while names.len() < MAX_FEATURES
                    && let Some(raw) = seq.next_element::<&'de RawValue>()?
                {
                    names.extend(
                        serde_json::from_str::<String>(raw.get()).ok().filter(|name| name.len() <= MAX_FEATURE),
                    );
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Features(names))
            }
        }
        deserializer.deserialize_seq(List)
    }
}
