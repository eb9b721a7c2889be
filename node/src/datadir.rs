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

use std::path::{Path, PathBuf};

use crate::CliError;

pub use self::genesis::DEFAULT_NETWORK;
pub(crate) use self::genesis::read_genesis;
pub(crate) use self::keys::{key_file, read_key};

mod genesis;
mod keys;
mod notes;
#[cfg(test)]
mod tests;

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

    /// The error that says how to get a network into an empty datadir.
    pub fn no_network(&self) -> CliError {
        let dir = self.root.display();
        CliError::failed(format!(
            "there is no network in {dir}: to join one, get its genesis file and run \
             'cpc-node --datadir {dir} init --genesis FILE' first; 'cpc-node --datadir {dir} init' makes a new one"
        ))
    }
}
