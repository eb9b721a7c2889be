//! `genesis.json`, and `network` where a v1 genesis file leaves it open.

use std::path::Path;

use cpc_framework::types::{Genesis, Network};

use super::Datadir;
use super::notes::read_note;
use crate::{CliError, files};

/// The network of a v1 genesis file where nobody says otherwise (protocol.md section 3).
pub const DEFAULT_NETWORK: Network = Network::Devnet;

/// A genesis file has a line for each first account; this is room for some 700,000.
const MAX_GENESIS_BYTES: u64 = 64 << 20;

impl Datadir {
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

    /// What the file `network` says.
    fn noted_network(&self) -> Result<Option<Network>, CliError> {
        read_note(&self.network_file())
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
