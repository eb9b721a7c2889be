use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::bech32;

/// An account or validator address: text, compared and hashed as received.
///
/// Addresses that keys give are bech32 of 20 bytes under `cpc` (accounts) or `cpcvalcons` (validators), and travel as
/// those 20 bytes in binary formats. Under v1 rules any other text is an address too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Arc<str>);

/// How an address is written in binary formats: the prefixes that are worth a tag of their own.
const PREFIXES: [(u8, &str); 2] = [(1, "cpc"), (2, "cpcvalcons")];

impl Address {
    /// Takes the text as it is.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().into())
    }

    /// The bech32 address of 20 bytes under a prefix.
    ///
    /// # Errors
    /// The prefix is none that bech32 allows (empty, not ASCII, mixed case, over 83 characters).
    pub fn bech32(prefix: &str, bytes: &[u8; 20]) -> Result<Self, InvalidPrefix> {
        let well_formed = ::bech32::Hrp::parse(prefix).is_ok();
        well_formed.then(|| Self(bech32::encode(prefix, bytes))).ok_or_else(|| InvalidPrefix(prefix.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `cpc` or `cpcvalcons`, where the text is exactly the bech32 address of 20 bytes under that prefix.
    pub fn known_prefix(&self) -> Option<&'static str> {
        let (tag, _) = self.compact()?;
        PREFIXES.into_iter().find(|(known, _)| *known == tag).map(|(_, prefix)| prefix)
    }

    /// Reads what binary formats carry: a tag, and then the 20 bytes or any other text.
    pub(super) fn from_form(form: &[u8]) -> Result<Self, &'static str> {
        let (tag, rest) = form.split_first().ok_or("an address has no form")?;
        if *tag == 0 {
            let address = Self::new(std::str::from_utf8(rest).map_err(|_| "an address is no UTF-8")?);
            return match address.compact() {
                Some(_) => Err("a bech32 address must be sent as bytes"),
                None => Ok(address),
            };
        }
        let (_, prefix) =
            PREFIXES.into_iter().find(|(known, _)| known == tag).ok_or("an address has an unknown form")?;
        let bytes = rest.try_into().map_err(|_| "an address must have 20 bytes")?;
        Ok(Self(bech32::encode(prefix, bytes)))
    }

    /// The 20 bytes and the tag of the prefix, where the text is exactly what [`Address::bech32`] would write.
    fn compact(&self) -> Option<(u8, [u8; 20])> {
        PREFIXES.into_iter().find_map(|(tag, prefix)| Some((tag, bech32::decode(prefix, &self.0)?)))
    }
}

/// Bech32 has no such prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no bech32 prefix: it must be 1 to 83 printable ASCII characters of one case")]
pub struct InvalidPrefix(String);

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Arc<str>> for Address {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&self.0);
        }
        if let Some((tag, bytes)) = self.compact() {
            let mut form = [0; 21];
            form[0] = tag;
            form[1..].copy_from_slice(&bytes);
            return serializer.serialize_bytes(&form);
        }
        let mut form = Vec::with_capacity(1 + self.0.len());
        form.push(0);
        form.extend_from_slice(self.0.as_bytes());
        serializer.serialize_bytes(&form)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Address;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Address, E> {
                Ok(Address::new(text))
            }
            fn visit_bytes<E: de::Error>(self, form: &[u8]) -> Result<Address, E> {
                Address::from_form(form).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Form)
        } else {
            deserializer.deserialize_bytes(Form)
        }
    }
}
