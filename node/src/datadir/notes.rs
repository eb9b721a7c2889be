//! What a node notes for its next run: addresses of peers, and up to where blocks may be unchecked.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use cpc_framework::types::Height;

use super::Datadir;
use crate::files::{Access, Draft};
use crate::{CliError, files};

/// Addresses are at most some 260 bytes, and a file holds at most 1024 of them (attacks.md, row 16).
const MAX_PEERS_BYTES: u64 = 1 << 20;

/// A note has one word.
const MAX_NOTE_BYTES: u64 = 1024;

impl Datadir {
    /// How many addresses `peers.json` holds; 0 where there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is no JSON array of text.
    pub fn peers_known(&self) -> Result<usize, CliError> {
        let path = self.peers_file();
        let bytes = match files::read_capped(&path, MAX_PEERS_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(CliError::file("read", &path, &error)),
        };
        let peers: Vec<String> = serde_json::from_slice(&bytes).map_err(|error| {
            CliError::failed(format!("{} is no JSON array of \"host:port\": {error}", path.display()))
        })?;
        Ok(peers.len())
    }

    /// Up to which height blocks may have been taken without a look at their signatures, in any run.
    ///
    /// # Errors
    /// The file cannot be read, or holds no height.
    pub fn unchecked_to(&self) -> Result<Option<Height>, CliError> {
        read_note(&self.unchecked_file())
    }

    /// Notes, before any such block is taken, that those up to this height may be taken without a look at their signatures.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn note_unchecked(&self, to: Height) -> Result<(), CliError> {
        if self.unchecked_to()?.is_some_and(|noted| noted >= to) {
            return Ok(());
        }
        let path = self.unchecked_file();
        let write = || {
            let mut draft = Draft::create(&path, Access::Open)?;
            writeln!(draft.file, "{to}")?;
            draft.place()
        };
        write().map_err(|error| CliError::unwritten(&path, &error))
    }
}

/// Reads a file of one word, if it exists.
pub(super) fn read_note<T: FromStr<Err: Error + 'static>>(path: &Path) -> Result<Option<T>, CliError> {
    match files::read_capped(path, MAX_NOTE_BYTES) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            text.trim().parse().map(Some).map_err(|error| CliError::file("use", path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::file("read", path, &error)),
    }
}
