//! What the examples share: a real chain to work on, and a part of one's own for each plug point.
//!
//! | plug point | part | what it is |
//! |---|---|---|
//! | [`Transport`] | [`UnixTransport`] | Unix sockets |
//! | [`Codec`] | [`MessagePackCodec`] | MessagePack, by the crate `rmp-serde` |
//! | [`ChainStore`] | [`LogStore`] | an append-only file |
//! | [`SyncStrategy`] | [`OneByOne`] | one peer, one request at a time |
//! | [`Executor`](cpc_framework::executor::Executor) | [`SenderQuota`] | the usual rules and one more |
//!
//! Each passes the conformance suite of its plug point: `tests/suites.rs` shows how little that takes.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cpc_framework::chain::Chain;
use cpc_framework::codec::Codec;
use cpc_framework::env::Env;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::node::{NodeBuilder, NodeHandle, NodeStatus};
use cpc_framework::rules::Hasher;
use cpc_framework::rules::keys::{Scheme, SecretKey};
use cpc_framework::store::ChainStore;
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::sync::Mode;
#[cfg(doc)]
use cpc_framework::sync::SyncStrategy;
use cpc_framework::transport::Transport;
use cpc_framework::types::{Block, Genesis, Network, Tip};

pub mod compare;
pub mod generate;
pub mod log_store;
pub mod msgpack;
pub mod one_by_one;
pub mod quota;
pub mod svg;
#[cfg(unix)]
pub mod unix;

pub use log_store::LogStore;
pub use msgpack::MessagePackCodec;
pub use one_by_one::OneByOne;
pub use quota::SenderQuota;
#[cfg(unix)]
pub use unix::UnixTransport;

/// The 1,210 blocks that a reference network made, three transactions each.
#[derive(Debug)]
pub struct Mainline {
    /// Where the chain starts.
    pub genesis: Genesis,
    /// The blocks, in order.
    pub blocks: Vec<Arc<Block>>,
}

impl Mainline {
    /// Reads the chain from the repository.
    ///
    /// # Errors
    /// The files are not there or damaged.
    pub fn load() -> Result<Self, Box<dyn Error>> {
        let dir = vectors().join("mainline");
        let genesis = Genesis::from_json(&std::fs::read(dir.join("genesis.json"))?, Network::Devnet)?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(dir.join("blocks.jsonl.gz"))?).read_to_string(&mut text)?;
        let blocks = text.lines().map(|line| Ok(Arc::new(serde_json::from_str(line)?)));
        Ok(Self { genesis, blocks: blocks.collect::<Result<_, serde_json::Error>>()? })
    }

    /// A store that holds the whole chain, every block checked in full on the way in.
    ///
    /// # Errors
    /// A block is not valid.
    pub async fn store(&self) -> Result<Arc<MemoryStore>, Box<dyn Error>> {
        self.store_up_to(self.blocks.len()).await
    }

    /// A store that holds the first `count` blocks.
    ///
    /// # Errors
    /// A block is not valid.
    pub async fn store_up_to(&self, count: usize) -> Result<Arc<MemoryStore>, Box<dyn Error>> {
        let store = Arc::new(MemoryStore::default());
        let (genesis, shared) = (Arc::new(self.genesis.clone()), Arc::clone(&store) as Arc<dyn ChainStore>);
        let mut chain = Chain::open(genesis, shared, Arc::new(AccountExecutor), Env::system()?).await?;
        for batch in self.blocks[..count].chunks(500) {
            if let Some(stop) = chain.import(batch.to_vec()).await?.stop {
                return Err(stop.into());
            }
        }
        Ok(store)
    }

    /// A node that holds the whole chain and serves it over one link.
    ///
    /// # Errors
    /// It cannot listen there.
    pub async fn serve(
        &self,
        transport: impl Transport,
        codec: impl Codec,
        listen: &str,
    ) -> Result<NodeHandle, Box<dyn Error>> {
        let node = NodeBuilder::new(self.genesis.clone()).link(transport, codec, listen).store(self.store().await?);
        Ok(node.start().await?)
    }

    /// The key of an account that has coins.
    ///
    /// # Errors
    /// The file of the network's keys is not there or damaged.
    pub fn account(&self) -> Result<SecretKey, Box<dyn Error>> {
        let keys: serde_json::Value = serde_json::from_slice(&std::fs::read(vectors().join("mainline/keys.json"))?)?;
        let first = keys["accounts"][0].as_str().ok_or("keys.json names no account")?;
        Ok(SecretKey::from_hex(Scheme::Secp256k1, first)?)
    }

    /// Its last block.
    pub fn tip(&self) -> Option<Tip> {
        let last = self.blocks.last()?;
        Some(Hasher::new(&self.genesis).hash_block(Arc::clone(last)).link.tip())
    }

    /// Waits until a node is SYNCED with the whole chain.
    ///
    /// # Errors
    /// The node stops, or it takes more than two minutes.
    pub async fn synced(&self, node: &NodeHandle) -> Result<NodeStatus, Box<dyn Error>> {
        let tip = self.tip();
        let there = node.wait_for(|status| status.mode == Mode::Synced && status.tip == tip);
        let status = tokio::time::timeout(PATIENCE, there).await;
        Ok(status.map_err(|_| format!("no sync within {PATIENCE:?}: {:?}", node.status()))??)
    }
}

/// Enough for a busy machine; a sync takes about a second.
const PATIENCE: Duration = Duration::from_secs(120);

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1")
}
