use std::cmp::Ordering;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

/// A natural number of any size, up to 4300 decimal digits (where Python stops reading integers).
///
/// The v1 rules put no bound on a transaction's `fee` and `gas_limit`: they are hashed as decimal text and only ever
/// compared. Values up to `u128::MAX` are kept as a number, larger ones as their digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Quantity(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Small(u128),
    /// Digits without a leading zero, of a value above `u128::MAX`.
    Large(Box<str>),
}

/// The most decimal digits that Python turns into an integer (`sys.int_info.default_max_str_digits`).
const MAX_DIGITS: usize = 4300;

impl Quantity {
    /// Reads decimal digits.
    ///
    /// # Errors
    /// `None` where the text is anything but 1 to 4300 digits without a superfluous leading zero.
    pub fn from_digits(digits: &str) -> Option<Self> {
        let well_formed = !digits.is_empty()
            && digits.len() <= MAX_DIGITS
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'));
        well_formed.then(|| match digits.parse() {
            Ok(small) => Self(Repr::Small(small)),
            Err(_) => Self(Repr::Large(digits.into())),
        })
    }

    /// Reads the digits of a value above `u128::MAX`, as binary formats carry it.
    pub(super) fn from_large_digits(digits: &str) -> Result<Self, &'static str> {
        match Self::from_digits(digits) {
            Some(large @ Self(Repr::Large(_))) => Ok(large),
            _ => Err("a small number must be sent as a number"),
        }
    }

    /// The bytes that it keeps besides itself.
    pub(crate) fn heap(&self) -> usize {
        match &self.0 {
            Repr::Small(_) => 0,
            Repr::Large(digits) => digits.len(),
        }
    }

    /// The value, where it fits 128 bits.
    pub fn to_u128(&self) -> Option<u128> {
        match self.0 {
            Repr::Small(value) => Some(value),
            Repr::Large(_) => None,
        }
    }
}

impl From<u128> for Quantity {
    fn from(value: u128) -> Self {
        Self(Repr::Small(value))
    }
}

impl From<u64> for Quantity {
    fn from(value: u64) -> Self {
        Self(Repr::Small(value.into()))
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self(Repr::Small(0))
    }
}

impl PartialEq<u128> for Quantity {
    fn eq(&self, other: &u128) -> bool {
        self.to_u128() == Some(*other)
    }
}

impl PartialOrd<u128> for Quantity {
    fn partial_cmp(&self, other: &u128) -> Option<Ordering> {
        Some(self.to_u128().map_or(Ordering::Greater, |value| value.cmp(other)))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Small(a), Repr::Small(b)) => a.cmp(b),
            (Repr::Small(_), Repr::Large(_)) => Ordering::Less,
            (Repr::Large(_), Repr::Small(_)) => Ordering::Greater,
            (Repr::Large(a), Repr::Large(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Small(value) => write!(f, "{value}"),
            Repr::Large(digits) => f.write_str(digits),
        }
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::Small(value) if serializer.is_human_readable() => serializer.serialize_u128(*value),
            Repr::Large(digits) if serializer.is_human_readable() => {
                RawValue::from_string(digits.to_string()).map_err(S::Error::custom)?.serialize(serializer)
            }
            Repr::Small(value) => (1u8, value).serialize(serializer),
            Repr::Large(digits) => (2u8, digits).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<RawValue>::deserialize(deserializer)?;
            return Self::from_digits(raw.get()).ok_or_else(|| {
                let shown: String = raw.get().chars().take(40).collect();
                de::Error::custom(format_args!("{shown} is no natural number of at most {MAX_DIGITS} digits"))
            });
        }
        struct Form;
        impl<'de> de::Visitor<'de> for Form {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a natural number")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Quantity, A::Error> {
                let short = || de::Error::invalid_length(1, &"a tag and a value");
                match seq.next_element::<u8>()?.ok_or_else(short)? {
                    1 => Ok(Quantity(Repr::Small(seq.next_element()?.ok_or_else(short)?))),
                    2 => Quantity::from_large_digits(&seq.next_element::<String>()?.ok_or_else(short)?)
                        .map_err(de::Error::custom),
                    tag => Err(de::Error::custom(format_args!("a number has an unknown form {tag}"))),
                }
            }
        }
        deserializer.deserialize_tuple(2, Form)
    }
}
