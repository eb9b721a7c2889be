//! The files of a node.
//!
//! | file | what it is |
//! |---|---|
//! | `genesis.json` | where the chain starts; a datadir belongs to one genesis for ever |
//! | `network` | the network's name, where a v1 genesis file leaves it open |
//! | `validator_key.hex` | the key that signs blocks, if this node is a validator |
//! | `signed.json` | the last block that the validator signed, so that it never signs two for one place |
//! | `faucet_key.hex` | the key of the first balance, if this node made the network |
//! | `node_key.hex` | the node's own Ed25519 key, by which peers know it over QUIC; made when it is missing |
//! | `peers.json` | addresses of peers, as a JSON array of `"host:port"` |
//! | `mempool.bin` | transactions that wait for a block, as of at most some seconds ago (a minute for the largest pool) |
//! | `unchecked_to` | the height up to which blocks may have been taken without a look at their signatures, where there was a checkpoint |
//! | `chain/` | blocks and state |
//! | `tx_index/` | where each transaction stands, for the RPC; made again from the blocks when it is missing |

use std::io::{self, Write as _};
use std::num::ParseIntError;
use std::path::{Path, PathBuf};

use cpc_framework::rules::keys::{Scheme, SecretKey};
use cpc_framework::types::{Genesis, Height, Network};
use cpc_transports::NodeIdentity;
use zeroize::Zeroizing;

use crate::files::{Access, Draft, NewFile};
use crate::{CliError, files};

/// The network of a v1 genesis file where nobody says otherwise (protocol.md section 3).
pub const DEFAULT_NETWORK: Network = Network::Devnet;

/// A genesis file has a line for each first account; this is room for some 700,000.
pub(crate) const MAX_GENESIS_BYTES: u64 = 64 << 20;

/// A key file has 64 digits and perhaps a line end.
const MAX_KEY_BYTES: u64 = 1024;

/// Addresses are at most some 260 bytes, and a file holds at most 1024 of them (attacks.md, row 16).
const MAX_PEERS_BYTES: u64 = 1 << 20;

/// A node's directory.
#[derive(Debug, Clone)]
pub struct Datadir {
    root: PathBuf,
}

impl Datadir {
    /// The directory at this path, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `genesis.json`
    pub fn genesis_file(&self) -> PathBuf {
        self.root.join("genesis.json")
    }

    /// `network`
    pub fn network_file(&self) -> PathBuf {
        self.root.join("network")
    }

    /// `validator_key.hex`
    pub fn validator_key_file(&self) -> PathBuf {
        self.root.join("validator_key.hex")
    }

    /// `signed.json`
    pub fn signed_file(&self) -> PathBuf {
        self.root.join("signed.json")
    }

    /// `faucet_key.hex`
    pub fn faucet_key_file(&self) -> PathBuf {
        self.root.join("faucet_key.hex")
    }

    /// `node_key.hex`
    pub fn node_key_file(&self) -> PathBuf {
        self.root.join("node_key.hex")
    }

    /// `peers.json`
    pub fn peers_file(&self) -> PathBuf {
        self.root.join("peers.json")
    }

    /// `mempool.bin`
    pub fn mempool_file(&self) -> PathBuf {
        self.root.join("mempool.bin")
    }

    /// `unchecked_to`
    pub fn unchecked_file(&self) -> PathBuf {
        self.root.join("unchecked_to")
    }

    /// `chain`
    pub fn chain_dir(&self) -> PathBuf {
        self.root.join("chain")
    }

    /// `tx_index`
    pub fn tx_index_dir(&self) -> PathBuf {
        self.root.join("tx_index")
    }

    /// Whether there is a genesis file, or something in its place.
    pub fn has_genesis(&self) -> bool {
        self.genesis_file().symlink_metadata().is_ok()
    }

    /// Whether none of a node's files is here.
    pub fn is_empty(&self) -> bool {
        let files = [
            self.genesis_file(),
            self.network_file(),
            self.validator_key_file(),
            self.faucet_key_file(),
            self.node_key_file(),
            self.peers_file(),
            self.chain_dir(),
        ];
        files.iter().all(|file| file.symlink_metadata().is_err())
    }

    /// Reads the genesis. `network` is what the command line says about a genesis file that names none.
    ///
    /// # Errors
    /// There is no genesis file, or it or the network file cannot be used, or `network` contradicts them.
    pub fn genesis(&self, network: Option<Network>) -> Result<Genesis, CliError> {
        if !self.has_genesis() {
            return Err(self.no_network());
        }
        let noted = self.noted_network()?;
        if let (Some(asked), Some(noted)) = (network, noted)
            && asked != noted
        {
            return Err(CliError::failed(format!(
                "{} belongs to {noted}, as its file network says, not to {asked}: leave out --network or take another --datadir",
                self.root.display()
            )));
        }
        read_genesis(&self.genesis_file(), network.or(noted)).map(|file| file.genesis)
    }

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

    /// The error that says how to get a network into an empty datadir.
    pub fn no_network(&self) -> CliError {
        let dir = self.root.display();
        CliError::failed(format!(
            "there is no network in {dir}: to join one, get its genesis file and run \
             'cpc-node --datadir {dir} init --genesis FILE' first; 'cpc-node --datadir {dir} init' makes a new one"
        ))
    }

    /// Up to which height blocks may have been taken without a look at their signatures, in any run.
    ///
    /// # Errors
    /// The file cannot be read, or holds no height.
    pub fn unchecked_to(&self) -> Result<Option<Height>, CliError> {
        let path = self.unchecked_file();
        match files::read_capped(&path, MAX_KEY_BYTES) {
            Ok(bytes) => String::from_utf8_lossy(&bytes)
                .trim()
                .parse()
                .map(Some)
                .map_err(|error: ParseIntError| CliError::file("use", &path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::file("read", &path, &error)),
        }
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

    /// What the file `network` says.
    fn noted_network(&self) -> Result<Option<Network>, CliError> {
        let path = self.network_file();
        match files::read_capped(&path, MAX_KEY_BYTES) {
            Ok(bytes) => String::from_utf8_lossy(&bytes)
                .trim()
                .parse()
                .map(Some)
                .map_err(|error| CliError::file("use", &path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::file("read", &path, &error)),
        }
    }
}

/// A genesis file, read.
#[derive(Debug)]
pub(crate) struct GenesisFile {
    /// What it says.
    pub(crate) genesis: Genesis,
    /// Its text.
    pub(crate) text: String,
    /// Whether it leaves the network to configuration, as v1's do.
    pub(crate) names_no_network: bool,
}

/// Reads a genesis file. `network` is what the command line or the datadir says.
pub(crate) fn read_genesis(path: &Path, network: Option<Network>) -> Result<GenesisFile, CliError> {
    let bytes = files::read_capped(path, MAX_GENESIS_BYTES).map_err(|error| CliError::file("read", path, &error))?;
    let read = |network| Genesis::from_json(&bytes, network).map_err(|error| CliError::file("use", path, &error));
    let genesis = read(network.unwrap_or(DEFAULT_NETWORK))?;
    // A file that names its network says the same whatever the configuration is.
    let names_no_network = read(Network::Devnet)?.network != read(Network::Testnet)?.network;
    if let Some(asked) = network
        && genesis.network != asked.name()
    {
        return Err(CliError::failed(format!(
            "{} is the genesis of network {:?}, not of {asked}: leave out --network",
            path.display(),
            genesis.network
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| CliError::file("use", path, &error))?;
    Ok(GenesisFile { genesis, text, names_no_network })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const V1: &str = r#"{"alloc":{"cpc1a":"5"},"validators":[{"address":"cpcvalcons1a","pq_pub_key":"02","power":1}]}"#;

    fn with(name: &str, text: &str) -> (tempfile::TempDir, Datadir) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let datadir = Datadir::new(dir.path());
        (dir, datadir)
    }

    #[test]
    fn a_v1_genesis_belongs_to_devnet_unless_somebody_says_otherwise() {
        let (_dir, datadir) = with("genesis.json", V1);
        assert_eq!(datadir.genesis(None).unwrap().chain_id, "cpc-devnet-1");
        assert_eq!(datadir.genesis(Some(Network::Testnet)).unwrap().chain_id, "cpc-testnet-1");
        fs::write(datadir.network_file(), "mainnet\n").unwrap();
        assert_eq!(datadir.genesis(None).unwrap().chain_id, "cpc-mainnet-1");
        let error = datadir.genesis(Some(Network::Testnet)).unwrap_err().to_string();
        assert!(error.contains("mainnet") && error.contains("testnet"), "{error}");
    }

    #[test]
    fn what_may_be_unchecked_is_noted_up_to_the_highest_checkpoint_of_all_runs() {
        let (_dir, datadir) = with("genesis.json", V1);
        assert_eq!(datadir.unchecked_to().unwrap(), None);
        for (to, noted) in [(500, 500), (90, 500), (501, 501)] {
            datadir.note_unchecked(to).unwrap();
            assert_eq!(datadir.unchecked_to().unwrap(), Some(noted));
        }
        fs::write(datadir.unchecked_file(), "many").unwrap();
        let error = datadir.unchecked_to().unwrap_err().to_string();
        assert!(error.contains("unchecked_to"), "{error}");
    }

    #[test]
    fn a_genesis_that_names_its_network_is_of_no_other() {
        let mut genesis = Genesis::from_json(V1.as_bytes(), Network::Devnet).unwrap();
        genesis.network = "local".into();
        let (_dir, datadir) = with("genesis.json", &genesis.to_json());
        assert_eq!(datadir.genesis(None).unwrap().network, "local");
        let error = datadir.genesis(Some(Network::Devnet)).unwrap_err().to_string();
        assert!(error.contains("\"local\""), "{error}");
    }

    #[test]
    fn an_empty_datadir_says_how_to_join() {
        let dir = tempfile::tempdir().unwrap();
        let datadir = Datadir::new(dir.path().join("new"));
        assert!(datadir.is_empty());
        let error = datadir.genesis(None).unwrap_err().to_string();
        assert!(error.contains("init --genesis FILE"), "{error}");
    }

    #[test]
    fn a_damaged_genesis_is_named_with_what_is_wrong() {
        for text in ["", "{", "[1]", r#"{"alloc":{"a":-1},"validators":[]}"#, r#"{"alloc":{}}"#, "\u{0}\u{1}"] {
            let (_dir, datadir) = with("genesis.json", text);
            let error = datadir.genesis(None).unwrap_err().to_string();
            assert!(error.contains("genesis.json"), "{text:?}: {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("genesis.json")).unwrap();
        let error = Datadir::new(dir.path()).genesis(None).unwrap_err().to_string();
        assert!(error.contains("is a directory"), "{error}");
    }

    #[test]
    fn a_damaged_key_is_named_and_not_repeated() {
        for text in ["", "abc", "zz".repeat(32).as_str(), "00".repeat(33).as_str(), "secret words"] {
            let (_dir, datadir) = with("validator_key.hex", text);
            let error = datadir.validator_key(Scheme::Ed25519).unwrap_err().to_string();
            assert!(error.contains("validator_key.hex"), "{text:?}: {error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_key_survives_writing_and_reading() {
        let key = SecretKey::generate(Scheme::Secp256k1);
        let (_dir, datadir) = with("validator_key.hex", &format!("{}\n", *key.to_hex()));
        let read = datadir.validator_key(Scheme::Secp256k1).unwrap().unwrap();
        assert_eq!(read.public_key(), key.public_key());
        assert!(datadir.node_key().unwrap().is_none());
    }

    #[test]
    fn known_peers_are_counted() {
        let (_dir, datadir) = with("peers.json", r#"["a:1","b:2"]"#);
        assert_eq!(datadir.peers_known().unwrap(), 2);
        for damaged in ["", "{}", "[1]", "[\"a:1\""] {
            fs::write(datadir.peers_file(), damaged).unwrap();
            let error = datadir.peers_known().unwrap_err().to_string();
            assert!(error.contains("peers.json"), "{error}");
        }
    }
}
