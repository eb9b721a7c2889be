use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Address, Hash32, Height, HexText};
use crate::rules::keys;

/// Where a chain starts: its rules, its parameters, its first accounts and validators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// The network's name; peers of another name are refused at the handshake.
    pub network: String,
    /// Every block header carries it.
    pub chain_id: String,
    /// How hashes, roots and keys are computed.
    pub hash_rules: HashRules,
    /// Times and limits.
    pub params: NetworkParams,
    /// Blocks that this chain must contain.
    pub checkpoints: Vec<Checkpoint>,
    /// First balances.
    pub alloc: BTreeMap<Address, u128>,
    /// First validators, in order of registration.
    pub validators: Vec<GenesisValidator>,
}

/// The two families of hash rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HashRules {
    /// Those of reference v1: decimal text, secp256k1, a flat Merkle root over accounts.
    #[serde(rename = "computechain-v1")]
    ComputechainV1,
    /// Those of our own networks: domain-separated binary hashes, Ed25519, a sparse Merkle tree.
    #[serde(rename = "canonical")]
    Canonical,
}

impl fmt::Display for HashRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ComputechainV1 => "computechain-v1",
            Self::Canonical => "canonical",
        })
    }
}

/// A block that the chain must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The block's height.
    pub height: Height,
    /// The block's hash.
    pub hash: Hash32,
}

/// Times and limits of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkParams {
    /// Seconds between blocks; also the length of a proposer's round.
    pub block_time: u64,
    /// The least price of a unit of gas.
    pub min_gas_price: u128,
    /// The most gas in a block.
    pub block_gas_limit: u64,
    /// The most transactions that a proposer puts into a block.
    pub max_txs_per_block: u32,
    /// Blocks in an epoch.
    pub epoch_length: u64,
    /// The least power of an active validator.
    pub min_stake: u128,
    /// The most active validators.
    pub max_validators: u32,
}

/// A validator of the genesis file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenesisValidator {
    /// Its `cpcvalcons` address.
    pub address: Address,
    /// Its public key, spelled as given.
    pub pub_key: HexText,
    /// Its stake.
    pub power: u128,
    /// Whether it may propose from the first block on.
    pub is_active: bool,
    /// Who gets its rewards; by default the account of its key.
    pub reward_address: Option<Address>,
}

/// The networks that the reference knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// `devnet`: 10-second blocks.
    Devnet,
    /// `testnet`: 30-second blocks.
    Testnet,
    /// `mainnet`: 60-second blocks.
    Mainnet,
}

impl Network {
    /// Every network of the reference.
    pub const ALL: [Self; 3] = [Self::Devnet, Self::Testnet, Self::Mainnet];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Devnet => "devnet",
            Self::Testnet => "testnet",
            Self::Mainnet => "mainnet",
        }
    }

    /// The chain's name in block headers.
    pub fn chain_id(self) -> &'static str {
        match self {
            Self::Devnet => "cpc-devnet-1",
            Self::Testnet => "cpc-testnet-1",
            Self::Mainnet => "cpc-mainnet-1",
        }
    }

    /// Times and limits.
    pub fn params(self) -> NetworkParams {
        const CPC: u128 = 1_000_000_000_000_000_000;
        match self {
            Self::Devnet => NetworkParams {
                block_time: 10,
                min_gas_price: 1000,
                block_gas_limit: 10_000_000,
                max_txs_per_block: 100,
                epoch_length: 10,
                min_stake: 1000,
                max_validators: 5,
            },
            Self::Testnet => NetworkParams {
                block_time: 30,
                min_gas_price: 5000,
                block_gas_limit: 15_000_000,
                max_txs_per_block: 1000,
                epoch_length: 100,
                min_stake: 100_000 * CPC,
                max_validators: 21,
            },
            Self::Mainnet => NetworkParams {
                block_time: 60,
                min_gas_price: 1_000_000_000,
                block_gas_limit: 30_000_000,
                max_txs_per_block: 5000,
                epoch_length: 72,
                min_stake: 100_000 * CPC,
                max_validators: 100,
            },
        }
    }

    /// What the reference gives to the faucet at genesis.
    pub fn premine(self) -> u128 {
        match self {
            Self::Devnet => 10u128.pow(27),
            Self::Testnet => 10u128.pow(26),
            Self::Mainnet => 0,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Network {
    type Err = GenesisError;

    fn from_str(name: &str) -> Result<Self, GenesisError> {
        Self::ALL
            .into_iter()
            .find(|network| network.name() == name)
            .ok_or_else(|| GenesisError(format!("no network is called {name:?}: use devnet, testnet or mainnet")))
    }
}

/// A genesis file cannot be used; the text says what is wrong with which value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GenesisError(pub String);

/// What any genesis file may hold. One without `hash_rules` is a v1 genesis, and names no network.
#[derive(Deserialize)]
struct File {
    network: Option<String>,
    chain_id: Option<String>,
    hash_rules: Option<HashRules>,
    params: Option<NetworkParams>,
    #[serde(default)]
    checkpoints: Vec<Checkpoint>,
    alloc: BTreeMap<Address, Box<RawValue>>,
    #[serde(default)]
    validators: Vec<FileValidator>,
}

#[derive(Deserialize)]
struct FileValidator {
    address: Address,
    #[serde(alias = "pq_pub_key")]
    pub_key: HexText,
    power: u128,
    #[serde(default = "yes")]
    is_active: bool,
    #[serde(default)]
    reward_address: Option<Address>,
}

fn yes() -> bool {
    true
}

impl Genesis {
    /// Reads a genesis file. `network` is what the file of a v1 network leaves to configuration.
    ///
    /// # Errors
    /// The text is no genesis file, or one of its values cannot be used.
    pub fn from_json(text: &[u8], network: Network) -> Result<Self, GenesisError> {
        let bad = |error: serde_json::Error| GenesisError(format!("not a genesis file: {error}"));
        let top: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(text).map_err(bad)?;
        let file: File = if top.contains_key("alloc") {
            serde_json::from_slice(text).map_err(bad)?
        } else {
            // A bare map is an alloc.
            let alloc = serde_json::from_slice(text).map_err(bad)?;
            File {
                network: None,
                chain_id: None,
                hash_rules: None,
                params: None,
                checkpoints: Vec::new(),
                alloc,
                validators: Vec::new(),
            }
        };
        let missing = |what: &str| GenesisError(format!("a genesis file with hash_rules must have {what:?}"));
        let alloc = file
            .alloc
            .into_iter()
            .map(|(address, raw)| Ok((address.clone(), balance(&address, raw.get())?)))
            .collect::<Result<_, GenesisError>>()?;
        let validators = file
            .validators
            .into_iter()
            .map(|v| GenesisValidator {
                address: v.address,
                pub_key: v.pub_key,
                power: v.power,
                is_active: v.is_active,
                reward_address: v.reward_address,
            })
            .collect();
        let genesis = match file.hash_rules {
            None => Self {
                network: network.name().to_owned(),
                chain_id: network.chain_id().to_owned(),
                hash_rules: HashRules::ComputechainV1,
                params: network.params(),
                checkpoints: file.checkpoints,
                alloc,
                validators,
            },
            Some(hash_rules) => Self {
                network: file.network.ok_or_else(|| missing("network"))?,
                chain_id: file.chain_id.ok_or_else(|| missing("chain_id"))?,
                hash_rules,
                params: file.params.ok_or_else(|| missing("params"))?,
                checkpoints: file.checkpoints,
                alloc,
                validators,
            },
        };
        genesis.check()?;
        Ok(genesis)
    }

    /// Writes the genesis file that [`Genesis::from_json`] reads back to the same value.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Out<'a> {
            network: &'a str,
            chain_id: &'a str,
            hash_rules: HashRules,
            params: &'a NetworkParams,
            checkpoints: &'a [Checkpoint],
            alloc: &'a BTreeMap<Address, u128>,
            validators: &'a [GenesisValidator],
        }
        let out = Out {
            network: &self.network,
            chain_id: &self.chain_id,
            hash_rules: self.hash_rules,
            params: &self.params,
            checkpoints: &self.checkpoints,
            alloc: &self.alloc,
            validators: &self.validators,
        };
        let mut text = serde_json::to_string_pretty(&out).expect("a genesis has only string keys");
        text.push('\n');
        text
    }

    /// Names this genesis: SHA-256 over all its values but the checkpoints, which operators may add. A datadir belongs to one.
    pub fn id(&self) -> Hash32 {
        let plain = Self { checkpoints: Vec::new(), ..self.clone() };
        Hash32(Sha256::digest(plain.to_json()).into())
    }

    fn check(&self) -> Result<(), GenesisError> {
        let params = &self.params;
        let error = |text: String| Err(GenesisError(text));
        if self.validators.is_empty() {
            return error("a genesis must name at least one validator: without one no block can be proposed".into());
        }
        if !self.validators.iter().any(|v| v.is_active) {
            return error("no validator of the genesis is active: without one no block can be proposed".into());
        }
        for (name, value) in [("block_time", params.block_time), ("epoch_length", params.epoch_length)] {
            if value == 0 {
                return error(format!("params.{name} must be at least 1"));
            }
        }
        if params.max_validators == 0 {
            return error("params.max_validators must be at least 1".into());
        }
        let mut seen = std::collections::BTreeSet::new();
        for validator in &self.validators {
            if !seen.insert(&validator.address) {
                return error(format!("validator {} stands twice in the genesis", validator.address));
            }
        }
        let mut demanded = BTreeMap::new();
        for Checkpoint { height, hash } in &self.checkpoints {
            if let Some(other) = demanded.insert(height, hash).filter(|other| *other != hash) {
                return error(format!(
                    "two checkpoints for height {height}: {other} and {hash}; a chain has one block there"
                ));
            }
        }
        if self.hash_rules == HashRules::Canonical {
            self.validators.iter().try_for_each(check_validator_key)?;
        }
        // Every unit that ever exists comes from here or from rewards, and all sums must fit.
        let total = self.alloc.values().try_fold(0u128, |sum, value| sum.checked_add(*value));
        if total.is_none_or(|total| total > u128::MAX / 2) {
            return error("the balances of alloc add up to more than 2^127".into());
        }
        Ok(())
    }
}

/// Under canonical rules a validator that cannot sign is a mistake; v1 takes genesis validators as they are given.
fn check_validator_key(validator: &GenesisValidator) -> Result<(), GenesisError> {
    let address = &validator.address;
    let expected = keys::address_of(HashRules::Canonical, &validator.pub_key, keys::VALIDATOR_PREFIX)
        .map_err(|error| GenesisError(format!("the pub_key of validator {address} cannot be used: {error}")))?;
    if *address == expected {
        return Ok(());
    }
    Err(GenesisError(format!("validator {address} has a pub_key whose address is {expected}")))
}

/// A balance is a JSON integer or decimal text.
fn balance(address: &Address, raw: &str) -> Result<u128, GenesisError> {
    let text: String =
        if raw.starts_with('"') { serde_json::from_str(raw).unwrap_or_default() } else { raw.to_owned() };
    text.parse().map_err(|_| {
        let shown: String = raw.chars().take(60).collect();
        GenesisError(format!("the balance of {address} is {shown}: expected an integer from 0 to 2^128 - 1"))
    })
}

#[cfg(test)]
mod tests;
