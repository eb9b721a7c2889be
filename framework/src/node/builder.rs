use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use super::{NodeEvent, NodeHandle};
use crate::chain::{Chain, ChainError, ChainHandle};
use crate::codec::Codec;
use crate::engine::{Core, CoreConfig, Driver, DriverParts, NodeLink, OwnName, resolved};
use crate::env::Env;
use crate::executor::Executor;
use crate::executor::accounts::AccountExecutor;
use crate::limits::Limits;
use crate::peers::peers_file::{self, PeersFileError};
use crate::store::ChainStore;
use crate::store::memory::MemoryStore;
use crate::sync::SyncStrategy;
use crate::sync::batch::BatchSync;
use crate::transport::{Endpoint, LinkName, Listener, Transport, TransportError};
use crate::types::Genesis;

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
    sync: Box<dyn SyncStrategy>,
    limits: Limits,
    peers: Vec<Endpoint>,
    peers_file: Option<PathBuf>,
    env: Option<Env>,
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
    /// A peer's address is over a link that this node does not have.
    #[error("peer {peer}: this node has no link {}, only {links}", peer.link.as_ref().map_or_else(|| "at all".to_owned(), ToString::to_string))]
    NoSuchLink {
        /// Whom it was to dial.
        peer: Endpoint,
        /// The links that it has.
        links: String,
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
            sync: Box::new(BatchSync::default()),
            limits,
            peers: Vec::new(),
            peers_file: None,
            env: None,
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

    /// What is asked of whom. Default: [`BatchSync`] with [`RollbackOne`](crate::sync::fork::RollbackOne).
    pub fn sync(mut self, sync: impl SyncStrategy) -> Self {
        self.sync = Box::new(sync);
        self
    }

    /// Peers to dial, for ever. Default: none.
    pub fn peers(mut self, peers: impl IntoIterator<Item = Endpoint>) -> Self {
        self.peers.extend(peers);
        self
    }

    /// Where known peers are kept over a restart. Default: nowhere.
    pub fn peers_file(mut self, path: impl AsRef<Path>) -> Self {
        self.peers_file = Some(path.as_ref().to_owned());
        self
    }

    /// The bounds. Default: [`Limits::for_network`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Clocks, randomness and threads. Default: the operating system's.
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// Opens the chain, starts to listen and to dial. Not cancel-safe: dropped, a part may have started.
    ///
    /// # Errors
    /// The chain cannot be opened, an address is taken, or `peers.json` cannot be read.
    pub async fn start(self) -> Result<NodeHandle, StartError> {
        let env = match self.env {
            Some(env) => env,
            None => Env::system().map_err(StartError::Env)?,
        };
        let limits = Arc::new(self.limits);
        let genesis = Arc::new(self.genesis);
        let saved = saved_peers(self.peers_file.as_deref(), &limits)?;
        let chain = Chain::open(Arc::clone(&genesis), Arc::clone(&self.store), self.executor, env.clone()).await?;

        let mut links = Vec::new();
        let mut listeners: Vec<(usize, Box<dyn Listener>)> = Vec::new();
        let mut names = Vec::new();
        let mut listening = Vec::new();
        for (at, (link, listen)) in self.links.into_iter().enumerate() {
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
            features: Vec::new(),
            tip: chain.tip(),
            genesis_hash: chain.genesis_hash(),
            seed: env.seed,
            verifier: verifier.clone(),
        };
        let core = Core::new(config, self.sync);
        let (commands, commands_in) = mpsc::channel(COMMANDS);
        let (status, status_out) = watch::channel(core.status());
        let (events, _) = broadcast::channel::<NodeEvent>(EVENTS);
        let driver = Driver::new(DriverParts {
            core,
            env,
            limits,
            links,
            listeners,
            chain: ChainHandle::spawn(chain),
            store: Arc::clone(&self.store),
            hasher: verifier.hasher().clone(),
            peers_file: self.peers_file,
            kept,
            commands: commands_in,
            status,
            events: events.clone(),
        });
        tokio::spawn(driver.run(peers, saved));
        let listening = listening.into();
        Ok(NodeHandle { commands, status: status_out, events, store: self.store, genesis, listening })
    }
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
