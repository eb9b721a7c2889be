//! Key files: 64 hexadecimal digits each, for their owner's eyes only.

use std::io;
use std::path::{Path, PathBuf};

use cpc_framework::rules::keys::{Scheme, SecretKey};
use cpc_transports::NodeIdentity;
use zeroize::Zeroizing;

use super::Datadir;
use crate::files::{Access, NewFile};
use crate::{CliError, files};

/// A key file has 64 digits and perhaps a line end.
const MAX_KEY_BYTES: u64 = 1024;

impl Datadir {
    /// Reads the validator's key, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key of this scheme.
    pub fn validator_key(&self, scheme: Scheme) -> Result<Option<SecretKey>, CliError> {
        read_key(&self.validator_key_file(), scheme)
    }

    /// Reads the node's own key, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or holds no Ed25519 key.
    pub fn node_key(&self) -> Result<Option<SecretKey>, CliError> {
        read_key(&self.node_key_file(), Scheme::Ed25519)
    }

    /// The node's own key, by which peers know it; made where there is none yet.
    ///
    /// # Errors
    /// The file cannot be used, or a new one cannot be written.
    pub fn identity(&self) -> Result<NodeIdentity, CliError> {
        let path = self.node_key_file();
        let key = if let Some(key) = self.node_key()? {
            key
        } else {
            let key = SecretKey::generate(Scheme::Ed25519);
            files::create_all(&[key_file(path.clone(), &key)])
                .map_err(|(path, error)| CliError::unwritten(&path, &error))?;
            tracing::info!("made a new node key in {}", path.display());
            key
        };
        NodeIdentity::from_secret(key.to_bytes()).map_err(|error| CliError::file("use the key in", &path, &error))
    }
}

/// Reads a key file, if it exists.
pub(crate) fn read_key(path: &Path, scheme: Scheme) -> Result<Option<SecretKey>, CliError> {
    let bytes = match files::read_capped(path, MAX_KEY_BYTES) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::file("read", path, &error)),
    };
    // The text is secret: no message repeats it.
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CliError::failed(format!("{} holds no key: expected 64 hexadecimal digits", path.display())))?;
    warn_of_readers(path);
    SecretKey::from_hex(scheme, text.trim()).map(Some).map_err(|error| CliError::file("use the key in", path, &error))
}

/// The file of a key: the only place where its text goes.
pub(crate) fn key_file(path: PathBuf, key: &SecretKey) -> NewFile {
    let text = key.to_hex();
    // A longer text would be a copy elsewhere: there is room for the line's end first.
    let mut line = Zeroizing::new(String::with_capacity(text.len() + 1));
    line.push_str(&text);
    line.push('\n');
    NewFile { path, text: line, access: Access::Secret }
}

/// Says so where others may read a key.
fn warn_of_readers(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if let Ok(metadata) = path.metadata()
            && metadata.permissions().mode() & 0o077 != 0
        {
            tracing::warn!("others may read {0}: run 'chmod 600 {0}'", path.display());
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}
