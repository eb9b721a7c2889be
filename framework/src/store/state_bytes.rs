//! Keys and values of the state.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// A key or a value of the state: bytes that never change.
///
/// Up to 54 bytes are kept in place, so that an account's key and value need no memory of their own: a block touches
/// hundreds of them. What is longer is shared by its copies. Everything else is as with a slice: order, equality, hash.
#[derive(Clone)]
pub struct StateBytes(Repr);

#[derive(Clone)]
enum Repr {
    /// The first so many of these bytes, zeros after them.
    Short(u8, [u8; SHORT]),
    /// More than [`SHORT`] bytes.
    Long(Bytes),
}

/// What fits 56 bytes in all. The key of a validator's entry has 51.
const SHORT: usize = 54;

impl StateBytes {
    /// No bytes.
    pub const fn new() -> Self {
        Self(Repr::Short(0, [0; SHORT]))
    }

    /// A copy of these bytes.
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        Self::short(bytes).unwrap_or_else(|| Self(Repr::Long(Bytes::copy_from_slice(bytes))))
    }

    /// These bytes.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self::short(bytes).unwrap_or_else(|| Self(Repr::Long(Bytes::from_static(bytes))))
    }

    /// These bytes one after the other.
    pub fn concat(parts: [&[u8]; 2]) -> Self {
        let [left, right] = parts;
        let mut short = [0; SHORT];
        let length = left.len().saturating_add(right.len());
        match (short.get_mut(..length), u8::try_from(length)) {
            (Some(room), Ok(length)) => {
                let (first, second) = room.split_at_mut(left.len());
                first.copy_from_slice(left);
                second.copy_from_slice(right);
                Self(Repr::Short(length, short))
            }
            _ => Self(Repr::Long(parts.concat().into())),
        }
    }

    fn short(bytes: &[u8]) -> Option<Self> {
        let mut short = [0; SHORT];
        short.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(Repr::Short(u8::try_from(bytes.len()).ok()?, short)))
    }
}

impl Default for StateBytes {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for StateBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Short(length, bytes) => &bytes[..usize::from(*length)],
            Repr::Long(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for StateBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for StateBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for StateBytes {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Short(length, bytes), Repr::Short(other_length, others)) => {
                length == other_length && bytes == others
            }
            _ => **self == **other,
        }
    }
}

impl Eq for StateBytes {}

impl PartialEq<[u8]> for StateBytes {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for StateBytes {
    fn eq(&self, other: &&str) -> bool {
        **self == *other.as_bytes()
    }
}

impl Hash for StateBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialOrd for StateBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StateBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        // Most keys differ within their first bytes; that many are compared as a number. Zeros after a short one's end put it
        // before all that it begins, as it should be.
        if let (Repr::Short(_, bytes), Repr::Short(_, others)) = (&self.0, &other.0) {
            let (head, other_head) = (bytes.first_chunk().copied(), others.first_chunk().copied());
            let by_head = head.map(u128::from_be_bytes).cmp(&other_head.map(u128::from_be_bytes));
            if by_head.is_ne() {
                return by_head;
            }
        }
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for StateBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl From<Vec<u8>> for StateBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::short(&bytes).unwrap_or_else(|| Self(Repr::Long(bytes.into())))
    }
}

impl From<Bytes> for StateBytes {
    fn from(bytes: Bytes) -> Self {
        Self::short(&bytes).unwrap_or(Self(Repr::Long(bytes)))
    }
}

impl From<String> for StateBytes {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for StateBytes {
    fn from(text: &str) -> Self {
        Self::copy_from_slice(text.as_bytes())
    }
}

/// As bytes.
impl Serialize for StateBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for StateBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = StateBytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<StateBytes, E> {
        Ok(StateBytes::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<StateBytes, E> {
        Ok(bytes.into())
    }

    /// Formats without bytes of their own write numbers.
    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<StateBytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Near the length where the form changes, and with zeros, which the short form ends with.
        #[test]
        fn order_equality_and_hash_are_those_of_slices(
            left in prop::collection::vec(0u8..3, 0..60), right in prop::collection::vec(0u8..3, 0..60), tail in 0usize..60,
        ) {
            let (a, b) = (StateBytes::from(left.clone()), StateBytes::copy_from_slice(&right));
            prop_assert_eq!(a.cmp(&b), left.cmp(&right));
            prop_assert_eq!(a == b, left == right);
            let begun = StateBytes::copy_from_slice(&left[..left.len().min(tail)]);
            prop_assert_eq!(a.cmp(&begun), left.as_slice().cmp(&left[..left.len().min(tail)]));
            let known = HashSet::from([a.clone()]);
            prop_assert!(known.contains(left.as_slice()));
            prop_assert_eq!(StateBytes::concat([&left, &right]), StateBytes::from([left, right].concat()));
        }
    }

    #[test]
    fn both_forms_are_written_alike_and_take_56_bytes() {
        assert_eq!(size_of::<StateBytes>(), 56);
        assert_eq!(size_of::<Option<StateBytes>>(), 56);
        for length in [0, 1, SHORT, SHORT + 1, 1000] {
            let bytes = StateBytes::from(vec![7; length]);
            let written = postcard::to_stdvec(&bytes).unwrap();
            assert_eq!(written, postcard::to_stdvec(&Bytes::from(vec![7; length])).unwrap());
            assert_eq!(postcard::from_bytes::<StateBytes>(&written).unwrap(), bytes);
            let text = serde_json::to_string(&bytes).unwrap();
            assert_eq!(serde_json::from_str::<StateBytes>(&text).unwrap(), bytes);
        }
    }
}
