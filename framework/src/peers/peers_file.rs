//! `peers.json`: a plain JSON array of `"host:port"` (protocol.md section 1). That is where peers are that speak as the
//! reference does; an address over any other link has the link before it, as in `"quic+postcard://PEERID@host:port"`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::host::canonical;
use crate::durable::{self, with_suffix};
use crate::limits::Limits;
use crate::transport::Endpoint;

/// The longest file that is read: 1024 entries of the longest host names take a third of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How many of the entries that are no addresses are named in warnings.
const NAMED_BAD_ENTRIES: usize = 3;

/// What `peers.json` said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SavedPeers {
    /// The addresses, in order, each once.
    pub peers: Vec<Endpoint>,
    /// What the operator should hear.
    pub warnings: Vec<String>,
}

/// `peers.json` cannot be read, set aside or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct PeersFileError {
    /// What was being done.
    pub doing: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reads `peers.json`. No file means no peers. A damaged file is renamed to `peers.json.damaged` (with a number where
/// that is taken) and counts as none; an entry that is no address is skipped; both with a warning. Blocks on the disk.
///
/// # Errors
/// The file is there but cannot be read, or is damaged and cannot be renamed.
pub fn read(path: &Path, limits: &Limits) -> Result<SavedPeers, PeersFileError> {
    let failed = |doing| move |source| PeersFileError { doing, path: path.to_owned(), source };
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(failed("read"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SavedPeers::default()),
        Err(error) => return Err(failed("read")(error)),
    };
    match parse(&text, limits) {
        Ok(mut saved) => {
            for warning in &mut saved.warnings {
                *warning = format!("{}: {warning}", path.display());
            }
            Ok(saved)
        }
        Err(why) => {
            let aside = free_name(path);
            fs::rename(path, &aside).map_err(failed("set aside the damaged file"))?;
            let warning = format!(
                "{} is no JSON array of addresses ({why}): set aside as {}, starting without saved peers",
                path.display(),
                aside.display()
            );
            Ok(SavedPeers { peers: Vec::new(), warnings: vec![warning] })
        }
    }
}

/// Reads the text of a `peers.json`. An entry that is no address is skipped with a warning.
///
/// # Errors
/// The text is no list with an address in it, or too long; the error says what is wrong.
pub fn parse(text: &[u8], limits: &Limits) -> Result<SavedPeers, String> {
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is longer than {MAX_FILE_BYTES} bytes"));
    }
    let entries: Vec<serde_json::Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(addresses(&some_text(entries)?, limits.addresses))
}

/// The text of a `peers.json` with these addresses.
pub fn to_json(peers: &[Endpoint]) -> Vec<u8> {
    let names = peers.iter().map(|peer| serde_json::Value::from(spelled(peer)));
    let mut text = serde_json::Value::Array(names.collect()).to_string().into_bytes();
    text.push(b'\n');
    text
}

/// Writes `peers.json` so that after a crash at any instant the old or the new file is there, whole. Blocks on the disk.
///
/// # Errors
/// The directory cannot be written to, or the disk is full; the old file is as it was.
pub fn write(path: &Path, peers: &[Endpoint]) -> Result<(), PeersFileError> {
    let failed = |source| PeersFileError { doing: "write", path: path.to_owned(), source };
    durable::write(path, &to_json(peers)).map_err(failed)
}

/// A list that holds anything but no text at all was never a list of peers.
fn some_text(entries: Vec<serde_json::Value>) -> Result<Vec<serde_json::Value>, String> {
    if entries.is_empty() || entries.iter().any(serde_json::Value::is_string) {
        Ok(entries)
    } else {
        Err("none of its entries is a text".into())
    }
}

fn addresses(entries: &[serde_json::Value], most: usize) -> SavedPeers {
    let mut saved = SavedPeers::default();
    let mut seen = std::collections::HashSet::new();
    let mut bad = 0;
    let mut beyond = 0;
    for entry in entries {
        match entry.as_str().and_then(address) {
            Some(_) if saved.peers.len() >= most => beyond += 1,
            Some(endpoint) => {
                if seen.insert(spelled(&Endpoint { identity: None, ..endpoint.clone() })) {
                    saved.peers.push(endpoint);
                }
            }
            None => {
                bad += 1;
                if bad <= NAMED_BAD_ENTRIES {
                    let shown: String = entry.to_string().chars().take(80).collect();
                    saved.warnings.push(format!("skipped {shown}: no address host:port"));
                }
            }
        }
    }
    if bad > NAMED_BAD_ENTRIES {
        let more = bad - NAMED_BAD_ENTRIES;
        saved.warnings.push(format!("skipped {more} more entries that are no addresses"));
    }
    if beyond > 0 {
        saved.warnings.push(format!("skipped {beyond} addresses after the first {most}"));
    }
    saved
}

/// An address as the file has it.
fn spelled(endpoint: &Endpoint) -> String {
    match &endpoint.link {
        Some(link) if link.is_reference() => endpoint.without_link().to_string(),
        _ => endpoint.to_string(),
    }
}

/// The address that an entry spells, if one can dial it.
fn address(text: &str) -> Option<Endpoint> {
    let endpoint: Endpoint = text.parse().ok()?;
    let (_, port) = endpoint.host_port().ok()?;
    (port != 0).then(|| canonical(&endpoint))
}

/// How many damaged files are kept beside each other; after that the last one is replaced.
const DAMAGED_KEPT: usize = 100;

/// The first of `peers.json.damaged`, `peers.json.damaged.1`, ... that is free.
fn free_name(path: &Path) -> PathBuf {
    let mut name = with_suffix(path, ".damaged");
    for n in 1..DAMAGED_KEPT {
        if !name.exists() {
            break;
        }
        name = with_suffix(path, &format!(".damaged.{n}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &[u8]) -> (SavedPeers, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        fs::write(&path, text).unwrap();
        (read(&path, &Limits::default()).unwrap(), dir)
    }

    fn endpoints(addresses: &[&str]) -> Vec<Endpoint> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn reads_back_what_it_wrote_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let pinned = format!("{}@node.example:7", "ab".repeat(32));
        let peers = endpoints(&["192.0.2.7:9000", "[2001:db8::1]:9001", &pinned]);
        write(&path, &peers).unwrap();
        assert_eq!(read(&path, &Limits::default()).unwrap(), SavedPeers { peers, warnings: vec![] });
        write(&path, &[]).unwrap();
        assert_eq!(read(&path, &Limits::default()).unwrap(), SavedPeers::default());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no other file is left");
    }

    #[test]
    fn writes_the_documented_plain_array() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        write(&path, &endpoints(&["192.0.2.7:9000", "192.0.2.8:9000"])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[\"192.0.2.7:9000\",\"192.0.2.8:9000\"]\n");
    }

    #[test]
    fn a_missing_file_is_no_peers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("peers.json"), &Limits::default()).unwrap(), SavedPeers::default());
    }

    #[test]
    fn sets_a_damaged_file_aside_and_keeps_those_set_aside_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        let deep = "[".repeat(100_000);
        for (text, name) in [
            ("[\"192.0.2.7:9000\",", "peers.json.damaged"),
            ("{\"a\": 1}", "peers.json.damaged.1"),
            ("", "peers.json.damaged.2"),
            (deep.as_str(), "peers.json.damaged.3"),
            ("\0\0\0\0", "peers.json.damaged.4"),
            ("[1, 2]", "peers.json.damaged.5"),
        ] {
            fs::write(&path, text).unwrap();
            let saved = read(&path, &Limits::default()).unwrap();
            assert!(saved.peers.is_empty() && saved.warnings.len() == 1);
            assert!(saved.warnings[0].contains(name), "{}", saved.warnings[0]);
            assert!(!path.exists());
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), text);
        }
    }

    #[test]
    fn sets_aside_a_file_that_is_too_long_without_reading_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        File::create(&path).unwrap().set_len(1 << 34).unwrap();
        let saved = read(&path, &Limits::default()).unwrap();
        assert!(saved.peers.is_empty() && saved.warnings[0].contains("longer than 1048576 bytes"));
    }

    #[test]
    fn skips_entries_that_are_no_addresses_and_says_so() {
        let (saved, _dir) =
            read_text(br#"["192.0.2.7:9000", 7, "nobody", "192.0.2.8:0", null, "[::ffff:192.0.2.7]:9000", "tcp+json://192.0.2.7:9000", "a:1"]"#);
        assert_eq!(
            saved.peers,
            endpoints(&["192.0.2.7:9000", "a:1"]),
            "the mapped spelling is the same address, and so is the one with the link"
        );
        assert_eq!(saved.warnings.len(), 4);
        assert!(saved.warnings[1].contains("\"nobody\""), "{:?}", saved.warnings);
        assert!(saved.warnings[3].contains("1 more"), "{:?}", saved.warnings);
    }

    #[test]
    fn takes_no_more_than_1024_addresses() {
        let many: Vec<String> = (0..3000).map(|n| format!("192.0.2.1:{}", n + 1)).collect();
        let (saved, _dir) = read_text(&serde_json::to_vec(&many).unwrap());
        assert_eq!(saved.peers.len(), 1024);
        assert!(saved.warnings[0].contains("1976"), "{:?}", saved.warnings);
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        write(&path, &endpoints(&["192.0.2.7:9000"])).unwrap();
        // A directory where the temporary file would go stands for a disk that cannot be written to.
        fs::create_dir(dir.path().join("peers.json.tmp")).unwrap();
        let error = write(&path, &[]).unwrap_err();
        assert!(error.to_string().contains("cannot write") && error.to_string().contains("peers.json"), "{error}");
        assert_eq!(read(&path, &Limits::default()).unwrap().peers, endpoints(&["192.0.2.7:9000"]));
        write(&dir.path().join("no such directory").join("peers.json"), &[]).unwrap_err();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.json");
        fs::create_dir(&path).unwrap();
        let error = read(&path, &Limits::default()).unwrap_err();
        assert!(error.to_string().starts_with("cannot read") && error.to_string().contains("peers.json"), "{error}");
    }
}
