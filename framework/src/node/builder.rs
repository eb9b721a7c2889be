use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use tracing::Instrument as _;

use super::{NodeEvent, NodeHandle};
use crate::chain::{Chain, ChainError, ChainHandle};
use crate::codec::Codec;
use crate::engine::{Core, CoreConfig, Driver, DriverParts, NodeLink, OwnName, resolved};
use crate::env::Env;
use crate::executor::Executor;
use crate::executor::accounts::AccountExecutor;
use crate::limits::Limits;
use crate::memory::{LEAST_MEMORY, MemoryShares};
use crate::mempool::saved;
use crate::peers::peers_file::{self, PeersFileError};
use crate::producer::{MemoryJournal, Signer, SigningJournal};
use crate::rules::keys::{Scheme, SecretKey};
use crate::store::ChainStore;
use crate::store::memory::MemoryStore;
use crate::sync::batch::BatchSync;
use crate::sync::{RollbackOne, SyncLimits, SyncStrategy};
use crate::transport::{AllowList, Endpoint, LinkName, Listener, PeerId, Transport, TransportError};
use crate::types::{ANNOUNCE, Genesis, HEADER_CHAIN, HashRules, Height, REQUEST_ID, Transaction};

/// Requests from handles that may wait for the engine.
const COMMANDS: usize = 64;
/// Events that a slow listener may be behind.
const EVENTS: usize = 1024;

/// Puts a node together.
///
/// The genesis is required; all else has a default: no link, a [`MemoryStore`], the [`AccountExecutor`], [`BatchSync`],
/// no peers, and [`Limits::for_network`].
#[derive(Debug)]
#[must_use = "a node runs only once it is started"]
pub struct NodeBuilder {
    genesis: Genesis,
    links: Vec<(NodeLink, Option<Endpoint>)>,
    store: Arc<dyn ChainStore>,
    executor: Arc<dyn Executor>,
    sync: Option<Box<dyn SyncStrategy>>,
    limits: Limits,
    peers: Vec<Endpoint>,
    allowed: Option<Vec<PeerId>>,
    peers_file: Option<PathBuf>,
    mempool_file: Option<PathBuf>,
    unchecked_to: Option<Height>,
    env: Option<Env>,
    validator: Option<SecretKey>,
    journal: Box<dyn SigningJournal>,
    span: tracing::Span,
}

/// A node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The chain cannot be opened.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A link cannot listen.
    #[error(transparent)]
    Listen(#[from] TransportError),
    /// `peers.json` cannot be read or set aside.
    #[error(transparent)]
    PeersFile(#[from] PeersFileError),
    /// The validator's key is of another scheme than the chain's.
    #[error("a validator of a chain with {rules} rules must sign with a {expected:?} key, this one is of {found:?}")]
    ValidatorScheme {
        /// The chain's rules.
        rules: HashRules,
        /// The scheme that goes with them.
        expected: Scheme,
        /// The key's.
        found: Scheme,
    },
    /// A peer's address is over a link that this node does not have.
    #[error("peer {peer}: this node has no link {}, only {links}", peer.link.as_ref().map_or_else(|| "at all".to_owned(), ToString::to_string))]
    NoSuchLink {
        /// Whom it was to dial.
        peer: Endpoint,
        /// The links that it has.
        links: String,
    },
    /// The budget for queues is too small.
    #[error("{bytes} bytes of memory are too few for a node's queues: at least {LEAST_MEMORY}")]
    Memory {
        /// What it was to be.
        bytes: usize,
    },
    /// The operating system gives no threads or randomness.
    #[error("the operating system gives no threads or no randomness: {0}")]
    Env(#[source] std::io::Error),
}

impl NodeBuilder {
    /// A node of this genesis' network.
    pub fn new(genesis: Genesis) -> Self {
        let limits = Limits::for_network(&genesis.network);
        Self {
            genesis,
            links: Vec::new(),
            store: Arc::new(MemoryStore::default()),
            executor: Arc::new(AccountExecutor),
            sync: None,
            limits,
            peers: Vec::new(),
            allowed: None,
            peers_file: None,
            mempool_file: None,
            unchecked_to: None,
            env: None,
            validator: None,
            journal: Box::new(MemoryJournal::default()),
            span: tracing::Span::none(),
        }
    }

    /// Talks to peers over this transport in this codec, and listens at this address (`host:port`; port 0 takes a free
    /// one). May be called several times: each call is a link. An address that names no link means the first one.
    pub fn link(mut self, transport: impl Transport, codec: impl Codec, listen: impl Into<String>) -> Self {
        let link = NodeLink { transport: Arc::new(transport), codecs: vec![Arc::new(codec)] };
        self.links.push((link, Some(Endpoint::new(listen))));
        self
    }

    /// Like [`link`](Self::link), but each peer that dials chooses one of two codecs, which is recognised by its first
    /// bytes ([`Codec::sniff`]). Dialled is with the first, unless the address names the second.
    pub fn auto_link(
        mut self,
        transport: impl Transport,
        first: impl Codec,
        second: impl Codec,
        listen: impl Into<String>,
    ) -> Self {
        let link = NodeLink { transport: Arc::new(transport), codecs: vec![Arc::new(first), Arc::new(second)] };
        self.links.push((link, Some(Endpoint::new(listen))));
        self
    }

    /// Like [`link`](Self::link), but only dials.
    pub fn dial_link(mut self, transport: impl Transport, codec: impl Codec) -> Self {
        self.links.push((NodeLink { transport: Arc::new(transport), codecs: vec![Arc::new(codec)] }, None));
        self
    }

    /// Where the chain is kept. Default: a [`MemoryStore`].
    pub fn store(mut self, store: impl ChainStore) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// What blocks do to the state. Default: the [`AccountExecutor`].
    pub fn executor(mut self, executor: impl Executor) -> Self {
        self.executor = Arc::new(executor);
        self
    }

    /// What is asked of whom. Default: [`BatchSync`] with [`RollbackOne`](crate::sync::fork::RollbackOne), whose window is its share
    /// of the [memory](crate::memory); another strategy must keep within that share itself.
    pub fn sync(mut self, sync: impl SyncStrategy) -> Self {
        self.sync = Some(Box::new(sync));
        self
    }

    /// Peers to dial, for ever. Default: none.
    pub fn peers(mut self, peers: impl IntoIterator<Item = Endpoint>) -> Self {
        self.peers.extend(peers);
        self
    }

    /// Connects with the peers that prove these keys and with nobody else, whoever dials ([`AllowList`]); called again, with these too. Each link
    /// needs a transport that proves keys, as QUIC does. Default: with everybody.
    pub fn allow(mut self, peers: impl IntoIterator<Item = PeerId>) -> Self {
        self.allowed.get_or_insert_default().extend(peers);
        self
    }

    /// Where known peers are kept over a restart. Default: nowhere.
    pub fn peers_file(mut self, path: impl AsRef<Path>) -> Self {
        self.peers_file = Some(path.as_ref().to_owned());
        self
    }

    /// Where the pool is kept over a restart: written once a minute and at shutdown; what is read is checked like any
    /// other transaction. Default: nowhere.
    pub fn mempool_file(mut self, path: impl AsRef<Path>) -> Self {
        self.mempool_file = Some(path.as_ref().to_owned());
        self
    }

    /// Says that the store's blocks up to this height may have been taken without a look at their signatures: below a checkpoint of an
    /// earlier run. They are looked at before they are given to a peer. Default, and at least: the genesis' highest checkpoint.
    pub fn unchecked_to(mut self, height: Height) -> Self {
        self.unchecked_to = self.unchecked_to.max(Some(height));
        self
    }

    /// The bounds. Default: [`Limits::for_network`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Bytes that all queues of the network and of the import may hold together, shared out as [`crate::memory`] says. At least
    /// [`LEAST_MEMORY`]. Default: 64 MiB. Comes after [`limits`](Self::limits), where both are set.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.limits.network_memory = bytes;
        self
    }

    /// Clocks, randomness and threads. Default: the operating system's.
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// Proposes blocks with this key whenever it is its turn, once the node is SYNCED. A validator that is not active
    /// waits until it is. Default: none.
    ///
    /// Use it together with [`signing_journal`](Self::signing_journal), unless the chain is in memory too.
    pub fn validator(mut self, key: SecretKey) -> Self {
        self.validator = Some(key);
        self
    }

    /// Where it is kept what the validator signed last. Default: a [`MemoryJournal`], which a restart empties.
    pub fn signing_journal(mut self, journal: impl SigningJournal) -> Self {
        self.journal = Box::new(journal);
        self
    }

    /// The span that the engine's log lines are in, so that several nodes of one process can be told apart. Default: none.
    pub fn span(mut self, span: tracing::Span) -> Self {
        self.span = span;
        self
    }

    /// Opens the chain, starts to listen and to dial. Not cancel-safe: dropped, a part may have started.
    ///
    /// # Errors
    /// The chain cannot be opened, an address is taken, `peers.json` cannot be read, or the memory is too little.
    pub async fn start(self) -> Result<NodeHandle, StartError> {
        let bytes = self.limits.network_memory;
        if bytes < LEAST_MEMORY {
            return Err(StartError::Memory { bytes });
        }
        let env = match self.env {
            Some(env) => env,
            None => Env::system().map_err(StartError::Env)?,
        };
        let limits = Arc::new(self.limits);
        let genesis = Arc::new(self.genesis);
        let saved = saved_peers(self.peers_file.as_deref(), &limits)?;
        let pool = saved_pool(self.mempool_file.as_deref(), &limits);
        if let Some(error) = self.validator.as_ref().and_then(|key| wrong_scheme(genesis.hash_rules, key)) {
            return Err(error);
        }
        let signer = self.validator.map(|key| Signer::new(key, self.journal));
        let validator = signer.as_ref().map(|signer| signer.address().clone());
        let mut chain = Chain::open(Arc::clone(&genesis), Arc::clone(&self.store), self.executor, env.clone()).await?;
        // Half of what was seen: 50,000 by default, five times what the pool holds.
        chain = chain.remembering_txs(limits.seen_cache / 2).with_longest_block(limits.block_max());
        if let Some(signer) = signer {
            tracing::info!(validator = %signer.address(), "this node proposes blocks when it is this validator's turn");
            chain = chain.with_signer(signer);
        }

        let mut links = Vec::new();
        let mut listeners: Vec<(usize, Box<dyn Listener>)> = Vec::new();
        let mut names = Vec::new();
        let mut listening = Vec::new();
        for (at, (mut link, listen)) in self.links.into_iter().enumerate() {
            if let Some(allowed) = &self.allowed {
                link.transport = Arc::new(AllowList::new(link.transport, allowed.iter().copied()));
            }
            let local = match listen {
                Some(listen) => {
                    let listener = link.transport.listen(&listen).await?;
                    let local = listener.local().over(link.name());
                    tracing::info!(address = %local, "listening");
                    listeners.push((at, listener));
                    listening.push(local.clone());
                    Some(local)
                }
                None => None,
            };
            names.push(own_name(local.as_ref()));
            links.push(link);
        }
        let peers = self.peers.iter().map(|peer| resolved(&links, peer).ok_or_else(|| no_link(&links, peer)));
        let peers = peers.collect::<Result<Vec<Endpoint>, StartError>>()?;
        let (saved, kept) = usable(&links, saved);

        let verifier = chain.verifier().clone();
        let config = CoreConfig {
            limits: Arc::clone(&limits),
            keys: chain.keys(),
            store: Arc::clone(&self.store),
            names,
            features: [ANNOUNCE, REQUEST_ID, HEADER_CHAIN].map(str::to_owned).into(),
            tip: chain.tip(),
            genesis_hash: chain.genesis_hash(),
            seed: env.seed,
            verifier: verifier.clone(),
            validator,
        };
        let keys = chain.keys();
        let checkpoint = genesis.checkpoints.iter().map(|point| point.height).max();
        let sync = self.sync.unwrap_or_else(|| default_sync(&limits));
        let core = Core::new(config, sync);
        let (commands, commands_in) = mpsc::channel(COMMANDS);
        let (status, status_out) = watch::channel(core.status());
        let (events, _) = broadcast::channel::<NodeEvent>(EVENTS);
        let driver = Driver::new(DriverParts {
            core,
            env,
            limits,
            links,
            listeners,
            store: Arc::clone(&self.store),
            verifier,
            verified: chain.verified_txs(),
            keys,
            unchecked_to: self.unchecked_to.max(checkpoint),
            chain: ChainHandle::spawn(chain),
            peers_file: self.peers_file,
            pool_file: self.mempool_file,
            kept,
            commands: commands_in,
            status,
            events: events.clone(),
        });
        tokio::spawn(driver.run(peers, saved, pool).instrument(self.span));
        let listening = listening.into();
        Ok(NodeHandle { commands, status: status_out, events, store: self.store, genesis, listening })
    }
}

/// The default strategy, within its share of the memory.
fn default_sync(limits: &Limits) -> Box<dyn SyncStrategy> {
    let window_bytes = MemoryShares::of(limits.network_memory).sync_window();
    Box::new(BatchSync::with_limits(RollbackOne::default(), SyncLimits { window_bytes, ..SyncLimits::default() }))
}

/// Whether a validator's key does not fit the chain.
fn wrong_scheme(rules: HashRules, key: &SecretKey) -> Option<StartError> {
    let (expected, found) = (Scheme::of(rules), key.scheme());
    (found != expected).then_some(StartError::ValidatorScheme { rules, expected, found })
}

/// The addresses of an earlier run.
fn saved_peers(path: Option<&Path>, limits: &Limits) -> Result<Vec<Endpoint>, PeersFileError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let saved = peers_file::read(path, limits)?;
    for warning in &saved.warnings {
        tracing::warn!("{warning}");
    }
    Ok(saved.peers)
}

/// The pool of an earlier run.
fn saved_pool(path: Option<&Path>, limits: &Limits) -> Vec<Transaction> {
    let Some(path) = path else { return Vec::new() };
    let (txs, warning) = saved::read(path, limits);
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    txs
}

/// The saved addresses for which there is a link, with it, and the others, which only stay in the file. One without a link
/// is a node of the reference's kind.
fn usable(links: &[NodeLink], saved: Vec<Endpoint>) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let (mut usable, mut kept) = (Vec::new(), Vec::new());
    for peer in saved {
        let peer = if peer.link.is_some() { peer } else { peer.over(LinkName::reference()) };
        match resolved(links, &peer) {
            Some(peer) => usable.push(peer),
            None => kept.push(peer),
        }
    }
    if !kept.is_empty() {
        let shown: Vec<String> = kept.iter().take(3).map(ToString::to_string).collect();
        tracing::warn!(
            "{} saved peers are not dialled, since this node has no link for them: {}{}",
            kept.len(),
            shown.join(", "),
            if kept.len() > shown.len() { ", ..." } else { "" }
        );
    }
    (usable, kept)
}

fn no_link(links: &[NodeLink], peer: &Endpoint) -> StartError {
    let names: Vec<String> = links.iter().map(|link| link.name().to_string()).collect();
    StartError::NoSuchLink {
        peer: peer.clone(),
        links: if names.is_empty() { "none".to_owned() } else { names.join(" and ") },
    }
}

/// What we call ourselves over a link: `0.0.0.0` tells a peer to take the address that it sees (protocol.md section 2), and a v6
/// address would break a v1 peer.
fn own_name(listening: Option<&Endpoint>) -> OwnName {
    let (host, port) = listening.and_then(|endpoint| endpoint.host_port().ok()).unwrap_or(("0.0.0.0", 0));
    let host = if host.contains(':') { "0.0.0.0" } else { host };
    OwnName { node_id: format!("{host}:{port}"), p2p_port: port }
}
