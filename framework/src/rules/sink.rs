use std::fmt::{self, Write as _};
use std::io;

use sha2::{Digest, Sha256};

use crate::types::{Hash32, HexText};

/// Streams values into SHA-256, without intermediate strings.
#[derive(Debug, Clone)]
pub(super) struct Sink(Sha256);

impl Sink {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn finish(self) -> Hash32 {
        Hash32(self.0.finalize().into())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// A value as it displays itself: a number in decimal digits.
    pub(super) fn display(&mut self, value: impl fmt::Display) -> &mut Self {
        // Writing into a hash cannot fail, and numbers display themselves without an error.
        let _ = write!(self, "{value}");
        self
    }

    /// The 64 digits of a hash.
    pub(super) fn hash_text(&mut self, hash: &Hash32) -> &mut Self {
        self.bytes(&hash.to_hex_bytes())
    }

    /// Hexadecimal text as it was received.
    pub(super) fn hex_text(&mut self, hex_text: &HexText) -> &mut Self {
        let Some(bytes) = hex_text.canonical_bytes() else {
            return self.text(&hex_text.text());
        };
        let mut digits = [0; 64];
        for chunk in bytes.chunks(32) {
            let digits = &mut digits[..2 * chunk.len()];
            hex::encode_to_slice(chunk, digits).expect("two digits spell a byte");
            self.bytes(digits);
        }
        self
    }

    /// A string as JSON, quoted, with the escapes that JSON demands and no others.
    pub(super) fn json_string(&mut self, text: &str) -> &mut Self {
        serde_json::to_writer(&mut *self, text).expect("writing a string into a hash cannot fail");
        self
    }
}

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
