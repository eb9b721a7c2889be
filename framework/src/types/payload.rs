use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

/// A transaction's payload: a JSON object, kept as text.
///
/// The v1 rules bound neither its depth nor its fields, so it is read only where a transaction type needs it, and never
/// by recursion. A line break between tokens becomes a space, since a message is one line on the reference's wire.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Payload(Option<Arc<str>>);

impl Payload {
    /// Takes the text of a JSON object.
    ///
    /// # Errors
    /// The text is no JSON object.
    pub fn new(json: &str) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(json)?;
        Self::from_raw(raw.get()).map_err(de::Error::custom)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("{}")
    }

    /// The bytes that it keeps besides itself.
    pub(crate) fn heap(&self) -> usize {
        self.0.as_ref().map_or(0, |json| json.len() + super::SHARED)
    }

    /// What binary formats carry: the text, and nothing for `{}`, by far the most common payload.
    pub(super) fn form(&self) -> &str {
        self.0.as_deref().unwrap_or("")
    }

    /// Reads what binary formats carry: the text, and nothing for `{}`.
    pub(super) fn from_form(json: &str) -> Result<Self, String> {
        match json {
            "" => Ok(Self(None)),
            "{}" => Err("an empty payload must be sent as nothing".to_owned()),
            _ => {
                let raw: &RawValue = serde_json::from_str(json).map_err(|error| error.to_string())?;
                let payload = Self::from_raw(raw.get())?;
                if payload.as_str() == json { Ok(payload) } else { Err("a payload must be one line".to_owned()) }
            }
        }
    }

    /// `json` must be one well-formed JSON value without white space around it.
    fn from_raw(json: &str) -> Result<Self, &'static str> {
        if !json.starts_with('{') {
            return Err("payload must be a JSON object");
        }
        if json == "{}" {
            return Ok(Self(None));
        }
        // Inside strings JSON has no bare line breaks, so these stand between tokens.
        let line: Cow<'_, str> =
            if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() };
        Ok(Self(Some(line.into())))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_str(self.form());
        }
        match &self.0 {
            None => serializer.serialize_map(Some(0)).and_then(serde::ser::SerializeMap::end),
            Some(json) => RawValue::from_string(json.to_string()).map_err(S::Error::custom)?.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let raw = Box::<RawValue>::deserialize(deserializer)?;
            return Self::from_raw(raw.get()).map_err(de::Error::custom);
        }
        Self::from_form(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
