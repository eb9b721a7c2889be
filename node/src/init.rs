//! Making the files of a new node.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey, VALIDATOR_PREFIX};
use cpc_framework::types::{Address, Genesis, GenesisValidator, HashRules, Network, NetworkParams};
use serde::Serialize;

use crate::CliError;
use crate::datadir::{Datadir, key_file, read_genesis};
use crate::files::{Access, NewFile, create_all};

/// Units in one CPC.
const CPC: u128 = 10u128.pow(18);

/// What the faucet of a network of one's own starts with: as much as devnet's.
pub(crate) const LOCAL_PREMINE: u128 = 10u128.pow(27);

/// What the first validator has at stake, unless its network asks for more.
const VALIDATOR_POWER: u128 = 2000 * CPC;

/// The name of a network of one's own.
const LOCAL_NETWORK: &str = "local";

/// Parameters of a network of one's own: those of devnet, but for faster blocks, room for busier ones, and a minimum stake
/// that keeps the validators' list from being flooded.
pub(crate) const LOCAL_PARAMS: NetworkParams = NetworkParams {
    block_time: 2,
    min_gas_price: 1000,
    block_gas_limit: 30_000_000,
    max_txs_per_block: 1000,
    epoch_length: 10,
    min_stake: 1000 * CPC,
    max_validators: 21,
};

/// What a new datadir holds.
#[derive(Debug)]
pub struct Made {
    /// The genesis.
    pub genesis: Genesis,
    /// Who has the first balance, if this is a new network.
    pub faucet: Option<Address>,
    /// This node's validator, if this is a new network.
    pub validator: Option<Address>,
}

/// Makes a network of one's own, of which this node is the validator: under canonical rules, or under those and the parameters of a
/// network of the reference.
///
/// # Errors
/// One of the files exists already, or cannot be written. Nothing has changed then.
pub fn new_network(datadir: &Datadir, like: Option<Network>) -> Result<Made, CliError> {
    let rules = like.map_or(HashRules::Canonical, |_| HashRules::ComputechainV1);
    let validator = SecretKey::generate(Scheme::of(rules));
    let faucet = SecretKey::generate(Scheme::of(rules));
    let (genesis, text) = match like {
        None => {
            let alloc = BTreeMap::from([(faucet.address(ACCOUNT_PREFIX), LOCAL_PREMINE)]);
            let genesis = local_genesis(&[&validator], alloc, LOCAL_PARAMS)?;
            let text = genesis.to_json();
            (genesis, text)
        }
        Some(network) => v1_genesis(network, &validator, &faucet)?,
    };
    let made = Made {
        genesis,
        faucet: Some(faucet.address(ACCOUNT_PREFIX)),
        validator: Some(validator.address(VALIDATOR_PREFIX)),
    };
    let mut files =
        vec![key_file(datadir.validator_key_file(), &validator), key_file(datadir.faucet_key_file(), &faucet)];
    files.extend(like.map(|network| network_file(datadir, network.name())));
    place(datadir, files, text)?;
    Ok(made)
}

/// Makes a datadir that joins the network of a genesis file.
///
/// # Errors
/// The genesis file cannot be used or is of another network than `network`, or a file exists already or cannot be
/// written. Nothing has changed then.
pub fn join_network(datadir: &Datadir, genesis: &Path, network: Option<Network>) -> Result<Made, CliError> {
    let file = read_genesis(genesis, network)?;
    // A validator of that network may have put its key here already: this is not ours to make.
    let noted = file.names_no_network.then(|| network_file(datadir, &file.genesis.network));
    place(datadir, noted.into_iter().collect(), file.text)?;
    Ok(Made { genesis: file.genesis, faucet: None, validator: None })
}

/// Creates the files that a datadir begins with, all or none.
pub(crate) fn place(datadir: &Datadir, mut files: Vec<NewFile>, genesis: String) -> Result<(), CliError> {
    files.push(key_file(datadir.node_key_file(), &SecretKey::generate(Scheme::Ed25519)));
    // Last, since a datadir with a genesis counts as made.
    files.push(NewFile { path: datadir.genesis_file(), text: genesis.into(), access: Access::Open });
    let chain = [datadir.chain_dir(), datadir.network_file()];
    let taken = files.iter().map(|file| &file.path).rev().chain(&chain).find(|path| path.symlink_metadata().is_ok());
    if let Some(path) = taken {
        return Err(exists(path));
    }
    let root = datadir.root();
    let made_root = !root.exists();
    fs::create_dir_all(root).map_err(|error| CliError::file("make the datadir", root, &error))?;
    create_all(&files).map_err(|(path, error)| {
        if made_root {
            // Only if empty, so that nobody else's file goes.
            let _ = fs::remove_dir(root);
        }
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            exists(&path)
        } else {
            CliError::unwritten(&path, &error)
        }
    })
}

fn exists(path: &Path) -> CliError {
    CliError::failed(format!(
        "{} exists already and init never overwrites: nothing was changed; take another --datadir, or move this one away",
        path.display()
    ))
}

fn network_file(datadir: &Datadir, name: &str) -> NewFile {
    NewFile { path: datadir.network_file(), text: format!("{name}\n").into(), access: Access::Open }
}

/// The genesis of a network of one's own, with a chain id of its own.
pub(crate) fn local_genesis(
    validators: &[&SecretKey],
    alloc: BTreeMap<Address, u128>,
    params: NetworkParams,
) -> Result<Genesis, CliError> {
    let mut tail = [0; 4];
    getrandom::fill(&mut tail).map_err(|error| CliError::caused("the system gives no random numbers", &error))?;
    Ok(Genesis {
        network: LOCAL_NETWORK.to_owned(),
        chain_id: format!("cpc-{LOCAL_NETWORK}-{}", hex::encode(tail)),
        hash_rules: HashRules::Canonical,
        params,
        checkpoints: Vec::new(),
        alloc,
        validators: validators.iter().map(|key| genesis_validator(key, VALIDATOR_POWER)).collect(),
    })
}

/// A genesis file that the reference reads too: it names neither network nor parameters (protocol.md section 3).
fn v1_genesis(network: Network, validator: &SecretKey, faucet: &SecretKey) -> Result<(Genesis, String), CliError> {
    #[derive(Serialize)]
    struct File {
        alloc: BTreeMap<Address, u128>,
        validators: Vec<GenesisValidator>,
    }
    let file = File {
        alloc: BTreeMap::from([(faucet.address(ACCOUNT_PREFIX), network.premine())]),
        validators: vec![genesis_validator(validator, VALIDATOR_POWER.max(network.params().min_stake))],
    };
    let wrap = |error: &(dyn std::error::Error + 'static)| CliError::caused("cannot make a genesis", error);
    let mut text = serde_json::to_string_pretty(&file).map_err(|error| wrap(&error))?;
    text.push('\n');
    let genesis = Genesis::from_json(text.as_bytes(), network).map_err(|error| wrap(&error))?;
    Ok((genesis, text))
}

fn genesis_validator(key: &SecretKey, power: u128) -> GenesisValidator {
    GenesisValidator {
        address: key.address(VALIDATOR_PREFIX),
        pub_key: key.public_key(),
        power,
        is_active: true,
        reward_address: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, Datadir) {
        let dir = tempfile::tempdir().unwrap();
        let datadir = Datadir::new(dir.path().join("a/b"));
        (dir, datadir)
    }

    fn contents(datadir: &Datadir) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(datadir.root()).unwrap().map(|entry| entry.unwrap());
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
    }

    #[test]
    fn a_network_of_ones_own_is_canonical_and_this_node_its_validator() {
        let (_dir, datadir) = fresh();
        let made = new_network(&datadir, None).unwrap();
        let genesis = datadir.genesis(None).unwrap();
        assert_eq!(genesis, made.genesis);
        assert_eq!((genesis.network.as_str(), genesis.hash_rules), ("local", HashRules::Canonical));
        assert!(genesis.chain_id.starts_with("cpc-local-"), "{}", genesis.chain_id);
        let key = datadir.validator_key(Scheme::Ed25519).unwrap().unwrap();
        assert_eq!(genesis.validators[0].pub_key, key.public_key());
        assert_eq!(genesis.alloc.values().copied().collect::<Vec<_>>(), [10u128.pow(27)]);
        let names: Vec<String> = contents(&datadir).into_keys().collect();
        assert_eq!(names, ["faucet_key.hex", "genesis.json", "node_key.hex", "validator_key.hex"]);
    }

    #[test]
    fn two_networks_have_different_chain_ids() {
        let ((_a, a), (_b, b)) = (fresh(), fresh());
        assert_ne!(new_network(&a, None).unwrap().genesis.chain_id, new_network(&b, None).unwrap().genesis.chain_id);
    }

    #[test]
    fn a_network_with_the_references_rules_has_its_parameters_and_premine() {
        for network in Network::ALL {
            let (_dir, datadir) = fresh();
            new_network(&datadir, Some(network)).unwrap();
            let genesis = datadir.genesis(None).unwrap();
            assert_eq!((genesis.network.as_str(), genesis.hash_rules), (network.name(), HashRules::ComputechainV1));
            assert_eq!(genesis.params, network.params());
            assert_eq!(genesis.alloc.values().sum::<u128>(), network.premine());
            assert!(genesis.validators[0].power >= network.params().min_stake);
            assert!(datadir.validator_key(Scheme::Secp256k1).unwrap().is_some());
            let text = fs::read_to_string(datadir.genesis_file()).unwrap();
            assert!(!text.contains("hash_rules") && !text.contains("network"), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn key_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, datadir) = fresh();
        new_network(&datadir, None).unwrap();
        for path in [datadir.validator_key_file(), datadir.faucet_key_file(), datadir.node_key_file()] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!((text.len(), text.ends_with('\n')), (65, true));
        }
    }

    #[test]
    fn never_overwrites_and_changes_nothing_where_a_file_exists() {
        for name in ["genesis.json", "validator_key.hex", "faucet_key.hex", "node_key.hex", "network", "chain"] {
            let (_dir, datadir) = fresh();
            fs::create_dir_all(datadir.root()).unwrap();
            fs::write(datadir.root().join(name), "mine").unwrap();
            let error = new_network(&datadir, Some(Network::Devnet)).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert_eq!(contents(&datadir), BTreeMap::from([(name.to_owned(), b"mine".to_vec())]));
        }
    }

    #[test]
    fn joining_keeps_the_genesis_file_to_the_byte_and_notes_the_network() {
        let ((_a, theirs), (_b, ours)) = (fresh(), fresh());
        let made = new_network(&theirs, Some(Network::Testnet)).unwrap();
        join_network(&ours, &theirs.genesis_file(), Some(Network::Testnet)).unwrap();
        assert_eq!(ours.genesis(None).unwrap(), made.genesis);
        assert_eq!(fs::read(ours.genesis_file()).unwrap(), fs::read(theirs.genesis_file()).unwrap());
        assert!(!ours.faucet_key_file().exists() && !ours.validator_key_file().exists());
    }

    #[test]
    fn joining_with_a_damaged_genesis_leaves_nothing_behind() {
        let (dir, datadir) = fresh();
        let damaged = dir.path().join("damaged.json");
        fs::write(&damaged, "{").unwrap();
        let error = join_network(&datadir, &damaged, None).unwrap_err().to_string();
        assert!(error.contains("damaged.json"), "{error}");
        assert!(!datadir.root().exists());
        let error = join_network(&datadir, &dir.path().join("none.json"), None).unwrap_err().to_string();
        assert!(error.contains("none.json"), "{error}");
    }
}
