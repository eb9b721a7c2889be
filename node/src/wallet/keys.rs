//! Keys in files: 64 hexadecimal digits each, which only the owner may read.

use std::fs;
use std::path::{Path, PathBuf};

use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::types::{Address, HexText};
use serde::Serialize;

use super::args::{KeysCommand, OutputArgs, SchemeArgs, SchemeName};
use super::{network, table};
use crate::datadir::{Datadir, key_file, read_key};
use crate::files::create_all;
use crate::{CliError, console};

/// What the file of a named key ends in.
const SUFFIX: &str = "_key.hex";

/// The node's own key, which proves it to peers: it owns nothing and signs no transaction.
const NODE: &str = "node";

/// The longest name of a key.
const MAX_NAME: usize = 64;

/// A key's public part.
#[derive(Debug, Serialize)]
struct Shown {
    name: Option<String>,
    file: String,
    scheme: &'static str,
    public_key: HexText,
    address: Address,
    validator_address: Address,
}

/// `keys new|list|show`
pub(crate) fn run(datadir: &Datadir, command: KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::New(args) => {
            let scheme = scheme(datadir, &args.rules)?;
            let path = make(datadir, &args.key, &SecretKey::generate(scheme))?;
            show_one(&path, scheme, &args.output)
        }
        KeysCommand::Show(args) => {
            let scheme = scheme(datadir, &args.rules)?;
            show_one(&find(datadir, &args.key)?, scheme, &args.output)
        }
        KeysCommand::List(args) => list(datadir, scheme(datadir, &args.rules)?, &args.output),
    }
}

/// Reads the key that an option names.
pub(super) fn load(datadir: &Datadir, key: &str, scheme: Scheme) -> Result<SecretKey, CliError> {
    read(&find(datadir, key)?, scheme)
}

fn scheme(datadir: &Datadir, args: &SchemeArgs) -> Result<Scheme, CliError> {
    match args.scheme {
        Some(name) => Ok(name.into()),
        None => network::resolve(datadir, &args.network).map(|genesis| Scheme::of(genesis.hash_rules)),
    }
}

fn make(datadir: &Datadir, key: &str, secret: &SecretKey) -> Result<PathBuf, CliError> {
    let path = if is_path(key) { PathBuf::from(key) } else { named(datadir, key)? };
    if path.parent() == Some(datadir.root()) {
        fs::create_dir_all(datadir.root())
            .map_err(|error| CliError::file("make the datadir", datadir.root(), &error))?;
    }
    create_all(&[key_file(path.clone(), secret)]).map_err(|(at, error)| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::failed(format!(
            "{} exists already and a key is never overwritten: take another name",
            path.display()
        )),
        _ => CliError::unwritten(&at, &error),
    })?;
    Ok(path)
}

/// The file of an existing key.
fn find(datadir: &Datadir, key: &str) -> Result<PathBuf, CliError> {
    let given = PathBuf::from(key);
    if is_path(key) {
        return Ok(given);
    }
    let named = named(datadir, key);
    match named {
        Ok(path) if path.exists() => Ok(path),
        _ if given.is_file() => Ok(given),
        Ok(path) => Err(CliError::failed(format!(
            "there is no key {key:?}: neither {} nor a file of this name; 'cpc-node keys list' lists those of the datadir",
            path.display()
        ))),
        Err(error) => Err(error),
    }
}

fn is_path(key: &str) -> bool {
    key.contains(std::path::is_separator) || Path::new(key).extension().is_some_and(|extension| extension == "hex")
}

fn named(datadir: &Datadir, name: &str) -> Result<PathBuf, CliError> {
    let well_formed = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !well_formed {
        return Err(CliError::failed(format!(
            "{name:?} is no name for a key: use up to {MAX_NAME} letters, digits, - and _, or a path that ends in .hex"
        )));
    }
    if name == NODE {
        return Err(CliError::failed("the node's own key is for links to peers alone: take another key"));
    }
    Ok(datadir.root().join(format!("{name}{SUFFIX}")))
}

fn read(path: &Path, scheme: Scheme) -> Result<SecretKey, CliError> {
    read_key(path, scheme)?.ok_or_else(|| CliError::failed(format!("there is no key file {}", path.display())))
}

fn shown(path: &Path, scheme: Scheme) -> Result<Shown, CliError> {
    let key = read(path, scheme)?;
    let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX).map(str::to_owned));
    Ok(Shown {
        name,
        file: path.display().to_string(),
        scheme: match SchemeName::from(scheme) {
            SchemeName::Secp256k1 => "secp256k1",
            SchemeName::Ed25519 => "ed25519",
        },
        public_key: key.public_key(),
        address: key.address(ACCOUNT_PREFIX),
        validator_address: key.address(VALIDATOR_PREFIX),
    })
}

fn show_one(path: &Path, scheme: Scheme, output: &OutputArgs) -> Result<(), CliError> {
    let shown = shown(path, scheme)?;
    if output.json {
        return console::print_json(&shown);
    }
    console::print(&table::fields([
        ("file", shown.file),
        ("scheme", shown.scheme.to_owned()),
        ("public key", shown.public_key.to_string()),
        ("address", shown.address.to_string()),
        ("validator", shown.validator_address.to_string()),
    ]))
}

fn list(datadir: &Datadir, scheme: Scheme, output: &OutputArgs) -> Result<(), CliError> {
    let mut keys = Vec::new();
    for path in key_files(datadir)? {
        match shown(&path, scheme) {
            Ok(shown) => keys.push(shown),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    if output.json {
        return console::print_json(&keys);
    }
    if keys.is_empty() {
        tracing::info!("there are no keys in {}: 'cpc-node keys new' makes one", datadir.root().display());
    }
    let rows = keys.into_iter().map(|key| {
        [key.name.unwrap_or_default(), key.address.to_string(), key.validator_address.to_string(), key.file]
    });
    console::print(&table::rows(["NAME", "ADDRESS", "VALIDATOR", "FILE"], rows))
}

/// The files of named keys, by name.
fn key_files(datadir: &Datadir) -> Result<Vec<PathBuf>, CliError> {
    let failed = |error: std::io::Error| CliError::file("list", datadir.root(), &error);
    let entries = match fs::read_dir(datadir.root()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX));
        if name.is_some_and(|name| name != NODE && named(datadir, name).is_ok()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, Datadir) {
        let dir = tempfile::tempdir().unwrap();
        let datadir = Datadir::new(dir.path().join("d"));
        (dir, datadir)
    }

    #[test]
    fn a_key_is_made_once_and_found_by_name_and_path() {
        let (_dir, datadir) = fresh();
        let key = SecretKey::generate(Scheme::Ed25519);
        let path = make(&datadir, "alice", &key).unwrap();
        assert_eq!(path, datadir.root().join("alice_key.hex"));
        for name in ["alice", path.to_str().unwrap()] {
            assert_eq!(load(&datadir, name, Scheme::Ed25519).unwrap().public_key(), key.public_key(), "{name}");
        }
        let before = fs::read(&path).unwrap();
        let error = make(&datadir, "alice", &SecretKey::generate(Scheme::Ed25519)).unwrap_err().to_string();
        assert!(error.contains("exists"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(key_files(&datadir).unwrap(), [path]);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_a_key() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, datadir) = fresh();
        let elsewhere = dir.path().join("bob.hex");
        for key in ["alice", elsewhere.to_str().unwrap()] {
            let path = make(&datadir, key, &SecretKey::generate(Scheme::Secp256k1)).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (_dir, datadir) = fresh();
        for name in ["", "a b", "ж", "node", ".", "a\0b"] {
            assert!(make(&datadir, name, &SecretKey::generate(Scheme::Ed25519)).is_err(), "{name:?}");
        }
        let error = load(&datadir, "nobody", Scheme::Ed25519).unwrap_err().to_string();
        assert!(error.contains("nobody_key.hex"), "{error}");
    }
}
