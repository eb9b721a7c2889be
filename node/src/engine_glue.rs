//! From options to the framework's parts.

use std::sync::Arc;

use cpc_framework::chain::Chain;
use cpc_framework::env::Env;
use cpc_framework::executor::Executor;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::limits::Limits;
use cpc_framework::node::{NodeBuilder, NodeHandle, StartError};
use cpc_framework::producer::FileJournal;
use cpc_framework::rules::keys::Scheme;
use cpc_framework::store::file::{FileStore, StoreSummary};
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::store::{ChainStore, StoreErrorKind};
use cpc_framework::transport::TransportErrorKind;
use cpc_framework::tx_index::TxIndex;
use cpc_framework::types::{Checkpoint, Genesis, Hash32, Height};

use crate::args::{NodeArgs, StoreName};
use crate::console::Progress;
use crate::datadir::Datadir;
use crate::links::LinkSpec;
use crate::{CliError, one_line};

/// Opens the store, which then belongs to this process, and checks that it belongs to the datadir's genesis.
pub(crate) fn open_store(
    datadir: &Datadir,
    genesis: &Genesis,
    args: &NodeArgs,
) -> Result<Arc<dyn ChainStore>, CliError> {
    if args.store == StoreName::Memory {
        return Ok(Arc::new(MemoryStore::default()));
    }
    let cache = usize::try_from(args.page_cache).unwrap_or(usize::MAX).saturating_mul(1 << 10);
    let store = FileStore::open_caching(datadir.root(), cache).map_err(|error| failed(datadir, &error))?;
    check_genesis(datadir, genesis, store.genesis_id())?;
    Ok(Arc::new(store))
}

/// Opens the store of a datadir, or makes it, and checks that it belongs to the datadir's genesis.
pub(crate) fn open_file_store(datadir: &Datadir, genesis: &Genesis) -> Result<Arc<dyn ChainStore>, CliError> {
    let store = open_files(datadir)?;
    check_genesis(datadir, genesis, store.genesis_id())?;
    Ok(Arc::new(store))
}

/// Opens the store of a datadir that has one, and checks that it belongs to the datadir's genesis.
pub(crate) fn open_existing(datadir: &Datadir, genesis: &Genesis) -> Result<Option<FileStore>, CliError> {
    if !datadir.chain_dir().exists() {
        return Ok(None);
    }
    let store = open_files(datadir)?;
    check_genesis(datadir, genesis, store.genesis_id())?;
    Ok(Some(store))
}

/// What a datadir's chain is, read without opening it; `None` where there is none. Checks that it belongs to the datadir's genesis.
pub(crate) fn summary(datadir: &Datadir, genesis: &Genesis) -> Result<Option<StoreSummary>, CliError> {
    let summary = FileStore::summary(datadir.root()).map_err(|error| match error.kind {
        StoreErrorKind::Locked => in_use(datadir),
        _ => failed(datadir, &error),
    })?;
    if let Some(summary) = &summary {
        check_genesis(datadir, genesis, summary.genesis)?;
    }
    Ok(summary)
}

/// Fails if nothing can be said of the chain: another process has it open, or the disk refuses. Damage is none of its business.
pub(crate) fn refuse_if_unusable(datadir: &Datadir) -> Result<(), CliError> {
    match FileStore::summary(datadir.root()) {
        Ok(None) => return Ok(()),
        Err(error) if error.kind == StoreErrorKind::Locked => return Err(in_use(datadir)),
        _ => {}
    }
    match FileStore::open(datadir.root()) {
        Err(error) if matches!(error.kind, StoreErrorKind::Io | StoreErrorKind::Full) => Err(failed(datadir, &error)),
        _ => Ok(()),
    }
}

fn in_use(datadir: &Datadir) -> CliError {
    CliError::failed(format!(
        "{} is in use by another process: ask a running node with 'cpc-node status --node URL', or stop it first",
        datadir.root().display()
    ))
}

fn check_genesis(datadir: &Datadir, genesis: &Genesis, id: Option<Hash32>) -> Result<(), CliError> {
    match id {
        Some(id) if id != genesis.id() => Err(CliError::failed(format!(
            "the chain in {} belongs to another genesis ({id}) than {} ({}): put the right genesis file back, or take another --datadir",
            datadir.chain_dir().display(),
            datadir.genesis_file().display(),
            genesis.id()
        ))),
        _ => Ok(()),
    }
}

fn open_files(datadir: &Datadir) -> Result<FileStore, CliError> {
    FileStore::open(datadir.root()).map_err(|error| failed(datadir, &error))
}

/// Opens the index of a node's transactions: beside its store, in the datadir or in memory.
pub(crate) fn open_index(datadir: &Datadir, args: &NodeArgs, node: &NodeHandle) -> Result<TxIndex, CliError> {
    let (chain, genesis) = (Arc::clone(node.store()), node.genesis());
    match args.store {
        StoreName::Memory => Ok(TxIndex::in_memory(chain, genesis)),
        StoreName::File => TxIndex::open_holding(&datadir.tx_index_dir(), chain, genesis, args.remember)
            .map_err(|error| CliError::caused(format_args!("cannot use {}", datadir.tx_index_dir().display()), &error)),
    }
}

/// Opens the chain of a store.
pub(crate) async fn open_chain(
    datadir: &Datadir,
    genesis: Arc<Genesis>,
    store: Arc<dyn ChainStore>,
) -> Result<Chain, CliError> {
    Chain::open(genesis, store, executor(), environment()?).await.map_err(|error| failed(datadir, &error))
}

/// Computes the state of a stored chain again, checking every root on the way.
pub(crate) async fn rebuild_state(
    datadir: &Datadir,
    genesis: Arc<Genesis>,
    store: Arc<dyn ChainStore>,
) -> Result<(), CliError> {
    let mut chain = open_chain(datadir, genesis, store).await?;
    let total = chain.tip().map_or(0, |tip| tip.height + 1);
    let mut progress = Progress::start("rebuilding the state", 0);
    chain
        .rebuild(executor(), |height| progress.set(height + 1, Some(total)))
        .await
        .map_err(|error| failed(datadir, &error))?;
    drop(progress);
    tracing::info!("rebuilt the state from {total} blocks: every state root is right");
    Ok(())
}

/// Starts a node with these links. Where it `produces`, it signs blocks if the datadir has a validator's key.
/// Dropped half way, it leaves the datadir as a kill would: with all that was committed.
pub(crate) async fn start_node(
    datadir: &Datadir,
    args: &NodeArgs,
    links: &[LinkSpec],
    produces: bool,
) -> Result<NodeHandle, CliError> {
    let genesis = with_checkpoints(datadir.genesis(args.network.network)?, &args.checkpoint)?;
    let validator = datadir.validator_key(Scheme::of(genesis.hash_rules))?;
    let identity = datadir.identity()?;
    let store = open_store(datadir, &genesis, args)?;
    if let Some(highest) = genesis.checkpoints.iter().map(|point| point.height).max() {
        datadir.note_unchecked(highest)?;
    }
    if args.rebuild_state {
        rebuild_state(datadir, Arc::new(genesis.clone()), Arc::clone(&store)).await?;
    }
    let builder = NodeBuilder::new(genesis.clone()).limits(limits(&genesis, args.remember));
    let mut builder = LinkSpec::add_to(links, builder, &identity, args.memory)?;
    if let (Some(key), true) = (validator, produces) {
        builder = builder.validator(key).signing_journal(signing_journal(datadir)?);
    }
    if !args.allow.is_empty() {
        tracing::info!("only {} peers are let in, by their keys", args.allow.len());
        builder = builder.allow(args.allow.iter().copied());
    }
    if let Some(height) = datadir.unchecked_to()? {
        builder = builder.unchecked_to(height);
    }
    let node = builder
        .store(store)
        .peers(args.peers.clone())
        .peers_file(datadir.peers_file())
        .mempool_file(datadir.mempool_file())
        .start()
        .await
        .map_err(|error| not_started(&error))?;
    let genesis = node.genesis();
    tracing::info!(
        datadir = %datadir.root().display(),
        network = genesis.network,
        chain_id = genesis.chain_id,
        node_id = %identity.peer_id(),
        "started"
    );
    Ok(node)
}

/// Of fewer transactions than the usual limits remember, a peer is remembered to know one block for so many.
const TXS_PER_BLOCK: usize = 16;

/// The limits of a network's node that remembers so many ids of transactions and blocks.
fn limits(genesis: &Genesis, remember: usize) -> Limits {
    let mut limits = Limits::for_network(&genesis.network);
    limits.seen_cache = remember;
    limits.known_txs_per_peer = limits.known_txs_per_peer.min(remember);
    limits.known_blocks_per_peer = limits.known_blocks_per_peer.min(remember / TXS_PER_BLOCK);
    limits
}

/// The genesis with further checkpoints, which do not make it another one.
pub(crate) fn with_checkpoints(mut genesis: Genesis, given: &[Checkpoint]) -> Result<Genesis, CliError> {
    for point in given {
        match genesis.checkpoints.iter().find(|known| known.height == point.height) {
            Some(known) if known.hash != point.hash => {
                let (height, one, two) = (point.height, known.hash, point.hash);
                let why = format!("two checkpoints for height {height}: {one} and {two}; a chain has one block there");
                return Err(CliError::failed(why));
            }
            Some(_) => {}
            None => genesis.checkpoints.push(*point),
        }
    }
    Ok(genesis)
}

/// What the validator signed last.
pub(crate) fn signing_journal(datadir: &Datadir) -> Result<FileJournal, CliError> {
    FileJournal::open(datadir.signed_file()).map_err(|error| CliError::caused("cannot start the validator", &error))
}

/// How high a stored chain is.
pub(crate) async fn height_of_tip(datadir: &Datadir, store: &dyn ChainStore) -> Result<Option<Height>, CliError> {
    store.tip().await.map(|tip| tip.map(|tip| tip.height)).map_err(|error| failed(datadir, &error))
}

fn not_started(error: &StartError) -> CliError {
    match error {
        StartError::Listen(cause) if cause.kind == TransportErrorKind::AddressInUse => CliError::failed(format!(
            "{}: take another port with --p2p-port or --listen, or stop who listens there",
            one_line(cause)
        )),
        StartError::NoSuchLink { .. } => CliError::failed(format!(
            "{}: add it with --listen, or choose it with --transport and --codec",
            one_line(error)
        )),
        _ => CliError::caused("cannot start the node", error),
    }
}

pub(crate) fn executor() -> Arc<dyn Executor> {
    Arc::new(AccountExecutor)
}

pub(crate) fn environment() -> Result<Env, CliError> {
    Env::system().map_err(|error| CliError::caused("cannot start threads", &error))
}

pub(crate) fn failed(datadir: &Datadir, error: &(dyn std::error::Error + 'static)) -> CliError {
    CliError::caused(format_args!("cannot use the chain in {}", datadir.root().display()), error)
}
