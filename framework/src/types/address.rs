use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::bech32;

/// An account or validator address: text, compared and hashed as received.
///
/// Addresses that keys give are bech32 of 20 bytes under `cpc` (accounts) or `cpcvalcons` (validators), and travel as
/// those 20 bytes in binary formats. Under v1 rules any other text is an address too.
#[derive(Clone)]
pub struct Address {
    text: Text,
    compact: Compact,
}

#[derive(Clone)]
enum Text {
    /// The first so many of these bytes.
    Short(u8, [u8; SHORT]),
    /// More than [`SHORT`] bytes.
    Long(Arc<str>),
}

/// So many bytes are kept in place, so that no address of a key needs memory of its own: `cpcvalcons`, `1`, and 38 characters.
const SHORT: usize = 49;

impl Text {
    fn new(text: &str) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(text.as_bytes());
                Self::Short(length, short)
            }
            _ => Self::Long(text.into()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            // It was made from a text.
            Self::Short(length, bytes) => std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

/// What binary formats carry for a bech32 address under a known prefix: the length of the form, the prefix's tag, and the
/// 20 bytes. All zeros where the text is anything else. Each text has exactly one, worked out once, when the text comes in:
/// the checksum costs more than all the rest of writing a transaction.
type Compact = [u8; 22];

/// The form of any other text.
const OTHER: Compact = [0; 22];

/// A tag and 20 bytes.
const FORM_LENGTH: u8 = 21;

/// How an address is written in binary formats: the prefixes that are worth a tag of their own.
const PREFIXES: [(u8, &str); 2] = [(1, "cpc"), (2, "cpcvalcons")];

impl Address {
    /// Takes the text as it is.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self { compact: compact_of(text), text: Text::new(text) }
    }

    /// The bech32 address of 20 bytes under a prefix.
    ///
    /// # Errors
    /// The prefix is none that bech32 allows (empty, not ASCII, mixed case, over 83 characters).
    pub fn bech32(prefix: &str, bytes: &[u8; 20]) -> Result<Self, InvalidPrefix> {
        if ::bech32::Hrp::parse(prefix).is_err() {
            return Err(InvalidPrefix(prefix.to_owned()));
        }
        Ok(Self::of_bytes(prefix, bytes))
    }

    /// The bech32 address of 20 bytes under any text as prefix, as v1 has it.
    pub(crate) fn of_bytes(prefix: &str, bytes: &[u8; 20]) -> Self {
        let known = PREFIXES.into_iter().find(|(_, known)| *known == prefix);
        let compact = known.map_or(OTHER, |(tag, _)| compact(tag, bytes));
        Self { text: bech32::encode(prefix, bytes, Text::new), compact }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// The bytes of the text.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.text {
            Text::Short(length, bytes) => &bytes[..usize::from(*length)],
            Text::Long(text) => text.as_bytes(),
        }
    }

    /// The bytes that it keeps besides itself.
    pub(crate) fn heap(&self) -> usize {
        match &self.text {
            Text::Short(..) => 0,
            Text::Long(text) => text.len() + super::SHARED,
        }
    }

    /// `cpc` or `cpcvalcons`, where the text is exactly the bech32 address of 20 bytes under that prefix.
    pub fn known_prefix(&self) -> Option<&'static str> {
        PREFIXES.into_iter().find(|(known, _)| *known == self.compact[1]).map(|(_, prefix)| prefix)
    }

    /// Whether the text is known to be the bech32 address of these bytes under this prefix. Under another prefix than
    /// [`known_prefix`](Self::known_prefix) gives, that is not known.
    pub(crate) fn spells(&self, prefix: &str, bytes: &[u8; 20]) -> bool {
        self.known_prefix() == Some(prefix) && self.compact[2..] == *bytes
    }

    /// Reads what binary formats carry: a tag, and then the 20 bytes or any other text.
    pub(super) fn from_form(form: &[u8]) -> Result<Self, &'static str> {
        let (tag, rest) = form.split_first().ok_or("an address has no form")?;
        if *tag == 0 {
            let address = Self::new(std::str::from_utf8(rest).map_err(|_| "an address is no UTF-8")?);
            return if address.compact == OTHER { Ok(address) } else { Err("a bech32 address must be sent as bytes") };
        }
        let (_, prefix) =
            PREFIXES.into_iter().find(|(known, _)| known == tag).ok_or("an address has an unknown form")?;
        let bytes = rest.try_into().map_err(|_| "an address must have 20 bytes")?;
        Ok(Self { text: bech32::encode(prefix, bytes, Text::new), compact: compact(*tag, bytes) })
    }

    /// What binary formats carry, its length included, where the text is exactly what [`Address::bech32`] would write.
    pub(super) fn compact(&self) -> Option<&[u8; 22]> {
        (self.compact != OTHER).then_some(&self.compact)
    }
}

fn compact(tag: u8, bytes: &[u8; 20]) -> Compact {
    let mut compact = OTHER;
    compact[0] = FORM_LENGTH;
    compact[1] = tag;
    compact[2..].copy_from_slice(bytes);
    compact
}

fn compact_of(text: &str) -> Compact {
    let known = PREFIXES.into_iter().find_map(|(tag, prefix)| Some(compact(tag, &bech32::decode(prefix, text)?)));
    known.unwrap_or(OTHER)
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        // Two texts with one compact form are the same text.
        self.compact == other.compact && (self.compact != OTHER || self.as_str() == other.as_str())
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    /// As texts.
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As far as two of them can be equal by it.
        if self.compact == OTHER { self.as_str().hash(state) } else { self.compact.hash(state) }
    }
}

/// Bech32 has no such prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no bech32 prefix: it must be 1 to 83 printable ASCII characters of one case")]
pub struct InvalidPrefix(String);

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(self.as_str());
        }
        if let Some([_, form @ ..]) = self.compact() {
            return serializer.serialize_bytes(form);
        }
        let mut form = Vec::with_capacity(1 + self.as_str().len());
        form.push(0);
        form.extend_from_slice(self.as_str().as_bytes());
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
