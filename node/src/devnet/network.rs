use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

use cpc_framework::rules::keys::{ACCOUNT_PREFIX, Scheme, SecretKey};
use cpc_framework::types::{Genesis, HashRules, NetworkParams};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::CliError;
use crate::args::{DevnetArgs, MOST_NODES};
use crate::datadir::{Datadir, key_file, read_key};
use crate::init::{LOCAL_PARAMS, LOCAL_PREMINE, join_network, local_genesis, place};

/// Nodes of a new devnet where nobody says.
const NODES: u16 = 4;

/// Validators of a new devnet where nobody says: with three of them, blocks go on when one is down.
const VALIDATORS: u16 = 3;

/// Seconds between the blocks of a new devnet where nobody says: the least, so that something is seen.
const BLOCK_TIME: u64 = 1;

/// Accounts that the load sends from. A sender may have 64 transactions in a pool: so many senders fill the largest blocks.
const LOAD_ACCOUNTS: usize = 32;

/// What each of them starts with: fees for more transactions than anybody sends.
const LOAD_PREMINE: u128 = LOCAL_PREMINE / 1000;

/// Keeps two devnets from running on one directory.
const LOCK_FILE: &str = "devnet.lock";

/// A devnet's files: a datadir for each node, and who owns what.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) genesis: Genesis,
    /// One for each node.
    pub(super) datadirs: Vec<Datadir>,
    /// Keys of accounts that have a balance from the start.
    pub(super) load_accounts: Vec<SecretKey>,
    /// Whether it was made now.
    pub(super) is_new: bool,
    _lock: File,
}

/// What the options and the directory together ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// How many nodes.
    pub(super) nodes: u16,
    /// What is to be made, where there is nothing yet.
    new: Option<New>,
}

#[derive(Debug, Clone, Copy)]
struct New {
    validators: u16,
    block_time: u64,
}

impl Shape {
    /// Looks at what is below `root`, and changes nothing.
    ///
    /// # Errors
    /// The options contradict each other or what is there.
    pub(super) fn of(root: &Path, args: &DevnetArgs) -> Result<Self, CliError> {
        if Datadir::new(root).has_genesis() {
            return Err(CliError::failed(format!(
                "{} is the datadir of one node: take another --datadir for the nodes of a devnet",
                root.display()
            )));
        }
        let founded = (1..=MOST_NODES).take_while(|number| datadir(root, *number).has_genesis()).count();
        if founded > 0 {
            let genesis = datadir(root, 1).genesis(None)?;
            let nodes = args.nodes.unwrap_or(u16::try_from(founded).unwrap_or(MOST_NODES));
            fits(root, &genesis, nodes, args)?;
            return Ok(Self { nodes, new: None });
        }
        if let Some(stray) = (2..=MOST_NODES).find(|number| datadir(root, *number).has_genesis()) {
            return Err(CliError::failed(format!(
                "{} has node-{stray}, but no node-1: remove what is left of this devnet, or take another --datadir",
                root.display()
            )));
        }
        let nodes = args.nodes.unwrap_or(NODES);
        let validators = args.validators.unwrap_or(VALIDATORS.min(nodes));
        enough_nodes(nodes, validators.into())?;
        Ok(Self { nodes, new: Some(New { validators, block_time: args.block_time.unwrap_or(BLOCK_TIME) }) })
    }
}

impl Network {
    /// Opens the devnet below `root`, or makes it.
    ///
    /// # Errors
    /// Another process has it open, or the files cannot be used.
    pub(super) fn open_or_make(root: &Path, shape: Shape) -> Result<Self, CliError> {
        let first = datadir(root, 1);
        let lock = lock(first.root())?;
        let genesis = match shape.new {
            Some(new) => make(root, shape.nodes, new)?,
            None => first.genesis(None)?,
        };
        let datadirs: Vec<Datadir> = (1..=shape.nodes).map(|number| datadir(root, number)).collect();
        for datadir in datadirs.iter().filter(|datadir| !datadir.has_genesis()) {
            join_network(datadir, &first.genesis_file(), None)?;
        }
        let faucet = read_key(&first.faucet_key_file(), Scheme::of(genesis.hash_rules))?;
        Ok(Self {
            load_accounts: faucet.map(|faucet| load_accounts(&faucet)).unwrap_or_default(),
            is_new: shape.new.is_some(),
            genesis,
            datadirs,
            _lock: lock,
        })
    }
}

fn datadir(root: &Path, number: u16) -> Datadir {
    Datadir::new(root.join(format!("node-{number}")))
}

/// Makes the datadirs of a new network, that of the first node last: without it there is none.
fn make(root: &Path, nodes: u16, new: New) -> Result<Genesis, CliError> {
    let New { validators, block_time } = new;
    let scheme = Scheme::of(HashRules::Canonical);
    let keys: Vec<SecretKey> = (0..validators).map(|_| SecretKey::generate(scheme)).collect();
    let faucet = SecretKey::generate(scheme);
    let mut alloc = BTreeMap::from([(faucet.address(ACCOUNT_PREFIX), LOCAL_PREMINE)]);
    alloc.extend(load_accounts(&faucet).iter().map(|key| (key.address(ACCOUNT_PREFIX), LOAD_PREMINE)));
    let params = NetworkParams {
        block_time,
        max_validators: LOCAL_PARAMS.max_validators.max(validators.into()),
        ..LOCAL_PARAMS
    };
    let genesis = local_genesis(&keys.iter().collect::<Vec<_>>(), alloc, params)?;
    for number in (1..=nodes).rev() {
        let datadir = datadir(root, number);
        let validator = keys.get(usize::from(number) - 1);
        let mut files: Vec<_> = validator.map(|key| key_file(datadir.validator_key_file(), key)).into_iter().collect();
        if number == 1 {
            files.push(key_file(datadir.faucet_key_file(), &faucet));
        }
        place(&datadir, files, genesis.to_json())?;
    }
    Ok(genesis)
}

/// Keys that only the faucet's owner can know, so that they need no file of their own.
fn load_accounts(faucet: &SecretKey) -> Vec<SecretKey> {
    let derived = (0..LOAD_ACCOUNTS).map(|number| {
        let text = Zeroizing::new(format!("cpc devnet load account {number} of {}", *faucet.to_hex()));
        SecretKey::from_hex(faucet.scheme(), &Zeroizing::new(hex::encode(Sha256::digest(text.as_bytes()))))
    });
    // Only one secp256k1 candidate in 2^128 is no key.
    derived.filter_map(Result::ok).collect()
}

/// Whether the options fit the network that is there.
fn fits(root: &Path, genesis: &Genesis, nodes: u16, args: &DevnetArgs) -> Result<(), CliError> {
    let validators = genesis.validators.len();
    let differs = |option: &str, is: &dyn std::fmt::Display| {
        Err(CliError::failed(format!(
            "the network in {} has {option} {is}: leave the option out, or take another --datadir",
            root.display()
        )))
    };
    if args.validators.is_some_and(|asked| usize::from(asked) != validators) {
        return differs("--validators", &validators);
    }
    if args.block_time.is_some_and(|asked| asked != genesis.params.block_time) {
        return differs("--block-time", &genesis.params.block_time);
    }
    enough_nodes(nodes, validators)
}

fn enough_nodes(nodes: u16, validators: usize) -> Result<(), CliError> {
    if validators <= usize::from(nodes) {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "--validators {validators} is more than --nodes {nodes}: each validator is a node, so take more nodes or fewer validators"
    )))
}

fn lock(dir: &Path) -> Result<File, CliError> {
    fs::create_dir_all(dir).map_err(|error| CliError::file("make the datadir", dir, &error))?;
    let path = dir.join(LOCK_FILE);
    let unusable = |error: &std::io::Error| CliError::file("use", &path, error);
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(|e| unusable(&e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CliError::failed(format!(
            "another devnet runs on {}: stop it first, or take another --datadir",
            dir.parent().unwrap_or(dir).display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(&error)),
    }
}
