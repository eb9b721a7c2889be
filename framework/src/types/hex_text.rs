use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::hex_digits;

/// Hexadecimal text whose spelling matters.
///
/// A v1 transaction hash covers `pub_key` as the text that was received, and Python reads either case and white space
/// between bytes. So the text survives unchanged; where it is the canonical spelling (lower case, no white space, even
/// length, at least one byte), only its bytes are kept, which halves it in memory and in binary formats.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HexText(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    /// The bytes that the canonical text spells, where they are few: the first so many, zeros after them.
    Short(u8, [u8; SHORT]),
    /// The bytes that the canonical text spells, more than [`SHORT`].
    Long(Box<[u8]>),
    /// Any other text, the empty one included.
    Text(Box<str>),
}

/// So many bytes are kept in place: a signature (64 bytes) or a key needs no memory of its own, and what there is besides is
/// no larger for it.
const SHORT: usize = 70;

impl Repr {
    fn of_bytes(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(bytes);
                Self::Short(length, short)
            }
            _ => Self::Long(bytes.into()),
        }
    }
}

impl HexText {
    /// The canonical text of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        if bytes.is_empty() { Self::default() } else { Self(Repr::of_bytes(bytes)) }
    }

    /// Keeps `text` as it is, whatever it says.
    pub fn new(text: &str) -> Self {
        let length = text.len() / 2;
        if length == 0 {
            return Self(Repr::Text(text.into()));
        }
        let mut short = [0; SHORT];
        if let (Some(room), Ok(length)) = (short.get_mut(..length), u8::try_from(length)) {
            let canonical = hex_digits::read(text.as_bytes(), room);
            return Self(if canonical { Repr::Short(length, short) } else { Repr::Text(text.into()) });
        }
        let mut long = vec![0; length];
        let canonical = hex_digits::read(text.as_bytes(), &mut long);
        Self(if canonical { Repr::Long(long.into()) } else { Repr::Text(text.into()) })
    }

    /// What binary formats carry: the bytes of the canonical text (0), or any other text (1).
    pub(super) fn form(&self) -> (u8, &[u8]) {
        match &self.0 {
            Repr::Short(length, bytes) => (0, &bytes[..usize::from(*length)]),
            Repr::Long(bytes) => (0, bytes),
            Repr::Text(text) => (1, text.as_bytes()),
        }
    }

    /// Reads what binary formats carry: the bytes of the canonical text (0), or any other text (1).
    pub(super) fn from_form(tag: u8, bytes: &[u8]) -> Result<Self, &'static str> {
        match tag {
            0 if !bytes.is_empty() => Ok(Self(Repr::of_bytes(bytes))),
            1 => match Self::new(std::str::from_utf8(bytes).map_err(|_| "hexadecimal text is no UTF-8")?) {
                other @ Self(Repr::Text(_)) => Ok(other),
                Self(_) => Err("canonical hexadecimal text must be sent as bytes"),
            },
            _ => Err("hexadecimal text has an unknown form"),
        }
    }

    /// The text as received.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::Short(length, bytes) => Cow::Owned(hex::encode(&bytes[..usize::from(*length)])),
            Repr::Long(bytes) => Cow::Owned(hex::encode(bytes)),
            Repr::Text(text) => Cow::Borrowed(text),
        }
    }

    /// The bytes, where the text is canonical; what another spelling means is a matter of the chain's rules.
    pub fn canonical_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Short(length, bytes) => Some(&bytes[..usize::from(*length)]),
            Repr::Long(bytes) => Some(bytes),
            Repr::Text(_) => None,
        }
    }

    /// How many bytes it takes: those that it spells, where it is canonical, else those of the text.
    pub(crate) fn size(&self) -> usize {
        self.form().1.len()
    }

    /// The bytes that it keeps besides itself.
    pub(crate) fn heap(&self) -> usize {
        match &self.0 {
            Repr::Short(..) => 0,
            Repr::Long(bytes) => bytes.len(),
            Repr::Text(text) => text.len(),
        }
    }

    /// Whether the text is empty, which stands for "absent".
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::Text(text) if text.is_empty())
    }
}

impl Default for HexText {
    fn default() -> Self {
        Self(Repr::Text("".into()))
    }
}

impl fmt::Display for HexText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for HexText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl Serialize for HexText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.text())
        } else {
            let (form, bytes) = self.form();
            (form, serde_bytes_view(bytes)).serialize(serializer)
        }
    }
}

/// A byte slice that serialises as bytes rather than as a sequence.
fn serde_bytes_view(bytes: &[u8]) -> impl Serialize + '_ {
    struct View<'a>(&'a [u8]);
    impl Serialize for View<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    View(bytes)
}

impl<'de> Deserialize<'de> for HexText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = HexText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("hexadecimal text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HexText, E> {
                Ok(HexText::new(text))
            }
        }
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(Text);
        }
        let (tag, bytes) = <(u8, bytes::Bytes)>::deserialize(deserializer)?;
        Self::from_form(tag, &bytes).map_err(de::Error::custom)
    }
}
